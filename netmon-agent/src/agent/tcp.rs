//! What the kernel tells of TCP: its counters at a pace, time-outs as they happen, and the sockets that live, at a slow
//! pace or, while a rule asks who acknowledges, once a second.

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    net::IpAddr,
    time::Duration,
};

use super::capabilities::of_sock_diag;
use crate::{
    capability::Capability,
    health::READ_INTERVAL,
    observation::{Address, Evidence, IfIndex, Network, Observation, TcpReading, TcpRung},
    source::{
        bpf::{Kernel, SET_STATE},
        sockdiag::{Census, Look, Progress, Reader, Step, Summary, Tally, Want},
    },
    sys::Readable,
    time::{Moment, Mono},
};

/// The kernel's TCP, as the core has it.
pub(super) struct Tcp {
    kernel: Kernel,
    /// Readable while time-outs wait.
    timeouts: Option<Readable>,
    /// None when sockets can't be looked at.
    sockets: Option<Reader>,
    dump: Option<Dump>,
    census: Census,
    progress: Progress,
    /// Segments sent by device, as of the last dump.
    sent: BTreeMap<IfIndex, u64>,
    /// Whether the addresses are known.
    is_ready: bool,
    /// Whether a rule asks who acknowledges.
    wanted: bool,
    next_dump: Mono,
    next_reading: Mono,
    next_others: Mono,
    /// Whether `sent` was found just now.
    has_looked: bool,
}

/// How often other namespaces are read when nobody asks for them: often enough that the least busy give way before the
/// kernel side runs out of rows.
const OTHERS_INTERVAL: Duration = Duration::from_secs(10);

/// A look at the sockets under way.
struct Dump {
    began: Mono,
    /// What sockets had sent that closed, as of its beginning.
    closed: BTreeMap<IfIndex, u64>,
    addresses: HashMap<IpAddr, IfIndex>,
    tally: Tally,
    look: Option<Look>,
    /// A device went meanwhile: `closed` still has what it had.
    outdated: bool,
}

impl Tcp {
    /// Begins. Must be called in the core's runtime. The capability is that of looking at sockets.
    pub(super) fn new(kernel: Kernel, now: Mono) -> (Self, Capability) {
        let timeouts = kernel.timeouts().and_then(|descriptor| {
            let readable = Readable::new(descriptor);
            readable.inspect_err(|error| tracing::warn!(%error, "TCP's time-outs hasten no probe")).ok()
        });
        let sockets = Reader::open();
        let capability = of_sock_diag(&sockets);
        let tcp = Self {
            kernel,
            timeouts,
            sockets: sockets.ok(),
            dump: None,
            census: Census::default(),
            progress: Progress::default(),
            sent: BTreeMap::new(),
            is_ready: false,
            wanted: false,
            next_dump: now,
            next_reading: now,
            next_others: now,
            has_looked: false,
        };
        (tcp, capability)
    }

    /// When [`step`](Self::step) has something to do.
    pub(super) fn due(&self) -> Mono {
        let dump = match (&self.sockets, &self.dump) {
            (None, _) => self.next_reading,
            (_, Some(dump)) => dump.began,
            // Not before netlink has told of the addresses.
            (_, None) if !self.is_ready => self.next_reading,
            (_, None) => self.next_dump,
        };
        self.next_reading.min(dump)
    }

    /// Does what is due, of a look at the sockets one part: what it brought. `wanted` is whether a rule asks who
    /// acknowledges.
    pub(super) fn step(&mut self, now: Moment, network: &Network, wanted: bool) -> Vec<Observation> {
        if wanted && !self.wanted {
            // The look that served the count is too old to be compared with.
            self.progress.forget();
            self.next_dump = now.mono;
        }
        self.wanted = wanted;
        let mut seen = Vec::new();
        // Before addresses are known, every socket would be laid to no device, and its history to one later on.
        self.is_ready |= !network.links.is_empty();
        if self.dump.is_some() || (self.is_ready && self.sockets.is_some() && self.next_dump <= now.mono) {
            seen.extend(self.look(now.mono, network));
        }
        // After a look right away, so that what was sent and what was sent again are of one time.
        if self.has_looked || self.next_reading <= now.mono {
            seen.push(self.read(now, network, false));
        }
        seen
    }

    /// Reads the counters; with `all`, or when it is time to, those of other network namespaces too.
    pub(super) fn read(&mut self, now: Moment, network: &Network, all: bool) -> Observation {
        self.next_reading = now.mono + READ_INTERVAL;
        let all = all || self.next_others <= now.mono;
        if all {
            self.next_others = now.mono + OTHERS_INTERVAL;
        }
        let of = addresses(network);
        let mut reading = self.kernel.read(all, |address| of.get(&address).copied());
        self.lay_sent(&mut reading);
        Observation { at: now.mono, evidence: Evidence::Tcp(Box::new(reading)) }
    }

