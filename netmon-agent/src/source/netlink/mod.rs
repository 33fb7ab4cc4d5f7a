//! Links, addresses, routes and gateways' neighbours, from rtnetlink.
//!
//! ```text
//! kernel ─ multicast ─> EventSocket ─> decode ─> Tracker ─> emit         (the event path: no waiting on it)
//!                                                   ^  └─> Schedule ─┐
//! kernel <─ dumps ─────────────── Dumper, on a thread beside <───────┘
//! ```
//!
//! - **Subscribe, then dump.** Events between the two wait in the socket and are applied after the dump; each names
//!   the state it leads to, so one that the dump already knew changes nothing. The same holds for every later dump: events are told as they come,
//!   and once more applied to what the dump has found.
//! - **Loss is said.** When the kernel drops events (`ENOBUFS`), [`Evidence::Gap`] goes out, what waits in the socket
//!   is thrown away (it is older than what was lost), and everything is read anew.
//! - **Silence is checked.** Some changes have no message (the alias of a link that is down, an expired IPv6 route):
//!   everything is read again now and then, and told if it differs.
//! - **Routes are never counted up and down**: IPv4 routes vanish without a message when a link or address goes.
//!   `schedule` says when they are read.
//! - **Bytes stay bytes.** Interface names, aliases and address labels need not be UTF-8. `netlink-packet-route`
//!   fails on a message with such a string, and a connection of `rtnetlink` then passes over the message without a
//!   word: the link, or every IPv4 address on it, is not there. So links and addresses are decoded from raw
//!   attributes here, and routes too: a default route must not vanish over an encapsulation that a codec does not
//!   know. `rtnetlink` does what involves no names: it asks for neighbours, with `NLM_F_DUMP_INTR` checked.
//! - **Only the kernel is believed**: a datagram with a sender other than port 0 is dropped and counted.
//!
//! What the machine has without netlink, or when it is switched off, is in [`sysfs`]; counters on demand are in
//! [`StatsReader`].

mod decode;
mod decode_link;
mod dump;
#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/netlink.rs"]
pub(crate) mod fuzzing;
mod neighbours;
mod schedule;
mod socket;
mod speed;
mod stats;
pub mod sysfs;
mod tracker;
pub(in crate::source) mod wire;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::{JoinHandle, spawn_blocking, yield_now};

use crate::{
    observation::{Evidence, Network, NetworkChange, Observation, SourceKind},
    time::{Mono, sleep_until},
};

use self::{
    dump::{Dumper, Everything, Routing},
    schedule::Schedule,
    socket::{EventSocket, Received},
    speed::Speeds,
    tracker::Tracker,
};

pub use self::{neighbours::neighbours_on, stats::StatsReader};

/// Datagrams handled in a row before anything else gets its turn.
const IN_A_ROW: u32 = 64;

/// After a dump that failed, or that changes kept cutting through, until the next.
const DUMP_AGAIN: Duration = Duration::from_millis(200);

/// How the source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Receive buffer for events, bytes. Without CAP_NET_ADMIN the kernel caps it at `net.core.rmem_max`.
    pub receive_buffer: usize,
    /// Routes other than default ones that are kept; see [`Network::routes_truncated`].
    pub max_routes: usize,
    /// How often everything is read again to find what the kernel changed without a message, such as the alias of a
    /// link that is down.
    pub audit: Duration,
}

impl Default for Options {
    /// 4 MiB, which held 5,000 unread changes; 1,024 routes; every 30 s.
    fn default() -> Self {
        Self { receive_buffer: 4 << 20, max_routes: 1024, audit: Duration::from_secs(30) }
    }
}

/// Why there is no evidence from netlink.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A socket could not be had.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The kernel would not tell a table.
    #[error("cannot read links, addresses and routes: {0}")]
    Dump(#[source] io::Error),
    /// The event socket failed.
    #[error("cannot receive netlink events: {0}")]
    Receive(#[source] io::Error),
    /// The thread that reads tables is gone.
    #[error("the thread that reads netlink tables ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// What went wrong since the source was opened. Counts only grow.
#[derive(Debug, Default)]
pub struct Counters {
    overruns: AtomicU64,
    malformed: AtomicU64,
    spoofed: AtomicU64,
    interrupted_dumps: AtomicU64,
}

impl Counters {
    /// Times that the kernel dropped events because the buffer was full.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Relaxed)
    }

    /// Messages whose form is not what their lengths promise.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Relaxed)
    }

    /// Datagrams that came from another process and not from the kernel.
    pub fn spoofed(&self) -> u64 {
        self.spoofed.load(Relaxed)
    }

    /// Dumps repeated because a change cut through them.
    pub fn interrupted_dumps(&self) -> u64 {
        self.interrupted_dumps.load(Relaxed)
    }
}

