//! Each place, from a core in virtual time that has heard what leads there.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::*;
use crate::{
    health::{Event, Health, Role, State, TargetSpec, Watch},
    observation::{
        Address, Evidence, FailureReason, HttpRequest, IfIndex, IfName, Link, Method, Neighbour,
        NeighbourState, Network, NetworkChange, Observation, OperState, ProbeEvent, ProbeOutcome, Route,
        StampSource, TargetId,
    },
    time::{Boot, Moment, Mono},
};

const ETH0: IfIndex = IfIndex(2);
const GATEWAY: &str = "10.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(carrier: bool) -> Link {
    let oper = if carrier { OperState::Up } else { OperState::Down };
    Link { index: ETH0, name: IfName::new(*b"eth0"), admin_up: true, carrier, oper, ..Link::default() }
}

fn own(address: &str, prefix_len: u8) -> Address {
    Address { ifindex: ETH0, address: ip(address), prefix_len, usable: true }
}

fn route(destination: &str, prefix_len: u8, gateway: Option<&str>) -> Route {
    let (destination, gateway) = (ip(destination), gateway.map(ip));
    Route { table: 254, destination, prefix_len, gateway, ifindex: ETH0, metric: 100 }
}

/// One uplink with a gateway, and hosts beyond it, all of them answering.
pub(crate) struct World {
    /// Milliseconds.
    pub(crate) now: u64,
    seq: u64,
    pub(crate) health: Health,
    specs: Vec<TargetSpec>,
    known: Known,
    /// All that the core told since somebody last took it.
    pub(crate) events: Vec<Event>,
}

impl World {
    /// Hosts by name, address and method, beside the gateway.
    fn new(hosts: &[(&str, &[&str], Method)]) -> Self {
        let at = Moment::default().after(Duration::from_secs(1000));
        let watch = Watch::new(&["*".into()], &[]).unwrap();
        let gateway: (&str, &[&str], Method) = ("gateway", &[GATEWAY], Method::Icmp);
        let spec = |(i, (name, addresses, method)): (usize, &(&str, &[&str], Method))| TargetSpec {
            id: TargetId(i as u32),
            name: (*name).into(),
            host: (*name).to_owned(),
            scope: "custom".to_owned(),
            method: method.clone(),
            role: if i == 0 { Role::Gateway } else { Role::Plain },
            addresses: addresses.iter().map(|a| ip(a)).collect(),
            link: None,
        };
        let specs: Vec<TargetSpec> = [gateway].iter().chain(hosts).enumerate().map(spec).collect();
        let health = Health::new(at, crate::health::Settings::default(), watch, true);
        let mut world =
            Self { now: 1_000_000, seq: 0, health, specs, known: Known::default(), events: Vec::new() };
        let mut network = Network::default();
        for change in [
            NetworkChange::Link(Box::new(link(true))),
            NetworkChange::Address(own("10.0.0.2", 24)),
            NetworkChange::Routes {
                routes: vec![route("0.0.0.0", 0, Some(GATEWAY)), route("10.0.0.0", 24, None)],
                truncated: false,
            },
            neighbour(NeighbourState::Reachable),
        ] {
            network.apply(change);
        }
        world.network(NetworkChange::Dump(Box::new(network)));
        let (now, specs) = (world.moment(), world.specs.clone());
        world.health.set_targets(now, specs.clone());
        for spec in &specs {
            for address in &spec.addresses {
                world.answer(spec.id, *address);
            }
        }
        world.drain();
        if specs.iter().all(|s| !s.addresses.is_empty()) {
            assert_eq!(world.health.verdict().state, State::Up);
            assert_eq!(world.whole(), None);
        }
        world
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { mono: Mono::from_nanos(self.now * 1_000_000), boot: Boot::from_nanos(self.now * 1_000_000) }
    }

    fn hear(&mut self, evidence: Evidence) {
        self.now += 10;
        let now = self.moment();
        self.health.handle(now, Observation { at: now.mono, evidence });
    }

