//! The netlink source against the kernel, in network namespaces of the tests' own. They need root.

#![expect(clippy::unwrap_used, reason = "what a test stands on fails the test")]

#[path = "netns/mod.rs"]
mod netns;
#[path = "netlink/world.rs"]
mod world;

use std::{net::IpAddr, time::Duration};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use netmon_agent::{
    observation::{Evidence, IfIndex, NeighbourState, Network, NetworkChange, OperState},
    source::netlink::{Options, StatsReader, sysfs},
};
use netns::{alone, ip};
use world::{World, ip_batch, ip_bytes, json, own_sysfs};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn index(network: &Network, name: &[u8]) -> Option<IfIndex> {
    network.links.values().find(|l| l.name.as_bytes() == name).map(|l| l.index)
}

/// Without audits, which would mend in time what events should have told.
fn unaided() -> Options {
    Options { audit: Duration::from_secs(3600), ..Options::default() }
}

/// A pair `v0` – `v1`, both up.
fn veth() {
    ip("link add v0 type veth peer name v1");
    ip("link set v0 up");
    ip("link set v1 up");
}

#[test]
fn names_and_aliases_of_any_bytes_are_seen_with_their_addresses() {
    alone("names", || {
        ip_bytes(&[b"link", b"add", b"a\xff\"", b"type", b"veth", b"peer", b"name", b"p\x1b[1m"]);
        ip_bytes(&[b"link", b"set", b"a\xff\"", b"alias", b"up\nlink\xff"]);
        ip_bytes(&[b"addr", b"add", b"10.9.0.1/24", b"dev", b"a\xff\""]);
        // The kernel has no message for the alias of a link that is down.
        let mut world = World::start(Options { audit: Duration::from_secs(1), ..Options::default() });
        world.until("the dump", |n| n.links.len() == 3);
        let link = index(&world.network, b"a\xff\"").expect("in the dump");
        assert_eq!(world.network.links[&link].alias.as_deref(), Some(&b"up\nlink\xff"[..]));
        assert_eq!(
            world.network.addresses_of(link).map(|a| a.address).collect::<Vec<_>>(),
            [address("10.9.0.1")]
        );
        assert!(index(&world.network, b"p\x1b[1m").is_some());

        ip_bytes(&[b"link", b"set", b"p\x1b[1m", b"name", b"\xfe\xfe"]);
        world.until("a rename", |n| index(n, b"\xfe\xfe").is_some() && index(n, b"p\x1b[1m").is_none());
        ip_bytes(&[b"addr", b"add", b"10.9.0.2/24", b"dev", b"a\xff\""]);
        world.until("an address event", |n| n.addresses_of(link).count() == 2);
        ip_bytes(&[b"link", b"set", b"a\xff\"", b"alias", b""]);
        world.until("the alias gone", |n| n.links[&link].alias.is_none());
        ip_bytes(&[b"link", b"del", b"a\xff\""]);
        world.until("both ends gone", |n| n.links.len() == 1 && n.addresses_of(link).count() == 0);
        world.equals_a_fresh_dump();
        assert_eq!(world.counters.malformed(), 0);
    });
}

#[test]
fn carrier_is_lost_on_both_ends_and_comes_back() {
    alone("carrier", || {
        veth();
        let mut world = World::start(unaided());
        world.until("the dump", |n| n.links.len() == 3);
        let (v0, v1) = (index(&world.network, b"v0").unwrap(), index(&world.network, b"v1").unwrap());
        world.until("both up", |n| [v0, v1].iter().all(|i| n.links[i].oper == OperState::Up));
        let before = world.network.links[&v0].carrier_changes;
        ip("link set v1 down");
        world.until("v1 down", |n| !n.links[&v1].admin_up && !n.links[&v1].carrier);
        world.until("v0 without carrier", |n| n.links[&v0].admin_up && !n.links[&v0].carrier);
        assert_ne!(world.network.links[&v0].oper, OperState::Up);
        ip("link set v1 up");
        world.until("both up again", |n| [v0, v1].iter().all(|i| n.links[i].carrier && n.links[i].admin_up));
        assert!(world.network.links[&v0].carrier_changes >= before + 2);
        assert_eq!(world.network.links[&v0].speed_mbps, None, "a virtual link's speed is made up");
        world.equals_a_fresh_dump();
    });
}

