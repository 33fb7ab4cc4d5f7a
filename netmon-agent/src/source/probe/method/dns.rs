//! DNS over UDP or TCP: a socket for each query, so that its port, its 16-bit identifier and the kernel's own check of the
//! peer together keep forgeries out (RFC 5452). Which response codes are a success is the target's choice.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    rc::Rc,
};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use socket2::Socket;

use super::{
    super::{
        inflight::Token,
        rtt::{Stamp, round_trip},
        stats::add,
    },
    Answer, Departure, EventKey, Prober, Request, Shared, What, datagram, drain, queued_failure, tcp, watch,
};
use crate::{
    observation::{DnsQuery, FailureReason, Method, ProbeDetail},
    packet::dns::{self, Question},
    sys::Queue,
    time::Mono,
};

/// The length before a message over TCP (RFC 1035, section 4.2.2).
const PREFIX: usize = 2;

#[derive(Debug)]
struct Query {
    socket: Socket,
    id: u16,
    question: Question,
    spec: std::sync::Arc<DnsQuery>,
    sent: Stamp,
    /// Over TCP: what has come of it.
    stream: Option<Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    /// When the connection stood, and the query left.
    connected: Option<Stamp>,
    /// How long that took.
    took: Option<std::time::Duration>,
    received: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct DnsProber {
    place: usize,
    epoll: Rc<Epoll>,
    /// For streams, whose arrivals no stamp tells of.
    prompt: Rc<Epoll>,
    queries: HashMap<EventKey, Query>,
    _stamping: Option<Socket>,
}

impl DnsProber {
    pub(super) fn new(place: usize, epoll: Rc<Epoll>, prompt: Rc<Epoll>) -> Self {
        let _stamping = datagram::stamping_socket().ok();
        Self { place, epoll, prompt, queries: HashMap::new(), _stamping }
    }

    /// A connection is made, refused, or has something to read.
    fn progress(&mut self, key: EventKey, shared: &mut Shared) {
        let Some(query) = self.queries.get_mut(&key) else { return };
        let read = Stamp::now();
        if let Some((reason, reporter)) = tcp::failure(&query.socket, &mut shared.batch) {
            let what = What::Failed { reason, reporter };
            return shared.answers.push(Answer { token: key.token(), at: read.mono, what });
        }
        let begins = query.stream.as_ref().is_some_and(|stream| stream.connected.is_none());
        if begins && tcp::is_connecting(&query.socket) {
            return;
        }
        match advance(query, read) {
            Ok(Some(code)) => answer(query, key.token(), code, None, None, read, shared),
            Ok(None) => {
                // From now on it is to be read from.
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN, key.0);
                let _ = self.prompt.modify(&query.socket, &mut event);
            }
            Err(_) => {
                let what = What::Failed { reason: FailureReason::Protocol, reporter: None };
                shared.answers.push(Answer { token: key.token(), at: read.mono, what });
            }
        }
    }
}

