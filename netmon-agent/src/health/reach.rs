//! Whether a route to an address stands on a usable link (R2, R3).

use std::{collections::BTreeSet, net::IpAddr};

use crate::observation::{IfIndex, Network};

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

/// Judges one address against what netlink told; `usable` tells R2's verdict of a link. A link-local address is of the
/// link `on`.
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
    for route in network.routes.iter().filter(|r| r.covers(address) && here(r.ifindex)) {
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
    let named = network.routes.iter().filter(|r| r.is_default() && r.gateway == Some(gateway));
    let links: BTreeSet<IfIndex> =
        named.map(|r| r.ifindex).filter(|i| on.is_none_or(|on| on == *i)).collect();
    match links.is_empty() {
        true => reach(network, usable, gateway, on),
        false if links.iter().any(|i| usable(*i)) => Reach::Routed,
        false => Reach::LinkDown(links),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Route;

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
    fn a_route_counts_only_on_a_usable_link() {
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
    fn a_gateway_is_where_its_routes_say() {
        let mut n = net(&[("0.0.0.0", 0, 2), ("0.0.0.0", 0, 3), ("10.0.0.0", 24, 2)]);
        n.routes[0].gateway = Some("10.0.0.1".parse().unwrap());
        let to = |up: u32| reach_gateway(&n, |i| i.0 == up, "10.0.0.1".parse().unwrap(), None);
        assert_eq!(to(2), Reach::Routed);
        assert_eq!(to(3), Reach::LinkDown([IfIndex(2)].into()), "not over the other default route");
    }

    #[test]
    fn a_truncated_table_proves_no_absence() {
        let n = Network { routes_truncated: true, ..net(&[]) };
        assert_eq!(reach(&n, |_| false, "8.8.8.8".parse().unwrap(), None), Reach::Routed);
    }
}
