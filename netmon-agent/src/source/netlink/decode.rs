//! Addresses, routes, nexthop objects and neighbours out of messages, and which message is which event.
//!
//! Addresses and routes are read from raw attributes for the reason that links are: `IFA_LABEL` repeats the
//! interface's name, so a codec that wants UTF-8 loses every IPv4 address of a link called `a\xff`; and one odd
//! encapsulation or metric must not lose a default route. Neighbours hold no such thing and are
//! `netlink-packet-route`'s.

use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::{
    AddressFamily,
    neighbour::{self, NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
};

use crate::observation::{Address, IfIndex, Link, Neighbour, NeighbourState};

use super::{
    decode_link,
    wire::{
        self, AF_INET, AF_INET6, Attributes, Malformed, Message, address as ip_address, u8_at, u16_at, u32_at,
    },
};

const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;

const RTMSG: usize = 12;
pub(super) const RTN_UNICAST: u8 = 1;
const RT_TABLE_LOCAL: u32 = 255;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_DEAD: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
/// `struct rtnexthop`.
const RTNEXTHOP: usize = 8;

const NHMSG: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// `struct nexthop_grp`.
const NEXTHOP_GRP: usize = 8;

const NUD_NOARP_PERMANENT: u16 = 0x40 | 0x80;

/// What a message says has happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    Link(Box<Link>),
    LinkGone(IfIndex),
    Address(Assigned),
    AddressGone(Assigned),
    /// A route or nexthop object came, changed or went: routes are read anew, never counted up and down.
    Routes,
    Neighbour(Neighbour),
    NeighbourGone(IfIndex, IpAddr),
}

/// An address with its peer. The kernel tells addresses that differ by peer alone apart; [`Address`] does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) address: Address,
    pub(super) peer: Option<IpAddr>,
}

/// One way of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) ifindex: IfIndex,
    pub(super) gateway: Option<IpAddr>,
}

/// A unicast route as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawRoute {
    pub(super) table: u32,
    pub(super) destination: IpAddr,
    pub(super) prefix_len: u8,
    pub(super) metric: u32,
    pub(super) hops: Vec<Hop>,
    /// The nexthop object that holds the ways, where the message does not (`nexthop_compat_mode` = 0).
    pub(super) nexthop: Option<u32>,
}

/// A nexthop object: one way, or a group of other objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nexthop {
    pub(super) id: u32,
    pub(super) hop: Option<Hop>,
    pub(super) group: Vec<u32>,
}

/// The event that a multicast message tells of; none if it is of no concern.
pub(super) fn event(message: &Message<'_>) -> Result<Option<Event>, Malformed> {
    let payload = message.payload;
    Ok(match message.kind {
        wire::RTM_NEWLINK => decode_link::link(payload)?.map(Box::new).map(Event::Link),
        wire::RTM_DELLINK => decode_link::link_index(payload)?.map(Event::LinkGone),
        wire::RTM_NEWADDR => address(payload)?.map(Event::Address),
        wire::RTM_DELADDR => address(payload)?.map(Event::AddressGone),
        wire::RTM_NEWROUTE | wire::RTM_DELROUTE => {
            // Cached and local-table routes come and go with every packet and address: no reason to read anew.
            let relevant =
                u32_at(payload, 8)? & RTM_F_CLONED == 0 && u8_at(payload, 4)? != RT_TABLE_LOCAL as u8;
            relevant.then_some(Event::Routes)
        }
        wire::RTM_NEWNEXTHOP | wire::RTM_DELNEXTHOP => Some(Event::Routes),
        wire::RTM_NEWNEIGH => neighbour(payload)?.map(|(n, gone)| match gone {
            false => Event::Neighbour(n),
            true => Event::NeighbourGone(n.ifindex, n.address),
        }),
        wire::RTM_DELNEIGH => neighbour(payload)?.map(|(n, _)| Event::NeighbourGone(n.ifindex, n.address)),
        _ => None,
    })
}

