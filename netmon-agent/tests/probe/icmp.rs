//! ICMP echo: access, errors, lateness.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use netmon_agent::{
    observation::{
        FailureReason::{
            self, HostUnreachable, NetUnreachable, PortUnreachable, Prohibited, SendError, Timeout,
        },
        Method, ProbeOutcome, StampSource, TargetId,
    },
    source::probe::{Access, SkipReason, Sockets, TargetSpec},
    time::Mono,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::{Probing, host, in_netns, nft_input, settles, shell, sysctl, target};

const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn answers_both_families(access: &Access) {
    let mut probing = Probing::start();
    assert_eq!(probing.engine.capabilities().icmp4, *access);
    assert_eq!(probing.engine.capabilities().icmp6, *access);
    let on_link = TargetSpec { on_link: true, ..target(3, host(3), Method::Icmp, 5) };
    probing.run(vec![target(1, host(1), Method::Icmp, 5), target(2, LOOPBACK6, Method::Icmp, 5), on_link]);
    for id in 1..=3 {
        assert!(probing.all_answered(id), "{:?}", probing.outcomes(id));
        assert_eq!(probing.outcomes(id).len(), 5);
    }
    for event in &probing.events {
        let ProbeOutcome::Reply { rtt, ttl, reordered, .. } = event.outcome else { continue };
        assert!(rtt < Duration::from_secs(1) && ttl == Some(64) && !reordered, "{event:?}");
    }
    let stats = probing.engine.stats();
    assert_eq!((stats.sent, stats.stamps.iter().sum::<u64>(), stats.send_errors), (15, 15, 0));
    // The first of all may come before the kernel has begun to stamp.
    assert!(stats.stamps[StampSource::Kernel as usize] >= 10, "{stats:?}");
}

#[test]
fn datagram_sockets_answer_in_both_families() {
    in_netns(|| answers_both_families(&Access::Datagram));
}

#[test]
fn raw_sockets_stand_in_where_ping_sockets_are_closed() {
    in_netns(|| {
        sysctl("ipv4/ping_group_range", "1 0");
        answers_both_families(&Access::Raw);
    });
}

#[test]
fn tcp_stands_in_where_neither_is_to_be_had() {
    in_netns(|| {
        sysctl("ipv4/ping_group_range", "1 0");
        let listener = TcpListener::bind("127.0.0.1:4430").expect("listen");
        caps::clear(None, caps::CapSet::Effective).expect("give up capabilities");
        let sockets = Sockets::open();
        let Access::None { remedy } = &sockets.capabilities().icmp4 else { panic!("{sockets:?}") };
        assert!(remedy.contains("ping_group_range"));
        let mut probing = Probing::start();
        let ports = |ports: &[u16]| ports.to_vec();
        let spec = |id, fallback| TargetSpec {
            fallback_ports: ports(fallback),
            ..target(id, host(1), Method::Icmp, 3)
        };
        // One open port beside a closed one; closed ports alone, which prove the host as well; no port.
        probing.run(vec![spec(1, &[4430, 4431]), spec(2, &[4432, 4433]), spec(3, &[])]);
        assert!(probing.all_answered(1) && probing.all_answered(2));
        assert!(probing.all_failed(3, SendError, None));
        assert_eq!(probing.engine.stats().skipped[2], 3);
        drop(listener);
    });
}

/// nftables' name for each ICMP error it can send, and what it must be read as.
const REJECTS: [(&str, FailureReason); 7] = [
    ("net-unreachable", NetUnreachable),
    ("host-unreachable", HostUnreachable),
    ("prot-unreachable", FailureReason::OtherUnreachable),
    ("port-unreachable", PortUnreachable),
    ("net-prohibited", Prohibited),
    ("host-prohibited", Prohibited),
    ("admin-prohibited", Prohibited),
];
const REJECTS6: [(&str, FailureReason); 6] = [
    ("no-route", NetUnreachable),
    ("admin-prohibited", Prohibited),
    ("addr-unreachable", HostUnreachable),
    ("port-unreachable", PortUnreachable),
    ("policy-fail", Prohibited),
    ("reject-route", Prohibited),
];

fn every_error_has_its_reason_and_hurts_nobody_else() {
    let mut targets = vec![target(1, host(1), Method::Icmp, 40), target(2, LOOPBACK6, Method::Icmp, 40)];
    let (mut rules, mut expected) = (Vec::new(), Vec::new());
    for (i, (code, reason)) in (0u8..).zip(REJECTS) {
        let address = host(100 + i);
        rules.push(format!("ip daddr {address} icmp type echo-request reject with icmp type {code}"));
        targets.push(target(100 + u32::from(i), address, Method::Icmp, 20));
        expected.push((100 + u32::from(i), reason, address));
    }
    for (i, (code, reason)) in (0u16..).zip(REJECTS6) {
        let address = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0x10 + i]);
        shell(&format!("ip address add {address}/128 dev lo nodad"));
        rules.push(format!("ip6 daddr {address} icmpv6 type echo-request reject with icmpv6 type {code}"));
        targets.push(target(200 + u32::from(i), address, Method::Icmp, 20));
        expected.push((200 + u32::from(i), reason, address));
    }
    nft_input(&rules);
    let mut probing = Probing::start();
    probing.run(targets);
    for (id, reason, reporter) in expected {
        assert!(probing.all_failed(id, reason, Some(reporter)), "{reason}: {:?}", probing.outcomes(id));
    }
    for id in [1, 2] {
        assert!(probing.all_answered(id), "{:?}", probing.outcomes(id));
        assert_eq!(probing.outcomes(id).len(), 40);
    }
    assert_eq!(probing.engine.stats().send_errors, 0);
}

