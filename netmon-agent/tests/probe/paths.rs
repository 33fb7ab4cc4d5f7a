//! The way a target's packets go: nftables lets through what goes the way that was asked for, and nothing else.

use std::{
    net::{IpAddr, Ipv6Addr, TcpListener, UdpSocket},
    sync::{Arc, mpsc},
    thread,
};

use netmon_agent::{
    observation::{
        FailureReason::{PacketTooBig, Refused, SendError},
        Method, PathOptions, ProbeEvent, ProbeOutcome, TargetId, UdpExpect,
    },
    source::probe::TargetSpec,
};
use nix::sched::{CloneFlags, unshare};

use crate::world::{Probing, host, in_netns, nft, shell, target};

fn on(path: PathOptions, target: TargetSpec) -> TargetSpec {
    TargetSpec { path: Arc::new(path), ..target }
}

/// Sends back what comes, on this port.
pub fn echo(address: IpAddr, port: u16) {
    let socket = UdpSocket::bind((address, port)).expect("bind");
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..n], from);
        }
    });
}

#[test]
fn packets_of_every_method_go_the_way_asked_for() {
    in_netns(|| {
        let source: IpAddr = host(99);
        let ways = [
            (2, "ip saddr != 127.0.0.99", PathOptions { source: Some(source), ..PathOptions::default() }),
            (3, "ip ttl != 7", PathOptions { ttl: Some(7), ..PathOptions::default() }),
            (4, "ip dscp != ef", PathOptions { dscp: 46, ..PathOptions::default() }),
            (5, "meta mark != 42", PathOptions { mark: 42, ..PathOptions::default() }),
        ];
        let rules = ways.iter().map(|(n, unless, _)| format!("ip daddr 127.0.0.{n} {unless} drop"));
        nft("output", &rules.collect::<Vec<_>>());
        let listener = TcpListener::bind("0.0.0.0:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        (2..=5).for_each(|n| echo(host(n), 7));
        let methods = [Method::Icmp, Method::Tcp { port }, Method::Udp { port: 7, expect: UdpExpect::Echo }];
        let mut targets = Vec::new();
        for (n, _, path) in &ways {
            for (i, method) in (0..).zip(&methods) {
                targets.push(on(path.clone(), target(u32::from(*n) * 10 + i, host(*n), method.clone(), 3)));
                // The system's own way is barred, so the rule means something.
                targets.push(target(1_000 + u32::from(*n) * 10 + i, host(*n), method.clone(), 3));
            }
        }
        let mut probing = Probing::start();
        probing.run(targets);
        for (n, unless, _) in &ways {
            for i in 0..3 {
                let id = u32::from(*n) * 10 + i;
                assert!(probing.all_answered(id), "{unless}, {i}: {:?}", probing.outcomes(id));
                let plain = probing.outcomes(1_000 + id);
                // A send that nftables drops on its way out may be refused at once (EPERM).
                assert!(!probing.all_answered(1_000 + id), "{unless}, {i}: {plain:?}");
            }
        }
    });
}

#[test]
fn ipv6_has_its_own_options() {
    in_netns(|| {
        let ways = [
            (
                "fd00::2",
                "ip6 saddr != fd00::99",
                PathOptions { source: "fd00::99".parse().ok(), ..PathOptions::default() },
            ),
            ("fd00::3", "ip6 hoplimit != 7", PathOptions { ttl: Some(7), ..PathOptions::default() }),
            ("fd00::4", "ip6 dscp != af41", PathOptions { dscp: 34, ..PathOptions::default() }),
        ];
        for (address, _, _) in &ways {
            shell(&format!("ip -6 addr add {address}/128 dev lo nodad"));
        }
        shell("ip -6 addr add fd00::99/128 dev lo nodad");
        nft(
            "output",
            &ways.clone().map(|(address, unless, _)| {
                format!("ip6 daddr {address} icmpv6 type echo-request {unless} drop")
            }),
        );
        let address = |i: usize| ways[i].0.parse().expect("an address");
        let mut targets = Vec::new();
        for (i, (_, _, path)) in ways.iter().enumerate() {
            targets.push(on(path.clone(), target(i as u32, address(i), Method::Icmp, 3)));
            targets.push(target(10 + i as u32, address(i), Method::Icmp, 3));
        }
        // A source of IPv4 leads to no address of IPv6.
        let wrong = PathOptions { source: Some(host(1)), ..PathOptions::default() };
        targets.push(on(wrong, target(20, Ipv6Addr::LOCALHOST.into(), Method::Icmp, 3)));
        let mut probing = Probing::start();
        probing.run(targets);
        for id in 0..3 {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
            assert!(!probing.all_answered(10 + id), "{id}: {:?}", probing.outcomes(10 + id));
        }
        assert!(probing.all_failed(20, SendError, None), "{:?}", probing.outcomes(20));
    });
}

#[test]
fn a_size_is_kept_to_and_what_must_not_be_fragmented_may_be_too_big() {
    in_netns(|| {
        shell("ip link set lo mtu 1400");
        let way =
            |size, dont_fragment| PathOptions { size: Some(size), dont_fragment, ..PathOptions::default() };
        nft(
            "output",
            &[
                // 20 and 8 bytes of headers.
                "ip daddr 127.0.0.2 ip length != 1028 drop".to_owned(),
                "ip daddr 127.0.0.3 ip length != 1400 drop".to_owned(),
                "ip daddr 127.0.0.3 ip frag-off & 0x4000 == 0 drop".to_owned(),
            ],
        );
        (1..=3).for_each(|n| echo(host(n), 7));
        let udp = Method::Udp { port: 7, expect: UdpExpect::Echo };
        let mut probing = Probing::start();
        probing.run(vec![
            on(way(1_000, false), target(1, host(2), Method::Icmp, 3)),
            on(way(1_000, false), target(2, host(2), udp.clone(), 3)),
            on(way(1_372, true), target(3, host(3), Method::Icmp, 3)),
            on(way(1_372, true), target(4, host(3), udp.clone(), 3)),
            on(way(1_373, true), target(5, host(1), Method::Icmp, 3)),
            on(way(1_373, true), target(6, host(1), udp.clone(), 3)),
            // In pieces it goes.
            on(way(5_000, false), target(7, host(1), Method::Icmp, 3)),
            on(way(5_000, false), target(8, host(1), udp, 3)),
            on(way(1_353, true), target(9, Ipv6Addr::LOCALHOST.into(), Method::Icmp, 3)),
            on(way(1_352, true), target(10, Ipv6Addr::LOCALHOST.into(), Method::Icmp, 3)),
        ]);
        for id in [1, 2, 3, 4, 7, 8, 10] {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
        }
        for id in [5, 6, 9] {
            assert!(probing.all_failed(id, PacketTooBig, None), "{id}: {:?}", probing.outcomes(id));
        }
    });
}

/// A namespace beyond the veth `near`, its end of which is `far`, with the addresses 10.9.0.2 and fd09::2; it ends with
/// the returned sender.
fn beyond() -> mpsc::Sender<()> {
    let near = nix::unistd::gettid();
    let (keep, kept) = mpsc::channel::<()>();
    let (done, ready) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        shell("ip link add far type veth peer name near");
        shell(&format!("ip link set near netns {near}"));
        shell("ip addr add 10.9.0.2/24 dev far; ip addr add fd09::2/64 dev far nodad");
        shell("ip link set far up; ip link set lo up");
        done.send(()).expect("somebody waits");
        let _ = kept.recv();
    });
    ready.recv().expect("it is made");
    keep
}

