//! Replies made by hand: by a peer that repeats, delays, forges.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    sync::mpsc,
    thread,
    time::Duration,
};

use netmon_agent::{
    observation::{
        FailureReason::{HostUnreachable, Timeout},
        Method, ProbeOutcome,
    },
    packet::icmp::{Family, REQUEST_BYTES, strip_ipv4},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::{Probing, alone_in_netns, host, in_netns, nft_input, sysctl, target};

fn raw() -> Socket {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("a raw socket")
}

/// Sends an ICMP message, its checksum made right, from one address to another.
fn send(from: Ipv4Addr, to: Ipv4Addr, bytes: Vec<u8>) {
    send_many(from, to, bytes, 1);
}

fn send_many(from: Ipv4Addr, to: Ipv4Addr, mut bytes: Vec<u8>, count: usize) {
    bytes[2..4].copy_from_slice(&[0, 0]);
    let words = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum = words.sum::<u32>();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    let socket = raw();
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("bind");
    for _ in 0..count {
        socket.send_to(&bytes, &SocketAddr::from((to, 0)).into()).expect("send");
    }
}

fn reply_to(request: &[u8]) -> Vec<u8> {
    let mut bytes = request.to_vec();
    bytes[0] = Family::V4.reply();
    bytes
}

/// An echo request as it arrived.
struct Request {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    packet: Vec<u8>,
}

impl Request {
    fn icmp(&self) -> &[u8] {
        strip_ipv4(&self.packet).expect("a header")
    }
}

/// Answers echo requests in the kernel's stead.
fn respond(mut handle: impl FnMut(&Request) + Send + 'static) {
    sysctl("ipv4/icmp_echo_ignore_all", "1");
    let mut socket = raw();
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(n) = socket.read(&mut buffer) {
            let packet = buffer[..n].to_vec();
            let address =
                |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
            let request = Request { source: address(12), destination: address(16), packet: packet.clone() };
            if request.icmp().first() == Some(&8) {
                handle(&request);
            }
        }
    });
}

#[test]
fn only_the_right_peer_sequence_and_nonce_make_a_reply() {
    in_netns(|| {
        respond(|request| {
            let (us, them, icmp) = (request.source, request.destination, request.icmp());
            let altered = |at: usize| {
                let mut bytes = reply_to(icmp);
                bytes[at] ^= 1;
                bytes
            };
            match them.octets()[3] {
                1 => send(them, us, reply_to(icmp)),
                2 => (0..3).for_each(|_| send(them, us, reply_to(icmp))),
                // The first and the last byte of the nonce; the mark; the sequence; the length; the sender.
                3 => send(them, us, altered(8)),
                4 => send(them, us, altered(23)),
                5 => send(them, us, altered(24)),
                6 => send(them, us, altered(7)),
                7 => send(them, us, reply_to(&icmp[..REQUEST_BYTES - 2])),
                8 => send(Ipv4Addr::new(127, 0, 0, 99), us, reply_to(icmp)),
                // All zeros where the nonce was.
                9 => send(them, us, [&reply_to(&icmp[..8]), &[0; 16][..], &icmp[24..]].concat()),
                _ => {}
            }
        });
        let mut probing = Probing::start();
        probing.run((1..=9).map(|n| target(n.into(), host(n), Method::Icmp, 10)).collect());
        assert!(probing.all_answered(1), "{:?}", probing.outcomes(1));
        let replies = probing.outcomes(2).iter().filter(|o| matches!(o, ProbeOutcome::Reply { .. })).count();
        let again = probing.outcomes(2).iter().filter(|o| matches!(o, ProbeOutcome::Duplicate)).count();
        assert_eq!((replies, again), (10, 20));
        for id in 3..=9 {
            assert!(probing.all_failed(id, Timeout, None), "{id}: {:?}", probing.outcomes(id));
        }
        // With the right number from the right peer, and other bytes; anything else is nobody's.
        for id in [3, 4, 5, 7, 9] {
            let corrupted =
                probing.outcomes(id).iter().filter(|o| matches!(o, ProbeOutcome::Corrupted)).count();
            assert_eq!(corrupted, 10, "{id}");
        }
        assert_eq!(probing.engine.stats().unmatched, 20);
    });
}