    pub(crate) fn network(&mut self, change: NetworkChange) {
        self.hear(Evidence::Network(change));
        self.drain();
    }

    fn probe(&mut self, target: TargetId, address: IpAddr, outcome: ProbeOutcome) {
        self.seq += 1;
        for outcome in [ProbeOutcome::Sent, outcome] {
            let event = ProbeEvent { target, address, seq: self.seq, outcome };
            self.hear(Evidence::Probe(event));
        }
    }

    pub(crate) fn answer(&mut self, target: TargetId, address: IpAddr) {
        let (rtt, stamp) = (Duration::from_millis(5), StampSource::Kernel);
        self.probe(target, address, ProbeOutcome::Reply { rtt, stamp, ttl: None, reordered: false });
    }

    /// The target of this name fails until it is down, at its first address.
    pub(crate) fn fail(&mut self, name: &str, reason: FailureReason) {
        let spec = self.specs.iter().find(|s| &*s.name == name).unwrap().clone();
        for _ in 0..6 {
            self.probe(spec.id, spec.addresses[0], ProbeOutcome::Failed { reason, reporter: None });
        }
        self.drain();
    }

    /// Every event, as the agent takes them.
    pub(crate) fn drain(&mut self) {
        let now = self.moment();
        while self.health.poll_timeout() <= now.mono {
            self.health.handle_timeout(now);
        }
        while let Some(event) = self.health.poll_event() {
            self.events.push(event);
        }
        let census = Census::of(&self.health);
        let at = Boot::from_nanos(self.now);
        for spec in &self.specs {
            let evident = self.health.target(spec.id).and_then(|t| of_target(&self.health, t, &census));
            let found = evident.map(|evident| self.known.in_hand(at, evident));
            self.known.put(spec.id, found);
        }
    }

    #[track_caller]
    fn evident(&self, name: &str) -> Evident {
        let target = self.health.targets().find(|t| &*t.spec.name == name).unwrap();
        of_target(&self.health, target, &Census::of(&self.health)).expect("a place")
    }

    /// Place and whether a look would tell more.
    #[track_caller]
    fn place(&self, name: &str) -> (Place, bool) {
        let evident = self.evident(name);
        (evident.place, evident.open.is_some())
    }

    fn whole(&self) -> Option<Place> {
        of_whole(&self.health, &self.known).map(|f| f.place)
    }
}

pub(crate) fn neighbour(state: NeighbourState) -> NetworkChange {
    NetworkChange::Neighbour(Neighbour { ifindex: ETH0, address: ip(GATEWAY), state, mac: None })
}

fn no_routes() -> NetworkChange {
    NetworkChange::Routes { routes: Vec::new(), truncated: false }
}

/// Two hosts, `a` and `b`, beyond the gateway.
pub(crate) fn pair() -> World {
    World::new(&[("a", &["192.0.2.1"], Method::Icmp), ("b", &["192.0.2.2"], Method::Icmp)])
}

fn one(method: Method) -> World {
    World::new(&[("h", &["192.0.2.1"], method), ("b", &["192.0.2.2"], Method::Icmp)])
}

#[test]
fn a_lost_link_is_the_link() {
    let mut w = pair();
    w.network(NetworkChange::Link(Box::new(link(false))));
    assert_eq!((w.place("a"), w.place("gateway")), ((Place::Link, false), (Place::Link, false)));
    assert_eq!(w.evident("a").detail, "eth0 has no carrier");
    assert_eq!(w.whole(), Some(Place::Link));
    let mut w = pair();
    w.network(NetworkChange::LinkGone(ETH0));
    assert_eq!((w.place("a"), w.whole()), ((Place::Link, false), Some(Place::Link)));
    assert_eq!(w.evident("a").detail, "the device that had the default route is gone");
}