#[test]
fn a_device_needs_no_route_and_may_come_and_go() {
    in_netns(|| {
        let far = beyond();
        let address = "ip addr add 10.9.0.1/24 dev near noprefixroute; ip link set near up";
        shell(address);
        let to: IpAddr = "10.9.0.2".parse().expect("an address");
        let closed = Method::Udp { port: 9, expect: UdpExpect::Unreachable };
        let mut probing = Probing::start();
        probing.run(vec![
            target(1, to, Method::Icmp, 3),
            on(by("near"), target(2, to, Method::Icmp, 3)),
            on(by("near"), target(3, to, Method::Tcp { port: 9 }, 3)),
            on(by("none"), target(4, to, Method::Icmp, 3)),
            target(6, to, closed.clone(), 3),
            on(by("near"), target(7, to, closed, 3)),
        ]);
        assert!(probing.all_failed(1, SendError, None), "{:?}", probing.outcomes(1));
        assert!(probing.all_answered(2), "{:?}", probing.outcomes(2));
        assert!(probing.all_failed(3, Refused, None), "{:?}", probing.outcomes(3));
        for id in [4, 6] {
            assert!(probing.all_failed(id, SendError, None), "{id}: {:?}", probing.outcomes(id));
        }
        assert!(probing.all_answered(7), "{:?}", probing.outcomes(7));
        device_comes_and_goes(probing, far, address, to);
    });
}

#[test]
fn a_device_made_anew_is_found_by_ipv6_too() {
    in_netns(|| {
        let far = beyond();
        let address = "ip addr add fd09::1/64 dev near nodad; ip link set near up";
        shell(address);
        device_comes_and_goes(Probing::start(), far, address, "fd09::2".parse().expect("an address"));
    });
}

fn by(device: &str) -> PathOptions {
    PathOptions { device: Some(device.to_owned()), ..PathOptions::default() }
}

/// Another device of the name has another index: the socket is made anew.
fn device_comes_and_goes(mut probing: Probing, far: mpsc::Sender<()>, address: &str, to: IpAddr) {
    let endless = TargetSpec { count: None, ..on(by("near"), target(5, to, Method::Icmp, 1)) };
    probing.engine.set_targets(vec![endless]);
    let count = |events: &[ProbeEvent], what: fn(&ProbeOutcome) -> bool| {
        events.iter().filter(|e| e.target == TargetId(5) && what(&e.outcome)).count()
    };
    probing.until(|events| count(events, is_reply) > 0);
    shell("ip link del near");
    probing.until(|events| count(events, is_unsent) > 0);
    drop(far);
    let before = count(&probing.events, is_reply);
    let _far = beyond();
    shell(address);
    probing.until(|events| count(events, is_reply) > before);
}

fn is_reply(outcome: &ProbeOutcome) -> bool {
    matches!(outcome, ProbeOutcome::Reply { .. })
}

fn is_unsent(outcome: &ProbeOutcome) -> bool {
    matches!(outcome, ProbeOutcome::Failed { reason: SendError, .. })
}
