use super::*;
use crate::observation::{Address, IfName, NeighbourState, Route};

const ETH: IfIndex = IfIndex(2);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(carrier: bool) -> Box<Link> {
    Box::new(Link { index: ETH, name: IfName::new(*b"eth0"), admin_up: true, carrier, ..Link::default() })
}

fn default_route(gateway: &str) -> Route {
    Route {
        table: 254,
        destination: ip("0.0.0.0"),
        prefix_len: 0,
        gateway: Some(ip(gateway)),
        ifindex: ETH,
        metric: 0,
    }
}

fn neighbour(address: &str, state: NeighbourState) -> Neighbour {
    Neighbour { ifindex: ETH, address: ip(address), state, mac: None }
}

fn read(routes: Vec<Route>, neighbours: Option<Vec<Neighbour>>) -> Routing {
    Routing { routes, truncated: false, neighbours, consistent: true }
}

fn everything(links: &[Box<Link>], routes: Vec<Route>) -> Everything {
    let links = links.iter().map(|l| (l.index, (**l).clone())).collect();
    let network = Network { links, routes, ..Network::default() };
    Everything { network, assigned: Vec::new(), consistent: true }
}

/// A tracker that has told of `eth0` with a gateway.
fn tracker() -> Tracker {
    let mut t = Tracker::default();
    t.begin_everything();
    t.everything(everything(&[link(true)], vec![default_route("10.0.0.1")]), true).unwrap();
    t
}

fn told(t: &mut Tracker, event: Event) -> Vec<NetworkChange> {
    let mut out = Vec::new();
    t.event(event, &mut out);
    out
}

#[test]
fn what_changes_nothing_is_not_told() {
    let mut t = tracker();
    assert!(told(&mut t, Event::Link(link(true))).is_empty());
    assert_eq!(told(&mut t, Event::Link(link(false))).len(), 1);
    assert!(told(&mut t, Event::LinkGone(IfIndex(9))).is_empty());
    assert!(told(&mut t, Event::NeighbourGone(ETH, ip("10.0.0.1"))).is_empty());
}

#[test]
fn a_lost_link_has_its_routes_read_and_a_changed_name_has_not() {
    let mut t = tracker();
    let consequences = |t: &mut Tracker, l: Box<Link>| t.event(Event::Link(l), &mut Vec::new());
    let renamed = Box::new(Link { name: IfName::new(*b"lan"), ..*link(true) });
    assert_eq!(consequences(&mut t, renamed), Consequences::default());
    let down = consequences(&mut t, link(false));
    assert_eq!(down, Consequences { routes: true, speed: None });
    let up = consequences(&mut t, link(true));
    assert_eq!(up, Consequences { routes: true, speed: Some(ETH) });
}

#[test]
fn speed_stays_while_carrier_does() {
    let mut t = tracker();
    let mut out = Vec::new();
    t.speed(ETH, Some(1000), &mut out);
    assert!(matches!(&out[..], [NetworkChange::Link(l)] if l.speed_mbps == Some(1000)));
    let mut changed = link(true);
    changed.mtu = 1400;
    assert!(
        matches!(&told(&mut t, Event::Link(changed))[..], [NetworkChange::Link(l)] if l.speed_mbps == Some(1000))
    );
    assert!(
        matches!(&told(&mut t, Event::Link(link(false)))[..], [NetworkChange::Link(l)] if l.speed_mbps.is_none())
    );
    out.clear();
    t.speed(IfIndex(9), Some(10), &mut out);
    assert!(out.is_empty(), "the link went before its driver answered");
}

#[test]
fn neighbours_are_gateways_alone_and_go_with_the_route() {
    let mut t = tracker();
    assert!(told(&mut t, Event::Neighbour(neighbour("10.0.0.9", NeighbourState::Stale))).is_empty());
    assert_eq!(told(&mut t, Event::Neighbour(neighbour("10.0.0.1", NeighbourState::Stale))).len(), 1);
    let mut out = Vec::new();
    t.begin_routing();
    t.routing(read(vec![], None), &mut out);
    assert!(
        matches!(&out[..], [NetworkChange::Routes { .. }, NetworkChange::NeighbourGone { .. }]),
        "{out:?}"
    );
}

#[test]
fn a_new_gateways_neighbour_heard_while_routes_were_read_is_newer_than_what_was_read() {
    let mut t = tracker();
    assert_eq!(t.begin_routing(), BTreeSet::from([(ETH, ip("10.0.0.1"))]));
    assert!(told(&mut t, Event::Neighbour(neighbour("10.0.0.2", NeighbourState::Failed))).is_empty());
    let mut out = Vec::new();
    let old = neighbour("10.0.0.2", NeighbourState::Reachable);
    assert!(!t.routing(read(vec![default_route("10.0.0.2")], Some(vec![old])), &mut out));
    assert_eq!(t.network().neighbours[&(ETH, ip("10.0.0.2"))].state, NeighbourState::Failed);
}

#[test]
fn too_many_neighbour_events_and_a_failed_reading_have_neighbours_read_again() {
    let mut t = tracker();
    t.begin_routing();
    for i in 0..=MAX_HELD as u32 {
        let n = Neighbour {
            address: std::net::Ipv4Addr::from_bits(i).into(),
            ..neighbour("::", NeighbourState::Stale)
        };
        told(&mut t, Event::Neighbour(n));
    }
    assert!(t.routing(read(vec![default_route("10.0.0.1")], None), &mut Vec::new()));
    assert!(t.begin_routing().is_empty(), "no gateway's neighbour is known");
    t.routing_failed();
    assert!(t.begin_routing().is_empty());
    t.routing(read(vec![default_route("10.0.0.1")], None), &mut Vec::new());
    assert_eq!(t.begin_routing().len(), 1);
}

#[test]
fn an_address_is_gone_with_the_last_of_its_peers() {
    let mut t = tracker();
    let with = |peer: &str| Assigned {
        address: Address { ifindex: ETH, address: ip("10.0.0.1"), prefix_len: 32, usable: true },
        peer: Some(ip(peer)),
    };
    assert_eq!(told(&mut t, Event::Address(with("10.1.0.1"))).len(), 1);
    assert!(told(&mut t, Event::Address(with("10.2.0.1"))).is_empty());
    assert!(told(&mut t, Event::AddressGone(with("10.1.0.1"))).is_empty());
    assert!(matches!(
        &told(&mut t, Event::AddressGone(with("10.2.0.1")))[..],
        [NetworkChange::AddressGone(_)]
    ));
}

#[test]
fn a_reading_of_everything_is_told_if_it_differs_and_never_undoes_an_event() {
    let mut t = tracker();
    let same = || everything(&[link(true)], vec![default_route("10.0.0.1")]);
    t.begin_everything();
    assert_eq!(t.everything(same(), false), None);

    // The link was read before it lost its carrier; the event came after.
    t.begin_everything();
    told(&mut t, Event::Link(link(false)));
    assert_eq!(t.everything(same(), false), None);
    assert!(!t.network().links[&ETH].carrier);

    t.begin_everything();
    let mut aliased = link(false);
    aliased.alias = Some(b"new".to_vec());
    let read = everything(&[aliased.clone()], vec![default_route("10.0.0.1")]);
    assert!(matches!(t.everything(read, false), Some(NetworkChange::Dump(n)) if n.links[&ETH] == *aliased));
}