#[test]
fn every_icmp_error_has_its_reason_on_datagram_sockets() {
    in_netns(every_error_has_its_reason_and_hurts_nobody_else);
}

#[test]
fn every_icmp_error_has_its_reason_on_raw_sockets() {
    in_netns(|| {
        sysctl("ipv4/ping_group_range", "1 0");
        every_error_has_its_reason_and_hurts_nobody_else();
    });
}

#[test]
fn silence_is_a_time_out_and_no_route_a_send_error() {
    in_netns(|| {
        nft_input(&["ip daddr 127.0.0.2 drop".to_owned()]);
        shell("ip route add unreachable 192.0.2.0/25; ip route add prohibit 192.0.2.128/25");
        let mut probing = Probing::start();
        let remote = |id, address: &str| target(id, address.parse().expect("an address"), Method::Icmp, 3);
        probing.run(vec![
            target(1, host(1), Method::Icmp, 10),
            target(2, host(2), Method::Icmp, 5),
            remote(3, "198.51.100.1"),
            remote(4, "192.0.2.1"),
            remote(5, "192.0.2.200"),
            remote(6, "2001:db8::1"),
        ]);
        assert!(probing.all_answered(1));
        assert!(probing.all_failed(2, Timeout, None), "{:?}", probing.outcomes(2));
        for id in 3..=6 {
            assert!(probing.all_failed(id, SendError, None), "{id}: {:?}", probing.outcomes(id));
        }
        assert_eq!(probing.engine.stats().send_errors, 12);
    });
}

#[test]
fn a_late_engine_loses_no_answer_and_draws_no_conclusion_from_silence() {
    in_netns(|| {
        nft_input(&["ip daddr 127.0.0.2 drop".to_owned()]);
        let mut first = true;
        // The engine is held up right after its first sends, far beyond their time-outs.
        let brief = |id| TargetSpec {
            timeout: Duration::from_millis(200),
            ..target(id, host(id as u8), Method::Icmp, 1)
        };
        let mut probing = Probing::hearing(move |_| {
            if std::mem::take(&mut first) {
                std::thread::sleep(Duration::from_millis(600));
            }
        });
        probing.run(vec![brief(1), brief(2)]);
        assert!(probing.all_answered(1), "{:?}", probing.outcomes(1));
        let [ProbeOutcome::Inconclusive { lag }] = probing.outcomes(2)[..] else {
            panic!("{:?}", probing.outcomes(2))
        };
        assert!(*lag > Duration::from_millis(300), "{lag:?}");
    });
}

#[test]
fn time_outs_stretch_by_the_scale_and_by_no_more_than_eight() {
    in_netns(|| {
        nft_input(&["ip daddr 127.0.0.2 drop".to_owned()]);
        let mut probing = Probing::start();
        probing.engine.set_timeout_scale(100.0);
        let timeout = Duration::from_millis(100);
        let start = Mono::now();
        probing.run(vec![TargetSpec { timeout, ..target(2, host(2), Method::Icmp, 1) }]);
        let took = Mono::now().since(start);
        assert!(took >= timeout * 8 && took < timeout * 100, "{took:?}");
    });
}

#[test]
fn a_socket_gone_deaf_is_opened_anew() {
    in_netns(|| {
        let mut probing = Probing::start();
        let brief = Duration::from_millis(200);
        let endless = TargetSpec { count: None, timeout: brief, ..target(1, host(1), Method::Icmp, 1) };
        probing.engine.set_targets(vec![endless]);
        let replies = |events: &[netmon_agent::observation::ProbeEvent]| {
            events.iter().filter(|e| matches!(e.outcome, ProbeOutcome::Reply { .. })).count()
        };
        probing.until(|events| replies(events) >= 1);
        assert_eq!(probing.engine.stats().reopened, 0);
        sysctl("ipv4/icmp_echo_ignore_all", "1");
        probing.until(|events| {
            events.iter().filter(|e| matches!(e.outcome, ProbeOutcome::Failed { .. })).count() >= 8
        });
        assert_eq!(probing.engine.stats().reopened, 1, "once, and not again within seconds");
        sysctl("ipv4/icmp_echo_ignore_all", "0");
        let before = replies(&probing.events);
        probing.until(|events| replies(events) >= before + 5);
    });
}

