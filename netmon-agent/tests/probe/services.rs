//! UDP, and DNS with questions of one's own.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use netmon_agent::observation::{
    DnsQuery,
    FailureReason::{HostUnreachable, NxDomain, PortUnreachable, Protocol, Refused, ServFail, Timeout},
    Method, ProbeOutcome, UdpExpect,
};
use netmon_agent::source::probe::TargetSpec;

use crate::{
    paths::echo,
    world::{Probing, host, in_netns, nft_input, sysctl, target},
};

#[test]
fn udp_tells_an_echo_from_a_closed_port_a_filter_and_something_else() {
    in_netns(|| {
        echo(host(1), 7);
        let liar = UdpSocket::bind((host(3), 7)).expect("bind");
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((n, from)) = liar.recv_from(&mut buffer) {
                buffer[n - 1] ^= 1;
                let _ = liar.send_to(&buffer[..n], from);
                // Cut short, and somebody else's.
                let _ = liar.send_to(&buffer[..n - 1], from);
                let _ = UdpSocket::bind((host(77), 7)).map(|other| other.send_to(&buffer[..n], from));
            }
        });
        nft_input(&[
            "ip daddr 127.0.0.4 udp dport 7 drop".to_owned(),
            "ip daddr 127.0.0.5 udp dport 7 reject with icmp type host-unreachable".to_owned(),
        ]);
        let by = |expect| Method::Udp { port: 7, expect };
        let (back, closed) = (by(UdpExpect::Echo), by(UdpExpect::Unreachable));
        let mut probing = Probing::start();
        probing.run(vec![
            target(1, host(1), back.clone(), 5),
            target(2, host(2), back.clone(), 5),
            target(3, host(3), back.clone(), 3),
            target(4, host(4), back.clone(), 3),
            target(5, host(5), back, 3),
            target(6, host(2), closed.clone(), 5),
            target(7, host(4), closed.clone(), 3),
            target(8, host(5), closed.clone(), 3),
            target(9, "::1".parse().expect("an address"), closed, 5),
        ]);
        for id in [1, 6, 9] {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
        }
        for outcome in probing.outcomes(1) {
            assert!(
                matches!(outcome, ProbeOutcome::Reply { ttl: Some(64), rtt, .. } if *rtt < Duration::from_secs(1))
            );
        }
        for (id, reason, reporter) in [
            (2, PortUnreachable, Some(host(2))),
            (3, Timeout, None),
            (4, Timeout, None),
            (5, HostUnreachable, Some(host(5))),
            (7, Timeout, None),
            (8, HostUnreachable, Some(host(5))),
        ] {
            assert!(probing.all_failed(id, reason, reporter), "{id}: {:?}", probing.outcomes(id));
        }
        let corrupted = probing.outcomes(3).iter().filter(|o| ***o == ProbeOutcome::Corrupted).count();
        assert_eq!(corrupted, 6);
    });
}

/// The answer to a query with this code.
fn answer(query: &[u8], code: u8) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = code;
    bytes
}

/// A resolver that knows `example.com` alone, over UDP and TCP.
fn resolver(address: IpAddr) {
    const QUESTION: &[u8] = b"\x07example\x03com\x00\x00\x1c\x00\x01";
    let known = |query: &[u8]| query[12..].eq_ignore_ascii_case(QUESTION);
    let reply = move |query: &[u8]| answer(query, if known(query) { 0 } else { 3 });
    let socket = UdpSocket::bind((address, 53)).expect("bind");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&reply(&buffer[..n]), from);
        }
    });
    stream(address, move |query| {
        let message = reply(query);
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    });
}

/// Over TCP: each query is answered with just these bytes, one at a time, and the connection closed.
fn stream(address: IpAddr, reply: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
    let listener = TcpListener::bind((address, 53)).expect("listen");
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut prefix = [0; 2];
            if connection.read_exact(&mut prefix).is_err() {
                continue;
            }
            let mut query = vec![0; u16::from_be_bytes(prefix).into()];
            connection.read_exact(&mut query).expect("a query");
            for byte in reply(&query) {
                let _ = connection.set_nodelay(true);
                let _ = connection.write_all(&[byte]);
            }
        }
    });
}

