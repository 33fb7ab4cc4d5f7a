//! The kernel's TCP sockets as this source tells them, held against `ss`, over a veth pair between two network
//! namespaces of the test's own. It needs root.

#![expect(clippy::unwrap_used, reason = "what a test stands on fails the test")]

#[path = "netns/mod.rs"]
mod netns;
#[path = "sockdiag/world.rs"]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{IpAddr, TcpListener},
    time::Duration,
};

use netmon_agent::{
    observation::IfIndex,
    source::sockdiag::{Census, Look, Progress, Reader, Socket, Step, Tally},
    time::Mono,
};
use netmon_ebpf::prefix_hash;
use netns::{alone, ip};
use world::{Pair, Peer, index_of, settle, ss};

fn dump(reader: &mut Reader) -> BTreeMap<u64, Socket> {
    let (all, summary) = reader.collect(Vec::new, |all, socket| all.push(*socket)).unwrap();
    assert_eq!((summary.malformed, summary.sockets), (0, all.len() as u64));
    let by_cookie: BTreeMap<u64, Socket> = all.iter().map(|socket| (socket.cookie, *socket)).collect();
    assert_eq!(by_cookie.len(), all.len(), "each socket once");
    by_cookie
}

/// All that `ss` tells, we tell, and nothing else.
fn agrees_with_ss(ours: &BTreeMap<u64, Socket>) {
    let theirs = ss();
    assert_eq!(ours.keys().collect::<BTreeSet<_>>(), theirs.keys().collect());
    for (cookie, theirs) in &theirs {
        let ours = &ours[cookie];
        assert_eq!((ours.local, ours.remote), (theirs.local, theirs.remote));
        // `ss` leaves out what is 0.
        assert_eq!(u64::from(ours.segments_sent.unwrap()), theirs.figure("segs_out:"), "{theirs:?}");
        assert_eq!(ours.bytes_acked.unwrap(), theirs.figure("bytes_acked:"), "{theirs:?}");
        assert_eq!(ours.rtt.map_or(0, |rtt| rtt.as_micros() as u64), theirs.rtt_micros(), "{theirs:?}");
        let again = theirs.word("retrans:").map_or(0, |w| w.split_once('/').unwrap().1.parse().unwrap());
        assert_eq!(ours.segments_sent_again.unwrap(), again, "{theirs:?}");
    }
}

