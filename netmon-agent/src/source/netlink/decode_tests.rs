use proptest::prelude::*;

use super::*;
use crate::source::netlink::wire::{Messages, attribute};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn u32_attribute(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

fn rtmsg(family: u8, len: u8, table: u8, kind: u8, flags: u32) -> Vec<u8> {
    let mut out = vec![family, len, 0, 0, table, 3, 0, kind];
    out.extend(flags.to_ne_bytes());
    out
}

fn rtnexthop(flags: u8, ifindex: u32, attributes: &[u8]) -> Vec<u8> {
    let mut out = ((8 + attributes.len()) as u16).to_ne_bytes().to_vec();
    out.extend([flags, 0]);
    out.extend(ifindex.to_ne_bytes());
    out.extend(attributes);
    out
}

#[test]
fn an_address_whose_label_is_not_utf8() {
    let mut m = vec![2, 24, 0x80, 0];
    m.extend(7_u32.to_ne_bytes());
    m.extend(attribute(IFA_ADDRESS, &[10, 0, 0, 1]));
    m.extend(attribute(IFA_LOCAL, &[10, 0, 0, 1]));
    m.extend(attribute(3, b"a\xff\0"));
    let a = address(&m).unwrap().unwrap();
    assert_eq!(a.peer, None);
    let expected = Address { ifindex: IfIndex(7), address: ip("10.0.0.1"), prefix_len: 24, usable: true };
    assert_eq!(a.address, expected);
}

#[test]
fn a_peer_is_told_from_the_local_address() {
    let mut m = vec![2, 32, 0, 0];
    m.extend(7_u32.to_ne_bytes());
    m.extend(attribute(IFA_ADDRESS, &[10, 0, 0, 2]));
    m.extend(attribute(IFA_LOCAL, &[10, 0, 0, 1]));
    let a = address(&m).unwrap().unwrap();
    assert_eq!((a.address.address, a.peer), (ip("10.0.0.1"), Some(ip("10.0.0.2"))));
}

#[test]
fn tentative_and_duplicate_addresses_are_not_usable() {
    for (flags, usable) in [(0x40, false), (0x08, false), (0x80, true), (0x100, true), (0x140, false)] {
        let mut m = vec![10, 64, 0, 0];
        m.extend(7_u32.to_ne_bytes());
        m.extend(attribute(IFA_ADDRESS, &[0xfd; 16]));
        m.extend(u32_attribute(IFA_FLAGS, flags));
        assert_eq!(address(&m).unwrap().unwrap().address.usable, usable, "flags {flags:#x}");
    }
}

#[test]
fn a_default_route_with_a_gateway() {
    let mut m = rtmsg(2, 0, 254, 1, 0);
    m.extend(u32_attribute(RTA_TABLE, 1000));
    m.extend(attribute(RTA_GATEWAY, &[10, 0, 0, 254]));
    m.extend(u32_attribute(RTA_OIF, 3));
    m.extend(u32_attribute(RTA_PRIORITY, 100));
    let r = route(AF_INET, &m).unwrap().unwrap();
    assert_eq!((r.table, r.destination, r.prefix_len, r.metric), (1000, ip("0.0.0.0"), 0, 100));
    assert_eq!(r.hops, [Hop { ifindex: IfIndex(3), gateway: Some(ip("10.0.0.254")) }]);
}

#[test]
fn an_ipv4_route_via_an_ipv6_gateway() {
    let mut m = rtmsg(2, 0, 254, 1, 0);
    let mut via = 10_u16.to_ne_bytes().to_vec();
    via.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    m.extend(attribute(RTA_VIA, &via));
    m.extend(u32_attribute(RTA_OIF, 3));
    let r = route(AF_INET, &m).unwrap().unwrap();
    assert_eq!(r.hops[0].gateway, Some(ip("fe80::1")));
}

#[test]
fn a_multipath_route_has_its_living_hops() {
    let hops = [
        rtnexthop(0, 3, &attribute(RTA_GATEWAY, &[10, 0, 0, 1])),
        rtnexthop(RTNH_F_DEAD, 4, &attribute(RTA_GATEWAY, &[10, 0, 1, 1])),
        rtnexthop(16, 5, &[]),
    ]
    .concat();
    let mut m = rtmsg(2, 0, 254, 1, 0);
    m.extend(attribute(RTA_MULTIPATH, &hops));
    let r = route(AF_INET, &m).unwrap().unwrap();
    let expected = [
        Hop { ifindex: IfIndex(3), gateway: Some(ip("10.0.0.1")) },
        Hop { ifindex: IfIndex(5), gateway: None },
    ];
    assert_eq!(r.hops, expected);
    let mut lying = rtmsg(2, 0, 254, 1, 0);
    lying.extend(attribute(RTA_MULTIPATH, &[0; 8]));
    assert_eq!(route(AF_INET, &lying), Err(Malformed));
}

#[test]
fn routes_that_carry_nothing_are_left_out() {
    let oif = u32_attribute(RTA_OIF, 3);
    let with = |head: Vec<u8>, tail: &[u8]| [head, tail.to_vec()].concat();
    let expired =
        [oif.clone(), attribute(RTA_CACHEINFO, &[[0; 8], [0xff; 8], [0; 8], [0; 8]].concat())].concat();
    for (what, m) in [
        ("blackhole", with(rtmsg(2, 0, 254, 6, 0), &[])),
        ("unreachable", with(rtmsg(10, 0, 254, 7, 0), &oif)),
        ("multicast", with(rtmsg(10, 8, 254, 5, 0), &oif)),
        ("local table", with(rtmsg(2, 32, 255, 1, 0), &oif)),
        ("cloned", with(rtmsg(10, 128, 254, 1, RTM_F_CLONED), &oif)),
        ("dead", with(rtmsg(2, 0, 254, 1, 1), &oif)),
        ("expired", with(rtmsg(10, 0, 254, 1, 0), &expired)),
    ] {
        assert_eq!(route(m[0], &m), Ok(None), "{what}");
    }
    let foreign = with(rtmsg(2, 0, 254, 1, 0), &oif);
    assert_eq!(route(AF_INET6, &foreign), Ok(None), "another family");
}

#[test]
fn nexthop_objects_and_groups() {
    let mut m = vec![2, 0, 0, 0, 0, 0, 0, 0];
    m.extend(u32_attribute(NHA_ID, 9));
    m.extend(u32_attribute(NHA_OIF, 3));
    m.extend(attribute(NHA_GATEWAY, &[10, 0, 0, 1]));
    let hop = Hop { ifindex: IfIndex(3), gateway: Some(ip("10.0.0.1")) };
    assert_eq!(nexthop(&m), Ok(Nexthop { id: 9, hop: Some(hop), group: vec![] }));

    let mut m = vec![0; 8];
    m.extend(u32_attribute(NHA_ID, 10));
    m.extend(attribute(NHA_GROUP, &[[9, 0, 0, 0, 0, 0, 0, 0], [11, 0, 0, 0, 1, 0, 0, 0]].concat()));
    assert_eq!(nexthop(&m), Ok(Nexthop { id: 10, hop: None, group: vec![9, 11] }));

    let mut m = rtmsg(2, 0, 254, 1, 0);
    m.extend(u32_attribute(RTA_NH_ID, 10));
    assert_eq!(route(AF_INET, &m).unwrap().unwrap().nexthop, Some(10));
    m.extend(u32_attribute(RTA_OIF, 3));
    assert_eq!(route(AF_INET, &m).unwrap().unwrap().nexthop, None, "the message has the way itself");
}

#[test]
fn neighbours_but_no_bridge_entries_or_proxies() {
    let ndmsg = |family: u8, state: u16, flags: u8| {
        let mut m = vec![family, 0, 0, 0];
        m.extend(3_u32.to_ne_bytes());
        m.extend(state.to_ne_bytes());
        m.extend([flags, 1]);
        m.extend(attribute(1, &[10, 0, 0, 1]));
        m.extend(attribute(2, &[2, 0, 0, 0, 0, 1]));
        m
    };
    let (n, gone) = neighbour(&ndmsg(2, 2, 0)).unwrap().unwrap();
    assert_eq!((n.state, n.address, gone), (NeighbourState::Reachable, ip("10.0.0.1"), false));
    assert_eq!(n.mac.as_deref(), Some(&[2, 0, 0, 0, 0, 1][..]));
    assert!(neighbour(&ndmsg(2, 0, 0)).unwrap().unwrap().1, "NUD_NONE is as good as gone");
    assert_eq!(neighbour(&ndmsg(2, 0x40, 0)).unwrap().unwrap().0.state, NeighbourState::Permanent);
    assert_eq!(neighbour(&ndmsg(7, 2, 0)), Ok(None));
    assert_eq!(neighbour(&ndmsg(2, 2, 8)), Ok(None));
}

/// Message kinds that the decoders look at, so that random bytes reach them.
const KINDS: [u16; 12] = [16, 17, 20, 21, 24, 25, 28, 29, 92, 104, 105, 3];

fn decode_all(datagram: &[u8]) {
    for message in Messages(datagram).flatten() {
        let _ = event(&message);
        for family in [AF_INET, AF_INET6] {
            let _ = route(family, message.payload);
        }
        let _ = nexthop(message.payload);
        let _ = crate::source::netlink::stats::counters(&message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_bytes_never_panic(datagram in proptest::collection::vec(any::<u8>(), 0..512)) {
        decode_all(&datagram);
    }

    #[test]
    fn random_payloads_of_known_kinds_never_panic(
        kind in proptest::sample::select(&KINDS[..]),
        family in proptest::sample::select(&[0_u8, 2, 7, 10][..]),
        header in proptest::collection::vec(any::<u8>(), 0..16),
        attributes in proptest::collection::vec(
            (0_u16..40, proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        cut in 0_usize..8,
    ) {
        let mut payload = vec![family];
        payload.extend(header);
        for (kind, value) in attributes {
            payload.extend(attribute(kind, &value));
        }
        payload.truncate(payload.len().saturating_sub(cut));
        decode_all(&wire::message(kind, 0, 0, &payload));
    }
}