/// Sends the query once the connection stands, then reads its answer: the response code when it is whole.
///
/// # Errors
/// The connection broke off, or what came is no answer.
fn advance(query: &mut Query, now: Stamp) -> io::Result<Option<u8>> {
    let Some(stream) = &mut query.stream else { return Ok(None) };
    let mut socket = &query.socket;
    if stream.connected.is_none() {
        let message = dns::encode_query(query.id, &query.question);
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        // A fresh connection's buffer takes it whole.
        socket.write_all(&framed)?;
        stream.took = Some(now.mono.since(query.sent.mono));
        stream.connected = Some(Stamp::now());
        return Ok(None);
    }
    let mut buffer = [0; 1024];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => stream.received.extend(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        }
        let Some(prefix) = stream.received.first_chunk::<PREFIX>() else { continue };
        if let Some(message) = stream.received.get(PREFIX..PREFIX + usize::from(u16::from_be_bytes(*prefix)))
        {
            let code = dns::decode_answer(query.id, &query.question, message);
            return code.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
}

/// What an answer with this response code says of its query.
fn answer(
    query: &Query,
    token: Token,
    code: u8,
    received: Option<crate::time::Wall>,
    ttl: Option<u8>,
    read: Stamp,
    shared: &mut Shared,
) {
    let Shared { answers, counters, .. } = shared;
    let stream = query.stream.as_ref();
    let sent = stream.and_then(|s| s.connected).unwrap_or(query.sent);
    let trip = round_trip(sent, None, received, read);
    if trip.stepped {
        add(&counters.clock_steps, 1);
    }
    let what = if query.spec.accept.contains(&code) {
        What::Reply { trip, ttl }
    } else {
        let reason = if code == 3 { FailureReason::NxDomain } else { FailureReason::ServFail };
        What::Failed { reason, reporter: None }
    };
    let detail = ProbeDetail {
        connect: stream.and_then(|s| s.took),
        request: Some(trip.rtt),
        status: Some(code.into()),
        ..ProbeDetail::default()
    };
    answers.push(Answer { token, at: read.mono, what: What::Detail(Box::new(detail)) });
    answers.push(Answer { token, at: read.mono, what });
}

impl Prober for DnsProber {
    fn send(&mut self, request: &Request<'_>, shared: &mut Shared) -> io::Result<Departure> {
        let Method::Dns(spec) = &request.spec.method else { return Err(request.misplaced()) };
        let invalid = |e| io::Error::new(io::ErrorKind::InvalidInput, e);
        let question = Question::new(&spec.name, spec.record).map_err(invalid)?;
        let (to, path) = (request.to(spec.port), &request.spec.path);
        let key = EventKey::new(self.place, request.token, 0);
        let id = rand::random();
        let (socket, sent, stream) = if spec.tcp {
            let socket = tcp::stream(to, path)?;
            let sent = Stamp::now();
            match socket.connect(&to.into()) {
                Ok(()) => {}
                Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
                // Told so here, it is not told again by the event that follows.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    let what = What::Failed { reason: FailureReason::Refused, reporter: None };
                    shared.answers.push(Answer { token: request.token, at: Mono::now(), what });
                    return Ok(Departure { at: sent, attempts: 1 });
                }
                Err(e) => return Err(e),
            }
            watch(&self.prompt, &socket, key, EpollFlags::EPOLLOUT)?;
            (socket, sent, Some(Stream::default()))
        } else {
            let socket = datagram::connected(to, path)?;
            watch(&self.epoll, &socket, key, EpollFlags::EPOLLIN)?;
            let message = dns::encode_query(id, &question);
            let sent = Stamp::now();
            socket.send(&message)?;
            (socket, sent, None)
        };
        self.queries.insert(key, Query { socket, id, question, spec: spec.clone(), sent, stream });
        Ok(Departure { at: sent, attempts: 1 })
    }

    fn ready(&mut self, key: EventKey, errors: bool, shared: &mut Shared) {
        let Some(query) = self.queries.get(&key) else { return };
        if query.stream.is_some() {
            return self.progress(key, shared);
        }
        let mut found = None;
        let Shared { batch, counters, .. } = shared;
        let (_, met_error) = drain(&query.socket, Queue::Data, batch, |read, datagram| {
            match dns::decode_answer(query.id, &query.question, datagram.bytes) {
                Some(code) => {
                    found = found.or(Some((code, datagram.ancillary.received, datagram.ancillary.ttl, read)));
                }
                None => add(&counters.unmatched, 1),
            }
        });
        if let Some((code, received, ttl, read)) = found {
            answer(query, key.token(), code, received, ttl, read, shared);
        }
        if (errors || met_error)
            && let Some((reason, reporter)) = queued_failure(&query.socket, &mut shared.batch)
        {
            let what = What::Failed { reason, reporter };
            shared.answers.push(Answer { token: key.token(), at: Mono::now(), what });
        }
    }

    fn settled(&mut self, token: Token) {
        self.queries.remove(&EventKey::new(self.place, token, 0));
    }
}
