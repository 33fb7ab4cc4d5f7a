//! Links, addresses and routes as plain lists, and what R2 and R3 make of them.

use std::net::IpAddr;

use super::codes::Codes;
use crate::{
    health::{ReasonCode, Role, TargetSpec},
    observation::{
        Address, IfIndex, Link, Neighbour, NeighbourState, Network, NetworkChange, OperState, Route,
    },
};

/// The network as last told.
#[derive(Clone, Debug, Default)]
pub struct Net {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub truncated: bool,
    pub neighbours: Vec<Neighbour>,
}

/// How an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Routed,
    Local,
    LinkLost,
    NoRoute,
}

impl Reach {
    pub fn stands(self) -> bool {
        self == Self::Routed || self == Self::Local
    }
}

/// Which links the best route leaves by, and whether it leads beyond them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub links: Vec<IfIndex>,
    pub beyond: bool,
}

impl Net {
    pub fn apply(&mut self, change: &NetworkChange) {
        match change {
            NetworkChange::Dump(all) => *self = Self::of(all),
            NetworkChange::Link(link) => {
                self.links.retain(|l| l.index != link.index);
                self.links.push((**link).clone());
            }
            NetworkChange::LinkGone(index) => {
                self.links.retain(|l| l.index != *index);
                self.addresses.retain(|a| a.ifindex != *index);
                self.routes.retain(|r| r.ifindex != *index);
                self.neighbours.retain(|n| n.ifindex != *index);
            }
            NetworkChange::LinkStats(_) => {}
            NetworkChange::Address(a) => {
                self.forget(a);
                self.addresses.push(a.clone());
            }
            NetworkChange::AddressGone(a) => self.forget(a),
            NetworkChange::Routes { routes, truncated } => {
                self.routes.clone_from(routes);
                self.truncated = *truncated;
            }
            NetworkChange::Neighbour(n) => {
                self.neighbours.retain(|o| (o.ifindex, o.address) != (n.ifindex, n.address));
                self.neighbours.push(n.clone());
            }
            NetworkChange::NeighbourGone { ifindex, address } => {
                self.neighbours.retain(|o| (o.ifindex, o.address) != (*ifindex, *address));
            }
        }
    }

    fn of(all: &Network) -> Self {
        Self {
            links: all.links.values().cloned().collect(),
            addresses: all.addresses.values().cloned().collect(),
            routes: all.routes.clone(),
            truncated: all.routes_truncated,
            neighbours: all.neighbours.values().cloned().collect(),
        }
    }

    fn forget(&mut self, a: &Address) {
        let same =
            |o: &Address| o.ifindex == a.ifindex && o.address == a.address && o.prefix_len == a.prefix_len;
        self.addresses.retain(|o| !same(o));
    }

    pub fn link(&self, index: IfIndex) -> Option<&Link> {
        self.links.iter().find(|l| l.index == index)
    }

    /// R2: admin up, carrier, oper up, an address; the first that is wanting, and what is wanting of what explains it. A
    /// bridge is down with all its ports, and a port needs no address. There are no VRFs, VLANs or tunnels in any history,
    /// and no ports of ports.
    pub fn fault(&self, link: &Link) -> Option<(ReasonCode, Codes)> {
        let default_route = self.routes.iter().any(|r| r.prefix_len == 0 && r.ifindex == link.index);
        let mut own = self.addresses.iter().filter(|a| a.ifindex == link.index && a.usable);
        let addressed = link.master.is_some() || own.any(|a| default_route || !link_local(a.address));
        let ports = self.ports(link);
        let wanting: Vec<ReasonCode> = ports.iter().filter_map(|port| cut(port)).collect();
        let alone = |code| Some((code, Codes::of(&[code])));
        match cut(link) {
            Some(ReasonCode::AdminDown) => alone(ReasonCode::AdminDown),
            own if !ports.is_empty() && wanting.len() == ports.len() => {
                let first = own.unwrap_or(ReasonCode::NoCarrier);
                Some((first, Codes::of(&wanting).with(first)))
            }
            Some(code) => alone(code),
            None if !addressed => alone(ReasonCode::NoAddress),
            None => None,
        }
    }

    /// Of a bridge.
    fn ports(&self, link: &Link) -> Vec<&Link> {
        let bridge = link.kind.as_deref() == Some("bridge");
        self.links.iter().filter(|l| bridge && l.master == Some(link.index)).collect()
    }

    /// Ports of a bridge that can carry nothing.
    pub fn lost_ports(&self, link: &Link) -> Vec<IfIndex> {
        self.ports(link).into_iter().filter(|port| cut(port).is_some()).map(|port| port.index).collect()
    }

    /// R2: whether the link may carry the traffic. A port carries none of its own.
    pub fn usable(&self, index: IfIndex, preferred: &[String]) -> bool {
        self.link(index).is_some_and(|link| {
            let chosen =
                preferred.is_empty() || preferred.iter().any(|p| p.as_bytes() == link.name.as_bytes());
            chosen && !link.loopback && link.master.is_none() && self.fault(link).is_none()
        })
    }

