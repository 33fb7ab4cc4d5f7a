//! TCP connect: the handshake's round trip as the kernel measured it (`tcpi_rtt`), whenever this process looks.
//!
//! A connection made is closed at once. Closed first by us it leaves a minute of TIME_WAIT here; reset (SO_LINGER 0) it
//! leaves nothing, but the peer logs a reset and this machine's counters of resets sent, which netmon reports, count
//! it. So the close is orderly up to 200 a second, some 12,000 TIME_WAITs of 28,000 ephemeral ports, and a reset
//! beyond; those are counted (`Stats::tcp_resets`).

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    rc::Rc,
    time::Duration,
};

use nix::sys::epoll::{Epoll, EpollFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    super::{
        inflight::Token,
        path,
        rtt::{RoundTrip, Stamp, round_trip},
        stats::add,
    },
    ATTEMPTS, Answer, Departure, EventKey, Prober, Request, Shared, What, queued_failure, watch,
};
use crate::{
    observation::{FailureReason, Method, PathOptions, ProbeDetail, StampSource},
    sys::{self, Batch},
    time::Mono,
};

const ORDERLY_A_SECOND: u32 = 200;

#[derive(Debug)]
struct Attempt {
    socket: Socket,
    sent: Stamp,
    in_place_of_icmp: bool,
}

#[derive(Debug)]
pub(super) struct TcpProber {
    place: usize,
    epoll: Rc<Epoll>,
    /// For attempts in ICMP's place: the kernel tells the time of a handshake, but not that of a refusal.
    prompt: Rc<Epoll>,
    attempts: HashMap<EventKey, Attempt>,
    second: Mono,
    closed: u32,
}

impl TcpProber {
    pub(super) fn new(place: usize, epoll: Rc<Epoll>, prompt: Rc<Epoll>) -> Self {
        Self { place, epoll, prompt, attempts: HashMap::new(), second: Mono::from_nanos(0), closed: 0 }
    }

    fn start(
        &mut self,
        request: &Request<'_>,
        i: usize,
        port: u16,
        shared: &mut Shared,
    ) -> io::Result<Stamp> {
        let to = request.to(port);
        let socket = stream(to, &request.spec.path)?;
        let key = EventKey::new(self.place, request.token, i);
        let sent = Stamp::now();
        let in_place_of_icmp = request.spec.method == Method::Icmp;
        let attempt = Attempt { socket, sent, in_place_of_icmp };
        match attempt.socket.connect(&to.into()) {
            Ok(()) => {
                self.finish(request.token, &attempt, Stamp::now(), shared);
            }
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                let epoll = if in_place_of_icmp { &self.prompt } else { &self.epoll };
                watch(epoll, &attempt.socket, key, EpollFlags::EPOLLOUT)?;
                self.attempts.insert(key, attempt);
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                let answer = refused(request.token, &attempt, Stamp::now());
                shared.answers.push(answer);
            }
            Err(e) => return Err(e),
        }
        Ok(sent)
    }

    /// The kernel has decided an attempt, as was seen at `read`; false when it has not.
    fn finish(&mut self, token: Token, attempt: &Attempt, read: Stamp, shared: &mut Shared) -> bool {
        let answer = match failure(&attempt.socket, &mut shared.batch) {
            None if is_connecting(&attempt.socket) => return false,
            // One that was reset at once was made all the same: how it goes on is not what is asked.
            None | Some((FailureReason::Protocol, _)) => {
                let trip = handshake(&attempt.socket, attempt.sent, read);
                // By the kernel's measure as well: where probes are dense it is looked at some time later.
                let detail = ProbeDetail { connect: Some(trip.rtt), ..ProbeDetail::default() };
                shared.answers.push(Answer { token, at: read.mono, what: What::Detail(Box::new(detail)) });
                self.set_close(attempt, read.mono, shared);
                Answer { token, at: read.mono, what: What::Reply { trip, ttl: None } }
            }
            Some((FailureReason::Refused, _)) => refused(token, attempt, read),
            Some((reason, reporter)) => {
                Answer { token, at: read.mono, what: What::Failed { reason, reporter } }
            }
        };
        shared.answers.push(answer);
        true
    }

    /// Chooses how a connection ends that is about to be dropped.
    fn set_close(&mut self, attempt: &Attempt, now: Mono, shared: &Shared) {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.closed) = (now, 0);
        }
        self.closed += 1;
        if self.closed > ORDERLY_A_SECOND && attempt.socket.set_linger(Some(Duration::ZERO)).is_ok() {
            add(&shared.counters.tcp_resets, 1);
        }
    }
}

