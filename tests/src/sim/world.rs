//! A small world to start from.

use std::net::IpAddr;

use netmon_agent::{
    health::{Role, TargetSpec, Watch},
    observation::{Address, IfIndex, IfName, Link, Method, Network, OperState, Route, TargetId},
};

/// A link that is up in every respect.
pub fn link(index: u32, name: &str) -> Link {
    Link {
        index: IfIndex(index),
        name: IfName::new(name),
        admin_up: true,
        carrier: true,
        oper: OperState::Up,
        ..Link::default()
    }
}

/// A network of one uplink: the link, its IPv4 address in a /24, the route to that, and a default route by `gateway`
/// with the index as metric.
pub fn uplink(index: u32, name: &str, address: [u8; 4], gateway: [u8; 4]) -> Network {
    let [a, b, c, _] = address;
    let ifindex = IfIndex(index);
    let mut network = Network::default();
    network.links.insert(ifindex, link(index, name));
    let address = Address { ifindex, address: address.into(), prefix_len: 24, usable: true };
    network.addresses.insert((ifindex, address.address, 24), address);
    let route = |destination: [u8; 4], prefix_len, gateway: Option<IpAddr>| Route {
        table: 254,
        destination: destination.into(),
        prefix_len,
        gateway,
        ifindex,
        metric: index,
    };
    network.routes = vec![route([0; 4], 0, Some(gateway.into())), route([a, b, c, 0], 24, None)];
    network
}

/// A target that is probed by echo at one address.
pub fn target(id: u32, name: &str, scope: &str, address: [u8; 4], role: Role) -> TargetSpec {
    let address: IpAddr = address.into();
    TargetSpec {
        id: TargetId(id),
        name: name.into(),
        host: address.to_string(),
        scope: scope.to_owned(),
        method: Method::Icmp,
        role,
        addresses: vec![address],
        link: None,
    }
}

/// Every device but loopback.
pub fn watch() -> Watch {
    let patterns = |p: &str| [p.to_owned()];
    Watch::new(&patterns("*"), &patterns("lo")).expect("two patterns that are valid")
}
