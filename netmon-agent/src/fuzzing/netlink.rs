//! Messages of rtnetlink, and the tables of `/proc/net`.

use std::{collections::BTreeMap, io};

use super::{
    decode::{self, Event},
    decode_link,
    dump::{Everything, Kept, Routing, sort, ways},
    stats, sysfs,
    tracker::Tracker,
    wire::{self, Malformed},
};
use crate::observation::{IfIndex, Network, NetworkChange};

/// Whether a piece lies within the whole.
fn is_within(piece: &[u8], whole: &[u8]) -> bool {
    let (piece, whole) = (piece.as_ptr_range(), whole.as_ptr_range());
    whole.start <= piece.start && piece.end <= whole.end
}

/// A datagram of events: no message reaches beyond it, whoever applies the changes has the network as told, and an event
/// that comes twice changes nothing the second time.
pub fn datagram(bytes: &[u8]) {
    let (mut tracker, mut told) = (Tracker::default(), Network::default());
    take(bytes, &mut tracker, &mut told);
}

fn take(bytes: &[u8], tracker: &mut Tracker, told: &mut Network) {
    let mut changes = Vec::new();
    for message in wire::Messages(bytes) {
        let Ok(message) = message else { break };
        assert!(is_within(message.payload, bytes), "a message beyond its datagram");
        if let Ok(Some((index, counted))) = stats::counters(&message) {
            assert!(index.0 != 0 || message.kind == wire::RTM_NEWSTATS, "counters of no device: {counted:?}");
        }
        let Ok(Some(event)) = decode::event(&message) else { continue };
        if let Event::Link(link) = &event {
            assert!(link.index.0 != 0 && link.name.as_bytes().len() <= message.payload.len(), "{link:?}");
            assert!(!link.name.as_bytes().contains(&0), "a name with a NUL: {link:?}");
        }
        tracker.event(event.clone(), &mut changes);
        changes.drain(..).for_each(|change| told.apply(change));
        tracker.event(event, &mut changes);
        assert!(changes.is_empty(), "told twice: {changes:?}");
    }
    assert_eq!(told, tracker.network(), "whoever applies the changes has another network");
}

/// Whole readings with events meanwhile: `links`, `addresses`, `routes` (by family), `nexthops` and `neighbours` are the
/// messages of the dumps, `events` comes while they are read. Default routes are kept whatever the bound, and the changes
/// lead to the network as told.
pub fn readings(dumps: &[u8], events: &[u8], room: usize) {
    let messages = |kind: u16| {
        wire::Messages(dumps).map_while(Result::ok).filter(move |m| m.kind == kind).map(|m| m.payload)
    };
    let each = |kind, family| messages(kind).filter_map(move |p| decode::route(family, p).ok().flatten());
    let nexthops: BTreeMap<u32, decode::Nexthop> = messages(wire::RTM_NEWNEXTHOP)
        .filter_map(|payload| decode::nexthop(payload).ok())
        .map(|nexthop| (nexthop.id, nexthop))
        .collect();
    let (mut routing, mut kept, mut defaults) = (Routing::default(), Kept::default(), 0);
    for family in [wire::AF_INET, wire::AF_INET6] {
        for raw in each(wire::RTM_NEWROUTE, family) {
            assert!(raw.prefix_len <= if family == wire::AF_INET { 32 } else { 128 });
            assert!(raw.table != 255 && (raw.nexthop.is_some() || !raw.hops.is_empty()), "{raw:?}");
            defaults += usize::from(raw.prefix_len == 0);
            kept.add(raw, room);
        }
    }
    let of_default = kept.routes.iter().filter(|route| route.prefix_len == 0).count();
    assert_eq!(of_default, defaults, "a default route was left out");
    assert!(kept.routes.len() - of_default <= room, "more routes than there is room for");
    routing.routes = kept.routes.iter().flat_map(|raw| ways(raw, &nexthops)).collect();
    sort(&mut routing.routes);
    let neighbours = messages(wire::RTM_NEWNEIGH).filter_map(|p| decode::neighbour(p).ok().flatten());
    routing.neighbours = Some(neighbours.filter(|(_, gone)| !gone).map(|(neighbour, _)| neighbour).collect());
    routing.consistent = true;

    let assigned: Vec<_> =
        messages(wire::RTM_NEWADDR).filter_map(|p| decode::address(p).ok().flatten()).collect();
    let links = messages(wire::RTM_NEWLINK).filter_map(|p| decode_link::link(p).ok().flatten());
    let network = Network {
        links: links.map(|link| (link.index, link)).collect(),
        addresses: assigned
            .iter()
            .map(|a| (super::dump::address_key(&a.address), a.address.clone()))
            .collect(),
        ..Network::default()
    };
    let (mut tracker, mut told, mut changes) = (Tracker::default(), Network::default(), Vec::new());
    tracker.begin_everything();
    take(events, &mut tracker, &mut told);
    let read = Everything { network, assigned, consistent: true };
    if let Some(NetworkChange::Dump(dump)) = tracker.everything(read, true) {
        told = *dump;
    }
    assert_eq!(&told, tracker.network());
    let _ = tracker.begin_routing();
    take(events, &mut tracker, &mut told);
    tracker.routing(routing, &mut changes);
    changes.drain(..).for_each(|change| told.apply(change));
    assert_eq!(&told, tracker.network(), "a reading of routes tells another network");
    for index in told.links.keys().copied().collect::<Vec<IfIndex>>() {
        tracker.speed(index, Some(1000), &mut changes);
    }
    tracker.routing_failed();
    changes.drain(..).for_each(|change| told.apply(change));
    assert_eq!(&told, tracker.network());
}

/// The tables that tell of the network where netlink can't, each as it stands in `/proc/net`.
pub fn tables(if_inet6: &[u8], route: &[u8], ipv6_route: &[u8]) {
    let by_name: BTreeMap<&[u8], IfIndex> = [(&b"eth0"[..], IfIndex(2)), (b"a\xff", IfIndex(3))].into();
    for address in sysfs::addresses_v6(if_inet6) {
        assert!(address.prefix_len <= 128 && address.address.is_ipv6());
    }
    for route in sysfs::routes_v4(route, &by_name) {
        assert!(route.prefix_len <= 32 && route.destination.is_ipv4());
    }
    let six = sysfs::routes_v6(ipv6_route, &by_name);
    for (i, route) in six.iter().enumerate() {
        assert!(route.prefix_len <= 128 && !route.destination.is_multicast());
        assert!(!six[..i].contains(route), "a route twice");
    }
    // What a request looks like is read back as what it was.
    let request = wire::message(7, 1, 9, if_inet6);
    let read: Result<Vec<_>, Malformed> = wire::Messages(&request).collect();
    let read = read.map_err(|Malformed| io::ErrorKind::InvalidData).expect("a message of our own");
    assert!(matches!(read.as_slice(), [m] if m.kind == 7 && m.sequence == 9 && m.payload == if_inet6));
}
