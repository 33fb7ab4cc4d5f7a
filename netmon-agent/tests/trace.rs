//! `netmon trace` along a chain of four routers, each a network namespace of the test's own. It needs root.

#![expect(clippy::unwrap_used, reason = "what a test stands on fails the test")]

#[path = "netns/mod.rs"]
mod netns;
#[path = "trace/world.rs"]
mod world;

use std::{
    io::Read,
    net::{IpAddr, SocketAddr, TcpListener},
    ops::ControlFlow,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Duration,
};

use netmon_agent::{
    observation::{FailureReason, PathOptions, StampSource},
    source::trace::{self, Choice, End, Hop, Limit, Method, Options, Path, TraceError},
    time::Mono,
};
use socket2::{Domain, Protocol, Socket, Type};
use world::{LAST, World, hop, in_chain, limit_errors, shell, sysctl};

const ICMP: Choice = Choice::Only(Method::Icmp);
const UDP: Choice = Choice::Only(Method::Udp);

fn tcp(port: u16) -> Choice {
    Choice::Only(Method::Tcp { port })
}

fn hops_only(method: Choice) -> Options {
    Options { method, mtu: false, ..Options::default() }
}

fn traced(options: &Options, to: IpAddr) -> Path {
    trace::run(options, SocketAddr::new(to, 0), |_| ControlFlow::Continue(())).unwrap()
}

fn addresses(path: &Path) -> Vec<Vec<IpAddr>> {
    path.hops.iter().map(Hop::addresses).collect()
}

/// The hops up to and with `n`, each with its one address.
fn chain(n: u8, v6: bool) -> Vec<Vec<IpAddr>> {
    (1..=n).map(|n| vec![hop(n, v6)]).collect()
}

fn listen(world: &World) -> TcpListener {
    world.at(LAST, || TcpListener::bind("[::]:0").unwrap())
}

#[test]
fn every_hop_is_named_in_order_by_every_method_and_family() {
    in_chain("hops", |world| {
        let listener = listen(world);
        let port = listener.local_addr().unwrap().port();
        for v6 in [false, true] {
            // Nobody listens on port 1.
            for method in [ICMP, UDP, tcp(port), tcp(1)] {
                let path = traced(&hops_only(method), hop(LAST, v6));
                assert_eq!(addresses(&path), chain(LAST, v6), "{method:?}: {path:#?}");
                assert_eq!((path.end, path.unmatched), (End::Reached { hop: LAST }, 0));
                for hop in &path.hops {
                    let closed = hop.ttl == LAST && method == tcp(1);
                    let reason = closed.then_some(FailureReason::Refused);
                    assert_eq!((hop.sent, hop.replies.len(), hop.reason()), (3, 3, reason), "{path:#?}");
                    assert!(hop.replies.iter().all(|r| r.rtt.unwrap() < Duration::from_secs(1)), "{path:#?}");
                }
                let kernels = path.hops.iter().flat_map(|hop| &hop.replies);
                let kernels = kernels.filter(|reply| reply.stamp == StampSource::Kernel).count();
                assert!(kernels >= 10, "{kernels} of 15 round trips by the kernel's stamps: {path:#?}");
            }
        }
    });
}

#[test]
fn it_goes_the_way_it_is_told_and_ends_when_its_time_is_over() {
    in_chain("way", |world| {
        let listener = listen(world);
        let port = listener.local_addr().unwrap().port();
        // Nobody knows the way back to the one, and all know the way to the other.
        shell("ip addr add 10.98.0.1/32 dev lo && ip addr add 10.99.0.9/24 dev right");
        let from =
            |source: &str| PathOptions { source: Some(source.parse().unwrap()), ..PathOptions::default() };
        let limit = Duration::from_millis(500);
        let to = SocketAddr::new(hop(LAST, false), 0);
        for method in [ICMP, UDP, tcp(port)] {
            let run = |way: &PathOptions, limit| {
                trace::run_along(&hops_only(method), way, limit, to, |_| ControlFlow::Continue(()))
            };
            let begun = Mono::now();
            let path = run(&from("10.98.0.1"), Some(limit)).unwrap();
            let took = Mono::now().since(begun);
            assert!(matches!(path.end, End::Silent { last: None, .. }), "{method:?}: {path:#?}");
            assert!(took >= limit && took < limit * 3, "{method:?}: {took:?}");
            assert!(run(&from("10.99.0.9"), None).unwrap().reached(), "{method:?}");
            let nowhere = PathOptions { device: Some("none0".to_owned()), ..PathOptions::default() };
            assert!(run(&nowhere, None).is_err(), "{method:?}");
        }
        assert_eq!(
            trace::source_to(&from("10.99.0.9"), to.ip()).unwrap(),
            "10.99.0.9".parse::<IpAddr>().unwrap()
        );
        assert_eq!(
            trace::source_to(&PathOptions::default(), to.ip()).unwrap(),
            "10.99.0.1".parse::<IpAddr>().unwrap()
        );
    });
}

