//! Whether a route to an address stands on a usable link (R2, R3).

use std::{cmp::Reverse, collections::BTreeSet, net::IpAddr};

use crate::observation::{IfIndex, Network, Route};

/// How an address can be reached, by links and routes alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A route to it stands on a usable link.
    Routed,
    /// It is this machine's own, and needs no link.
    Local,
    /// Routes to it stand, but only on these links, none of them usable.
    LinkDown(BTreeSet<IfIndex>),
    /// No route covers it.
    NoRoute,
}

impl Reach {
    /// Whether links and routes alone let it be reached.
    pub fn stands(&self) -> bool {
        matches!(self, Self::Routed | Self::Local)
    }
}

/// Whether what is bound to the link `on` can go by this route: one over the link, or in the table of the VRF that it is.
/// What is bound to none goes by every route but those of VRFs.
pub fn serves(network: &Network, route: &Route, on: Option<IfIndex>) -> bool {
    let Some(on) = on else { return network.vrf_of(route).is_none() };
    let in_its_table = || network.links.get(&on).is_some_and(|vrf| vrf.table == Some(route.table));
    route.ifindex == on || in_its_table()
}

/// Judges one address against what netlink told; `usable` tells R2's verdict of a link. A link-local address is of the
/// link `on`, and probes may be bound to it: a VRF too.
pub fn reach(
    network: &Network,
    usable: impl Fn(IfIndex) -> bool,
    address: IpAddr,
    on: Option<IfIndex>,
) -> Reach {
    let here = |i: IfIndex| on.is_none_or(|on| on == i);
    if address.is_loopback() || network.addresses.values().any(|a| a.address == address && here(a.ifindex)) {
        return Reach::Local;
    }
    let mut lost = BTreeSet::new();
    for route in network.routes.iter().filter(|r| r.covers(address) && serves(network, r, on)) {
        if usable(route.ifindex) {
            return Reach::Routed;
        }
        lost.insert(route.ifindex);
    }
    match lost.is_empty() {
        // Routes were left out for being too many: one of those may cover it.
        true if network.routes_truncated => Reach::Routed,
        true => Reach::NoRoute,
        false => Reach::LinkDown(lost),
    }
}

/// The same for a default gateway: it is where its routes say, and no route over another link leads to it.
pub fn reach_gateway(
    network: &Network,
    usable: impl Fn(IfIndex) -> bool,
    gateway: IpAddr,
    on: Option<IfIndex>,
) -> Reach {
    let links: BTreeSet<IfIndex> = named_by(network, gateway, on).map(|r| r.ifindex).collect();
    match links.is_empty() {
        true => reach(network, usable, gateway, on),
        false if links.iter().any(|i| usable(*i)) => Reach::Routed,
        false => Reach::LinkDown(links),
    }
}

/// Default routes through this gateway.
fn named_by(network: &Network, gateway: IpAddr, on: Option<IfIndex>) -> impl Iterator<Item = &Route> {
    let named = network.routes.iter().filter(move |r| r.is_default() && r.gateway == Some(gateway));
    named.filter(move |r| serves(network, r, on))
}

/// How all addresses of all targets can be reached, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Some over a link.
    pub routed: bool,
    /// There are some, and all are this machine's own.
    pub local: bool,
}

impl Ways {
    /// Of these.
    pub fn of<'a>(all: impl Iterator<Item = &'a Reach> + Clone) -> Self {
        let local = all.clone().next().is_some() && all.clone().all(|r| *r == Reach::Local);
        Self { routed: all.into_iter().any(|r| *r == Reach::Routed), local }
    }
}

/// Which way packets to an address leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The device; several where routes are equally good.
    pub links: Vec<IfIndex>,
    /// Whether it leads beyond the link: through a gateway, or by a default route that needs none.
    pub beyond: bool,
}

/// The way by the best route on a usable link: the longest prefix, the main table first, the lowest metric. None for
/// the machine's own addresses, without a route, and where routes were left out for being too many.
pub fn way(
    network: &Network,
    usable: impl Fn(IfIndex) -> bool,
    address: IpAddr,
    on: Option<IfIndex>,
) -> Option<Way> {
    let here = |r: &&Route| usable(r.ifindex) && serves(network, r, on);
    let local = address.is_loopback() || network.addresses.values().any(|a| a.address == address);
    if local || network.routes_truncated {
        return None;
    }
    let covering = || network.routes.iter().filter(here).filter(|r| r.covers(address));
    let best = covering().map(rank).min()?;
    let equal = || covering().filter(|r| rank(r) == best);
    let mut links: Vec<IfIndex> = equal().map(|r| r.ifindex).collect();
    links.sort_unstable();
    links.dedup();
    Some(Way { links, beyond: equal().all(|r| r.gateway.is_some() || r.is_default()) })
}

/// The longest prefix first, the main table before others, the lowest metric.
fn rank(route: &Route) -> (Reverse<u8>, bool, u32) {
    (Reverse(route.prefix_len), !route.is_main(), route.metric)
}

/// The gateway that packets to an address are handed to on this way, and on which link; none where they need none.
pub fn next_hop(network: &Network, way: &Way, address: IpAddr) -> Option<(IpAddr, IfIndex)> {
    let leads = |r: &&Route| way.links.contains(&r.ifindex) && r.covers(address);
    let best = network.routes.iter().filter(leads).min_by_key(|r| rank(r))?;
    Some((best.gateway?, best.ifindex))
}