#[test]
fn a_link_that_takes_its_routes_with_it_is_still_the_link() {
    let mut w = pair();
    w.network(no_routes());
    w.network(NetworkChange::Link(Box::new(Link { admin_up: false, ..link(false) })));
    assert_eq!((w.place("a"), w.whole()), ((Place::Link, false), Some(Place::Link)));
}

#[test]
fn a_second_link_that_is_lost_is_the_link() {
    let mut world = pair();
    let second = |carrier| Link { index: IfIndex(3), name: IfName::new(*b"eth1"), ..link(carrier) };
    world.network(NetworkChange::Link(Box::new(second(true))));
    world.network(NetworkChange::Address(Address { ifindex: IfIndex(3), ..own("10.1.0.2", 24) }));
    assert_eq!(world.whole(), None);
    world.network(NetworkChange::Link(Box::new(second(false))));
    assert_eq!(world.whole(), Some(Place::Link));
}

#[test]
fn a_removed_address_is_the_address_though_its_routes_went_too() {
    let mut w = pair();
    w.network(NetworkChange::AddressGone(own("10.0.0.2", 24)));
    w.network(no_routes());
    assert_eq!((w.place("a"), w.whole()), ((Place::Address, false), Some(Place::Address)));
    // With an address of the other family the link is usable.
    let mut w = pair();
    w.network(NetworkChange::Address(own("2001:db8::2", 64)));
    w.network(NetworkChange::AddressGone(own("10.0.0.2", 24)));
    w.network(no_routes());
    assert_eq!(w.evident("a").detail, "eth0 has no usable IPv4 address");
    assert_eq!((w.place("a"), w.whole()), ((Place::Address, false), Some(Place::Address)));
}

#[test]
fn a_removed_route_is_the_route() {
    let mut w = pair();
    let routes = vec![route("10.0.0.0", 24, None)];
    w.network(NetworkChange::Routes { routes, truncated: false });
    assert_eq!(w.place("a"), (Place::Route, false));
    assert_eq!(w.whole(), Some(Place::Route));
}

#[test]
fn a_gateway_that_does_not_answer_for_its_address_is_the_neighbour() {
    let mut w = pair();
    w.fail("gateway", FailureReason::Timeout);
    assert_eq!(w.place("gateway"), (Place::Gateway, false));
    assert_eq!(
        w.evident("gateway").detail,
        "the gateway 10.0.0.1 on eth0 does not answer; its link-layer address is reachable"
    );
    w.network(neighbour(NeighbourState::Failed));
    assert_eq!(w.place("gateway"), (Place::Neighbour, false));
    assert_eq!(
        w.evident("gateway").detail,
        "the gateway 10.0.0.1 on eth0 does not answer for its address (ARP)"
    );
    assert_eq!(w.whole(), Some(Place::Neighbour));
    // What lies behind it is explained by it, once nothing there answers.
    w.fail("a", FailureReason::Timeout);
    assert_eq!(w.place("a"), (Place::Path, true), "another host behind it answers still");
    w.fail("b", FailureReason::Timeout);
    assert_eq!((w.place("a"), w.place("b")), ((Place::Neighbour, false), (Place::Neighbour, false)));
    // The kernel says of what lies behind such a gateway that it can't be reached.
    w.fail("a", FailureReason::HostUnreachable);
    assert_eq!(w.place("a"), (Place::Neighbour, false));
}

#[test]
fn a_silent_gateway_explains_what_lies_behind_it() {
    let mut w = pair();
    for name in ["a", "b", "gateway"] {
        w.fail(name, FailureReason::Timeout);
    }
    assert_eq!((w.place("a"), w.place("b")), ((Place::Gateway, false), (Place::Gateway, false)));
    assert_eq!((w.health.verdict().state, w.whole()), (State::Down, Some(Place::Gateway)));
}