#[test]
fn an_answer_after_the_time_out_is_late_and_in_another_order_reordered() {
    in_netns(|| {
        let mut held: Option<Vec<u8>> = None;
        respond(move |request| {
            let (us, them) = (request.source, request.destination);
            let reply = reply_to(request.icmp());
            match them.octets()[3] {
                1 => {
                    thread::spawn(move || {
                        thread::sleep(Duration::from_millis(1_400));
                        send(them, us, reply);
                    });
                }
                // Two by two, in reverse.
                _ => match held.take() {
                    None => held = Some(reply),
                    Some(earlier) => {
                        send(them, us, reply);
                        send(them, us, earlier);
                    }
                },
            }
        });
        let mut probing = Probing::start();
        probing.run(vec![target(1, host(1), Method::Icmp, 3), target(2, host(2), Method::Icmp, 4)]);
        let late = |o: &ProbeOutcome| matches!(o, ProbeOutcome::Late { rtt } if *rtt >= Duration::from_millis(1_400));
        probing.until(|events| events.iter().filter(|e| late(&e.outcome)).count() == 3);
        let failed = ProbeOutcome::Failed { reason: Timeout, reporter: None };
        assert_eq!(probing.outcomes(1).iter().filter(|o| ***o == failed).count(), 3);
        let order: Vec<bool> = probing
            .outcomes(2)
            .iter()
            .map(|o| matches!(o, ProbeOutcome::Reply { reordered: true, .. }))
            .collect();
        assert!(probing.all_answered(2), "{:?}", probing.outcomes(2));
        assert_eq!(order, [false, true, false, true]);
    });
}

#[test]
fn an_error_counts_only_if_it_quotes_the_probe() {
    in_netns(|| {
        respond(|request| {
            let (us, them) = (request.source, request.destination);
            let error = |quoted: &[u8]| {
                let mut bytes = [&[3, 1, 0, 0, 0, 0, 0, 0][..], quoted].concat();
                bytes.resize(bytes.len().next_multiple_of(2), 0);
                bytes
            };
            let router = Ipv4Addr::new(127, 0, 0, 77);
            let packet = &request.packet;
            let altered = |at: usize| {
                let mut quoted = packet.clone();
                quoted[20 + at] ^= 1;
                quoted
            };
            match them.octets()[3] {
                1 => send(router, us, error(packet)),
                // As RFC 792 has it: the header and 8 bytes.
                2 => send(router, us, error(&packet[..28])),
                // The nonce; the sequence; in a short quotation the checksum.
                3 => send(router, us, error(&altered(8))),
                4 => send(router, us, error(&altered(6))),
                5 => send(router, us, error(&altered(2)[..28])),
                _ => {}
            }
        });
        let mut probing = Probing::start();
        probing.run((1..=5).map(|n| target(n.into(), host(n), Method::Icmp, 5)).collect());
        for id in [1, 2] {
            assert!(
                probing.all_failed(id, HostUnreachable, Some(host(77))),
                "{id}: {:?}",
                probing.outcomes(id)
            );
        }
        for id in 3..=5 {
            assert!(probing.all_failed(id, Timeout, None), "{id}: {:?}", probing.outcomes(id));
        }
    });
}

#[test]
fn silence_proves_nothing_when_the_engines_own_buffer_overflowed() {
    alone_in_netns(|| {
        let (tell, requests) = mpsc::channel();
        respond(move |request| {
            let _ = tell.send((request.source, request.destination, reply_to(request.icmp())));
        });
        nft_input(&["ip daddr 127.0.0.2 drop".to_owned()]);
        let mut first = true;
        // While the engine is held up, more replies come than its buffer holds.
        let mut probing = Probing::hearing(move |_| {
            if std::mem::take(&mut first) {
                let (us, them, reply) = requests.recv().expect("a request");
                send_many(them, us, reply, 60_000);
            }
        });
        // Its time-out is long enough that only the overflow can make it inconclusive.
        let patient = netmon_agent::source::probe::TargetSpec {
            timeout: Duration::from_secs(4),
            ..target(2, host(2), Method::Icmp, 1)
        };
        probing.run(vec![target(1, host(1), Method::Icmp, 1), patient]);
        assert!(
            matches!(probing.outcomes(2)[..], [ProbeOutcome::Inconclusive { .. }]),
            "{:?}",
            probing.outcomes(2)
        );
        assert!(probing.engine.stats().receive_drops > 0);
        let again = probing.outcomes(1).iter().filter(|o| matches!(o, ProbeOutcome::Duplicate)).count();
        assert!(again <= 8 && probing.engine.stats().unmatched > 0, "{again} of a flood were told");
    });
}
