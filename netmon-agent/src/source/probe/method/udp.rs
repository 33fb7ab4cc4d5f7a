//! UDP: a datagram of random bytes that has to come back as it went (RFC 862), or that the host has to refuse, as
//! traceroute's last hop does. A socket for each probe: its port and the kernel's own check of the peer keep strangers out,
//! the random bytes forgeries.

use std::{collections::HashMap, io, net::IpAddr, rc::Rc};

use nix::sys::epoll::{Epoll, EpollFlags};
use socket2::Socket;

use super::{
    super::{
        inflight::Token,
        reason,
        rtt::{RoundTrip, Stamp, round_trip},
        stats::add,
    },
    Answer, Departure, EventKey, Prober, Request, Shared, What, datagram, drain, watch,
};
use crate::{
    observation::{FailureReason, Method, SMALLEST_UDP_PAYLOAD, UdpExpect},
    sys::Queue,
    time::Wall,
};

/// Bytes of payload where the target names no size.
const SIZE: usize = 32;
/// Random bytes at its start, the rest is filled up from.
const NONCE: usize = SMALLEST_UDP_PAYLOAD as usize;

#[derive(Debug)]
struct Sent {
    socket: Socket,
    payload: Vec<u8>,
    expect: UdpExpect,
    at: Stamp,
    to: IpAddr,
}

#[derive(Debug)]
pub(super) struct UdpProber {
    place: usize,
    epoll: Rc<Epoll>,
    sent: HashMap<EventKey, Sent>,
    _stamping: Option<Socket>,
}

impl UdpProber {
    pub(super) fn new(place: usize, epoll: Rc<Epoll>) -> Self {
        Self { place, epoll, sent: HashMap::new(), _stamping: datagram::stamping_socket().ok() }
    }
}

/// Sixteen random bytes, over and over.
fn payload(size: usize) -> Vec<u8> {
    let nonce: [u8; NONCE] = rand::random();
    nonce.iter().copied().cycle().take(size.max(NONCE)).collect()
}

/// Reads what came: the datagram itself, another one, or an error in its place.
fn read(sent: &Sent, token: Token, errors: bool, shared: &mut Shared) {
    let Shared { batch, answers, counters } = shared;
    let trip =
        |received: Option<Wall>, read: Stamp| -> RoundTrip { round_trip(sent.at, None, received, read) };
    let (_, met_error) = drain(&sent.socket, Queue::Data, batch, |read, datagram| {
        let same = datagram.bytes.len() == sent.payload.len() || datagram.truncated;
        let what = if same && sent.payload.starts_with(datagram.bytes) {
            let trip = trip(datagram.ancillary.received, read);
            if trip.stepped {
                add(&counters.clock_steps, 1);
            }
            What::Reply { trip, ttl: datagram.ancillary.ttl }
        } else {
            What::Corrupted
        };
        answers.push(Answer { token, at: read.mono, what });
    });
    if !errors && !met_error {
        return;
    }
    drain(&sent.socket, Queue::Errors, batch, |read, datagram| {
        let Some(error) = datagram.ancillary.error else { return };
        let Some(reason) = reason::of_error(&error) else { return };
        // Only the host itself knows its ports; what a filter on the way says in its name proves nothing.
        let refused = reason == FailureReason::PortUnreachable && error.offender == Some(sent.to);
        let what = if refused && sent.expect == UdpExpect::Unreachable {
            What::Reply { trip: trip(datagram.ancillary.received, read), ttl: None }
        } else {
            What::Failed { reason, reporter: error.offender }
        };
        answers.push(Answer { token, at: read.mono, what });
    });
}

impl Prober for UdpProber {
    fn send(&mut self, request: &Request<'_>, _shared: &mut Shared) -> io::Result<Departure> {
        let Method::Udp { port, expect } = request.spec.method else { return Err(request.misplaced()) };
        let path = &request.spec.path;
        let to = request.to(port);
        let socket = datagram::connected(to, path)?;
        let key = EventKey::new(self.place, request.token, 0);
        watch(&self.epoll, &socket, key, EpollFlags::EPOLLIN)?;
        let payload = payload(path.size.map_or(SIZE, usize::from));
        let at = Stamp::now();
        socket.send(&payload)?;
        self.sent.insert(key, Sent { socket, payload, expect, at, to: to.ip() });
        Ok(Departure { at, attempts: 1 })
    }

    fn ready(&mut self, key: EventKey, errors: bool, shared: &mut Shared) {
        if let Some(sent) = self.sent.get(&key) {
            read(sent, key.token(), errors, shared);
        }
    }

    fn settled(&mut self, token: Token) {
        self.sent.remove(&EventKey::new(self.place, token, 0));
    }
}