#[test]
fn every_socket_is_told_as_ss_tells_it_and_sums_are_exact() {
    alone("sockets", || {
        let peer = Peer::join();
        let mut reader = Reader::open().unwrap();
        let veth = index_of("nmsd0");
        let interface_of = |address: IpAddr| {
            let own = ["10.98.0.1", "fd98::1"];
            own.iter().any(|own| own.parse() == Ok(address)).then_some(veth)
        };
        let mut old = Pair::new(&peer, "10.98.0.2", None);
        old.send(700_000);
        let look = |sockets: &BTreeMap<u64, Socket>| {
            let (mut tally, mut look) = (Tally::default(), Look::default());
            for socket in sockets.values() {
                tally.add(socket, interface_of);
                look.add(socket, interface_of);
            }
            (tally, look)
        };

        let first = dump(&mut reader);
        agrees_with_ss(&first);
        assert_eq!(first.len(), 1);
        let (mut census, mut progress) = (Census::default(), Progress::default());
        let (tally, seen) = look(&first);
        let started = census.settle(&BTreeMap::new(), &tally);
        assert_eq!(started, BTreeMap::from([(veth, 0)]), "what went before is left out");
        assert_eq!(progress.settle(Mono::now(), seen), None);

        // All kinds: IPv4, IPv6, IPv4 of an IPv6 socket, and one bound to the device; one that stays silent.
        let kernel = segments_out();
        let mut v4 = Pair::new(&peer, "10.98.0.2", None);
        let mut v6 = Pair::new(&peer, "fd98::2", None);
        let mut mapped = Pair::new(&peer, "::ffff:10.98.0.2", None);
        let mut bound = Pair::new(&peer, "10.98.0.2", Some("nmsd0"));
        let inside = TcpListener::bind("10.98.0.1:0").unwrap();
        let mut own = std::net::TcpStream::connect(inside.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = inside.accept().unwrap();
        own.write_all(&[7; 10_000]).unwrap();
        accepted.read_exact(&mut [0; 10_000]).unwrap();
        for (pair, bytes) in [(&mut v4, 100), (&mut v6, 300_000), (&mut mapped, 1), (&mut bound, 50_000)] {
            pair.send(bytes);
        }
        let second = dump(&mut reader);
        agrees_with_ss(&second);
        assert_eq!(second.len(), 7);
        let of =
            |local: &str| second.values().filter(|s| s.local == local.parse::<IpAddr>().unwrap()).count();
        assert_eq!((of("10.98.0.1"), of("fd98::1")), (6, 1));
        assert!(second.values().any(|s| s.bound == veth));

        let (tally, seen) = look(&second);
        let counted = census.settle(&BTreeMap::new(), &tally);
        // Tcp.OutSegs leaves out what was sent again; it has SYN-ACKs, of which there was one, within the host.
        let again: u64 = second.values().map(|s| u64::from(s.segments_sent_again.unwrap())).sum();
        // What goes to this host itself goes over loopback, whose-ever addresses it has.
        let is_inside = |s: &&Socket| s.remote == "10.98.0.1".parse::<IpAddr>().unwrap();
        let inside: u64 =
            second.values().filter(is_inside).map(|s| u64::from(s.segments_sent.unwrap())).sum();
        let all = segments_out() - kernel - 1 + again;
        assert_eq!(counted, BTreeMap::from([(IfIndex(1), inside), (veth, all - inside)]));
        let told = progress.settle(Mono::now(), seen).unwrap();
        let hash = |octets| prefix_hash(&octets);
        let v4_prefix = hash("::ffff:10.98.0.0".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let v6_prefix = hash("fd98::".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(told.prefixes, BTreeMap::from([(veth, BTreeSet::from([v4_prefix, v6_prefix]))]));

        // Only IPv6 goes on; and a socket closes, which another counts from then on, with a FIN more.
        v6.send(1000);
        let last = second.values().find(|s| s.bound == veth).unwrap();
        let closed = u64::from(last.segments_sent.unwrap()) + 1;
        drop(bound);
        let deadline = Mono::now() + Duration::from_secs(30);
        let third = loop {
            let third = dump(&mut reader);
            // What waits in FIN-WAIT-2 without an owner, or in TIME-WAIT, is no socket any more.
            if third.get(&last.cookie).is_none_or(|s| s.segments_sent.is_none()) {
                break third;
            }
            assert!(Mono::now() < deadline, "{third:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let (tally, seen) = look(&third);
        let now = census.settle(&BTreeMap::from([(veth, closed)]), &tally);
        // The kernel may acknowledge the other side's FIN with or without the socket.
        let kernel = segments_out() - kernel - 1 + again;
        assert!((kernel - 1..=kernel).contains(&(now[&veth] + inside)), "{now:?}, {kernel}");
        let told = progress.settle(Mono::now(), seen).unwrap();
        assert_eq!(told.prefixes, BTreeMap::from([(veth, BTreeSet::from([v6_prefix]))]));
    });
}

#[test]
fn silence_on_the_way_is_no_progress() {
    alone("silence", || {
        let peer = Peer::join();
        let mut reader = Reader::open().unwrap();
        let mut pair = Pair::new(&peer, "10.98.0.2", None);
        pair.send(5000);
        let mut progress = Progress::default();
        let mut look = |reader: &mut Reader| {
            let (look, _) = reader.collect(Look::default, |look, s| look.add(s, |_| None)).unwrap();
            progress.settle(Mono::now(), look)
        };
        look(&mut reader);
        // What arrives there now is for nobody.
        peer.ip("addr del 10.98.0.2/24 dev nmsd1");
        pair.near.write_all(&[1; 5000]).unwrap();
        let deadline = Mono::now() + Duration::from_secs(30);
        while dump(&mut reader).values().all(|s| s.segments_sent_again == Some(0)) {
            assert!(Mono::now() < deadline, "nothing was sent again");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(look(&mut reader).unwrap().prefixes.is_empty(), "sent, but not acknowledged");
        peer.ip("addr add 10.98.0.2/24 dev nmsd1");
        pair.far.read_exact(&mut [0; 5000]).unwrap();
        settle();
        let told = look(&mut reader).unwrap();
        assert_eq!(told.prefixes.keys().collect::<Vec<_>>(), [&IfIndex(0)], "bound to none, address of none");
        agrees_with_ss(&dump(&mut reader));
    });
}

#[test]
fn thousands_of_sockets_come_in_many_datagrams_each_once() {
    alone("many", || {
        ip("-6 addr add fd98::3 dev lo nodad");
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 20_000, 20_000).unwrap();
        let mut pairs = Vec::new();
        for address in ["127.0.0.1:0", "[fd98::3]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            for _ in 0..1500 {
                let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                pairs.push((near, listener.accept().unwrap()));
            }
        }
        let mut reader = Reader::open().unwrap();
        let all = dump(&mut reader);
        assert_eq!(all.len(), 2 * pairs.len());
        assert_eq!(all.keys().collect::<BTreeSet<_>>(), ss().keys().collect());

        // In steps, between which others get their turn.
        let (mut count, mut turns) = (0, 0);
        let summary = loop {
            match reader.step(|_| count += 1).unwrap() {
                Step::More => turns += 1,
                Step::Again => count = 0,
                Step::Done(summary) => break summary,
            }
        };
        assert_eq!((count, summary.interrupted), (all.len() as u64, false));
        assert!(turns > 20, "{turns} turns");
    });
}

/// `Tcp.OutSegs` of this namespace.
fn segments_out() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let mut columns = lines.next().unwrap().split(' ').zip(lines.next().unwrap().split(' '));
    columns.find(|(name, _)| *name == "OutSegs").unwrap().1.parse().unwrap()
}
