//! R1–R3, R2b, R16: what links, addresses, routes and neighbours make of a verdict.

use super::*;

#[test]
fn r1_unknown_until_every_target_has_its_first_verdict() {
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    w.answer("1.1.1.1", false);
    w.probe_all();
    assert_eq!(w.state(), State::Unknown);
    assert!(w.until(State::Degraded, 6000) <= 3000);
    let network: Vec<_> = w.changes.iter().filter(|c| c.1 == Subject::Network).collect();
    assert_eq!(network.len(), 1, "no other verdict on the way: {network:?}");
}

#[test]
fn r2_a_lost_link_is_down_at_once_and_r3_explains_the_targets() {
    for (change, code) in [
        ((|l| l.carrier = false) as fn(&mut Link), ReasonCode::NoCarrier),
        (|l| l.admin_up = false, ReasonCode::AdminDown),
        (|l| l.oper = OperState::LowerLayerDown, ReasonCode::OperDown),
    ] {
        let mut w = World::usual();
        w.link(change);
        assert_eq!((w.state(), w.codes()[0]), (State::Down, code), "in the same instant");
        assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::ExplainedByLink)));
        w.all_answer(false);
        w.run(10_000);
        assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::ExplainedByLink)));
        w.all_answer(true);
        w.link(|l| *l = Link { admin_up: true, carrier: true, oper: OperState::Up, ..l.clone() });
        assert!(w.until(State::Up, 3000) >= 500, "three replies at 250 ms");
    }
}

#[test]
fn r2_an_address_or_the_default_route_removed() {
    let mut w = World::usual();
    let a = w.health.network().addresses.values().next().unwrap().clone();
    w.network(NetworkChange::AddressGone(a));
    assert_eq!((w.state(), w.codes()[0]), (State::Down, ReasonCode::NoAddress));

    let mut w = World::usual();
    w.network(NetworkChange::LinkGone(IfIndex(2)));
    assert_eq!((w.state(), w.codes()), (State::Down, vec![ReasonCode::NoRoute]));
}

#[test]
fn r2_a_resolver_of_its_own_makes_no_network() {
    let mut w = World::usual();
    let stub = target(3, "dns-127.0.0.53", "dns", "127.0.0.53", Role::Plain);
    let mut all: Vec<_> = w.health.targets().map(|t| t.spec.clone()).collect();
    all.push(stub.clone());
    w.health.set_targets(w.moment(), all);
    w.run(2500);
    assert_eq!(w.state(), State::Up);
    w.link(|l| l.carrier = false);
    assert_eq!((w.state(), w.codes()[0]), (State::Down, ReasonCode::NoCarrier));

    let mut w = World::new(Settings::default(), Network::default());
    w.health.set_targets(w.moment(), vec![stub]);
    w.run(2500);
    assert_eq!(w.state(), State::Up, "where the machine itself is all that is asked for");
}

#[test]
fn r2_a_link_that_is_not_watched_is_blamed_even_when_its_routes_are_gone() {
    let mut w = World::new(Settings::default(), uplink(2, "lo-like", "10.0.0.2", "10.0.0.1"));
    let unwatched = Watch::new(&["*".into()], &["lo*".into()]).unwrap();
    w.health.configure(w.moment(), Settings::default(), unwatched);
    w.run(3000);
    w.link(|l| l.admin_up = false);
    w.network(NetworkChange::Routes { routes: Vec::new(), truncated: false });
    assert_eq!((w.state(), w.codes()), (State::Down, vec![ReasonCode::AdminDown, ReasonCode::NoRoute]));
}

#[test]
fn r2b_a_watched_device_down_degrades_and_a_required_one_decides() {
    let mut both = uplink(2, "eth0", "10.0.0.2", "10.0.0.1");
    let second = uplink(3, "eth1", "10.1.0.2", "10.1.0.1");
    both.links.extend(second.links);
    both.addresses.extend(second.addresses);
    both.routes.extend(second.routes);
    let required = Settings { required: vec!["eth0".into()], ..Settings::default() };
    for (settings, expected) in [(Settings::default(), State::Degraded), (required, State::Down)] {
        let mut w = World::new(settings, both.clone());
        w.run(3000);
        assert_eq!(w.state(), State::Up);
        w.link(|l| l.carrier = false);
        assert_eq!(w.state(), expected);
    }
}

#[test]
fn a_device_that_is_watched_again_is_published() {
    let mut w = World::usual();
    let watch = |not: &str| Watch::new(&["*".into()], &[not.into()]).unwrap();
    w.health.configure(w.moment(), Settings::default(), watch("eth*"));
    w.drain();
    assert_eq!((w.health.take_dirty(), w.health.devices().count()), (true, 0));
    w.health.configure(w.moment(), Settings::default(), watch("lo"));
    w.drain();
    assert_eq!((w.health.take_dirty(), w.device()), (true, (State::Up, None)));
}

