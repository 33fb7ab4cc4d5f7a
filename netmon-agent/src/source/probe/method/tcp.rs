//! TCP connect: the handshake's round trip as the kernel measured it (`tcpi_rtt`), whenever this process looks.
//!
//! A connection made is closed at once. Closed first by us it leaves a minute of TIME_WAIT here; reset (SO_LINGER 0) it
//! leaves nothing, but the peer logs a reset and this machine's counters of resets sent, which netmon reports, count
//! it. So the close is orderly up to 200 a second, some 12,000 TIME_WAITs of 28,000 ephemeral ports, and a reset
//! beyond; those are counted (`Stats::tcp_resets`).

use std::{collections::HashMap, io, net::IpAddr, os::fd::AsFd, rc::Rc, time::Duration};

use nix::sys::epoll::{Epoll, EpollFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    super::{
        inflight::Token,
        rtt::{RoundTrip, Stamp, round_trip},
        stats::add,
    },
    ATTEMPTS, Answer, Departure, EventKey, Prober, Request, Shared, TCP, What, queued_failure, watch,
};
use crate::{
    observation::{FailureReason, StampSource},
    sys,
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
    epoll: Rc<Epoll>,
    attempts: HashMap<EventKey, Attempt>,
    second: Mono,
    closed: u32,
}

impl TcpProber {
    pub(super) fn new(epoll: Rc<Epoll>) -> Self {
        Self { epoll, attempts: HashMap::new(), second: Mono::from_nanos(0), closed: 0 }
    }

    fn start(
        &mut self,
        request: &Request<'_>,
        i: usize,
        port: u16,
        shared: &mut Shared,
    ) -> io::Result<Stamp> {
        let to = request.to(port);
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Without it a failure is told by its errno alone.
        let _ = sys::enable_error_queue(socket.as_fd(), to.is_ipv6());
        let key = EventKey::new(TCP, request.token, i);
        let sent = Stamp::now();
        let attempt = Attempt { socket, sent, in_place_of_icmp: request.in_place_of_icmp };
        match attempt.socket.connect(&to.into()) {
            Ok(()) => self.finish(request.token, &attempt, shared),
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                watch(&self.epoll, &attempt.socket, key, EpollFlags::EPOLLOUT)?;
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

    /// The kernel has decided an attempt.
    fn finish(&mut self, token: Token, attempt: &Attempt, shared: &mut Shared) {
        let read = Stamp::now();
        let reported = queued_failure(&attempt.socket, &mut shared.batch);
        let error = attempt.socket.take_error().unwrap_or_else(Some);
        let failed =
            |reason, reporter| Answer { token, at: read.mono, what: What::Failed { reason, reporter } };
        let answer = match (error, reported) {
            (None, _) => {
                let answer = connected(token, attempt, read);
                self.set_close(attempt, read.mono, shared);
                answer
            }
            (Some(_), Some((reason, reporter))) => failed(reason, reporter),
            (Some(e), None) => match e.raw_os_error() {
                Some(libc::ECONNREFUSED | libc::ECONNRESET) => refused(token, attempt, read),
                Some(libc::ENETUNREACH) => failed(FailureReason::NetUnreachable, None),
                Some(libc::EHOSTUNREACH) => failed(FailureReason::HostUnreachable, None),
                Some(libc::EACCES | libc::EPERM) => failed(FailureReason::Prohibited, None),
                Some(libc::ETIMEDOUT) => failed(FailureReason::Timeout, None),
                _ => failed(FailureReason::OtherUnreachable, None),
            },
        };
        shared.answers.push(answer);
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

fn connected(token: Token, attempt: &Attempt, read: Stamp) -> Answer {
    let measured = sys::tcp_info(attempt.socket.as_fd()).ok().and_then(|info| info.rtt);
    let trip = match measured {
        Some(rtt) => RoundTrip { rtt, source: StampSource::Kernel, stepped: false },
        None => round_trip(attempt.sent, None, None, read),
    };
    Answer { token, at: read.mono, what: What::Reply { trip, ttl: None } }
}

/// The peer's kernel answered with a reset. That is a closed port, and a host that is there.
fn refused(token: Token, attempt: &Attempt, read: Stamp) -> Answer {
    let what = if attempt.in_place_of_icmp {
        What::Reply { trip: round_trip(attempt.sent, None, None, read), ttl: None }
    } else {
        What::Failed { reason: FailureReason::Refused, reporter: peer(attempt) }
    };
    Answer { token, at: read.mono, what }
}

fn peer(attempt: &Attempt) -> Option<IpAddr> {
    attempt.socket.peer_addr().ok()?.as_socket().map(|a| a.ip())
}

impl Prober for TcpProber {
    fn send(&mut self, request: &Request<'_>, shared: &mut Shared) -> io::Result<Departure> {
        let (mut first, mut attempts, mut error) = (None, 0, None);
        for (i, port) in request.ports.iter().take(ATTEMPTS).enumerate() {
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
        if let Some(attempt) = self.attempts.remove(&key) {
            self.finish(key.token(), &attempt, shared);
        }
    }

    fn settled(&mut self, token: Token) {
        for i in 0..ATTEMPTS {
            self.attempts.remove(&EventKey::new(TCP, token, i));
        }
    }
}
