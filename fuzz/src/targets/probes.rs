//! What comes back to probes, from whom they went to or from anybody.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use arbitrary::Arbitrary;
use netmon_agent::{
    fuzzing::{self, Fate, Flight, Sending},
    packet::icmp::Family,
};

use super::{Input, input};

#[derive(Arbitrary, Debug)]
struct Session {
    v6: bool,
    raw: bool,
    ident: u16,
    acts: Vec<Act>,
}

#[derive(Arbitrary, Debug)]
enum Act {
    Send { peer: u8 },
    Pass { milliseconds: u16 },
    Answer { probe: u8 },
    Forge { probe: u8, from: u8, how: Vec<Forgery> },
    Any { from: u8, bytes: Vec<u8>, truncated: bool },
    Error { probe: u8, to: u8, how: Vec<Forgery> },
}

/// What a forger makes of an answer that he guesses, or has seen of another probe.
#[derive(Arbitrary, Debug)]
enum Forgery {
    Nonce([u8; 16]),
    NonceOf(u8),
    Sequence(u16),
    Ident(u16),
    Kind(u8, u8),
    Cut(u8),
    Grow(u8),
    Flip(u8, u8),
}

pub(super) fn peer(v6: bool, host: u8) -> SocketAddr {
    let host = u16::from(host % 5);
    match (v6, host) {
        (false, _) => (Ipv4Addr::new(192, 0, 2, host as u8), 0).into(),
        (true, 4) => SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 0, 0, 3).into(),
        (true, _) => (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host), 0).into(),
    }
}

/// An echo message with the payload of ours: nonce and mark (RFC 792, RFC 4443).
fn echo(kind: u8, sending: &Sending) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(sending.echo.ident.to_be_bytes());
    bytes.extend(sending.echo.sequence.to_be_bytes());
    bytes.extend(sending.echo.nonce);
    bytes.extend(b"netmon/1");
    bytes
}

fn forge(bytes: &mut Vec<u8>, how: &[Forgery], sendings: &[Sending]) {
    for forgery in how {
        match forgery {
            Forgery::Nonce(nonce) if bytes.len() >= 24 => bytes[8..24].copy_from_slice(nonce),
            Forgery::NonceOf(probe) if bytes.len() >= 24 && !sendings.is_empty() => {
                let of = &sendings[usize::from(*probe) % sendings.len()];
                bytes[8..24].copy_from_slice(&of.echo.nonce);
            }
            Forgery::Sequence(n) if bytes.len() >= 8 => bytes[6..8].copy_from_slice(&n.to_be_bytes()),
            Forgery::Ident(n) if bytes.len() >= 6 => bytes[4..6].copy_from_slice(&n.to_be_bytes()),
            Forgery::Kind(kind, code) if bytes.len() >= 2 => (bytes[0], bytes[1]) = (*kind, *code),
            Forgery::Cut(n) => bytes.truncate(bytes.len().saturating_sub((*n).into())),
            Forgery::Grow(n) => bytes.extend((0..*n).collect::<Vec<_>>()),
            Forgery::Flip(at, bits) if !bytes.is_empty() => {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= bits;
            }
            _ => {}
        }
    }
}

/// A socket's probes; answers that are true, late, doubled and forged. None is believed that is no answer.
pub fn icmp(bytes: &[u8]) {
    let Session { v6, raw, ident, acts } = match input(bytes) {
        Some(Input::Raw(raw)) => return fuzzing::icmp_codecs(raw, raw.len() * 7 % 1500),
        Some(Input::Made(session)) => session,
        None => return,
    };
    let (family, reply) = if v6 { (Family::V6, 129) } else { (Family::V4, 0) };
    let mut flight = Flight::new(family, raw, ident);
    let framed = |bytes: &[u8]| match raw && !v6 {
        true => [&[0x45][..], &[0; 19], bytes].concat(),
        false => bytes.to_vec(),
    };
    for (turn, act) in acts.iter().enumerate() {
        let sendings = flight.sendings().to_vec();
        let of = |probe: u8| sendings.get(usize::from(probe) % sendings.len().max(1));
        let is_true = |bytes: &[u8], from: SocketAddr| {
            sendings.iter().any(|sending| {
                let expected = echo(reply, sending);
                from.ip() == sending.peer.ip()
                    && bytes.len() == expected.len()
                    && (&bytes[..2], &bytes[4..]) == (&expected[..2], &expected[4..])
            })
        };
        let believed = |fate| matches!(fate, Fate::Reply | Fate::Late | Fate::Duplicate);
        match act {
            Act::Send { peer: host } => {
                let mixed = (turn as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
                flight.send(peer(v6, *host), mixed.to_be_bytes());
            }
            Act::Pass { milliseconds } => {
                flight.pass(Duration::from_millis((*milliseconds).into()));
            }
            Act::Answer { probe } => {
                let Some(sending) = of(*probe) else { continue };
                let fate = flight.hear(&framed(&echo(reply, sending)), sending.peer, false);
                assert_ne!(fate, Fate::Foreign, "a true answer was not even read");
            }
            Act::Forge { probe, from, how } => {
                let Some(sending) = of(*probe) else { continue };
                let mut bytes = echo(reply, sending);
                forge(&mut bytes, how, &sendings);
                let from = peer(v6, *from);
                let fate = flight.hear(&framed(&bytes), from, false);
                assert!(!believed(fate) || is_true(&bytes, from), "{fate:?}: {bytes:?} of {from}");
            }
            Act::Any { from, bytes, truncated } => {
                flight.hear(bytes, peer(v6, *from), *truncated);
            }
            Act::Error { probe, to, how } => {
                let Some(sending) = of(*probe) else { continue };
                let mut bytes = echo(if v6 { 128 } else { 8 }, sending);
                forge(&mut bytes, how, &sendings);
                flight.hear_error(&bytes, peer(v6, *to));
            }
        }
    }
}