#[test]
fn r16_a_gap_is_unknown_until_the_dump() {
    let mut w = World::usual();
    w.observe(Evidence::Gap(SourceKind::Netlink));
    assert_eq!((w.state(), w.codes()[0]), (State::Unknown, ReasonCode::Gap));
    w.run(50);
    let mut fresh = w.health.network().clone();
    fresh.links.get_mut(&IfIndex(2)).unwrap().carrier = false;
    w.network(NetworkChange::Dump(Box::new(fresh.clone())));
    assert_eq!(w.state(), State::Down, "what was missed is known now");
    assert_eq!(*w.health.network(), fresh);
}

#[test]
fn r16_a_gap_makes_no_target_worse_and_what_is_told_in_it_waits_for_the_dump() {
    let mut w = World::usual();
    let mut both = target(7, "both", "own", "9.9.9.9", Role::Plain);
    both.addresses.push(ip("2001:db8::9"));
    let specs = w.health.targets().map(|t| t.spec.clone()).chain([both]).collect();
    w.health.set_targets(w.moment(), specs);
    w.run(4000);
    assert_eq!(w.target("both"), (State::Up, None), "the family that has no route is no evidence");
    let before = w.health.network().clone();
    w.observe(Evidence::Gap(SourceKind::Netlink));
    w.observe(Evidence::ResolveFailed { target: TargetId(7), error: String::new() });
    assert_eq!(w.target("both"), (State::Up, Some(ReasonCode::Dns)));
    w.link(|l| l.carrier = false);
    assert_eq!((w.state(), w.target("both").0), (State::Unknown, State::Up));
    w.network(NetworkChange::Dump(Box::new(before)));
    assert_eq!((w.state(), w.target("both").0), (State::Up, State::Up));
}

#[test]
fn r16_before_the_first_dump_there_is_nothing_to_lose() {
    let watch = Watch::new(&["*".into()], &[]).unwrap();
    let mut health = Health::new(moment(START, 0), Settings::default(), watch, true);
    let gap = Observation { at: moment(START, 0).mono, evidence: Evidence::Gap(SourceKind::Netlink) };
    health.handle(moment(START, 0), gap);
    assert_eq!(health.verdict().reasons[0].code, ReasonCode::Starting);
}

#[test]
fn a_gateway_silent_to_echo_is_judged_by_its_neighbour_entry() {
    use crate::observation::{Neighbour, NeighbourState};
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    w.answer("10.0.0.1", false);
    let neighbour = |state| {
        NetworkChange::Neighbour(Neighbour { ifindex: IfIndex(2), address: ip("10.0.0.1"), state, mac: None })
    };
    w.network(neighbour(NeighbourState::Stale));
    w.run(6000);
    assert_eq!(w.state(), State::Up);
    assert_eq!(w.target("gateway"), (State::Up, Some(ReasonCode::GatewaySilent)));
    w.network(neighbour(NeighbourState::Failed));
    assert_eq!(w.target("gateway").0, State::Down);
    w.run(1);
    assert_eq!(w.state(), State::Degraded);
}

#[test]
fn a_gateway_that_begins_to_answer_is_no_worse_for_it() {
    use crate::observation::{Neighbour, NeighbourState};
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    let told = |state| {
        NetworkChange::Neighbour(Neighbour { ifindex: IfIndex(2), address: ip("10.0.0.1"), state, mac: None })
    };
    w.answer("10.0.0.1", false);
    w.network(told(NeighbourState::Stale));
    w.run(6000);
    w.answer("10.0.0.1", true);
    w.changes.clear();
    for state in [NeighbourState::Delay, NeighbourState::Probe, NeighbourState::Reachable]
        .into_iter()
        .cycle()
        .take(300)
    {
        w.run(10);
        w.network(told(state));
    }
    assert_eq!((w.target("gateway"), w.changes.len()), ((State::Up, None), 0), "{:?}", w.changes);
}

#[test]
fn a_gateway_that_another_replaces_is_no_fault() {
    let mut w = World::usual();
    let mut routes = w.health.network().routes.clone();
    routes[0].gateway = Some(ip("10.0.0.3"));
    w.network(NetworkChange::Routes { routes: routes.clone(), truncated: false });
    assert_eq!((w.state(), w.changes.len()), (State::Up, 0), "{:?}", w.changes);
    routes.remove(0);
    w.network(NetworkChange::Routes { routes, truncated: false });
    assert_eq!(w.target("gateway"), (State::Down, Some(ReasonCode::NoRoute)), "none in its place");
}

#[test]
fn a_renamed_link_lets_its_gateways_be_named_anew() {
    let mut w = World::usual();
    let mut link = w.health.network().links[&IfIndex(2)].clone();
    for (name, asked) in [("wan0", true), ("wan0", false)] {
        link.name = IfName::new(name);
        let change = Evidence::Network(NetworkChange::Link(Box::new(link.clone())));
        w.health.handle(w.moment(), Observation { at: w.moment().mono, evidence: change });
        let events: Vec<_> = std::iter::from_fn(|| w.health.poll_event()).collect();
        assert_eq!(events.contains(&Event::RoutesChanged), asked, "{events:?}");
    }
}
