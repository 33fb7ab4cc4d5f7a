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
    sync::Arc,
    time::Duration,
};

use nix::{
    net::if_::if_nametoindex,
    sys::epoll::{Epoll, EpollFlags},
};

#[cfg(feature = "fuzzing")]
#[path = "../../../fuzzing/icmp.rs"]
pub(crate) mod fuzzing;

use super::{
    super::{
        inflight::{REMEMBERED, Token},
        reason,
        rtt::{Stamp, by_device, round_trip},
        sockets::IcmpSocket,
        stats::add,
    },
    Answer, Departure, EventKey, Prober, Request, Shared, Stamped, What, drain, watch,
};
use crate::{
    observation::PathOptions,
    packet::icmp::{
        self, Echo, Family, Nonce, Quote, decode_answer, decode_frame, decode_quote, encode_sized, strip_ipv4,
    },
    sys::{self, Ancillary, Datagram, Queue},
    time::{DeviceTime, Mono, Wall},
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
    /// The same by the network card, where it stamps.
    left_device: Option<DeviceTime>,
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

    /// Notes the stamps of a departure. The card's may come by itself.
    fn left(&mut self, quote: &Quote, stamps: &Ancillary) {
        if let Some(index) = self.find(quote.sequence, |e| quote.nonce == Some(e.nonce)) {
            let entry = &mut self.entries[index];
            entry.left = stamps.sent_stamp().or(entry.left);
            entry.left_device = stamps.device_sent_stamp().or(entry.left_device);
        }
    }

    /// The probe that a reply from this peer answers: the newest of its number to whose bytes it is true, or else, and
    /// then as damaged, the newest of its number to that peer at all.
    fn answered_by(
        &self,
        sequence: u16,
        from: Option<SocketAddr>,
        is_intact: impl Fn(&Nonce) -> bool,
    ) -> Option<(&Entry, bool)> {
        let from = from?;
        let found =
            |whole: bool| self.find(sequence, |e| same_host(e.peer, from) && (!whole || is_intact(&e.nonce)));
        let (index, intact) = match found(true) {
            Some(index) => (index, true),
            None => (found(false)?, false),
        };
        Some((self.entries.get(index)?, intact))
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
    family: Family,
    path: Arc<PathOptions>,
    /// None until it can be opened: the device may not be there yet.
    socket: Option<IcmpSocket>,
    /// One that was opened while that was allowed, until it is needed.
    waiting: Option<IcmpSocket>,
    /// Index of the device that the socket is bound to, if to any.
    device: Option<u32>,
    /// What is sent, laid out anew each time.
    bytes: Vec<u8>,
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
    /// With a socket that is open, for what goes the system's way.
    pub(super) fn new(place: usize, socket: IcmpSocket, epoll: Rc<Epoll>) -> io::Result<Self> {
        let mut new = Self::on_path(place, socket.family, Arc::default(), None, epoll);
        new.take(socket)?;
        Ok(new)
    }

    /// For what goes another way; its socket is the one that waits for it, or is opened with the first probe.
    pub(super) fn on_path(
        place: usize,
        family: Family,
        path: Arc<PathOptions>,
        waiting: Option<IcmpSocket>,
        epoll: Rc<Epoll>,
    ) -> Self {
        Self {
            place,
            family,
            path,
            socket: None,
            waiting,
            device: None,
            bytes: Vec::new(),
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
        }
    }

    /// From now on by this socket; the one before, if any.
    fn take(&mut self, socket: IcmpSocket) -> io::Result<Option<IcmpSocket>> {
        watch(&self.epoll, &socket.socket, EventKey::new(self.place, Token(0), 0), EpollFlags::EPOLLIN)?;
        self.stamping = false;
        self.drops = 0;
        self.device = index_of_device(&self.path);
        Ok(self.socket.replace(socket))
    }

    fn size(&self) -> usize {
        usize::from(self.path.size.unwrap_or(0)).max(icmp::SMALLEST_PAYLOAD)
    }

    fn read(&mut self, shared: &mut Shared) {
        let Shared { batch, answers, counters } = shared;
        let sockets = [self.socket.as_ref(), self.retired.as_ref().map(|(s, _)| s)];
        let (mut heard, size) = (false, self.size());
        for socket in sockets.into_iter().flatten() {
            drain(&socket.socket, Queue::Data, batch, |read, datagram| {
                let Some((answer, kept)) = reply(socket, &datagram) else { return };
                let is_intact = |nonce: &Nonce| answer.is_intact(nonce, size, kept);
                let Some((entry, intact)) =
                    self.sent.answered_by(answer.sequence, datagram.address, is_intact)
                else {
                    return add(&counters.unmatched, 1);
                };
                if !intact {
                    answers.push(Answer { token: entry.token, at: read.mono, what: What::Corrupted });
                    return;
                }
                let trip = round_trip(entry.sent, entry.left, datagram.ancillary.received, read);
                let trip = by_device(trip, entry.left_device, datagram.ancillary.device);
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
        let (mut failures, size) = (Vec::new(), self.size());
        let sent = &mut self.sent;
        let sockets = [self.socket.as_ref(), self.retired.as_ref().map(|(s, _)| s)];
        for socket in sockets.into_iter().flatten() {
            drain(&socket.socket, Queue::Errors, batch, |read, datagram| {
                let stamps = &datagram.ancillary;
                if stamps.sent_stamp().is_some() || stamps.device_sent_stamp().is_some() {
                    if let Ok(quote) = decode_frame(socket.family, datagram.bytes, size) {
                        sent.left(&quote, stamps);
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
        if wanted != self.stamping
            && let Some(socket) = &self.socket
        {
            // Where it is refused, the clock read before the send has to do.
            let _ = sys::stamp_sends(socket.socket.as_fd(), wanted);
            self.stamping = wanted;
        }
    }

    fn reopen(&mut self, now: Mono, shared: &mut Shared) {
        self.opened = Some(now);
        // Where privileges are gone this may fail for a raw socket; then the old one stays.
        let Ok(socket) = IcmpSocket::open(self.family, &self.path) else { return };
        let Ok(old) = self.take(socket) else { return };
        self.retired = old.map(|old| (old, now));
        add(&shared.counters.reopened, 1);
    }

    /// Opens the socket if there is none.
    fn open(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            let socket = match self.waiting.take() {
                Some(socket) => socket,
                None => IcmpSocket::open(self.family, &self.path)?,
            };
            self.take(socket)?;
        }
        Ok(())
    }
}

/// Whether the device that a socket is bound to is no more: one made anew needs a new socket.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}

/// The device of a way as it is now, if the way has one and it is there.
fn index_of_device(path: &PathOptions) -> Option<u32> {
    if_nametoindex(path.device.as_deref()?).ok()
}

/// Reads a datagram as a reply to this socket; with how many bytes of it at most were kept.
fn reply<'a>(socket: &IcmpSocket, datagram: &Datagram<'a>) -> Option<(icmp::Answer<'a>, usize)> {
    let bytes = match datagram.address?.ip() {
        IpAddr::V4(_) if socket.raw => strip_ipv4(datagram.bytes)?,
        _ => datagram.bytes,
    };
    let kept = if datagram.truncated { bytes.len() } else { usize::MAX };
    // A raw socket is given every program's replies.
    let answer = decode_answer(socket.family, bytes).ok().filter(|answer| answer.ident == socket.ident)?;
    Some((answer, kept))
}

/// Reads an error's quotation as a request of this socket. Linux hands it over from the ICMP header on, on ping and raw
/// sockets alike (net/ipv4/ping.c ping_err, net/ipv4/raw.c raw_err).
fn quote(socket: &IcmpSocket, datagram: &Datagram<'_>) -> Option<Quote> {
    decode_quote(socket.family, datagram.bytes).ok().filter(|quote| quote.ident == socket.ident)
}

impl Prober for IcmpProber {
    fn send(&mut self, request: &Request<'_>, shared: &mut Shared) -> io::Result<Departure> {
        self.open()?;
        self.set_stamping();
        let (nonce, peer, size) = (rand::random(), request.to(0), self.size());
        let mut attempt = 0;
        let at = loop {
            let Some(IcmpSocket { socket, ident, .. }) = &self.socket else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            if attempt == 0 {
                let echo = Echo { ident: *ident, sequence: self.sent.next_sequence(), nonce };
                encode_sized(self.family, &echo, size, &mut self.bytes);
            }
            attempt += 1;
            let at = Stamp::now();
            match socket.send_to(&self.bytes, &peer.into()) {
                Ok(_) => break at,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(e),
                Err(e) if is_gone(&e) => {
                    self.socket = None;
                    return Err(e);
                }
                Err(e) if attempt == ATTEMPTS => {
                    // To IPv6 a device that is no more is one that no route leads by (ENETUNREACH).
                    if self.device != index_of_device(&self.path) {
                        self.socket = None;
                    }
                    return Err(e);
                }
                // It may be an error that another target's probe met: taken off the socket, it is gone.
                Err(_) => {
                    let failures = self.read_errors(shared);
                    shared.answers.extend(failures);
                }
            }
        };
        let checksum = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        self.sent.push(Entry {
            token: request.token,
            nonce,
            peer,
            checksum,
            sent: at,
            left: None,
            left_device: None,
        });
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
            if let Some(socket) = &self.socket
                && let Ok(drops) = sys::receive_drops(socket.socket.as_fd())
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
    use crate::time::Wall;

    fn entry(token: u64, nonce: Nonce, peer: &str) -> Entry {
        let sent = Stamp { mono: Mono::from_nanos(token), wall: Wall::from_nanos(token) };
        Entry {
            token: Token(token),
            nonce,
            peer: peer.parse().unwrap(),
            checksum: 0xabcd,
            sent,
            left: None,
            left_device: None,
        }
    }

    fn from(address: &str) -> Option<SocketAddr> {
        Some(address.parse().unwrap())
    }

    /// Whose probe an undamaged reply with this nonce answers.
    fn answered(sent: &Sent, sequence: u16, nonce: Nonce, peer: Option<SocketAddr>) -> Option<Token> {
        let (entry, intact) = sent.answered_by(sequence, peer, |n| *n == nonce)?;
        intact.then_some(entry.token)
    }

    #[test]
    fn a_reply_needs_peer_sequence_and_nonce() {
        let mut sent = Sent::default();
        sent.push(entry(1, [1; 16], "192.0.2.1:0"));
        sent.push(entry(2, [2; 16], "192.0.2.2:0"));
        let token = |sequence, nonce, peer| answered(&sent, sequence, nonce, peer);
        assert_eq!(token(1, [2; 16], from("192.0.2.2:0")), Some(Token(2)));
        assert_eq!(token(1, [2; 16], from("192.0.2.1:0")), None);
        assert_eq!(token(0, [2; 16], from("192.0.2.2:0")), None);
        assert_eq!(token(1, [9; 16], from("192.0.2.2:0")), None);
        assert_eq!(token(7, [2; 16], from("192.0.2.2:0")), None);
        assert_eq!(token(1, [2; 16], None), None);
        let (damaged, intact) = sent.answered_by(1, from("192.0.2.2:0"), |_| false).unwrap();
        assert_eq!((damaged.token, intact), (Token(2), false));
        assert!(sent.answered_by(0, from("192.0.2.2:0"), |_| false).is_none());
    }

    #[test]
    fn a_link_local_reply_needs_its_link() {
        let mut sent = Sent::default();
        sent.push(entry(1, [1; 16], "[fe80::1%3]:0"));
        assert!(answered(&sent, 0, [1; 16], from("[fe80::1%3]:0")).is_some());
        assert!(answered(&sent, 0, [1; 16], from("[fe80::1%4]:0")).is_none());
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
            assert_eq!(answered(&sent, i as u16, nonce(i), from("192.0.2.1:0")), Some(Token(i)));
            let quote = Quote { ident: 1, sequence: i as u16, checksum: 0, nonce: Some(nonce(i)) };
            assert_eq!(sent.quoted_by(&quote, from("192.0.2.1:0")).unwrap().token, Token(i));
            assert_eq!(answered(&sent, i as u16 ^ 1, nonce(i), from("192.0.2.1:0")), None);
        }
        let forgotten = count - remembered - 1;
        assert_eq!(answered(&sent, forgotten as u16, nonce(forgotten), from("192.0.2.1:0")), None);
    }

    #[test]
    fn what_a_raw_socket_is_given_for_others_is_no_reply() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let socket = IcmpSocket { socket, family: Family::V4, raw: true, ident: 7 };
        for (ident, ours) in [(7, true), (8, false)] {
            let echo = Echo { ident, sequence: 0, nonce: [0; 16] };
            let mut bytes = Vec::new();
            encode_sized(Family::V4, &echo, 0, &mut bytes);
            bytes[0] = Family::V4.reply();
            let bytes = &[&[0x45; 20][..], &bytes].concat();
            let address = from("192.0.2.1:0");
            let datagram = Datagram { bytes, address, ancillary: Ancillary::default(), truncated: false };
            assert_eq!(reply(&socket, &datagram).is_some(), ours);
        }
    }
}