    /// Returns once a time-out was told. Never, where nothing tells of them.
    pub(super) async fn timed_out(&self) {
        match &self.timeouts {
            Some(readable) => readable.ready().await,
            None => pending().await,
        }
    }

    /// The time-outs that were told.
    pub(super) fn timeouts(&mut self) -> Vec<Observation> {
        let at = Mono::now();
        let next = || Some(Observation { at, evidence: Evidence::TcpTimeout(self.kernel.next_timeout()?) });
        std::iter::from_fn(next).collect()
    }

    /// Forgets a device that is gone. The counters are read anew before another with its index is shown with them. What
    /// one had counted that was not `watched` goes on as no device's.
    pub(super) fn forget(&mut self, index: IfIndex, watched: bool, now: Mono) {
        self.next_reading = now;
        let left = self.kernel.forget(index, watched);
        if let Some(dump) = &mut self.dump {
            dump.outdated = true;
        }
        let sent = self.sent.remove(&index);
        if watched {
            return self.census.forget(index);
        }
        self.census.merge(index);
        // Before the first look it is the kernel's own figure that is shown.
        if let Some(nowhere) = self.sent.get_mut(&IfIndex(0)) {
            *nowhere += sent.unwrap_or(left.segments_sent);
        }
    }

    /// Hands on what the kernel programs logged.
    pub(super) fn flush_log(&mut self) {
        self.kernel.flush_log();
    }

    /// What live sockets sent is known as of the last look at them, and what closed ones sent counts from then on too:
    /// a device's figure is of one moment.
    ///
    /// Without what closed sockets sent it would be a part that looks like the whole, so it is left out.
    fn lay_sent(&mut self, reading: &mut TcpReading) {
        let has_looked = std::mem::take(&mut self.has_looked);
        if reading.programs.get(SET_STATE).is_none_or(|program| program.rung != TcpRung::Raw) {
            return;
        }
        reading.sent_is_current = has_looked;
        for (index, sent) in &self.sent {
            reading.devices.entry(*index).or_default().segments_sent = *sent;
        }
    }

    fn look(&mut self, now: Mono, network: &Network) -> Option<Observation> {
        let reader = self.sockets.as_mut()?;
        if self.dump.is_none() {
            let addresses = addresses(network);
            let of = |address| addresses.get(&address).copied();
            let closed = self.kernel.segments_of_closed(of);
            let look = self.wanted.then(Look::default);
            self.dump =
                Some(Dump { began: now, closed, addresses, tally: Tally::default(), look, outdated: false });
        }
        let dump = self.dump.as_mut()?;
        let Dump { addresses, tally, look, .. } = dump;
        let step = reader.step(|socket| {
            let interface_of = |address| addresses.get(&address).copied();
            tally.add(socket, interface_of);
            // A neighbour that acknowledges proves nothing of the path beyond the gateway.
            if let Some(look) = look
                && !network.is_on_link(socket.remote)
            {
                look.add(socket, interface_of);
            }
        });
        match step {
            Ok(Step::More) => None,
            Ok(Step::Again) => {
                (dump.tally, dump.look) = (Tally::default(), dump.look.as_ref().map(|_| Look::default()));
                None
            }
            Ok(Step::Done(summary)) => self.looked(now, &summary),
            Err(error) => {
                tracing::debug!(%error, "the TCP sockets can't be looked at");
                self.dump = None;
                self.next_dump = now + Want::Census.next_dump(Duration::ZERO);
                None
            }
        }
    }

    fn looked(&mut self, now: Mono, summary: &Summary) -> Option<Observation> {
        let dump = self.dump.take()?;
        let want = if self.wanted { Want::Progress } else { Want::Census };
        self.next_dump = now + want.next_dump(summary.cost);
        if !summary.interrupted && !dump.outdated {
            self.sent = self.census.settle(&dump.closed, &dump.tally);
            self.sent.entry(IfIndex(0)).or_default();
            self.has_looked = true;
        }
        let progress = self.progress.settle(dump.began, dump.look?)?;
        Some(Observation { at: dump.began, evidence: Evidence::TcpProgress(progress) })
    }
}

/// Which device has each address. One on loopback or a dummy is an address of the whole host: what is sent from it leaves
/// by the default route's.
fn addresses(network: &Network) -> HashMap<IpAddr, IfIndex> {
    let is_inner = |index| {
        network.links.get(&index).is_some_and(|link| link.loopback || link.kind.as_deref() == Some("dummy"))
    };
    // Once for all: a host of many services has thousands of such addresses.
    let best_first = network.default_routes();
    let best = |v4| best_first.iter().find(|r| r.destination.is_ipv4() == v4).map(|r| r.ifindex);
    let (v4, v6) = (best(true), best(false));
    let one = |address: &Address| {
        let Address { address, ifindex, .. } = *address;
        let outer = || if address.is_ipv4() { v4 } else { v6 }.unwrap_or(ifindex);
        (address, if !address.is_loopback() && is_inner(ifindex) { outer() } else { ifindex })
    };
    network.addresses.values().map(one).collect()
}