#[test]
fn a_hop_that_keeps_silent_is_one_without_reply() {
    in_chain("silent", |world| {
        world.nft_output(2, "icmp type time-exceeded drop");
        world.shell(2, "nft add rule inet t o icmpv6 type time-exceeded drop");
        for v6 in [false, true] {
            let path = traced(&hops_only(ICMP), hop(LAST, v6));
            let mut expected = chain(LAST, v6);
            expected[1].clear();
            assert_eq!((addresses(&path), path.hops[1].sent), (expected, 4));
            assert!(path.reached());
        }
    });
}

#[test]
fn routers_that_send_few_errors_are_met_all_the_same() {
    in_chain("limited", |world| {
        for n in 1..=LAST {
            // The kernel's default.
            world.at(n, || limit_errors("1000"));
        }
        for method in [ICMP, UDP] {
            for v6 in [false, true] {
                let path = traced(&Options { method, ..Options::default() }, hop(LAST, v6));
                assert_eq!(addresses(&path), chain(LAST, v6), "{method:?}");
                let mtu = path.mtu.as_ref().unwrap();
                assert_eq!((mtu.bytes, mtu.is_black_hole()), (1500, false), "{path:#?}");
                // Until they have some to spare again.
                std::thread::sleep(Duration::from_secs(4));
            }
        }
    });
}

#[test]
fn whoever_refuses_is_named_with_the_reason() {
    use FailureReason::{HostUnreachable, NetUnreachable, PortUnreachable, Prohibited};
    in_chain("refused", |world| {
        for route in ["unreachable 10.98.1.0/24", "prohibit 10.98.2.0/24", "throw 10.98.3.0/24"] {
            world.shell(3, &format!("ip route add {route}"));
        }
        for route in ["unreachable fd98:1::/64", "prohibit fd98:2::/64"] {
            world.shell(3, &format!("ip -6 route add {route}"));
        }
        world.shell(
            3,
            "nft add table inet t && nft add chain inet t f '{ type filter hook forward priority 0; }'
             nft add rule inet t f ip daddr 10.98.4.1 reject with icmp type port-unreachable
             nft add rule inet t f ip6 daddr fd98:4::1 reject with icmpv6 type port-unreachable",
        );
        // Where a router has no route it says so itself; where it has one, to what comes one hop farther.
        let cases = [
            ("10.98.1.1", 3, HostUnreachable),
            ("10.98.2.1", 3, Prohibited),
            ("10.98.3.1", 3, NetUnreachable),
            ("10.98.4.1", 4, PortUnreachable),
            ("fd98:1::1", 3, NetUnreachable),
            ("fd98:2::1", 3, Prohibited),
            ("fd98:4::1", 4, PortUnreachable),
        ];
        for (to, at, reason) in cases {
            let to: IpAddr = to.parse().unwrap();
            let from = hop(3, to.is_ipv6());
            for method in [ICMP, UDP, tcp(9)] {
                if at == 3 && to.is_ipv4() {
                    // Of routes that refuse, a kernel tells five times, then once a second (net/ipv4/route.c ip_error).
                    std::thread::sleep(Duration::from_millis(1100));
                }
                let path = traced(&Options { probes: 1, ..hops_only(method) }, to);
                assert_eq!(
                    path.end,
                    End::Unreachable { hop: at, from, reason },
                    "{to} {method:?}: {path:#?}"
                );
                assert_eq!(path.hops.len(), usize::from(at));
                assert_eq!(path.hops[usize::from(at) - 1].reason(), Some(reason));
            }
        }
    });
}

#[test]
fn a_host_that_is_not_there_is_told_by_the_last_router() {
    in_chain("nobody", |_world| {
        let few = |method| Options { max_hops: 6, probes: 1, ..hops_only(method) };
        for (to, v6) in [("10.99.4.99", false), ("fd99:4::99", true)] {
            for method in [ICMP, UDP, tcp(9)] {
                let path = traced(&few(method), to.parse().unwrap());
                let reason = FailureReason::HostUnreachable;
                assert_eq!(path.end, End::Unreachable { hop: LAST, from: hop(4, v6), reason }, "{path:#?}");
            }
        }
    });
}