#[test]
fn silence_beyond_a_gateway_that_answers_is_the_path_and_open() {
    let mut w = pair();
    w.fail("a", FailureReason::Timeout);
    let evident = w.evident("a");
    assert_eq!((evident.place, evident.open), (Place::Path, Some(ip("192.0.2.1"))));
    assert_eq!(
        evident.detail,
        "the gateway 10.0.0.1 on eth0 answers, the target behind it does not, others behind it do"
    );
    w.fail("b", FailureReason::Timeout);
    let said = "everything beyond gateway 10.0.0.1 is silent, the gateway answers";
    assert_eq!((w.evident("a").detail.as_str(), w.evident("b").detail.as_str()), (said, said));
    assert_eq!((w.health.verdict().state, w.whole()), (State::Degraded, Some(Place::Path)));
    let census = Census::of(&w.health);
    let way = w.health.target(TargetId(1)).unwrap().addresses[0].way.clone().unwrap();
    let tally = census.beyond(&way, false);
    assert_eq!((tally.known, tally.down, census.beyond(&way, true).known), (2, 2, 0));
}

#[test]
fn a_gateway_under_examination_is_not_said_to_answer() {
    let mut w = pair();
    w.probe(
        TargetId(0),
        ip(GATEWAY),
        ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None },
    );
    w.fail("a", FailureReason::Timeout);
    w.fail("b", FailureReason::Timeout);
    assert_eq!(w.place("a"), (Place::Path, true));
    assert!(w.evident("a").detail.ends_with("is being examined"), "{:?}", w.evident("a"));
}

#[test]
fn each_way_to_fail_has_its_place() {
    use FailureReason::{
        HostUnreachable, NxDomain, PacketTooBig, PortUnreachable, Prohibited, Protocol, Refused, SendError,
        ServFail, Status, Timeout, Tls,
    };
    let http = || Method::Http(Arc::new(HttpRequest::default()));
    let tcp = || Method::Tcp { port: 443 };
    for (method, reason, place, open) in [
        (tcp(), Refused, Place::Port, false),
        (tcp(), PortUnreachable, Place::Port, false),
        (tcp(), Timeout, Place::Path, true),
        (Method::Icmp, PortUnreachable, Place::Path, true),
        (Method::Icmp, HostUnreachable, Place::Path, true),
        (Method::Icmp, Prohibited, Place::Path, true),
        (Method::Icmp, PacketTooBig, Place::PathMtu, true),
        (Method::Icmp, SendError, Place::Local, true),
        (http(), Status, Place::Port, false),
        (http(), Tls, Place::Port, false),
        (http(), Protocol, Place::Port, false),
        (Method::dns(53), ServFail, Place::Dns, false),
        (Method::dns(53), NxDomain, Place::Dns, false),
        (Method::dns(53), Timeout, Place::Dns, true),
    ] {
        let mut w = one(method.clone());
        w.fail("h", reason);
        assert_eq!(w.place("h"), (place, open), "{method:?} {reason}");
        assert_eq!(w.whole(), Some(place), "{method:?} {reason}");
    }
    let mut w = one(tcp());
    w.fail("h", Refused);
    assert_eq!(w.evident("h").detail, "port 443 of h is closed, the host answers");
}

#[test]
fn a_resolver_on_a_gateway_that_answers_is_dns_and_needs_no_look() {
    let mut w = World::new(&[("dns", &[GATEWAY], Method::dns(53))]);
    w.fail("dns", FailureReason::Timeout);
    assert_eq!(w.place("dns"), (Place::Dns, false));
    w.fail("gateway", FailureReason::Timeout);
    assert_eq!(w.place("dns"), (Place::Gateway, false));
}

#[test]
fn a_host_on_the_link_is_looked_at() {
    let mut w = World::new(&[("near", &["10.0.0.77"], Method::Icmp)]);
    w.fail("near", FailureReason::Timeout);
    assert_eq!(w.place("near"), (Place::Path, true));
    assert_eq!(w.evident("near").detail, "it is on the link of eth0 itself, and does not answer");
}