/// The source, subscribed. It belongs to the network namespace of the thread that opened it.
pub struct Netlink {
    events: EventSocket,
    reading: Reading,
    tracker: Tracker,
    /// When to read routes.
    schedule: Schedule,
    /// When to read everything.
    next_dump: Mono,
    audit: Duration,
    /// Events were lost: the next dump is told even if it shows nothing new, for it ends the gap.
    lost: bool,
    speeds: Speeds,
    counters: Arc<Counters>,
    /// What a datagram led to; kept to spare allocations.
    changes: Vec<NetworkChange>,
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// Who has the dumper.
enum Reading {
    Idle(Box<Dumper>),
    Busy {
        began: Mono,
        /// Events were lost meanwhile, so what is being read may be older than what was lost.
        void: bool,
        task: JoinHandle<(Box<Dumper>, Read)>,
    },
    /// Only while one of the others is being made of the other, and after the thread was lost.
    Away,
}

/// What the dumper has read.
enum Read {
    Everything(io::Result<Everything>),
    Routing(io::Result<Routing>),
}

impl Netlink {
    /// Opens the sockets and subscribes. Must be called within a tokio runtime with I/O and time enabled. Starts no
    /// thread; so it can be called within [`enter`](tokio::runtime::Runtime::enter) before capabilities are dropped,
    /// of which the size of the receive buffer alone needs one.
    pub fn open(options: &Options) -> Result<Self, NetlinkError> {
        let counters = Arc::new(Counters::default());
        let events = EventSocket::open(options.receive_buffer).map_err(NetlinkError::Open)?;
        let dumper = Dumper::open(options, Arc::clone(&counters)).map_err(NetlinkError::Open)?;
        Ok(Self {
            events,
            reading: Reading::Idle(Box::new(dumper)),
            tracker: Tracker::default(),
            schedule: Schedule::default(),
            next_dump: Mono::default(),
            audit: options.audit,
            lost: true,
            speeds: Speeds::default(),
            counters,
            changes: Vec::new(),
        })
    }

