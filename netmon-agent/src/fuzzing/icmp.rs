//! Echo replies and ICMP errors, through all that decides whether they are believed: the codecs, the probes a socket
//! remembers, and those under way.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use super::{
    super::super::inflight::{InFlight, Probe},
    Entry, Sent, quote, reply, same_host,
};
use crate::{
    observation::ProbeOutcome,
    packet::icmp::{self, Echo, Family, Nonce},
    source::probe::{
        inflight::Token,
        rtt::{Stamp, round_trip},
        schedule::LaneId,
        sockets::IcmpSocket,
    },
    sys::{Ancillary, Datagram},
    time::{Mono, Wall},
};

/// How long a probe waits for its answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Nanoseconds between the two clocks: stamps are of the wall's.
const WALL: u64 = 1_700_000_000_000_000_000;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No echo reply of this socket's at all.
    Foreign,
    /// A reply to no probe that is remembered; counted as `netmon_probe_unmatched_total`.
    Unmatched,
    /// It bears a probe's number and comes from whom that went to, but has not its bytes. Answers nothing.
    Corrupted,
    /// The answer to a probe.
    Reply,
    /// The answer to one that was given up.
    Late,
    /// One more answer.
    Duplicate,
    /// An answer of which nothing is said any more.
    Forgotten,
}

/// A probe that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// What it asked.
    pub echo: Echo,
    /// Whom.
    pub peer: SocketAddr,
    checksum: u16,
    at: Mono,
}

/// A socket's probes and what came to it, without the socket.
#[derive(Debug)]
pub struct Flight {
    socket: IcmpSocket,
    sent: Sent,
    under_way: InFlight,
    answered: u64,
    now: Mono,
    sendings: Vec<Sending>,
}

impl Flight {
    /// Nothing is sent. A raw socket is given every program's replies; over IPv4 with the IP header.
    pub fn new(family: Family, raw: bool, ident: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket that nobody uses").into();
        Self {
            socket: IcmpSocket { socket, family, raw, ident },
            sent: Sent::default(),
            under_way: InFlight::default(),
            answered: 0,
            now: Mono::from_nanos(1_000_000_000_000),
            sendings: Vec::new(),
        }
    }

    /// What was sent, in order.
    pub fn sendings(&self) -> &[Sending] {
        &self.sendings
    }

    fn stamp(&self) -> Stamp {
        Stamp { mono: self.now, wall: Wall::from_nanos(WALL + self.now.as_nanos()) }
    }

    /// Sends a probe.
    pub fn send(&mut self, peer: SocketAddr, nonce: Nonce) -> Echo {
        let (sequence, token, sent) = (self.sent.next_sequence(), self.under_way.next_token(), self.stamp());
        let echo = Echo { ident: self.socket.ident, sequence, nonce };
        let request = icmp::encode_request(self.socket.family, &echo);
        let checksum = u16::from_be_bytes([request[2], request[3]]);
        self.sent.push(Entry { token, nonce, peer, checksum, sent, left: None, left_device: None });
        let seq = self.sendings.len() as u64 + 1;
        self.under_way.insert(Probe::new(LaneId::of_test(1), seq, self.now, TIMEOUT, 0, 1));
        self.sendings.push(Sending { echo, peer, checksum, at: self.now });
        echo
    }

    /// Time passes; how many probes were given up.
    pub fn pass(&mut self, time: Duration) -> usize {
        self.now = self.now + time;
        let given_up = std::iter::from_fn(|| self.under_way.expire(self.now)).count();
        let oldest = self.under_way.forget(self.now);
        while self.sent.entries.front().is_some_and(|e| e.sent.mono < oldest) {
            self.sent.pop();
        }
        given_up
    }