    /// Links of the default routes that name this gateway.
    fn named(&self, gateway: IpAddr, on: Option<IfIndex>) -> Vec<IfIndex> {
        let named = self.routes.iter().filter(|r| r.prefix_len == 0 && r.gateway == Some(gateway));
        named.map(|r| r.ifindex).filter(|i| on.is_none_or(|on| on == *i)).collect()
    }

    pub fn reach(&self, spec: &TargetSpec, address: IpAddr, preferred: &[String]) -> Reach {
        let here = |i: IfIndex| spec.link.is_none_or(|on| on == i);
        let named = if spec.role == Role::Gateway { self.named(address, spec.link) } else { Vec::new() };
        let own = self.addresses.iter().any(|a| a.address == address && here(a.ifindex));
        if named.is_empty() && (own || address.is_loopback()) {
            return Reach::Local;
        }
        let covering = self.routes.iter().filter(|r| covers(r, address) && here(r.ifindex));
        let leading: Vec<IfIndex> =
            if named.is_empty() { covering.map(|r| r.ifindex).collect() } else { named };
        if leading.iter().any(|i| self.usable(*i, preferred)) || leading.is_empty() && self.truncated {
            Reach::Routed
        } else if leading.is_empty() {
            Reach::NoRoute
        } else {
            Reach::LinkLost
        }
    }

    pub fn way(&self, spec: &TargetSpec, address: IpAddr, preferred: &[String]) -> Option<Way> {
        if spec.role == Role::Gateway {
            let links = self.named(address, spec.link).into_iter().filter(|i| self.usable(*i, preferred));
            let links: Vec<IfIndex> = links.collect();
            return (!links.is_empty()).then_some(Way { links, beyond: false });
        }
        let own = address.is_loopback() || self.addresses.iter().any(|a| a.address == address);
        if own || self.truncated {
            return None;
        }
        let open = |r: &&Route| {
            covers(r, address)
                && spec.link.is_none_or(|on| on == r.ifindex)
                && self.usable(r.ifindex, preferred)
        };
        let mut best: Vec<&Route> = self.routes.iter().filter(open).collect();
        // The longest prefix, then the main table, then the lowest metric.
        let longest = best.iter().map(|r| r.prefix_len).max()?;
        best.retain(|r| r.prefix_len == longest);
        if best.iter().any(|r| r.table == 254) {
            best.retain(|r| r.table == 254);
        }
        let lowest = best.iter().map(|r| r.metric).min()?;
        best.retain(|r| r.metric == lowest);
        let beyond = best.iter().all(|r| r.gateway.is_some() || r.prefix_len == 0);
        Some(Way { links: best.iter().map(|r| r.ifindex).collect(), beyond })
    }

    /// Whether a default route stands on a usable link.
    pub fn default_route(&self, preferred: &[String]) -> bool {
        self.routes.iter().any(|r| r.prefix_len == 0 && self.usable(r.ifindex, preferred))
    }

    /// Whether a default route points at this gateway, or at another of its family on the same link.
    pub fn is_gateway(&self, address: IpAddr, on: Option<IfIndex>) -> bool {
        let on_its_link = |i: IfIndex| match on {
            Some(on) => on == i,
            None => self
                .routes
                .iter()
                .any(|r| r.ifindex == i && r.gateway.is_none() && r.prefix_len > 0 && covers(r, address)),
        };
        !self.named(address, on).is_empty()
            || self.routes.iter().filter(|r| r.prefix_len == 0).any(|r| {
                r.gateway.is_some_and(|g| g.is_ipv4() == address.is_ipv4()) && on_its_link(r.ifindex)
            })
    }

    /// What the kernel knows of a gateway's link-layer address.
    pub fn neighbour(&self, address: IpAddr, on: Option<IfIndex>) -> Option<NeighbourState> {
        let same = self.neighbours.iter().filter(|n| n.address == address);
        let here = same.filter(|n| on.is_none_or(|on| on == n.ifindex));
        here.min_by_key(|n| n.ifindex).map(|n| n.state)
    }

    /// Whether the kernel says of any link that nobody has this address there.
    pub fn is_dead(&self, address: IpAddr) -> bool {
        let dead = [NeighbourState::Failed, NeighbourState::Incomplete];
        self.neighbours.iter().any(|n| n.address == address && dead.contains(&n.state))
    }
}

/// What is wanting of a link but for an address.
fn cut(link: &Link) -> Option<ReasonCode> {
    if !link.admin_up {
        Some(ReasonCode::AdminDown)
    } else if !link.carrier {
        Some(ReasonCode::NoCarrier)
    } else if link.oper != OperState::Up && link.oper != OperState::Unknown {
        Some(ReasonCode::OperDown)
    } else {
        None
    }
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.octets()[..2] == [169, 254],
        IpAddr::V6(a) => a.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn covers(route: &Route, address: IpAddr) -> bool {
    let bits = |a: IpAddr| match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let (network, address) = (bits(route.destination), bits(address));
    let bit = |bytes: &[u8], i: usize| bytes[i / 8] >> (7 - i % 8) & 1;
    network.len() == address.len()
        && (0..usize::from(route.prefix_len)).all(|i| bit(&network, i) == bit(&address, i))
}