#[test]
fn the_destinations_own_refusal_is_an_arrival_with_a_reason() {
    in_chain("rejected", |world| {
        world.shell(
            LAST,
            "nft add table inet t && nft add chain inet t i '{ type filter hook input priority 0; }'
             nft add rule inet t i meta l4proto icmp icmp type echo-request reject with icmp type admin-prohibited",
        );
        let path = traced(&Options { method: ICMP, ..Options::default() }, hop(LAST, false));
        assert_eq!(path.end, End::Reached { hop: LAST });
        assert_eq!(path.hop(LAST).unwrap().reason(), Some(FailureReason::Prohibited));
        assert_eq!(path.mtu.unwrap().bytes, 1500);
    });
}

#[test]
fn a_circle_ends_the_trace() {
    in_chain("circle", |world| {
        world.shell(3, "ip route add 10.97.0.0/24 via 10.99.2.1");
        let path = traced(&hops_only(ICMP), "10.97.0.1".parse().unwrap());
        assert_eq!(path.end, End::Loop { hop: 2, again: 6, from: hop(2, false) }, "{path:#?}");
    });
}

#[test]
fn a_narrow_link_is_found_with_the_router_that_tells() {
    in_chain("narrow", |world| {
        world.narrow(2, 1400);
        let listener = listen(world);
        let port = listener.local_addr().unwrap().port();
        for v6 in [false, true] {
            for method in [ICMP, UDP, tcp(port)] {
                let path = traced(&Options { method, ..Options::default() }, hop(LAST, v6));
                let mtu = path.mtu.as_ref().unwrap();
                let told = Limit::Told { by: hop(2, v6), hop: Some(2), bytes: 1400 };
                assert_eq!((mtu.bytes, mtu.device, mtu.as_far_as), (1400, Some(1500), None), "{path:#?}");
                assert_eq!(mtu.limits, [told], "{method:?}");
            }
        }
    });
}

#[test]
fn a_black_hole_is_found_by_silence_and_has_a_place() {
    in_chain("hole", |world| {
        world.narrow(1, 1480);
        world.narrow(3, 1413);
        world.nft_output(3, "icmp type destination-unreachable icmp code frag-needed drop");
        world.shell(3, "nft add rule inet t o icmpv6 type packet-too-big drop");
        for v6 in [false, true] {
            for method in [ICMP, UDP] {
                let path = traced(&Options { method, ..Options::default() }, hop(LAST, v6));
                let mtu = path.mtu.as_ref().unwrap();
                let told = Limit::Told { by: hop(1, v6), hop: Some(1), bytes: 1480 };
                let hole = Limit::BlackHole { after: Some(3), bytes: 1413 };
                assert_eq!((mtu.bytes, &mtu.limits[..]), (1413, &[told, hole][..]), "{method:?}: {path:#?}");
            }
        }
    });
}

#[test]
fn where_the_destination_is_silent_the_mtu_is_that_of_the_way_to_the_last_router() {
    in_chain("far", |world| {
        world.narrow(2, 1400);
        world.shell(
            LAST,
            "nft add table inet t && nft add chain inet t i '{ type filter hook input priority 0; }'
             nft add rule inet t i meta l4proto { icmp, udp } drop",
        );
        let few = Options { max_hops: 7, ..Options::default() };
        let path = traced(&Options { method: ICMP, ..few }, hop(LAST, false));
        assert_eq!(path.end, End::Silent { last: Some(4), asked: 7 });
        let mtu = path.mtu.unwrap();
        assert_eq!((mtu.bytes, mtu.as_far_as), (1400, Some(4)));
        // TCP gets there; what measures the MTU does not.
        let path = traced(&Options { method: tcp(1), ..few }, hop(LAST, false));
        assert_eq!(path.end, End::Reached { hop: LAST });
        let mtu = path.mtu.unwrap();
        assert_eq!((mtu.bytes, mtu.as_far_as), (1400, Some(4)));
    });
}

#[test]
fn forged_answers_are_counted_and_passed_over() {
    in_chain("forged", |world| {
        let to = hop(LAST, false);
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        let (seen, forger) = (world.at(LAST, raw), world.at(4, raw));
        // As soon as the first probe comes there, and while others are on their way.
        let forging = std::thread::spawn(move || forge(&first_request(&seen), to, &seen, &forger));
        let path = traced(&hops_only(ICMP), to);
        forging.join().unwrap();
        assert_eq!((addresses(&path), path.end), (chain(LAST, false), End::Reached { hop: LAST }));
        assert_eq!(path.unmatched, 3, "{path:#?}");
    });
}

