//! Dumps of sock_diag.

use std::collections::BTreeMap;

use super::{
    Census, Look, Progress, Tally, decode, device_of,
    reader::{Dump, End, walk},
};
use crate::{
    observation::IfIndex,
    source::netlink::wire::{AF_INET6, Messages},
    time::Mono,
};

/// Bytes of a message's header.
const HEADER: usize = 16;

/// Answers to two dumps, datagram by datagram: as many sockets as were counted, none without bytes of its own, and what is
/// made of them never shrinks.
pub fn dump(datagrams: &[&[u8]], sequence: u32) {
    let interface_of =
        |address: std::net::IpAddr| address.to_string().len().is_multiple_of(3).then_some(IfIndex(2));
    let (mut census, mut progress, mut before) = (Census::default(), Progress::default(), BTreeMap::new());
    let halves = datagrams.split_at(datagrams.len() / 2);
    for (seconds, half) in (1..).zip([halves.0, halves.1, halves.0, halves.0, halves.0]) {
        let (mut tally, mut look) = (Tally::default(), Look::of_at_most(4));
        for socket in sockets(half, sequence) {
            tally.add(&socket, interface_of);
            look.add(&socket, interface_of);
            assert!(interface_of(socket.local).is_none_or(|index| device_of(&socket, interface_of) == index));
        }
        let all = census.settle(&BTreeMap::new(), &tally);
        for (device, sent) in &before {
            assert!(all.get(device) >= Some(sent), "segments of {device:?} shrank from {sent}");
        }
        before = all;
        let at = Mono::from_nanos(seconds * 1_000_000_000);
        assert_eq!(progress.settle(at, look).is_some(), seconds > 1, "two looks make progress, one does not");
    }
}

fn sockets(datagrams: &[&[u8]], sequence: u32) -> Vec<super::Socket> {
    let (mut dump, mut all) = (Dump::default(), Vec::new());
    let bytes: usize = datagrams.iter().map(|d| d.len()).sum();
    for datagram in datagrams {
        for message in Messages(datagram).map_while(Result::ok) {
            let Ok(socket) = decode::socket(message.payload) else { continue };
            let mapped = message.payload[0] == AF_INET6 && socket.local.is_ipv4();
            assert!(mapped || socket.local.is_ipv6() == (message.payload[0] == AF_INET6), "{socket:?}");
            assert!(socket.rtt.is_none_or(|rtt| !rtt.is_zero()), "{socket:?}");
        }
        match walk(datagram, sequence, &mut dump, |socket| all.push(*socket)) {
            Ok(None) => {}
            Ok(Some(End::Whole)) | Err(_) => break,
            Ok(Some(End::Failed(number))) => {
                assert!(number > 0, "an error without a number");
                break;
            }
        }
    }
    assert_eq!(dump.summary.sockets, all.len() as u64);
    assert!(
        (all.len() + dump.summary.malformed as usize) * HEADER <= bytes,
        "more sockets than bytes for them"
    );
    all
}