    /// What went wrong so far; stays readable while [`run`](Self::run) runs.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Emits one [`NetworkChange::Dump`], then every change as it happens, until the source fails or the future is
    /// dropped. `emit` is called on the event path and must not block.
    pub async fn run(mut self, mut emit: impl FnMut(Observation)) -> NetlinkError {
        match self.listen(&mut emit).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn listen(
        &mut self,
        emit: &mut impl FnMut(Observation),
    ) -> Result<std::convert::Infallible, NetlinkError> {
        self.read(Mono::now());
        match self.reading.finished().await?.2 {
            Read::Everything(Err(error)) => return Err(NetlinkError::Dump(error)),
            first => self.take_in(first, Mono::now(), emit),
        }
        let mut in_a_row = 0;
        loop {
            let due = self.due();
            if due.is_some_and(|due| due <= Mono::now()) {
                self.read(Mono::now());
                continue;
            }
            tokio::select! {
                biased;
                received = self.events.receive(), if in_a_row < IN_A_ROW => {
                    in_a_row += 1;
                    match received {
                        Received::Datagram => self.datagram(emit),
                        Received::Spoofed => { self.counters.spoofed.fetch_add(1, Relaxed); }
                        Received::Overrun => self.overrun(emit),
                        Received::Broken(error) => return Err(NetlinkError::Receive(error)),
                    }
                }
                result = self.reading.finished(), if due.is_none() => {
                    let (began, void, read) = result?;
                    let now = Mono::now();
                    self.schedule.finish(began, now);
                    if !void {
                        self.take_in(read, now, emit);
                    }
                }
                Some((index, mbps)) = self.speeds.next() => {
                    self.tracker.speed(index, mbps, &mut self.changes);
                    self.flush(Mono::now(), emit);
                }
                () = sleep_until(due.unwrap_or_default()), if due.is_some() => {}
                () = yield_now(), if in_a_row >= IN_A_ROW => in_a_row = 0,
            }
        }
    }

    /// Takes in a datagram of events.
    fn datagram(&mut self, emit: &mut impl FnMut(Observation)) {
        let now = Mono::now();
        for message in wire::Messages(self.events.datagram()) {
            match message.and_then(|m| decode::event(&m)) {
                Ok(Some(event)) => {
                    let consequences = self.tracker.event(event, &mut self.changes);
                    if consequences.routes {
                        self.schedule.trigger(now);
                    }
                    if let Some(link) = consequences.speed.and_then(|i| self.tracker.network().links.get(&i))
                    {
                        self.speeds.read(link);
                    }
                }
                Ok(None) => {}
                Err(wire::Malformed) => {
                    self.counters.malformed.fetch_add(1, Relaxed);
                }
            }
        }
        self.flush(now, emit);
    }

    fn flush(&mut self, at: Mono, emit: &mut impl FnMut(Observation)) {
        for change in self.changes.drain(..) {
            emit(Observation { at, evidence: Evidence::Network(change) });
        }
    }

    /// Events were lost: says so, and lets everything be read anew at once.
    fn overrun(&mut self, emit: &mut impl FnMut(Observation)) {
        let more = self.events.discard();
        self.counters.overruns.fetch_add(1 + more, Relaxed);
        let now = Mono::now();
        emit(Observation { at: now, evidence: Evidence::Gap(SourceKind::Netlink) });
        self.lost = true;
        self.next_dump = now;
        if let Reading::Busy { void, .. } = &mut self.reading {
            *void = true;
        }
    }

    /// When the next reading is due; none while one is under way.
    fn due(&self) -> Option<Mono> {
        match self.reading {
            Reading::Idle(_) => Some(self.schedule.due().map_or(self.next_dump, |d| d.min(self.next_dump))),
            _ => None,
        }
    }

    /// Starts what is due, on a thread beside.
    fn read(&mut self, now: Mono) {
        self.reading = match std::mem::replace(&mut self.reading, Reading::Away) {
            Reading::Idle(mut dumper) => {
                let task = if self.next_dump <= now {
                    self.tracker.begin_everything();
                    spawn_blocking(move || {
                        let read = dumper.everything();
                        (dumper, Read::Everything(read))
                    })
                } else {
                    self.schedule.begin();
                    let known = self.tracker.begin_routing();
                    spawn_blocking(move || {
                        let read = dumper.routing(&known);
                        (dumper, Read::Routing(read))
                    })
                };
                Reading::Busy { began: now, void: false, task }
            }
            busy => busy,
        };
    }

    /// Takes in what was read.
    fn take_in(&mut self, read: Read, now: Mono, emit: &mut impl FnMut(Observation)) {
        match read {
            Read::Everything(Ok(all)) => {
                self.next_dump = now + if all.consistent { self.audit } else { DUMP_AGAIN };
                match self.tracker.everything(all, self.lost) {
                    Some(dump) => self.changes.push(dump),
                    None if self.lost => self.next_dump = now,
                    None => {}
                }
                self.lost &= self.changes.is_empty();
            }
            Read::Routing(Ok(read)) => {
                if self.tracker.routing(read, &mut self.changes) {
                    self.schedule.trigger(now);
                }
            }
            Read::Everything(Err(error)) => {
                tracing::warn!(%error, "cannot read links, addresses and routes; trying again");
                self.next_dump = now + DUMP_AGAIN;
            }
            Read::Routing(Err(error)) => {
                tracing::warn!(%error, "cannot read routes; trying again");
                self.tracker.routing_failed();
                self.schedule.trigger(now);
                self.schedule.rest_until(now + DUMP_AGAIN);
            }
        }
        self.flush(now, emit);
    }
}

impl Reading {
    /// Waits for what is being read: when it began, whether it is void, and it. For ever if nothing is. Nothing is
    /// lost when the future is dropped.
    async fn finished(&mut self) -> Result<(Mono, bool, Read), NetlinkError> {
        let Self::Busy { began, void, task } = self else { return std::future::pending().await };
        let (dumper, read) = task.await?;
        let result = (*began, *void, read);
        *self = Self::Idle(dumper);
        Ok(result)
    }
}

/// Reads everything once, as a source that starts now would tell it first. Blocks, and must not be called from
/// within an asynchronous task.
pub fn read(options: &Options) -> Result<Network, NetlinkError> {
    let mut dumper = Dumper::open(options, Arc::default()).map_err(NetlinkError::Open)?;
    dumper.everything().map(|all| all.network).map_err(NetlinkError::Dump)
}