#[test]
fn what_no_stamp_times_is_read_at_once_where_probes_are_dense() {
    in_netns(|| {
        resolver(host(1));
        // Without a ping socket a refused connect stands in ICMP's place.
        sysctl("ipv4/ping_group_range", "1 0");
        caps::clear(None, caps::CapSet::Effective).expect("give up capabilities");
        let ask = DnsQuery { tcp: true, ..DnsQuery::default() };
        let ask = Method::Dns(Arc::new(DnsQuery { name: "example.com".to_owned(), record: 28, ..ask }));
        let dense = Method::Udp { port: 7, expect: UdpExpect::Unreachable };
        // So many that they are spread over their interval: a thousand a second.
        let beside = |id| {
            let interval = Duration::from_millis(300);
            TargetSpec { interval, ..target(id, host(9), dense.clone(), 10) }
        };
        let mut targets: Vec<_> = (1..=300).map(beside).collect();
        targets.push(target(1_000, host(1), ask, 40));
        targets.push(TargetSpec { fallback_ports: vec![9], ..target(1_001, host(2), Method::Icmp, 40) });
        let mut probing = Probing::start();
        probing.run(targets);
        for id in [1_000, 1_001] {
            let mut rtts: Vec<Duration> = probing.outcomes(id).iter().filter_map(|o| rtt(o)).collect();
            rtts.sort_unstable();
            assert!(rtts.len() >= 30, "{id}: {:?}", probing.outcomes(id));
            // They would have waited for half a tick of 20 ms.
            assert!(rtts[rtts.len() / 2] < Duration::from_millis(5), "{id}: {rtts:?}");
        }
        let mut connects: Vec<_> = probing.details(1_000).iter().filter_map(|d| d.connect).collect();
        connects.sort_unstable();
        assert!(connects[connects.len() / 2] < Duration::from_millis(5), "{connects:?}");
    });
}

fn rtt(outcome: &ProbeOutcome) -> Option<Duration> {
    match outcome {
        ProbeOutcome::Reply { rtt, .. } => Some(*rtt),
        _ => None,
    }
}

#[test]
fn dns_asks_what_it_is_told_to_over_udp_and_tcp() {
    in_netns(|| {
        resolver(host(1));
        stream(host(2), |query| answer(query, 0)[..10].to_vec());
        stream(host(3), |query| {
            let message = answer(query, 2);
            [&(message.len() as u16).to_be_bytes()[..], &message].concat()
        });
        let silent = TcpListener::bind((host(4), 53)).expect("listen");
        let ask = |name: &str, record, tcp, accept: &[u8]| {
            let (name, accept) = (name.to_owned(), accept.to_vec());
            Method::Dns(Arc::new(DnsQuery { port: 53, name, record, tcp, accept }))
        };
        let mut probing = Probing::start();
        probing.run(vec![
            target(1, host(1), ask("Example.com.", 28, false, &[0]), 4),
            target(2, host(1), ask("example.org", 28, false, &[0]), 4),
            target(3, host(1), ask("example.org", 28, false, &[0, 3]), 4),
            target(4, host(1), ask("example.com", 28, true, &[0]), 4),
            target(5, host(1), ask("example.com", 1, true, &[0]), 4),
            target(6, host(2), ask("example.com", 1, true, &[0]), 4),
            target(7, host(3), ask("example.com", 1, true, &[0]), 4),
            target(8, host(4), ask("example.com", 1, true, &[0]), 2),
            target(9, host(5), ask("example.com", 1, true, &[0]), 4),
        ]);
        drop(silent);
        for id in [1, 3, 4] {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
        }
        for (id, reason) in
            [(2, NxDomain), (5, NxDomain), (6, Protocol), (7, ServFail), (8, Timeout), (9, Refused)]
        {
            assert!(probing.all_failed(id, reason, None), "{id}: {:?}", probing.outcomes(id));
        }
        for (id, status, tcp) in [(1, 0, false), (2, 3, false), (4, 0, true), (7, 2, true)] {
            let details = probing.details(id);
            assert_eq!(details.len(), 4, "{id}");
            for detail in details {
                assert_eq!((detail.status, detail.connect.is_some()), (Some(status), tcp));
                assert!(detail.request.is_some() && detail.tls.is_none());
            }
        }
    });
}
