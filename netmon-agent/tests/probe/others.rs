//! TCP connect and DNS.

use std::{
    net::{IpAddr, TcpListener, UdpSocket},
    thread,
};

use netmon_agent::observation::{
    FailureReason::{HostUnreachable, PortUnreachable, Prohibited, Refused, SendError, ServFail, Timeout},
    Method, ProbeOutcome, StampSource,
};

use crate::world::{Probing, host, in_netns, nft_input, sysctl, target};

#[test]
fn tcp_tells_open_closed_silent_and_forbidden_apart() {
    in_netns(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let listener6 = TcpListener::bind("[::1]:0").expect("listen");
        let port = |l: &TcpListener| l.local_addr().expect("an address").port();
        let (open, open6) = (Method::Tcp { port: port(&listener) }, Method::Tcp { port: port(&listener6) });
        nft_input(&[
            "ip daddr 127.0.0.3 drop".to_owned(),
            "ip daddr 127.0.0.4 tcp flags syn reject with icmp type host-unreachable".to_owned(),
            "ip daddr 127.0.0.5 tcp flags syn reject with icmp type admin-prohibited".to_owned(),
            "ip daddr 127.0.0.6 tcp flags syn reject with icmp type port-unreachable".to_owned(),
        ]);
        let mut probing = Probing::start();
        let closed = Method::Tcp { port: 9 };
        let nowhere: IpAddr = "192.0.2.1".parse().expect("an address");
        probing.run(vec![
            target(1, host(1), open.clone(), 10),
            target(2, host(2), closed, 5),
            target(3, host(3), open.clone(), 3),
            target(4, host(4), open.clone(), 3),
            target(5, host(5), open.clone(), 3),
            target(6, host(6), open.clone(), 3),
            target(7, "::1".parse().expect("an address"), open6, 5),
            target(8, nowhere, open, 3),
        ]);
        for id in [1, 7] {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
            for outcome in probing.outcomes(id) {
                assert!(
                    matches!(outcome, ProbeOutcome::Reply { stamp: StampSource::Kernel, .. }),
                    "{outcome:?}"
                );
            }
        }
        for (id, reason, reporter) in [
            (2, Refused, None),
            (3, Timeout, None),
            (4, HostUnreachable, Some(host(4))),
            (5, Prohibited, Some(host(5))),
            (6, PortUnreachable, Some(host(6))),
            (8, SendError, None),
        ] {
            assert!(probing.all_failed(id, reason, reporter), "{id}: {:?}", probing.outcomes(id));
        }
        assert_eq!(probing.engine.stats().tcp_resets, 0);
    });
}

#[test]
fn a_connection_that_is_reset_at_once_was_made() {
    in_netns(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
            }
        });
        let mut probing = Probing::start();
        // Many, so that some are looked at before the reset comes and some after.
        probing.run((1..=40).map(|id| target(id, host(1), Method::Tcp { port }, 20)).collect());
        for id in 1..=40 {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
        }
    });
}

/// A resolver that turns each query into what it answers, datagram by datagram.
fn resolver(address: IpAddr, answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
    let socket = UdpSocket::bind((address, 53)).expect("bind");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            for answer in answers(&buffer[..n]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
}

/// An answer with this code, or a query that was only sent back.
fn answer(query: &[u8], code: u8) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = code;
    bytes
}

#[test]
fn dns_takes_the_right_answer_and_no_other() {
    in_netns(|| {
        resolver(host(1), |q| vec![answer(q, 0)]);
        resolver(host(2), |q| vec![answer(q, 3)]);
        resolver(host(3), |q| vec![answer(q, 2)]);
        resolver(host(4), |q| vec![answer(q, 5)]);
        // A wrong identifier, its own query, another question; then, from one of them, the right one.
        let forged = |q: &[u8]| {
            let (mut id, mut question) = (answer(q, 0), answer(q, 0));
            id[0] ^= 1;
            question[14] ^= 1;
            vec![id, q.to_vec(), question]
        };
        resolver(host(5), forged);
        resolver(host(6), move |q| [forged(q), vec![answer(q, 0)]].concat());
        resolver("::1".parse().expect("an address"), |q| vec![answer(q, 0)]);
        nft_input(&["ip daddr 127.0.0.8 udp dport 53 reject with icmp type admin-prohibited".to_owned()]);
        let mut probing = Probing::start();
        let dns = Method::dns(53);
        let mut targets: Vec<_> = (1..=8).map(|n| target(n.into(), host(n), dns.clone(), 4)).collect();
        targets.push(target(9, "::1".parse().expect("an address"), dns.clone(), 4));
        targets.push(target(10, "192.0.2.1".parse().expect("an address"), dns, 4));
        probing.run(targets);
        for id in [1, 2, 6, 9] {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
        }
        for (id, reason, reporter) in [
            (3, ServFail, None),
            (4, ServFail, None),
            (5, Timeout, None),
            (7, PortUnreachable, Some(host(7))),
            (8, Prohibited, Some(host(8))),
            (10, SendError, None),
        ] {
            assert!(probing.all_failed(id, reason, reporter), "{id}: {:?}", probing.outcomes(id));
        }
        let stats = probing.engine.stats();
        assert_eq!(stats.unmatched, 24);
        assert!(stats.stamps[StampSource::Kernel as usize] >= 12, "{stats:?}");
    });
}

#[test]
fn many_tcp_probes_a_second_leave_no_pile_of_connections() {
    in_netns(|| {
        sysctl("ipv4/tcp_max_tw_buckets", "100000");
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        socket2::SockRef::from(&listener).listen(4096).expect("a longer queue");
        sysctl("core/somaxconn", "4096");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || listener.incoming().for_each(drop));
        let mut probing = Probing::start();
        probing.run((1..=100).map(|id| target(id, host(1), Method::Tcp { port }, 12)).collect());
        assert!((1..=100).all(|id| probing.all_answered(id)));
        let stats = probing.engine.stats();
        assert!(stats.tcp_resets > 0 && stats.tcp_resets < stats.sent, "{stats:?}");
    });
}
