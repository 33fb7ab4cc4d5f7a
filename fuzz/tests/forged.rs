//! A million forged replies, of every kind that a forger could think of, amid probes that wait, are answered and are given
//! up: none is believed, and what is late or doubled is told as that.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use netmon_agent::{
    fuzzing::{Fate, Flight, Sending},
    packet::icmp::Family,
};

/// Forged replies.
const FORGED: usize = 1_000_000;
/// Probes of each third: answered, given up, waiting.
const PROBES: usize = 1_000;
const PEERS: usize = 4;

/// xorshift64* (Vigna 2016), the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.next().to_ne_bytes());
        nonce[8..].copy_from_slice(&self.next().to_ne_bytes());
        nonce
    }
}

fn peer(n: usize) -> SocketAddr {
    format!("192.0.2.{}:0", n % PEERS + 1).parse().unwrap()
}

/// A reply as RFC 792 has it, with the payload of ours.
fn reply(ident: u16, sequence: u16, nonce: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(ident.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(nonce);
    bytes.extend(b"netmon/1");
    bytes
}

fn true_reply(sending: &Sending) -> Vec<u8> {
    reply(sending.echo.ident, sending.echo.sequence, &sending.echo.nonce)
}

/// What a forger sends who guesses what he has not seen of this probe, and whom it seems to come from.
fn forge(kind: usize, sending: &Sending, old: &Sending, random: &mut Random) -> (Vec<u8>, SocketAddr) {
    let (echo, peer_of) = (sending.echo, sending.peer);
    let others: Vec<SocketAddr> = (0..PEERS).map(peer).filter(|p| *p != peer_of).collect();
    match kind {
        // Number and sender are right, the nonce is guessed.
        0 => (reply(echo.ident, echo.sequence, &random.nonce()), peer_of),
        // All but one bit is right.
        1 => {
            let mut bytes = true_reply(sending);
            let at = 8 + random.below(bytes.len() - 8);
            bytes[at] ^= 1 << random.below(8);
            (bytes, peer_of)
        }
        // An earlier probe's nonce under this one's number, and the other way round.
        2 => (reply(echo.ident, echo.sequence, &old.echo.nonce), peer_of),
        3 => (reply(echo.ident, old.echo.sequence, &echo.nonce), peer_of),
        // Everything is right, but it is another who says it.
        4 => (true_reply(sending), others[random.below(others.len())]),
        // Of another socket; of a number that was never sent.
        5 => (reply(echo.ident ^ (1 + random.below(0xffff) as u16), echo.sequence, &echo.nonce), peer_of),
        6 => (reply(echo.ident, 40_000 + random.below(20_000) as u16, &echo.nonce), peer_of),
        // Cut off, drawn out, another kind of message.
        7 => (true_reply(sending)[..random.below(32)].to_vec(), peer_of),
        8 => ([true_reply(sending), vec![0; 1 + random.below(64)]].concat(), peer_of),
        9 => {
            let mut bytes = true_reply(sending);
            bytes[0] = 1 + random.below(255) as u8;
            (bytes, peer_of)
        }
        // Nothing but noise.
        _ => ((0..random.below(80)).map(|_| random.next() as u8).collect(), peer_of),
    }
}

#[test]
fn of_a_million_forged_replies_none_is_believed() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut flight = Flight::new(Family::V4, false, 0x1234);
    let send = |flight: &mut Flight, random: &mut Random| {
        (0..PROBES).for_each(|n| _ = flight.send(peer(n), random.nonce()));
    };
    send(&mut flight, &mut random);
    for sending in flight.sendings().to_vec() {
        assert_eq!(flight.hear(&true_reply(&sending), sending.peer, false), Fate::Reply);
    }
    send(&mut flight, &mut random);
    assert_eq!(flight.pass(Duration::from_millis(1_500)), PROBES, "given up");
    send(&mut flight, &mut random);

    let sendings = flight.sendings().to_vec();
    let mut fates: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..FORGED {
        let sending = &sendings[random.below(sendings.len())];
        let old = loop {
            let old = &sendings[random.below(sendings.len())];
            if old.echo.sequence != sending.echo.sequence {
                break old;
            }
        };
        let (bytes, from) = forge(n % 11, sending, old, &mut random);
        let fate = flight.hear(&bytes, from, false);
        assert!(
            matches!(fate, Fate::Foreign | Fate::Unmatched | Fate::Corrupted),
            "kind {}: {fate:?} of {bytes:?}",
            n % 11
        );
        *fates.entry(format!("{fate:?}")).or_default() += 1;
    }
    println!("{FORGED} forged replies to {} probes: {fates:?}, believed: 0", sendings.len());
    assert!(fates.len() == 3 && fates.values().all(|count| *count > FORGED / 20), "{fates:?}");

    // After all that, each true answer is still what it is.
    let told = |flight: &mut Flight| {
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for sending in &sendings {
            let fate = flight.hear(&true_reply(sending), sending.peer, false);
            *told.entry(format!("{fate:?}")).or_default() += 1;
        }
        told
    };
    let of = |pairs: &[(&str, usize)]| {
        pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect::<BTreeMap<_, _>>()
    };
    let (first, second) = (told(&mut flight), told(&mut flight));
    println!("true answers after them: {first:?}; once more: {second:?}");
    assert_eq!(first, of(&[("Duplicate", PROBES), ("Late", PROBES), ("Reply", PROBES)]));
    assert_eq!(second, of(&[("Duplicate", 3 * PROBES)]));
    flight.pass(Duration::from_secs(60));
    let forgotten = told(&mut flight);
    println!("a minute later: {forgotten:?}");
    assert_eq!(forgotten, of(&[("Unmatched", 3 * PROBES)]));
}

#[test]
fn of_a_hundred_thousand_forged_errors_none_is_believed() {
    let mut random = Random(7);
    let mut flight = Flight::new(Family::V4, false, 0x1234);
    (0..PROBES).for_each(|n| _ = flight.send(peer(n), random.nonce()));
    let sendings = flight.sendings().to_vec();
    for n in 0..FORGED / 10 {
        let sending = &sendings[random.below(sendings.len())];
        let mut quoted = true_reply(sending);
        quoted[0] = 8;
        let mut to = sending.peer;
        match n % 4 {
            0 => quoted[8 + random.below(16)] ^= 1 << random.below(8),
            1 => quoted[6..8].copy_from_slice(&(sending.echo.sequence ^ 1).to_be_bytes()),
            // As short as RFC 792 allows it, with no checksum that is right.
            2 => quoted.truncate(8),
            // Sent to another.
            _ => to = (0..PEERS).map(peer).find(|p| *p != to).unwrap(),
        }
        assert!(!flight.hear_error(&quoted, to), "kind {}: {quoted:?}", n % 4);
    }
    // What quotes the probe itself is believed.
    let sending = &sendings[0];
    let mut quoted = true_reply(sending);
    quoted[0] = 8;
    assert!(flight.hear_error(&quoted, sending.peer));
}