/// Ping sockets may share an identifier, and the last to take it is given every reply.
fn take_identifiers() -> Vec<Socket> {
    let table = std::fs::read_to_string("/proc/thread-self/net/icmp").expect("the table of ping sockets");
    let ident = |line: &str| {
        let (_, ident) = line.split_whitespace().nth(1)?.split_once(':')?;
        u16::from_str_radix(ident, 16).ok()
    };
    let take = |ident: u16| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)).expect("a ping socket");
        socket.bind(&SocketAddr::from(([0, 0, 0, 0], ident)).into()).expect("an identifier in use");
        socket
    };
    table.lines().filter_map(ident).map(take).collect()
}

#[test]
fn a_neighbour_who_takes_the_identifier_does_not_keep_the_replies() {
    in_netns(|| {
        let mut probing = Probing::start();
        let brief = Duration::from_millis(200);
        let endless = TargetSpec { count: None, timeout: brief, ..target(1, host(1), Method::Icmp, 1) };
        probing.engine.set_targets(vec![endless]);
        let replies = |events: &[netmon_agent::observation::ProbeEvent]| {
            events.iter().filter(|e| matches!(e.outcome, ProbeOutcome::Reply { .. })).count()
        };
        probing.until(|events| replies(events) >= 1);
        let thieves = take_identifiers();
        assert!(thieves.len() >= 2);
        probing.until(|events| {
            events.iter().any(|e| matches!(e.outcome, ProbeOutcome::Failed { reason: Timeout, .. }))
        });
        // They stay, and it goes on all the same.
        let before = replies(&probing.events);
        probing.until(|events| replies(events) >= before + 10);
        assert_eq!(probing.engine.stats().reopened, 1);
        drop(thieves);
    });
}

#[test]
fn a_full_send_buffer_is_no_loss_and_fills_nobody_elses() {
    in_netns(|| {
        // Neighbours that are not there keep what is sent to them until they are given up.
        shell(
            "ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; \
             ip address add 192.0.2.1/24 dev v0",
        );
        sysctl("ipv4/neigh/v0/unres_qlen_bytes", "100000000");
        // Without these the buffer is what any program may have: 4 MB, doubled, on recent kernels.
        caps::clear(None, caps::CapSet::Effective).expect("give up capabilities");
        let spec = |id, address: IpAddr, on_link, count| TargetSpec {
            interval: Duration::from_millis(10),
            on_link,
            ..target(id, address, Method::Icmp, count)
        };
        let silent = (10..210u8).map(|n| spec(n.into(), IpAddr::from([192, 0, 2, n]), true, 100));
        let mut probing = Probing::start();
        probing.run(silent.chain([spec(1, host(1), false, 100)]).collect());
        assert!(probing.all_answered(1));
        let stats = probing.engine.stats();
        assert!(stats.skipped[SkipReason::SendBuffer as usize] > 0, "{stats:?}");
        for id in 10..210 {
            for outcome in probing.outcomes(id) {
                assert!(!matches!(outcome, ProbeOutcome::Failed { reason: SendError, .. }), "{outcome:?}");
            }
        }
        let unsent =
            probing.events.iter().filter(|e| e.outcome == ProbeOutcome::Inconclusive { lag: Duration::ZERO });
        assert!(unsent.count() as u64 >= stats.skipped[SkipReason::SendBuffer as usize]);
    });
}

#[test]
fn targets_change_while_running_and_extra_probes_come_beside_the_schedule() {
    in_netns(|| {
        let slow = |id, n| TargetSpec {
            interval: Duration::from_secs(3600),
            count: None,
            ..target(id, host(n), Method::Icmp, 1)
        };
        let mut probing = Probing::start();
        probing.engine.set_targets(vec![slow(1, 1)]);
        probing.until(|events| events.iter().any(|e| settles(&e.outcome)));
        for _ in 0..5 {
            probing.engine.probe_now(TargetId(1), host(1));
        }
        // Neither of these exists: nothing must come of them.
        probing.engine.probe_now(TargetId(1), host(2));
        probing.engine.probe_now(TargetId(9), host(1));
        probing.engine.set_targets(vec![slow(1, 1), slow(2, 2)]);
        probing.until(|events| events.iter().filter(|e| settles(&e.outcome)).count() >= 7);
        let seqs: BTreeSet<u64> =
            probing.events.iter().filter(|e| e.target == TargetId(1)).map(|e| e.seq).collect();
        assert_eq!(seqs, (1..=6).collect());
        assert!(probing.all_answered(1) && probing.all_answered(2));
        assert_eq!((probing.engine.stats().sent, probing.engine.stats().lanes), (7, 2));
        probing.engine.set_targets(vec![]);
        probing.engine.probe_now(TargetId(1), host(1));
        probing.engine.set_targets(vec![slow(3, 3)]);
        probing.until(|events| events.iter().any(|e| e.target == TargetId(3) && settles(&e.outcome)));
        assert_eq!(probing.engine.stats().sent, 8);
        probing.engine.stop();
    });
}