#[test]
fn of_several_addresses_the_one_that_fails_is_looked_at() {
    let mut w = World::new(&[("h", &["192.0.2.1", "192.0.2.2"], Method::Icmp)]);
    w.fail("h", FailureReason::Timeout);
    let target = w.health.target(TargetId(1)).unwrap();
    assert_eq!(target.verdict.state, State::Degraded);
    assert_eq!(w.evident("h").open, Some(ip("192.0.2.1")));
}

#[test]
fn a_name_that_is_not_resolved_is_dns() {
    let mut w = World::new(&[("name", &[], Method::Icmp)]);
    w.hear(Evidence::ResolveFailed { target: TargetId(1), error: "SERVFAIL".to_owned() });
    w.drain();
    assert_eq!(w.place("name"), (Place::Dns, false));
}

#[test]
fn an_agent_that_stood_still_is_local() {
    let mut w = pair();
    w.now += 5000;
    w.health.handle_timeout(w.moment());
    w.drain();
    let found = of_whole(&w.health, &w.known).unwrap();
    assert_eq!((w.health.verdict().state, found.place), (State::Unknown, Place::Local));
    assert!(found.detail.starts_with("the agent stood still for 5"), "{}", found.detail);
    let target = w.health.target(TargetId(1)).unwrap();
    assert_eq!(of_target(&w.health, target, &Census::of(&w.health)), None, "nothing is known of it");
}

#[test]
fn the_nearest_place_is_the_wholes_and_beyond_the_gateway_one_that_was_looked_at() {
    let mut w = World::new(&[
        ("a", &["192.0.2.1"], Method::Icmp),
        ("b", &["192.0.2.2"], Method::Tcp { port: 443 }),
        ("c", &["192.0.2.3"], Method::Icmp),
    ]);
    w.fail("a", FailureReason::Timeout);
    w.fail("b", FailureReason::Refused);
    let target = |w: &World| of_whole(&w.health, &w.known).and_then(|f| f.target).unwrap();
    assert_eq!((w.whole(), &*target(&w)), (Some(Place::Path), "a"));
    let trace = Trace {
        address: ip("192.0.2.2"),
        source: None,
        method: "icmp".to_owned(),
        hops: Vec::new(),
        reached: true,
        path_mtu: Some(1300),
    };
    let took = Duration::from_millis(1);
    let finding = Finding { trace: Some(trace), took, ..Finding::in_hand(Place::PathMtu, "narrow") };
    w.known.put(TargetId(2), Some(Diagnosis { at: Boot::default(), finding: Arc::new(finding) }));
    assert_eq!((w.whole(), &*target(&w)), (Some(Place::PathMtu), "b"));
    let near = Finding::in_hand(Place::Gateway, "near");
    w.known.put(TargetId(3), Some(Diagnosis { at: Boot::default(), finding: Arc::new(near) }));
    assert_eq!((w.whole(), &*target(&w)), (Some(Place::Gateway), "c"));
}

#[test]
fn loss_is_laid_to_where_it_begins() {
    use crate::observation::FailureReason::Timeout;
    // One in four is lost, never six in a row: R9 finds it within two minutes of samples two seconds apart.
    let mut w = pair();
    let lossy = |w: &mut World, ids: &[u32]| {
        for i in 0..90 {
            for id in 0..3 {
                let (target, address) = (TargetId(id), w.specs[id as usize].addresses[0]);
                if ids.contains(&id) && i % 4 == 0 {
                    w.probe(target, address, ProbeOutcome::Failed { reason: Timeout, reporter: None });
                } else {
                    w.answer(target, address);
                }
            }
            w.now += 1940;
            w.health.handle_timeout(w.moment());
        }
        w.drain();
    };
    lossy(&mut w, &[1]);
    assert_eq!(w.place("a"), (Place::Path, false));
    assert_eq!(
        w.evident("a").detail,
        "packets are lost beyond the gateway 10.0.0.1 on eth0, which answers well"
    );
    lossy(&mut w, &[0, 1]);
    assert_eq!((w.place("gateway"), w.place("a")), ((Place::Gateway, false), (Place::Gateway, false)));
}
