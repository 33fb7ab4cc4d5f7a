//! DNS over UDP: a connected socket for each query, so that its port, its 16-bit identifier and the kernel's own check
//! of the peer together keep forgeries out (RFC 5452). Any answer that resolves is a reply.

use std::{collections::HashMap, io, net::Ipv4Addr, net::Ipv6Addr, net::SocketAddr, os::fd::AsFd, rc::Rc};

use nix::sys::epoll::{Epoll, EpollFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    super::{
        inflight::Token,
        rtt::{Stamp, round_trip},
        stats::add,
    },
    Answer, DNS, Departure, EventKey, Prober, Request, Shared, What, drain, queued_failure, watch,
};
use crate::{
    observation::FailureReason,
    packet::dns,
    sys::{self, Queue},
};

#[derive(Debug)]
struct Query {
    socket: Socket,
    id: u16,
    sent: Stamp,
}

#[derive(Debug)]
pub(super) struct DnsProber {
    epoll: Rc<Epoll>,
    queries: HashMap<EventKey, Query>,
    /// The kernel stamps arrivals only while some socket asks for it; this one asks all the time, so that the first
    /// answer to a fresh socket is stamped too.
    _stamping: Option<Socket>,
}

impl DnsProber {
    pub(super) fn new(epoll: Rc<Epoll>) -> Self {
        Self { epoll, queries: HashMap::new(), _stamping: stamping_socket().ok() }
    }
}

fn stamping_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    sys::enable_receive_stamps(socket.as_fd())?;
    Ok(socket)
}

impl Prober for DnsProber {
    fn send(&mut self, request: &Request<'_>, _shared: &mut Shared) -> io::Result<Departure> {
        let port = *request.ports.first().unwrap_or(&53);
        let to = request.to(port);
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // Without these an answer is less exact, or a failure less explained.
        let _ = sys::enable_receive_stamps(socket.as_fd());
        let _ = sys::enable_receive_ttl(socket.as_fd(), to.is_ipv6());
        let _ = sys::enable_error_queue(socket.as_fd(), to.is_ipv6());
        socket.bind(&any(to).into())?;
        socket.connect(&to.into())?;
        let key = EventKey::new(DNS, request.token, 0);
        watch(&self.epoll, &socket, key, EpollFlags::EPOLLIN)?;
        let id = rand::random();
        let query = dns::encode_query(id);
        let sent = Stamp::now();
        socket.send(&query)?;
        self.queries.insert(key, Query { socket, id, sent });
        Ok(Departure { at: sent, attempts: 1 })
    }

    fn ready(&mut self, key: EventKey, errors: bool, shared: &mut Shared) {
        let Some(query) = self.queries.get(&key) else { return };
        let Shared { batch, answers, counters } = shared;
        let token = key.token();
        let (_, met_error) = drain(&query.socket, Queue::Data, batch, |read, datagram| {
            let what = match dns::decode_answer(query.id, datagram.bytes) {
                Some(dns::Answer::Resolves) => {
                    let trip = round_trip(query.sent, None, datagram.ancillary.received, read);
                    if trip.stepped {
                        add(&counters.clock_steps, 1);
                    }
                    What::Reply { trip, ttl: datagram.ancillary.ttl }
                }
                Some(dns::Answer::Error(_)) => {
                    What::Failed { reason: FailureReason::ServFail, reporter: None }
                }
                None => return add(&counters.unmatched, 1),
            };
            answers.push(Answer { token, at: read.mono, what });
        });
        if (errors || met_error)
            && let Some((reason, reporter)) = queued_failure(&query.socket, batch)
        {
            answers.push(Answer { token, at: Stamp::now().mono, what: What::Failed { reason, reporter } });
        }
    }

    fn settled(&mut self, token: Token) {
        self.queries.remove(&EventKey::new(DNS, token, 0));
    }
}

fn any(to: SocketAddr) -> SocketAddr {
    if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() }
}