#[test]
fn ipv4_routes_that_vanish_in_silence_are_missed() {
    alone("silent", || {
        veth();
        ip("addr add 10.0.0.2/24 dev v0");
        ip("route add default via 10.0.0.1");
        ip("route add 10.77.0.0/16 via 10.0.0.1");
        let mut world = World::start(unaided());
        world.until("a default route", |n| n.default_routes().len() == 1);
        let v0 = index(&world.network, b"v0").unwrap();
        ip("addr del 10.0.0.2/24 dev v0");
        world.until("no route after the address went", |n| n.routes.iter().all(|r| r.destination.is_ipv6()));

        ip("addr add 10.0.0.2/24 dev v0");
        ip("route add default via 10.0.0.1");
        world.until("the route again", |n| n.default_routes().len() == 1);
        world.seen.clear();
        ip("link set v0 down");
        world.until("no route after the link went down", |n| n.default_routes().is_empty());
        let first = |what: fn(&NetworkChange) -> bool| world.seen.iter().position(what).unwrap();
        let link = first(|c| matches!(c, NetworkChange::Link(l) if !l.admin_up));
        let routes = first(|c| matches!(c, NetworkChange::Routes { .. }));
        assert!(link < routes, "the link's event waits for no reading of routes");
        assert!(!world.network.links[&v0].admin_up);
        world.equals_a_fresh_dump();
    });
}