/// The same for a default gateway: the links that its routes name.
pub fn way_to_gateway(
    network: &Network,
    usable: impl Fn(IfIndex) -> bool,
    gateway: IpAddr,
    on: Option<IfIndex>,
) -> Option<Way> {
    let named = named_by(network, gateway, on).map(|r| r.ifindex);
    let mut links: Vec<IfIndex> = named.filter(|i| usable(*i)).collect();
    links.sort_unstable();
    links.dedup();
    (!links.is_empty()).then_some(Way { links, beyond: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Link;

    fn net(routes: &[(&str, u8, u32)]) -> Network {
        let route = |(dst, len, ifi): &(&str, u8, u32)| Route {
            table: 254,
            destination: dst.parse().unwrap(),
            prefix_len: *len,
            gateway: None,
            ifindex: IfIndex(*ifi),
            metric: 0,
        };
        Network { routes: routes.iter().map(route).collect(), ..Network::default() }
    }

    #[test]
    fn r2_a_route_counts_only_on_a_usable_link() {
        let n = net(&[("0.0.0.0", 0, 2), ("10.0.0.0", 8, 3)]);
        let to = |a: &str, up: u32| reach(&n, |i| i.0 == up, a.parse().unwrap(), None);
        assert_eq!(to("8.8.8.8", 2), Reach::Routed);
        assert_eq!(to("8.8.8.8", 3), Reach::LinkDown([IfIndex(2)].into()));
        assert_eq!(to("10.1.1.1", 3), Reach::Routed);
        assert_eq!(to("10.1.1.1", 9), Reach::LinkDown([IfIndex(2), IfIndex(3)].into()));
        assert_eq!(to("2001:db8::1", 2), Reach::NoRoute);
        assert_eq!(to("127.0.0.1", 9), Reach::Local);
    }

    #[test]
    fn a_link_local_address_is_of_one_link() {
        let n = net(&[("fe80::", 64, 2), ("fe80::", 64, 3)]);
        let on = |link| reach(&n, |i| i.0 == 3, "fe80::1".parse().unwrap(), Some(IfIndex(link)));
        assert_eq!(on(2), Reach::LinkDown([IfIndex(2)].into()));
        assert_eq!((on(3), on(4)), (Reach::Routed, Reach::NoRoute));
    }

    #[test]
    fn r3_a_gateway_is_where_its_routes_say() {
        let mut n = net(&[("0.0.0.0", 0, 2), ("0.0.0.0", 0, 3), ("10.0.0.0", 24, 2)]);
        n.routes[0].gateway = Some("10.0.0.1".parse().unwrap());
        let to = |up: u32| reach_gateway(&n, |i| i.0 == up, "10.0.0.1".parse().unwrap(), None);
        assert_eq!(to(2), Reach::Routed);
        assert_eq!(to(3), Reach::LinkDown([IfIndex(2)].into()), "not over the other default route");
    }

    #[test]
    fn r3_a_route_in_a_vrfs_table_is_for_what_is_bound_there() {
        let mut n = net(&[("0.0.0.0", 0, 2), ("0.0.0.0", 0, 3)]);
        n.routes[1].table = 10;
        n.routes[1].gateway = Some("10.0.0.1".parse().unwrap());
        let vrf = Link { index: IfIndex(9), table: Some(10), ..Link::default() };
        n.links.insert(vrf.index, vrf);
        let to =
            |on: Option<u32>, up: u32| reach(&n, |i| i.0 == up, "8.8.8.8".parse().unwrap(), on.map(IfIndex));
        assert_eq!((to(None, 2), to(None, 3)), (Reach::Routed, Reach::LinkDown([IfIndex(2)].into())));
        for on in [Some(9), Some(3)] {
            assert_eq!(
                (to(on, 3), to(on, 2)),
                (Reach::Routed, Reach::LinkDown([IfIndex(3)].into())),
                "{on:?}"
            );
        }
        assert_eq!(to(Some(0), 2), Reach::NoRoute, "bound to a device that is not there");
        let by = |on: Option<u32>| {
            let gateway = "10.0.0.1".parse().unwrap();
            way_to_gateway(&n, |_| true, gateway, on.map(IfIndex)).map(|way| way.links)
        };
        assert_eq!((by(None), by(Some(9))), (None, Some(vec![IfIndex(3)])));
    }

    #[test]
    fn a_truncated_table_proves_no_absence() {
        let n = Network { routes_truncated: true, ..net(&[]) };
        assert_eq!(reach(&n, |_| false, "8.8.8.8".parse().unwrap(), None), Reach::Routed);
    }

    #[test]
    fn the_best_route_tells_the_way() {
        let mut n = net(&[("0.0.0.0", 0, 2), ("0.0.0.0", 0, 3), ("10.0.0.0", 24, 3)]);
        for (route, metric) in n.routes.iter_mut().zip([100, 200, 0]) {
            route.metric = metric;
            route.gateway = route.is_default().then(|| "10.0.0.1".parse().unwrap());
        }
        let to = |a: &str, up: &[u32]| way(&n, |i| up.contains(&i.0), a.parse().unwrap(), None);
        let by = |link, beyond| Some(Way { links: vec![IfIndex(link)], beyond });
        assert_eq!(to("8.8.8.8", &[2, 3]), by(2, true));
        assert_eq!(to("8.8.8.8", &[3]), by(3, true), "the other when the best is not usable");
        assert_eq!(to("10.0.0.9", &[2, 3]), by(3, false), "on the link");
        assert_eq!((to("8.8.8.8", &[]), to("127.0.0.1", &[2])), (None, None));
        n.routes[1].metric = 100;
        let both = way(&n, |_| true, "8.8.8.8".parse().unwrap(), None).unwrap();
        assert_eq!(both.links, [IfIndex(2), IfIndex(3)]);
    }
}