/// The first echo request that a host is sent, from the ICMP header on.
fn first_request(socket: &Socket) -> Vec<u8> {
    loop {
        let mut bytes = [0; 256];
        let length = (&*socket).read(&mut bytes).unwrap();
        if bytes[20] == 8 {
            return bytes[20..length].to_vec();
        }
    }
}

/// Answers a probe: with everything right, but from elsewhere than it was sent to; from there, but with another nonce; by
/// an error that quotes another nonce.
fn forge(request: &[u8], to: IpAddr, there: &Socket, elsewhere: &Socket) {
    let near: SocketAddr = "10.99.0.1:0".parse().unwrap();
    let IpAddr::V4(to) = to else { panic!("IPv4") };
    let (mut reply, mut wrong) = (request.to_vec(), request.to_vec());
    reply[0] = 0;
    wrong[8] ^= 1;
    let mut error = vec![11, 0, 0, 0, 0, 0, 0, 0];
    error.extend([0x45, 0, 0, 80, 0, 0, 0x40, 0, 1, 1, 0, 0, 10, 99, 0, 1]);
    error.extend(to.octets());
    error.extend(&wrong);
    wrong[0] = 0;
    for (socket, mut message) in [(elsewhere, reply), (there, wrong), (elsewhere, error)] {
        message[2..4].fill(0);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        socket.send_to(&message, &near.into()).unwrap();
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn without_a_route_there_is_an_error() {
    in_chain("no route", |_world| {
        shell("ip route add unreachable 10.96.0.0/24");
        let result =
            trace::run(&hops_only(ICMP), "10.96.0.1:0".parse().unwrap(), |_| ControlFlow::Continue(()));
        assert!(matches!(result, Err(TraceError::Send { .. })), "{result:?}");
    });
}

#[test]
fn nobody_in_particular_may_trace_with_and_without_ping_sockets() {
    in_chain("unprivileged", |world| {
        world.narrow(2, 1400);
        let listener = listen(world);
        let port = listener.local_addr().unwrap().port();
        let netmon = Unprivileged::new();
        for (range, method) in [("0 2147483647", "icmp"), ("1 0", "udp")] {
            sysctl("ipv4/ping_group_range", range);
            for v6 in [false, true] {
                let (code, out, said) = netmon.run(&format!("trace --json {}", hop(LAST, v6)));
                let told: serde_json::Value =
                    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {said}"));
                assert_eq!((code, told["probe"].as_str()), (0, Some(method)));
                assert_eq!(said.contains("ping_group_range"), method == "udp", "{said}");
                assert_eq!(told["hops"].as_array().unwrap().len(), usize::from(LAST));
                assert_eq!(told["hops"][3]["addresses"][0], hop(4, v6).to_string());
                assert_eq!(
                    (&told["mtu"]["bytes"], &told["mtu"]["limits"][0]["hop"]),
                    (&1400.into(), &2.into())
                );
            }
        }
        let (code, out, _) = netmon.run(&format!("trace --tcp {port} {}", hop(LAST, false)));
        assert_eq!(code, 0);
        assert!(out.contains("reached 10.99.4.2 in 5 hops\npath mtu 1400\n"), "{out}");
        assert!(out.contains("    mtu 1500 -> 1400 after hop 2, 10.99.1.2, which says so"), "{out}");
        let (code, _, said) = netmon.run("trace --icmp 10.99.4.2");
        assert_eq!((code, said.contains("ping_group_range")), (2, true), "{said}");
        let (code, out, _) = netmon.run("trace -q1 -m2 -W0.2 --no-mtu 10.99.4.2");
        assert_eq!(code, 1);
        assert!(out.contains("not reached: hop 2, 10.99.1.2 is the last that answers, up to hop 2"), "{out}");
    });
}

/// The program, where anybody can read it.
struct Unprivileged {
    folder: tempfile::TempDir,
}

impl Unprivileged {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_netmon"), folder.path().join("netmon")).unwrap();
        Self { folder }
    }

    /// Exit code, standard output, standard error.
    fn run(&self, line: &str) -> (i32, String, String) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        let output = command.arg(self.folder.path().join("netmon")).args(line.split(' ')).output().unwrap();
        let text = |mut bytes: &[u8]| {
            let mut text = String::new();
            bytes.read_to_string(&mut text).unwrap();
            text
        };
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}