#[test]
fn routes_of_every_shape() {
    alone("routes", || {
        veth();
        ip("addr add 10.0.0.2/24 dev v0");
        ip("addr add 10.0.1.2/24 dev v1");
        ip("-6 addr add fd00::2/64 dev v0 nodad");
        let mut world = World::start(Options { max_routes: 64, ..unaided() });
        world.until("the dump", |n| n.links.len() == 3);
        let (v0, v1) = (index(&world.network, b"v0").unwrap(), index(&world.network, b"v1").unwrap());

        ip("route add default nexthop via 10.0.0.1 dev v0 nexthop via 10.0.1.1 dev v1");
        world.until("two ways", |n| {
            let mut ways: Vec<_> = n.default_routes().iter().map(|r| (r.gateway, r.ifindex)).collect();
            ways.sort_unstable();
            ways == [(Some(address("10.0.0.1")), v0), (Some(address("10.0.1.1")), v1)]
        });
        ip("link set v1 down");
        world.until("the way that lives", |n| n.default_routes().iter().all(|r| r.ifindex == v0));
        ip("link set v1 up");
        ip("route del default");
        ip("-4 route add default via inet6 fe80::1 dev v0");
        world.until("an IPv6 gateway", |n| {
            n.default_routes()
                .iter()
                .any(|r| r.destination.is_ipv4() && r.gateway == Some(address("fe80::1")))
        });
        ip("route add blackhole default metric 7");
        ip("-6 route add unreachable default metric 7");
        ip("-6 route add default via fd00::1 metric 50");
        ip("route add default via 10.0.0.9 metric 60 table 100000");
        world.until("IPv6 and another table", |n| {
            n.default_routes().iter().any(|r| r.gateway == Some(address("fd00::1")) && r.metric == 50)
                && n.default_routes().iter().any(|r| r.table == 100_000 && r.metric == 60)
        });
        assert!(world.network.default_routes().iter().all(|r| r.metric != 7), "they lead nowhere");
        assert!(world.network.routes.iter().all(|r| r.table != 255));

        std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").unwrap();
        ip("nexthop add id 1 via 10.0.0.7 dev v0");
        ip("nexthop add id 2 via 10.0.0.8 dev v0");
        ip("nexthop add id 10 group 1/2");
        ip("route replace 10.55.0.0/16 nhid 10");
        world.until("the ways of a nexthop group", |n| {
            let ways = n.routes.iter().filter(|r| r.destination == address("10.55.0.0"));
            ways.filter_map(|r| r.gateway).collect::<Vec<_>>() == [address("10.0.0.7"), address("10.0.0.8")]
        });
        ip("nexthop del id 10");
        world.until("none without the group", |n| {
            n.routes.iter().all(|r| r.destination != address("10.55.0.0"))
        });

        assert!(!world.network.routes_truncated);
        ip_batch((0..200).map(|i| format!("route add 10.66.{i}.0/24 via 10.0.0.1")));
        world.until("a bound", |n| n.routes_truncated);
        ip("route add default via 10.0.0.3 metric 4000");
        world.until("a default route beyond it", |n| n.default_routes().iter().any(|r| r.metric == 4000));
        world.equals_a_fresh_dump();
        ip_batch((0..200).map(|i| format!("route del 10.66.{i}.0/24")));
        world.until("within the bound again", |n| !n.routes_truncated);
        world.equals_a_fresh_dump();
    });
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_gone() {
    alone("bridge", || {
        veth();
        ip("link add br0 type bridge");
        ip("link set v0 master br0");
        let mut world = World::start(unaided());
        world.until("a port", |n| index(n, b"v0").is_some_and(|i| n.links[&i].master == index(n, b"br0")));
        world.seen.clear();
        ip("link set v0 nomaster");
        world.until("no port", |n| index(n, b"v0").is_some_and(|i| n.links[&i].master.is_none()));
        assert!(!world.seen.iter().any(|c| matches!(c, NetworkChange::LinkGone(_))));
        assert_eq!(
            world.network.links[&index(&world.network, b"br0").unwrap()].kind.as_deref(),
            Some("bridge")
        );
        ip("link del br0");
        world.until("the bridge gone", |n| index(n, b"br0").is_none());
        world.equals_a_fresh_dump();
    });
}

#[test]
fn addresses_that_differ_by_peer_alone() {
    alone("peers", || {
        veth();
        ip("addr add 10.0.0.1 peer 10.1.0.1/32 dev v0");
        ip("addr add 10.0.0.1 peer 10.2.0.1/32 dev v0");
        let mut world = World::start(unaided());
        let held = |n: &Network| n.addresses.keys().any(|k| k.1 == address("10.0.0.1"));
        world.until("the address", held);
        ip("addr del 10.0.0.1 peer 10.1.0.1/32 dev v0");
        world.equals_a_fresh_dump();
        assert!(held(&world.network), "the other one is still there");
        ip("addr del 10.0.0.1 peer 10.2.0.1/32 dev v0");
        world.until("none", |n| !held(n));
    });
}

#[test]
fn only_gateways_have_neighbours() {
    alone("neighbours", || {
        veth();
        ip("addr add 10.0.0.2/24 dev v0");
        ip("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 nud permanent dev v0");
        ip("neigh replace 10.0.0.5 lladdr 02:00:00:00:00:05 nud permanent dev v0");
        let mut world = World::start(unaided());
        world.until("the dump", |n| n.links.len() == 3);
        assert!(world.network.neighbours.is_empty());
        let v0 = index(&world.network, b"v0").unwrap();
        let key = (v0, address("10.0.0.1"));

        ip("route add default via 10.0.0.1");
        world
            .until("the gateway's entry, which is older than the route", |n| n.neighbours.contains_key(&key));
        let entry = &world.network.neighbours[&key];
        assert_eq!(
            (entry.state, entry.mac.as_deref()),
            (NeighbourState::Permanent, Some(&[2, 0, 0, 0, 0, 1][..]))
        );
        assert_eq!(world.network.neighbours.len(), 1);
        ip("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:02 nud stale dev v0");
        world.until("another address", |n| n.neighbours[&key].mac.as_deref() == Some(&[2, 0, 0, 0, 0, 2]));
        ip("neigh del 10.0.0.1 dev v0");
        world.until("none", |n| !n.neighbours.get(&key).is_some_and(|n| n.state.is_valid()));
        ip("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:03 nud permanent dev v0");
        world.until("it again", |n| n.neighbours.contains_key(&key));
        ip("route del default");
        world.until("no gateway, no neighbour", |n| n.neighbours.is_empty());

        ip("-6 addr add fd00::2/64 dev v0 nodad");
        ip("-6 neigh replace fd00::1 lladdr 02:00:00:00:00:06 nud permanent dev v0");
        ip("-6 route add default via fd00::1");
        world.until("an IPv6 gateway's", |n| n.neighbours.contains_key(&(v0, address("fd00::1"))));
        world.equals_a_fresh_dump();
    });
}

#[test]
fn after_an_overrun_the_state_is_that_of_a_fresh_dump() {
    alone("overrun", || {
        veth();
        let mut world = World::start(Options { receive_buffer: 4096, ..unaided() });
        world.until("the dump", |n| n.links.len() == 3);
        let v0 = index(&world.network, b"v0").unwrap();
        for round in 0..3 {
            let gate = world.gate.clone();
            let held = gate.lock().unwrap();
            ip_batch((0..2500).map(|i| format!("addr add 10.1.{}.{}/32 dev v0", i / 250, i % 250 + 1)));
            drop(held);
            world.until("the addresses", |n| {
                n.addresses_of(v0).filter(|a| a.address.is_ipv4()).count() == 2500
            });
            world.equals_a_fresh_dump();
            ip("addr flush dev v0");
            world.until("no addresses", |n| n.addresses_of(v0).count() == 0);
            ip(&format!("addr add 10.8.{round}.1/24 dev v0"));
            ip(&format!("addr del 10.8.{round}.1/24 dev v0"));
            world.equals_a_fresh_dump();
        }
        ip_batch((0..2500).map(|i| format!("addr add 10.1.{}.{}/32 dev v0", i / 250, i % 250 + 1)));
        let gate = world.gate.clone();
        let held = gate.lock().unwrap();
        ip("link del v0");
        drop(held);
        world.until("the link gone", |n| !n.links.contains_key(&v0));
        world.equals_a_fresh_dump();
        world.agrees_with_ip();
        assert!(world.counters.overruns() >= 4, "nothing was lost: this tested nothing");
        assert!(world.gap_to_dump.len() as u64 <= world.counters.overruns());
        let worst = world.gap_to_dump.iter().max().expect("a gap was told");
        eprintln!("{} overruns, gap to dump at worst {worst:?}", world.counters.overruns());
        assert!(*worst < Duration::from_secs(5), "gap to dump took {worst:?}");
    });
}

#[test]
fn the_state_is_what_ip_says() {
    alone("ip-json", || {
        veth();
        ip("link add br0 type bridge");
        ip("link set br0 up mtu 1400");
        ip("link set v1 master br0");
        ip("addr add 10.0.0.2/24 dev v0");
        ip("-6 addr add fd00::2/64 dev v0 nodad");
        ip("route add default via 10.0.0.1 metric 5");
        ip("-6 route add default via fd00::1 metric 9");
        let mut world = World::start(unaided());
        world.until("the dump", |n| n.links.len() == 4);
        world.equals_a_fresh_dump();
        let network = &world.network;
        world.agrees_with_ip();
        for (family, metric) in [("-4", 5), ("-6", 9)] {
            let defaults = json(&format!("{family} route show default"));
            let told = &defaults.as_array().unwrap()[0];
            let ours = network.default_routes().into_iter().find(|r| r.metric == metric).unwrap().clone();
            assert_eq!(told["gateway"].as_str().map(address), ours.gateway);
            assert_eq!(told["dev"].as_str().unwrap(), network.links[&ours.ifindex].name.escaped());
        }
    });
}

#[test]
fn a_process_that_poses_as_the_kernel_is_not_believed() {
    alone("spoof", || {
        veth();
        let mut world = World::start(unaided());
        world.until("the dump", |n| n.links.len() == 3);
        let v0 = index(&world.network, b"v0").unwrap();
        let mut liar = Socket::new(NETLINK_ROUTE).unwrap();
        liar.bind_auto().unwrap();
        // RTM_DELLINK without NLM_F_REQUEST: the kernel, which gets a copy, passes over it.
        let mut message = [&32_u32.to_ne_bytes()[..], &17_u16.to_ne_bytes(), &[0; 10], &[0; 4]].concat();
        message.extend(v0.0.to_ne_bytes());
        message.extend([0; 8]);
        liar.send_to(&message, &SocketAddr::new(0, 1), 0).unwrap();
        world.seen.clear();
        ip("link set v0 mtu 1300");
        world.until("the kernel's own event, which is later", |n| n.links[&v0].mtu == 1300);
        assert_eq!(world.counters.spoofed(), 1);
        assert!(!world.seen.iter().any(|c| matches!(c, NetworkChange::LinkGone(_))));
    });
}

#[test]
fn an_event_is_told_at_once() {
    alone("latency", || {
        veth();
        let mut world = World::start(unaided());
        world.until("the dump", |n| n.links.len() == 3);
        let v0 = index(&world.network, b"v0").unwrap();
        let mut asker = Socket::new(NETLINK_ROUTE).unwrap();
        asker.bind_auto().unwrap();
        let (mut since_call, mut since_return) = (Vec::new(), Vec::new());
        for flap in 0..200 {
            let up = flap % 2 == 1;
            world.idle(Duration::from_millis(5));
            // RTM_NEWLINK, a request, with IFF_UP the only flag to change.
            let mut message =
                [&32_u32.to_ne_bytes()[..], &16_u16.to_ne_bytes(), &1_u16.to_ne_bytes(), &[0; 12]].concat();
            message.extend(v0.0.to_ne_bytes());
            message.extend(u32::from(up).to_ne_bytes());
            message.extend(1_u32.to_ne_bytes());
            let called = netmon_agent::time::Mono::now();
            asker.send_to(&message, &SocketAddr::new(0, 0), 0).unwrap();
            let returned = netmon_agent::time::Mono::now();
            let emitted = world.emitted(
                "the flap",
                |c| matches!(c, NetworkChange::Link(l) if l.index == v0 && l.admin_up == up),
            );
            since_call.push(emitted.since(called));
            since_return.push(emitted.since(returned));
        }
        for (what, mut all) in [("call", since_call), ("return", since_return)] {
            all.sort_unstable();
            let (p50, p99, worst) = (all[100], all[198], all[199]);
            eprintln!("since the {what}: p50 {p50:?}, p99 {p99:?}, worst {worst:?}");
            assert!(p50 < Duration::from_millis(50), "{what}: {p50:?}");
        }
    });
}

/// What a random test does to the namespace. Some of it fails, as it does for people.
fn random_command(rng: &mut impl rand::RngExt) -> String {
    let v = ["v0", "v1", "w0", "w1", "br0"][rng.random_range(0..5)];
    let n = rng.random_range(1..5);
    match rng.random_range(0..22) {
        0 => "link add w0 type veth peer name w1".into(),
        1 => "link del w0".into(),
        2 => "link add br0 type bridge".into(),
        3 => "link del br0".into(),
        4 => format!("link set {v} master br0"),
        5 => format!("link set {v} nomaster"),
        6 | 7 => format!("link set {v} up"),
        8 => format!("link set {v} down"),
        9 => format!("link set {v} mtu {}", 1280 + n),
        // Of a link that is down the kernel tells no alias.
        10 => format!("link set {v} up\nlink set {v} alias x{n}"),
        11 | 12 => format!("addr add 10.{n}.0.2/24 dev {v}"),
        13 => format!("addr del 10.{n}.0.2/24 dev {v}"),
        14 => format!("-6 addr add fd0{n}::2/64 dev {v} nodad"),
        15 => format!("-6 addr del fd0{n}::2/64 dev {v}"),
        16 => format!("route replace default via 10.{n}.0.1 metric {n}"),
        17 => format!("route del default metric {n}"),
        18 => format!("-6 route replace default via fd0{n}::1 metric {n}"),
        19 => format!("route replace 10.9{n}.0.0/16 via 10.{n}.0.1"),
        20 => format!("neigh replace 10.{n}.0.1 lladdr 02:00:00:00:00:0{n} nud permanent dev {v}"),
        _ => format!("neigh del 10.{n}.0.1 dev {v}"),
    }
}

#[test]
fn events_one_by_one_end_in_the_state_of_a_fresh_dump() {
    use rand::{RngExt, SeedableRng};
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    alone("random", move || {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        veth();
        let mut lost = 0;
        // Half of the runs lose events on the way.
        for receive_buffer in [4 << 20, 4096, 4 << 20, 4096] {
            let mut world = World::start(Options { receive_buffer, ..unaided() });
            for _ in 0..4 {
                let commands: Vec<String> = (0..60).map(|_| random_command(&mut rng)).collect();
                let gate = world.gate.clone();
                let held = (receive_buffer == 4096).then(|| gate.lock().unwrap());
                world::ip_batch_forced(commands);
                drop(held);
                world.equals_a_fresh_dump();
            }
            assert_eq!(world.counters.malformed(), 0);
            match receive_buffer {
                4096 => lost += world.counters.overruns(),
                _ => assert_eq!(world.counters.overruns(), 0),
            }
        }
        assert!(lost > 0);
    });
}

#[test]
fn without_netlink_sysfs_tells_the_same() {
    alone("sysfs", || {
        own_sysfs();
        veth();
        ip("link add br0 type bridge");
        ip_bytes(&[b"link", b"add", b"a\xff", b"type", b"veth", b"peer", b"name", b"a1"]);
        ip_bytes(&[b"link", b"set", b"a\xff", b"alias", b"x\ny\xff"]);
        ip_bytes(&[b"addr", b"add", b"10.9.0.1/24", b"dev", b"a\xff"]);
        ip("link set v1 master br0");
        ip("addr add 10.0.0.2/24 dev v0");
        ip("-6 addr add fd00::2/64 dev v0 nodad");
        ip("route add default via 10.0.0.1 metric 5");
        ip("-6 route add default via fd00::1 metric 9");
        let mut world = World::start(unaided());
        world.until("the dump", |n| n.links.len() == 6);
        world.equals_a_fresh_dump();

        let mut poller = sysfs::Poller::new(Options::default());
        let dump = |poller: &mut sysfs::Poller| match poller.poll().map(|o| o.evidence) {
            Some(Evidence::Network(NetworkChange::Dump(network))) => Some(*network),
            None => None,
            other => panic!("{other:?}"),
        };
        let polled = dump(&mut poller).expect("the first is told");
        assert_eq!(polled.links.len(), world.network.links.len());
        for (index, theirs) in &world.network.links {
            let ours = &polled.links[index];
            let facts = |l: &netmon_agent::observation::Link| {
                (l.name.clone(), l.alias.clone(), l.admin_up, l.carrier, l.oper, l.loopback)
            };
            assert_eq!(facts(ours), facts(theirs));
            let more = |l: &netmon_agent::observation::Link| {
                (l.mtu, l.master, l.mac.clone(), l.carrier_changes, l.speed_mbps, l.kind.is_some())
            };
            assert_eq!(more(ours), more(theirs).clone(), "{}", ours.name.escaped());
        }
        assert_eq!(polled.addresses, world.network.addresses);
        assert_eq!(polled.routes, world.network.routes);
        assert!(dump(&mut poller).is_none(), "nothing has changed");
        ip("link set v0 down");
        let after = dump(&mut poller).expect("a change");
        assert!(after.routes.iter().all(|r| !r.is_default() || r.destination.is_ipv6()));

        let v0 = index(&world.network, b"v0").unwrap();
        let of_v0 = |all: Vec<(IfIndex, _)>| all.into_iter().find(|(i, _)| *i == v0).unwrap().1;
        assert_eq!(of_v0(sysfs::stats()), of_v0(StatsReader::open().read()));
    });
}
