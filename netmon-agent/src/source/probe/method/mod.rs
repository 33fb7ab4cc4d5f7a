//! The kinds of probe. Each is one file behind [`Prober`]: it sends, reads its sockets, and knows an answer from a
//! forgery. When to probe and what an answer means is not its business.

mod datagram;
mod dns;
mod http;
mod icmp;
mod probers;
mod tcp;
mod udp;

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::AsFd,
    sync::Arc,
};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

#[cfg(feature = "fuzzing")]
pub(crate) use self::icmp::fuzzing;
pub(super) use self::probers::{PLACES, Probers};
use super::{
    inflight::Token,
    rtt::{RoundTrip, Stamp},
    schedule::TargetSpec,
    stats::Counters,
};
use crate::{
    observation::{FailureReason, ProbeDetail},
    sys::{Batch, Datagram, Queue},
    time::Mono,
};

/// Ports tried at once for one probe, at most. [`EventKey`] could tell 16 apart.
pub(super) const ATTEMPTS: usize = 8;

/// A probe to send.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) token: Token,
    pub(super) address: IpAddr,
    /// What is probed, and how; its list of addresses is empty.
    pub(super) spec: &'a TargetSpec,
}

impl Request<'_> {
    fn to(&self, port: u16) -> SocketAddr {
        match self.address {
            IpAddr::V4(a) => (a, port).into(),
            IpAddr::V6(a) => SocketAddrV6::new(a, port, 0, self.spec.scope).into(),
        }
    }

    /// The method is another than this prober's: a mistake of the table in `probers`, which sends nothing.
    fn misplaced(&self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, self.spec.method.as_str())
    }
}

/// A probe that left.
#[derive(Debug)]
pub(super) struct Departure {
    /// Just before.
    pub(super) at: Stamp,
    /// Failures it takes for the whole to have failed.
    pub(super) attempts: usize,
}

/// Something came of a probe.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) token: Token,
    pub(super) at: Mono,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Reply {
        trip: RoundTrip,
        ttl: Option<u8>,
    },
    Failed {
        reason: FailureReason,
        reporter: Option<IpAddr>,
    },
    /// It bears the probe's number, but not its bytes.
    Corrupted,
    /// More about the answer that comes next.
    Detail(Box<ProbeDetail>),
}

/// What every prober works with.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) batch: Batch,
    pub(super) answers: Vec<Answer>,
    pub(super) counters: Arc<Counters>,
}

/// Which departures the kernel is to stamp. A probe that is sent after a pause meets a cold path, tens of microseconds
/// from the clock to the device; the next ones find it hot, and the clock read before is as good. A stamp costs some
/// 5 µs of CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamped {
    /// Every one: probes are sparse.
    All,
    /// The first of each turn.
    First,
}

/// One kind of probe.
pub(super) trait Prober {
    /// Sends a probe. What comes of it at once may already be among the answers.
    ///
    /// # Errors
    /// It could not be sent from here; nothing was.
    fn send(&mut self, request: &Request<'_>, shared: &mut Shared) -> io::Result<Departure>;

    /// Reads what waits at a socket.
    fn ready(&mut self, key: EventKey, errors: bool, shared: &mut Shared);

    /// A probe is settled: what is held for it alone can go.
    fn settled(&mut self, _token: Token) {}

    /// What has been learnt of a probe that is about to be given up.
    fn known(&self, _token: Token) -> Option<Box<ProbeDetail>> {
        None
    }

    /// Probes sent before this will not be asked for again.
    fn forget(&mut self, _before: Mono) {}

    /// A probe timed out.
    fn timed_out(&mut self, _now: Mono, _shared: &mut Shared) {}

    /// Asks for the kernel's stamps of departures.
    fn stamp_sends(&mut self, _which: Stamped) {}

    /// Others are about to be sent, after a pause.
    fn begin_turn(&mut self) {}

    /// Whether answers may have been missed between `sent` and `now`: the kernel dropped datagrams for want of buffer, or
    /// the prober ran late itself.
    fn dropped(&mut self, _sent: Mono, _now: Mono, _shared: &mut Shared) -> bool {
        false
    }
}

/// What an epoll event carries: prober, probe, attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EventKey(u64);

impl EventKey {
    /// `place` below [`PLACES`], `attempt` below 16. Tokens have 48 bits, forty years of 200,000 a second.
    fn new(place: usize, token: Token, attempt: usize) -> Self {
        Self(token.0 << 16 | (attempt as u64 & 15) << 12 | place as u64 & (PLACES as u64 - 1))
    }

    pub(super) fn from_event(event: &EpollEvent) -> Self {
        Self(event.data())
    }

    pub(super) fn place(self) -> usize {
        (self.0 & (PLACES as u64 - 1)) as usize
    }

    fn token(self) -> Token {
        Token(self.0 >> 16)
    }
}

fn watch(epoll: &Epoll, fd: impl AsFd, key: EventKey, flags: EpollFlags) -> io::Result<()> {
    Ok(epoll.add(fd, EpollEvent::new(flags, key.0))?)
}

/// More than any buffer holds that is asked for here (`sockets`): when so many are read, all that waited at first are.
const MOST_DRAINED: usize = 1 << 16;

/// Reads one of a socket's queues to its end, batch by batch; in a flood, to where it ended at first. A pending error,
/// which may be another probe's, is taken off and passed over: the error queue holds it in full.
pub(in crate::source) fn drain(
    socket: &impl AsFd,
    queue: Queue,
    batch: &mut Batch,
    mut each: impl FnMut(Stamp, Datagram<'_>),
) -> (usize, bool) {
    let (mut count, mut met_error) = (0, false);
    // Each pass of a broken socket would fail alike; a healthy one has at most the one pending error.
    let mut errors = 0;
    loop {
        match batch.receive(socket.as_fd(), queue) {
            Ok(0) => return (count, met_error),
            Ok(n) => {
                let read = Stamp::now();
                count += n;
                batch.iter().for_each(|datagram| each(read, datagram));
                if !batch.is_full() || count >= MOST_DRAINED {
                    return (count, met_error);
                }
            }
            Err(_) => {
                met_error = true;
                errors += 1;
                if errors > 8 {
                    return (count, met_error);
                }
            }
        }
    }
}

/// The first error on a socket's queue that says something of its probe.
fn queued_failure(socket: &impl AsFd, batch: &mut Batch) -> Option<(FailureReason, Option<IpAddr>)> {
    let mut found = None;
    drain(socket, Queue::Errors, batch, |_, datagram| {
        if let Some(error) = datagram.ancillary.error
            && found.is_none()
        {
            found = super::reason::of_error(&error).map(|reason| (reason, error.offender));
        }
    });
    found
}