/// A socket for one connection that goes this way, not connected yet.
pub(super) fn stream(to: SocketAddr, way: &PathOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Without it a failure is told by its errno alone.
    let _ = sys::enable_error_queue(socket.as_fd(), to.is_ipv6());
    path::apply(way, &socket, to.is_ipv6())?;
    if way.source.is_some() {
        let _ = sys::bind_without_port(socket.as_fd());
        socket.bind(&path::source(way, to.is_ipv6())?.into())?;
    }
    Ok(socket)
}

/// Whether a connection is neither made nor given up: an error on the way was reported, and the kernel goes on trying.
pub(super) fn is_connecting(socket: &Socket) -> bool {
    sys::tcp_info(socket.as_fd()).is_ok_and(|info| info.connecting)
}

/// Why a connection was not made, and who said so; none when it was, or when that is not decided.
pub(super) fn failure(socket: &Socket, batch: &mut Batch) -> Option<(FailureReason, Option<IpAddr>)> {
    let reported = queued_failure(socket, batch);
    let error = socket.take_error().unwrap_or_else(Some)?;
    Some(reported.unwrap_or_else(|| (of_errno(&error), None)))
}

/// What the error of a connection says of the way to its peer.
pub(super) fn of_errno(error: &io::Error) -> FailureReason {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => FailureReason::Refused,
        // net/ipv4/tcp_input.c, tcp_reset: it stood already.
        Some(libc::ECONNRESET | libc::EPIPE) => FailureReason::Protocol,
        Some(libc::ENETUNREACH) => FailureReason::NetUnreachable,
        Some(libc::EHOSTUNREACH) => FailureReason::HostUnreachable,
        Some(libc::EACCES | libc::EPERM) => FailureReason::Prohibited,
        Some(libc::ETIMEDOUT) => FailureReason::Timeout,
        _ => FailureReason::OtherUnreachable,
    }
}

/// The round trip of a connection's handshake, as the kernel has measured it.
pub(super) fn handshake(socket: &Socket, sent: Stamp, read: Stamp) -> RoundTrip {
    match sys::tcp_info(socket.as_fd()).ok().and_then(|info| info.rtt) {
        Some(rtt) => RoundTrip { rtt, source: StampSource::Kernel, stepped: false },
        None => round_trip(sent, None, None, read),
    }
}

/// The peer's kernel answered with a reset. That is a closed port, and a host that is there.
fn refused(token: Token, attempt: &Attempt, read: Stamp) -> Answer {
    let what = if attempt.in_place_of_icmp {
        What::Reply { trip: round_trip(attempt.sent, None, None, read), ttl: None }
    } else {
        What::Failed { reason: FailureReason::Refused, reporter: None }
    };
    Answer { token, at: read.mono, what }
}

impl Prober for TcpProber {
    fn send(&mut self, request: &Request<'_>, shared: &mut Shared) -> io::Result<Departure> {
        let one;
        let ports = match &request.spec.method {
            Method::Tcp { port } => {
                one = [*port];
                &one[..]
            }
            Method::Icmp => &request.spec.fallback_ports[..],
            _ => return Err(request.misplaced()),
        };
        let (mut first, mut attempts, mut error) = (None, 0, None);
        for (i, port) in ports.iter().take(ATTEMPTS).enumerate() {
            match self.start(request, i, *port, shared) {
                Ok(at) => {
                    attempts += 1;
                    first.get_or_insert(at);
                }
                Err(e) => error = Some(e),
            }
        }
        match (first, error) {
            (Some(at), _) => Ok(Departure { at, attempts }),
            (None, Some(e)) => Err(e),
            (None, None) => Err(io::Error::new(io::ErrorKind::InvalidInput, "no port to connect to")),
        }
    }

    fn ready(&mut self, key: EventKey, _errors: bool, shared: &mut Shared) {
        if let Some(attempt) = self.attempts.remove(&key)
            && !self.finish(key.token(), &attempt, Stamp::now(), shared)
        {
            self.attempts.insert(key, attempt);
        }
    }

    fn settled(&mut self, token: Token) {
        for i in 0..ATTEMPTS {
            self.attempts.remove(&EventKey::new(self.place, token, i));
        }
    }
}