/// An `RTM_NEWADDR` or `RTM_DELADDR` of IPv4 or IPv6.
pub(super) fn address(payload: &[u8]) -> Result<Option<Assigned>, Malformed> {
    if payload.len() < IFADDRMSG {
        return Err(Malformed);
    }
    let family = payload[0];
    if family != AF_INET && family != AF_INET6 {
        return Ok(None);
    }
    let mut flags = u32::from(payload[2]);
    let (mut local, mut peer) = (None, None);
    for attribute in Attributes::after(payload, IFADDRMSG)? {
        match attribute? {
            (IFA_LOCAL, value) => local = Some(ip_address(family, value)?),
            (IFA_ADDRESS, value) => peer = Some(ip_address(family, value)?),
            (IFA_FLAGS, value) => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the peer's; elsewhere it is the only one given, or equal to IFA_LOCAL.
    let own = local.or(peer).ok_or(Malformed)?;
    Ok(Some(Assigned {
        address: Address {
            ifindex: IfIndex(u32_at(payload, 4)?),
            address: own,
            prefix_len: prefix_len(family, payload[1])?,
            usable: flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0,
        },
        peer: peer.filter(|p| *p != own),
    }))
}

/// An `RTM_NEWROUTE` of `family`, if it is a unicast route that the kernel would use. Not so: blackhole and its kin,
/// multicast, the local table, cached clones, expired IPv6 routes, dead next hops.
pub(super) fn route(family: u8, payload: &[u8]) -> Result<Option<RawRoute>, Malformed> {
    if payload.len() < RTMSG {
        return Err(Malformed);
    }
    let flags = u32_at(payload, 8)?;
    if payload[0] != family || payload[7] != RTN_UNICAST || flags & RTM_F_CLONED != 0 {
        return Ok(None);
    }
    let unspecified: IpAddr = match family {
        AF_INET => std::net::Ipv4Addr::UNSPECIFIED.into(),
        _ => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut route = RawRoute {
        table: u32::from(payload[4]),
        destination: unspecified,
        prefix_len: prefix_len(family, payload[1])?,
        metric: 0,
        hops: Vec::new(),
        nexthop: None,
    };
    let (mut ifindex, mut gateway) = (None, None);
    for attribute in Attributes::after(payload, RTMSG)? {
        let (kind, value) = attribute?;
        match kind {
            RTA_DST => route.destination = ip_address(family, value)?,
            RTA_OIF => ifindex = Some(IfIndex(u32_at(value, 0)?)),
            RTA_GATEWAY => gateway = Some(ip_address(family, value)?),
            RTA_VIA => gateway = via(value)?,
            RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            RTA_TABLE => route.table = u32_at(value, 0)?,
            RTA_MULTIPATH => multipath(family, value, &mut route.hops)?,
            RTA_NH_ID => route.nexthop = Some(u32_at(value, 0)?),
            // `struct rta_cacheinfo.rta_expires`: below zero once expired, until the collector comes by.
            RTA_CACHEINFO if u32_at(value, 8)?.cast_signed() < 0 => return Ok(None),
            _ => {}
        }
    }
    if let Some(ifindex) = ifindex
        && flags as u8 & RTNH_F_DEAD == 0
    {
        route.hops.push(Hop { ifindex, gateway });
    }
    if ifindex.is_some() || !route.hops.is_empty() {
        route.nexthop = None;
    }
    let usable = route.table != RT_TABLE_LOCAL && (!route.hops.is_empty() || route.nexthop.is_some());
    Ok(usable.then_some(route))
}

fn multipath(family: u8, mut value: &[u8], hops: &mut Vec<Hop>) -> Result<(), Malformed> {
    while !value.is_empty() {
        let length = usize::from(u16_at(value, 0)?);
        let this = value.get(..length).ok_or(Malformed)?;
        let mut hop = Hop { ifindex: IfIndex(u32_at(this, 4)?), gateway: None };
        for attribute in Attributes::after(this, RTNEXTHOP)? {
            match attribute? {
                (RTA_GATEWAY, value) => hop.gateway = Some(ip_address(family, value)?),
                (RTA_VIA, value) => hop.gateway = via(value)?,
                _ => {}
            }
        }
        if this[2] & RTNH_F_DEAD == 0 {
            hops.push(hop);
        }
        value = value.get(wire::align(length)..).unwrap_or_default();
    }
    Ok(())
}

/// `struct rtvia`: a gateway of another family (RFC 5549); none for families that are not IP.
fn via(value: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    let family = u16_at(value, 0)?;
    let address = value.get(2..).ok_or(Malformed)?;
    match u8::try_from(family) {
        Ok(family @ (AF_INET | AF_INET6)) => ip_address(family, address).map(Some),
        _ => Ok(None),
    }
}

/// An `RTM_NEWNEXTHOP`.
pub(super) fn nexthop(payload: &[u8]) -> Result<Nexthop, Malformed> {
    let family = u8_at(payload, 0)?;
    let flags = u32_at(payload, 4)?;
    let (mut id, mut ifindex, mut gateway, mut group) = (None, None, None, Vec::new());
    for attribute in Attributes::after(payload, NHMSG)? {
        let (kind, value) = attribute?;
        match kind {
            NHA_ID => id = Some(u32_at(value, 0)?),
            NHA_OIF => ifindex = Some(IfIndex(u32_at(value, 0)?)),
            NHA_GATEWAY => gateway = Some(ip_address(family, value)?),
            NHA_GROUP => {
                group = value.chunks_exact(NEXTHOP_GRP).map(|c| u32_at(c, 0)).collect::<Result<_, _>>()?;
            }
            _ => {}
        }
    }
    let alive = flags as u8 & RTNH_F_DEAD == 0;
    let hop = ifindex.filter(|_| alive).map(|ifindex| Hop { ifindex, gateway });
    Ok(Nexthop { id: id.ok_or(Malformed)?, hop, group })
}

/// An `RTM_NEWNEIGH` or `RTM_DELNEIGH` of IPv4 or IPv6, and whether the kernel holds nothing there any more. None for
/// a bridge's forwarding entry and for a proxy entry.
pub(super) fn neighbour(payload: &[u8]) -> Result<Option<(Neighbour, bool)>, Malformed> {
    // Bridges announce every station they learn as AF_BRIDGE neighbours; not worth a full parse.
    if !matches!(u8_at(payload, 0)?, AF_INET | AF_INET6) {
        return Ok(None);
    }
    let message = NeighbourMessage::parse(payload).map_err(|_| Malformed)?;
    Ok(gateway_candidate(&message))
}

/// See [`neighbour`].
pub(super) fn gateway_candidate(message: &NeighbourMessage) -> Option<(Neighbour, bool)> {
    let header = &message.header;
    let ip = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6);
    if !ip || header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => address = Some(IpAddr::V4(*a)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => address = Some(IpAddr::V6(*a)),
            NeighbourAttribute::LinkLayerAddress(bytes) if !bytes.is_empty() => mac = Some(bytes.clone()),
            _ => {}
        }
    }
    let state = neighbour_state(header.state);
    let neighbour = Neighbour {
        ifindex: IfIndex(header.ifindex),
        address: address?,
        state: state.unwrap_or(NeighbourState::Incomplete),
        mac,
    };
    Some((neighbour, state.is_none()))
}

/// None for `NUD_NONE`: an entry that was made and never used.
fn neighbour_state(state: neighbour::NeighbourState) -> Option<NeighbourState> {
    use neighbour::NeighbourState as Kernel;
    Some(match state {
        Kernel::Incomplete => NeighbourState::Incomplete,
        Kernel::Reachable => NeighbourState::Reachable,
        Kernel::Stale => NeighbourState::Stale,
        Kernel::Delay => NeighbourState::Delay,
        Kernel::Probe => NeighbourState::Probe,
        Kernel::Failed => NeighbourState::Failed,
        Kernel::Noarp | Kernel::Permanent => NeighbourState::Permanent,
        Kernel::Other(bits) if bits & NUD_NOARP_PERMANENT != 0 => NeighbourState::Permanent,
        _ => return None,
    })
}

fn prefix_len(family: u8, len: u8) -> Result<u8, Malformed> {
    let most = if family == AF_INET { 32 } else { 128 };
    if len <= most { Ok(len) } else { Err(Malformed) }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