    /// A datagram comes. What is taken for an answer has all that only who saw the probe can know.
    pub fn hear(&mut self, bytes: &[u8], from: SocketAddr, truncated: bool) -> Fate {
        let read = self.stamp();
        let ancillary = Ancillary { received: Some(read.wall), ..Ancillary::default() };
        let datagram = Datagram { bytes, address: Some(from), ancillary, truncated };
        let Some((answer, kept)) = reply(&self.socket, &datagram) else { return Fate::Foreign };
        let is_intact = |nonce: &Nonce| answer.is_intact(nonce, icmp::SMALLEST_PAYLOAD, kept);
        let found = self.sent.answered_by(answer.sequence, Some(from), is_intact);
        let Some((entry, intact)) = found.map(|(entry, intact)| (entry.token, intact)) else {
            return Fate::Unmatched;
        };
        if !intact {
            self.under_way.tells_spare(entry);
            return Fate::Corrupted;
        }
        let Sending { echo, peer, at, .. } = self.sending(entry);
        assert!(same_host(peer, from), "an answer of {from} to a probe of {peer}");
        assert_eq!((answer.ident, answer.sequence), (echo.ident, echo.sequence));
        assert!(bytes.windows(echo.nonce.len()).any(|piece| piece == echo.nonce), "without the nonce");
        let sent = Stamp { mono: at, wall: Wall::from_nanos(WALL + at.as_nanos()) };
        let trip = round_trip(sent, None, Some(read.wall), read);
        match self.under_way.reply(entry, trip, None, &mut self.answered) {
            [Some(ProbeOutcome::Reply { .. }), None] => Fate::Reply,
            [.., Some(ProbeOutcome::Late { .. })] | [Some(ProbeOutcome::Late { .. }), None] => Fate::Late,
            [Some(ProbeOutcome::Duplicate), None] => Fate::Duplicate,
            [None, None] => Fate::Forgotten,
            other => panic!("{other:?} is said of an answer"),
        }
    }

    /// An ICMP error comes that quotes `bytes`, sent `to` somebody; whether it is believed. Then it quotes what only who
    /// saw the probe can know.
    pub fn hear_error(&mut self, bytes: &[u8], to: SocketAddr) -> bool {
        let ancillary = Ancillary::default();
        let datagram = Datagram { bytes, address: Some(to), ancillary, truncated: false };
        let Some(quote) = quote(&self.socket, &datagram) else { return false };
        let Some(token) = self.sent.quoted_by(&quote, Some(to)).map(|entry| entry.token) else {
            return false;
        };
        let sending = self.sending(token);
        assert_eq!((quote.ident, quote.sequence), (sending.echo.ident, sending.echo.sequence));
        assert_eq!(sending.peer.ip(), to.ip());
        match quote.nonce {
            Some(nonce) => assert_eq!(nonce, sending.echo.nonce),
            None => assert!(to.is_ipv4() && quote.checksum == sending.checksum, "{quote:?}"),
        }
        self.under_way.fail(token);
        true
    }

    fn sending(&self, token: Token) -> Sending {
        self.sendings[token.0 as usize]
    }
}

/// Any bytes as each kind of message: what is read of them is in them, and what is laid out is read back.
pub fn codecs(bytes: &[u8], size: usize) {
    for family in [Family::V4, Family::V6] {
        if let Ok(echo) = icmp::decode_reply(family, bytes) {
            let answer = icmp::decode_answer(family, bytes).expect("a reply is an answer");
            assert_eq!((answer.ident, answer.sequence), (echo.ident, echo.sequence));
            assert!(answer.is_intact(&echo.nonce, icmp::SMALLEST_PAYLOAD, usize::MAX));
            let mut again = icmp::encode_request(family, &echo);
            again[0] = family.reply();
            assert_eq!((&again[..2], &again[4..]), (&bytes[..2], &bytes[4..]), "laid out otherwise");
        }
        if let Ok(quote) = icmp::decode_quote(family, bytes) {
            assert_eq!(quote.nonce.is_some(), bytes.len() >= 24);
        }
        let _ = icmp::decode_frame(family, bytes, size);
        let nonce = bytes.first_chunk().copied().unwrap_or_default();
        let echo = Echo { ident: size as u16, sequence: 7, nonce };
        let mut sized = Vec::new();
        icmp::encode_sized(family, &echo, size, &mut sized);
        let quote = icmp::decode_frame(family, &sized, size).expect("a request of our own");
        assert_eq!((quote.ident, quote.nonce), (echo.ident, Some(nonce)));
        sized[0] = family.reply();
        let answer = icmp::decode_answer(family, &sized).expect("its reply");
        assert!(answer.is_intact(&nonce, size, usize::MAX));
        let last = sized.len() - 1;
        sized[last] ^= 1;
        let damaged = icmp::decode_answer(family, &sized).expect("its reply, damaged");
        assert!(!damaged.is_intact(&nonce, size, usize::MAX), "damage that shows nowhere");
    }
    if let Some(inner) = icmp::strip_ipv4(bytes) {
        assert!(bytes.ends_with(inner) && bytes.len() - inner.len() >= 20);
    }
}
