//! ICMP echo over one socket for many targets.
//!
//! The wire's sequence number counts up per socket and is an index into the last probes sent, so a reply finds its
//! probe without a search. It counts only when the peer's address, the sequence and the 16-byte nonce are all right:
//! a ping socket takes replies from anybody who guesses its identifier. The sequence wraps after 65,536 probes, which
//! may be less than a second; those of one number, a few at most, are told apart by the rest, the newest first.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    rc::Rc,
    time::Duration,
};

use nix::sys::epoll::{Epoll, EpollFlags};

use super::{
    super::{
        inflight::{REMEMBERED, Token},
        reason,
        rtt::{Stamp, round_trip},
        sockets::IcmpSocket,
        stats::add,
    },
    Answer, Departure, EventKey, Prober, Request, Shared, Stamped, What, drain, watch,
};
use crate::{
    packet::icmp::{
        Echo, Nonce, Quote, decode_frame, decode_quote, decode_reply, encode_request, strip_ipv4,
    },
    sys::{self, Datagram, Queue},
    time::{Mono, Wall},
};

/// Tries to send. Each may meet an error of another target's probe, and several may come in while one is sent.
const ATTEMPTS: u32 = 6;

/// What a sequence number is of.
const SEQUENCES: usize = 1 << 16;
/// Departures stamped in each turn where not all are.
const COLD: u32 = 3;
/// Time-outs in a row, after there had been replies, that make the socket suspect.
const SILENT: u32 = 5;
/// A suspect socket is replaced no more often than this.
const REOPEN_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Entry {
    token: Token,
    nonce: Nonce,
    peer: SocketAddr,
    /// As it went over the wire; IPv4 only.
    checksum: u16,
    sent: Stamp,
    /// When the kernel gave it to the device, where departures are stamped.
    left: Option<Wall>,
}

/// The probes a socket sent last, by sequence number.
#[derive(Debug, Default)]
struct Sent {
    entries: VecDeque<Entry>,
    /// The number of the first of them, of which the sequence number is the lower half.
    first: u64,
}

impl Sent {
    fn next_sequence(&self) -> u16 {
        self.first.wrapping_add(self.entries.len() as u64) as u16
    }

    fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        if self.entries.len() > REMEMBERED {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if self.entries.pop_front().is_some() {
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Where the newest entry is that has this sequence number and of which the rest is right too.
    fn find(&self, sequence: u16, is_it: impl Fn(&Entry) -> bool) -> Option<usize> {
        let newest = self.entries.len().checked_sub(1)?;
        let back = usize::from((self.next_sequence().wrapping_sub(1)).wrapping_sub(sequence));
        let mut index = newest.checked_sub(back)?;
        loop {
            if is_it(&self.entries[index]) {
                return Some(index);
            }
            index = index.checked_sub(SEQUENCES)?;
        }
    }

    /// Notes the stamp of a departure.
    fn left(&mut self, quote: &Quote, at: Wall) {
        if let Some(index) = self.find(quote.sequence, |e| quote.nonce == Some(e.nonce)) {
            self.entries[index].left = Some(at);
        }
    }

    /// The probe a reply answers.
    fn answered_by(&self, echo: &Echo, from: Option<SocketAddr>) -> Option<&Entry> {
        let from = from?;
        let index = self.find(echo.sequence, |e| e.nonce == echo.nonce && same_host(e.peer, from))?;
        self.entries.get(index)
    }

    /// The probe an error quotes. Where the quotation ends before the nonce, as RFC 792 allows, the checksum over it
    /// has to do; it was never seen by anybody off the path either.
    fn quoted_by(&self, quote: &Quote, to: Option<SocketAddr>) -> Option<&Entry> {
        let to = to?.ip();
        let index = self.find(quote.sequence, |e| {
            let ours = match quote.nonce {
                Some(nonce) => nonce == e.nonce,
                None => e.peer.is_ipv4() && quote.checksum == e.checksum,
            };
            ours && to == e.peer.ip()
        })?;
        self.entries.get(index)
    }
}

/// Whether a datagram's sender is whom it was sent to; for link-local addresses on the same link.
fn same_host(expected: SocketAddr, from: SocketAddr) -> bool {
    match (expected, from) {
        (SocketAddr::V6(e), SocketAddr::V6(f)) => {
            e.ip() == f.ip() && (e.scope_id() == 0 || f.scope_id() == 0 || e.scope_id() == f.scope_id())
        }
        _ => expected.ip() == from.ip(),
    }
}

#[derive(Debug)]
pub(super) struct IcmpProber {
    place: usize,
    socket: IcmpSocket,
    /// The socket before the last reopening: answers to it are still on their way.
    retired: Option<(IcmpSocket, Mono)>,
    sent: Sent,
    epoll: Rc<Epoll>,
    heard: bool,
    silent: u32,
    opened: Option<Mono>,
    drops: u32,
    dropped_at: Option<Mono>,
    drops_read: Option<Mono>,
    stamped: Stamped,
    /// Departures of this turn that are still to be stamped.
    cold: u32,
    /// Whether the socket stamps departures now.
    stamping: bool,
}

impl IcmpProber {
    pub(super) fn new(place: usize, socket: IcmpSocket, epoll: Rc<Epoll>) -> io::Result<Self> {
        watch(&epoll, &socket.socket, EventKey::new(place, Token(0), 0), EpollFlags::EPOLLIN)?;
        Ok(Self {
            place,
            socket,
            retired: None,
            sent: Sent::default(),
            epoll,
            heard: false,
            silent: 0,
            opened: None,
            drops: 0,
            dropped_at: None,
            drops_read: None,
            stamped: Stamped::All,
            cold: 0,
            stamping: false,
        })
    }

    fn read(&mut self, shared: &mut Shared) {
        let Shared { batch, answers, counters } = shared;
        let sockets = [Some(&self.socket), self.retired.as_ref().map(|(s, _)| s)];
        let mut heard = false;
        for socket in sockets.into_iter().flatten() {
            drain(&socket.socket, Queue::Data, batch, |read, datagram| {
                let Some(echo) = reply(socket, &datagram) else { return };
                let Some(entry) = self.sent.answered_by(&echo, datagram.address) else {
                    return add(&counters.unmatched, 1);
                };
                let trip = round_trip(entry.sent, entry.left, datagram.ancillary.received, read);
                if trip.stepped {
                    add(&counters.clock_steps, 1);
                }
                heard = true;
                let what = What::Reply { trip, ttl: datagram.ancillary.ttl };
                answers.push(Answer { token: entry.token, at: read.mono, what });
            });
        }
        if heard {
            self.heard = true;
            self.silent = 0;
        }
    }

    /// Empties the error queues: notes departures, returns failures.
    fn read_errors(&mut self, shared: &mut Shared) -> Vec<Answer> {
        let Shared { batch, counters, .. } = shared;
        let (sent, mut failures) = (&mut self.sent, Vec::new());
        let sockets = [Some(&self.socket), self.retired.as_ref().map(|(s, _)| s)];
        for socket in sockets.into_iter().flatten() {
            drain(&socket.socket, Queue::Errors, batch, |read, datagram| {
                if let Some(at) = datagram.ancillary.sent_stamp() {
                    if let Ok(quote) = decode_frame(socket.family, datagram.bytes) {
                        sent.left(&quote, at);
                    }
                    return;
                }
                let Some(error) = datagram.ancillary.error else { return };
                let Some(reason) = reason::of_error(&error) else { return };
                match quote(socket, &datagram).and_then(|q| sent.quoted_by(&q, datagram.address)) {
                    Some(entry) => {
                        let what = What::Failed { reason, reporter: error.offender };
                        failures.push(Answer { token: entry.token, at: read.mono, what });
                    }
                    None => add(&counters.unmatched, 1),
                }
            });
        }
        failures
    }

    /// Sees that the next departure is stamped if it should be.
    fn set_stamping(&mut self) {
        let wanted = self.stamped == Stamped::All || self.cold > 0;
        self.cold = self.cold.saturating_sub(1);
        if wanted != self.stamping {
            // Where it is refused, the clock read before the send has to do.
            let _ = sys::stamp_sends(self.socket.socket.as_fd(), wanted);
            self.stamping = wanted;
        }
    }

    fn reopen(&mut self, now: Mono, shared: &mut Shared) {
        self.opened = Some(now);
        // Where privileges are gone this may fail for a raw socket; then the old one stays.
        let Ok(socket) = IcmpSocket::open(self.socket.family) else { return };
        let key = EventKey::new(self.place, Token(0), 0);
        if watch(&self.epoll, &socket.socket, key, EpollFlags::EPOLLIN).is_err() {
            return;
        }
        self.retired = Some((std::mem::replace(&mut self.socket, socket), now));
        self.stamping = false;
        self.drops = 0;
        add(&shared.counters.reopened, 1);
    }
}

/// Reads a datagram as a reply to this socket.
fn reply(socket: &IcmpSocket, datagram: &Datagram<'_>) -> Option<Echo> {
    let bytes = match datagram.address?.ip() {
        IpAddr::V4(_) if socket.raw => strip_ipv4(datagram.bytes)?,
        _ => datagram.bytes,
    };
    // A raw socket is given every program's replies.
    decode_reply(socket.family, bytes).ok().filter(|echo| echo.ident == socket.ident)
}

/// Reads an error's quotation as a request of this socket. Linux hands it over from the ICMP header on, on ping and raw
/// sockets alike (net/ipv4/ping.c ping_err, net/ipv4/raw.c raw_err).
fn quote(socket: &IcmpSocket, datagram: &Datagram<'_>) -> Option<Quote> {
    decode_quote(socket.family, datagram.bytes).ok().filter(|quote| quote.ident == socket.ident)
}

impl Prober for IcmpProber {
    fn send(&mut self, request: &Request<'_>, shared: &mut Shared) -> io::Result<Departure> {
        let (nonce, peer) = (rand::random(), request.to(0));
        let echo = Echo { ident: self.socket.ident, sequence: self.sent.next_sequence(), nonce };
        let bytes = encode_request(self.socket.family, &echo);
        let to = peer.into();
        self.set_stamping();
        let mut attempt = 0;
        let at = loop {
            attempt += 1;
            let at = Stamp::now();
            match self.socket.socket.send_to(&bytes, &to) {
                Ok(_) => break at,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(e),
                Err(e) if attempt == ATTEMPTS => return Err(e),
                // It may be an error that another target's probe met: taken off the socket, it is gone.
                Err(_) => {
                    let failures = self.read_errors(shared);
                    shared.answers.extend(failures);
                }
            }
        };
        let checksum = u16::from_be_bytes([bytes[2], bytes[3]]);
        self.sent.push(Entry { token: request.token, nonce, peer, checksum, sent: at, left: None });
        Ok(Departure { at, attempts: 1 })
    }

    fn ready(&mut self, _key: EventKey, errors: bool, shared: &mut Shared) {
        // Departures have to be known before their answers are read; errors that came beside an answer come after it.
        let failures = if errors { self.read_errors(shared) } else { Vec::new() };
        self.read(shared);
        shared.answers.extend(failures);
    }

    fn forget(&mut self, before: Mono) {
        while self.sent.entries.front().is_some_and(|e| e.sent.mono < before) {
            self.sent.pop();
        }
        if self.retired.as_ref().is_some_and(|(_, since)| *since < before) {
            self.retired = None;
        }
    }

    fn timed_out(&mut self, now: Mono, shared: &mut Shared) {
        self.silent = self.silent.saturating_add(1);
        let rested = self.opened.is_none_or(|at| now.since(at) >= REOPEN_EVERY);
        if self.heard && self.silent >= SILENT && rested {
            self.reopen(now, shared);
        }
    }

    fn stamp_sends(&mut self, which: Stamped) {
        self.stamped = which;
    }

    fn begin_turn(&mut self) {
        self.cold = COLD;
    }

    fn dropped(&mut self, sent: Mono, now: Mono, shared: &mut Shared) -> bool {
        if self.drops_read != Some(now) {
            self.drops_read = Some(now);
            if let Ok(drops) = sys::receive_drops(self.socket.socket.as_fd())
                && drops != self.drops
            {
                add(&shared.counters.receive_drops, drops.wrapping_sub(self.drops).into());
                self.drops = drops;
                self.dropped_at = Some(now);
            }
        }
        self.dropped_at.is_some_and(|at| sent <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{packet::icmp::Family, time::Wall};

    fn entry(token: u64, nonce: Nonce, peer: &str) -> Entry {
        let sent = Stamp { mono: Mono::from_nanos(token), wall: Wall::from_nanos(token) };
        Entry { token: Token(token), nonce, peer: peer.parse().unwrap(), checksum: 0xabcd, sent, left: None }
    }

    fn echo(sequence: u16, nonce: Nonce) -> Echo {
        Echo { ident: 1, sequence, nonce }
    }

    fn from(address: &str) -> Option<SocketAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_reply_needs_peer_sequence_and_nonce() {
        let mut sent = Sent::default();
        sent.push(entry(1, [1; 16], "192.0.2.1:0"));
        sent.push(entry(2, [2; 16], "192.0.2.2:0"));
        let token = |e: &Echo, a| sent.answered_by(e, a).map(|e| e.token);
        assert_eq!(token(&echo(1, [2; 16]), from("192.0.2.2:0")), Some(Token(2)));
        assert_eq!(token(&echo(1, [2; 16]), from("192.0.2.1:0")), None);
        assert_eq!(token(&echo(0, [2; 16]), from("192.0.2.2:0")), None);
        assert_eq!(token(&echo(1, [9; 16]), from("192.0.2.2:0")), None);
        assert_eq!(token(&echo(7, [2; 16]), from("192.0.2.2:0")), None);
        assert_eq!(token(&echo(1, [2; 16]), None), None);
    }

    #[test]
    fn a_link_local_reply_needs_its_link() {
        let mut sent = Sent::default();
        sent.push(entry(1, [1; 16], "[fe80::1%3]:0"));
        assert!(sent.answered_by(&echo(0, [1; 16]), from("[fe80::1%3]:0")).is_some());
        assert!(sent.answered_by(&echo(0, [1; 16]), from("[fe80::1%4]:0")).is_none());
    }

    #[test]
    fn a_quotation_needs_the_nonce_or_its_checksum() {
        let mut sent = Sent::default();
        sent.push(entry(1, [1; 16], "192.0.2.1:0"));
        sent.push(entry(2, [2; 16], "[2001:db8::1]:0"));
        let quote = |sequence, checksum, nonce| Quote { ident: 1, sequence, checksum, nonce };
        let found = |q: &Quote, a| sent.quoted_by(q, a).is_some();
        assert!(found(&quote(0, 0, Some([1; 16])), from("192.0.2.1:0")));
        assert!(found(&quote(0, 0xabcd, None), from("192.0.2.1:0")));
        assert!(!found(&quote(0, 0xabce, None), from("192.0.2.1:0")));
        assert!(!found(&quote(0, 0xabcd, Some([9; 16])), from("192.0.2.1:0")));
        assert!(!found(&quote(0, 0xabcd, None), from("192.0.2.9:0")));
        assert!(
            !found(&quote(1, 0xabcd, None), from("[2001:db8::1]:0")),
            "an IPv6 quotation is never so short"
        );
    }

    #[test]
    fn sequence_numbers_wrap_and_probes_of_one_number_are_told_apart() {
        // It goes past 2^24 probes.
        let (start, remembered) = ((1 << 24) - 100_000, REMEMBERED as u64);
        let count = start + 2 * remembered;
        let mut sent = Sent { first: start, ..Sent::default() };
        let nonce = |i: u64| u128::from(i).to_ne_bytes();
        for i in start..count {
            assert_eq!(sent.next_sequence(), i as u16);
            sent.push(entry(i, nonce(i), "192.0.2.1:0"));
        }
        assert_eq!(sent.entries.len(), REMEMBERED);
        // Sixteen of those remembered share each number.
        for i in (count - remembered..count).step_by(9_973) {
            let found = sent.answered_by(&echo(i as u16, nonce(i)), from("192.0.2.1:0"));
            assert_eq!(found.unwrap().token, Token(i));
            let quote = Quote { ident: 1, sequence: i as u16, checksum: 0, nonce: Some(nonce(i)) };
            assert_eq!(sent.quoted_by(&quote, from("192.0.2.1:0")).unwrap().token, Token(i));
            assert!(sent.answered_by(&echo(i as u16 ^ 1, nonce(i)), from("192.0.2.1:0")).is_none());
        }
        let forgotten = count - remembered - 1;
        let echo = echo(forgotten as u16, nonce(forgotten));
        assert!(sent.answered_by(&echo, from("192.0.2.1:0")).is_none());
    }

    #[test]
    fn what_a_raw_socket_is_given_for_others_is_no_reply() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let socket = IcmpSocket { socket, family: Family::V4, raw: true, ident: 7 };
        for (ident, ours) in [(7, true), (8, false)] {
            let mut bytes = encode_request(Family::V4, &Echo { ident, ..echo(0, [0; 16]) });
            bytes[0] = Family::V4.reply();
            let bytes = &[&[0x45; 20][..], &bytes].concat();
            let address = from("192.0.2.1:0");
            let datagram =
                Datagram { bytes, address, ancillary: sys::Ancillary::default(), truncated: false };
            assert_eq!(reply(&socket, &datagram).is_some(), ours);
        }
    }
}
