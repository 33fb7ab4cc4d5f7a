//! The network as it truly is, and what a change of it looks like to who is told.

use super::super::*;
use crate::observation::{Neighbour, NeighbourState, RetransmitKind, TcpCounters, TcpReading, TcpSpread};

/// What may happen to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAct {
    Admin(bool),
    Carrier(bool),
    Oper(u8),
    /// It is called otherwise, or as before.
    Rename,
    Gone,
    /// It is made, with a new index.
    Made,
    /// It is a port of a bridge, or is none.
    Port(bool),
    /// It is a port of the link of the last place, or is none; that link itself never is one.
    Under(bool),
    /// It is a bridge, or is none.
    Bridge(bool),
}

/// What may happen to a link's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressAct {
    Added,
    Removed,
    Tentative,
    LinkLocal,
}

/// Links there may be.
pub const SLOTS: u8 = 3;

const NAMES: [&str; 3] = ["eth0", "wlan0", "usb0"];
const STATES: [NeighbourState; 7] = [
    NeighbourState::Incomplete,
    NeighbourState::Reachable,
    NeighbourState::Stale,
    NeighbourState::Delay,
    NeighbourState::Probe,
    NeighbourState::Failed,
    NeighbourState::Permanent,
];

/// The kernel's side.
#[derive(Debug)]
pub struct Truth {
    pub net: Network,
    index: [Option<IfIndex>; 3],
    next: u32,
    /// Counters by slot, and when they were last read.
    counters: [(TcpCounters, TcpSpread); 3],
    pub last_reading: u64,
}

impl Default for Truth {
    /// Two uplinks, both well, the first preferred; a third place is empty.
    fn default() -> Self {
        let mut it = Self {
            net: Network::default(),
            index: [None; 3],
            next: 2,
            counters: Default::default(),
            last_reading: 0,
        };
        let lo = Link { index: IfIndex(1), name: IfName::new("lo"), loopback: true, ..up() };
        it.net.apply(NetworkChange::Link(Box::new(lo)));
        for slot in 0..2 {
            it.link(slot, LinkAct::Made).into_iter().for_each(|c| it.net.apply(c));
            it.address(slot, AddressAct::Added).into_iter().for_each(|c| it.net.apply(c));
        }
        let routes = it.routes(0b00011_00011, false);
        it.net.apply(routes);
        it
    }
}

fn up() -> Link {
    Link { admin_up: true, carrier: true, oper: OperState::Up, ..Link::default() }
}

impl Truth {
    pub fn index(&self, slot: u8) -> Option<IfIndex> {
        self.index.get(usize::from(slot)).copied().flatten()
    }

    /// The change that this makes; none where it can't be.
    pub fn link(&mut self, slot: u8, act: LinkAct) -> Option<NetworkChange> {
        let index = self.index(slot);
        if act == LinkAct::Made {
            if index.is_some() {
                return None;
            }
            let index = IfIndex(self.next);
            self.next += 1;
            self.index[usize::from(slot)] = Some(index);
            self.counters[usize::from(slot)] = Default::default();
            let link = Link { index, name: IfName::new(NAMES[usize::from(slot)]), ..up() };
            return Some(NetworkChange::Link(Box::new(link)));
        }
        let mut link = self.net.links.get(&index?)?.clone();
        match act {
            LinkAct::Admin(b) => link.admin_up = b,
            LinkAct::Carrier(b) => link.carrier = b,
            LinkAct::Oper(i) => {
                let all = [
                    OperState::Up,
                    OperState::Unknown,
                    OperState::Dormant,
                    OperState::LowerLayerDown,
                    OperState::Down,
                    OperState::Testing,
                    OperState::NotPresent,
                ];
                link.oper = all[usize::from(i) % all.len()];
            }
            LinkAct::Rename => {
                let name = NAMES[usize::from(slot)];
                let other = format!("{}x", &name[..3]);
                link.name =
                    IfName::new(if link.name.as_bytes() == name.as_bytes() { other.as_str() } else { name });
            }
            LinkAct::Port(b) => link.master = b.then_some(IfIndex(99)),
            LinkAct::Under(b) => link.master = self.index(SLOTS - 1).filter(|m| b && *m != link.index),
            LinkAct::Bridge(b) => link.kind = b.then(|| "bridge".to_owned()),
            LinkAct::Gone => {
                self.index[usize::from(slot)] = None;
                return Some(NetworkChange::LinkGone(link.index));
            }
            LinkAct::Made => return None,
        }
        Some(NetworkChange::Link(Box::new(link)))
    }

    pub fn address(&self, slot: u8, act: AddressAct) -> Option<NetworkChange> {
        let ifindex = self.index(slot)?;
        let local = act == AddressAct::LinkLocal;
        let address = if local { format!("169.254.0.{}", slot + 2) } else { format!("10.{slot}.0.2") };
        let usable = act != AddressAct::Tentative;
        let a = Address { ifindex, address: ip(&address), prefix_len: if local { 16 } else { 24 }, usable };
        Some(match act {
            AddressAct::Removed => NetworkChange::AddressGone(a),
            _ => NetworkChange::Address(a),
        })
    }

    /// Five bits a link: an IPv4 default route, the link's own prefix, an IPv6 default route with its prefix, a route to
    /// one network, a default route without a gateway. The highest bit makes all metrics equal.
    pub fn routes(&self, mask: u16, truncated: bool) -> NetworkChange {
        let mut routes = Vec::new();
        for slot in 0..SLOTS {
            let Some(ifindex) = self.index(slot) else { continue };
            let metric = if mask & 1 << 15 != 0 { 100 } else { 100 * u32::from(slot) + 100 };
            let mut put = |bit: u16, destination: &str, prefix_len, gateway: Option<&str>| {
                if mask >> (5 * u16::from(slot)) & 1 << bit != 0 {
                    let (destination, gateway) = (ip(destination), gateway.map(ip));
                    routes.push(Route { table: 254, destination, prefix_len, gateway, ifindex, metric });
                }
            };
            let (own, gateway) = (format!("10.{slot}.0.0"), format!("10.{slot}.0.1"));
            put(0, "0.0.0.0", 0, Some(&gateway));
            put(1, &own, 24, None);
            put(2, "::", 0, Some("fe80::1"));
            put(2, "fe80::", 64, None);
            put(3, "1.1.1.0", 24, Some(&gateway));
            put(4, "0.0.0.0", 0, None);
        }
        NetworkChange::Routes { routes, truncated }
    }

    /// A gateway's neighbour entry; beyond the states it is gone.
    pub fn neighbour(&self, slot: u8, state: u8) -> Option<NetworkChange> {
        let ifindex = self.index(slot)?;
        let address = ip(&format!("10.{slot}.0.1"));
        Some(match STATES.get(usize::from(state)) {
            Some(state) => NetworkChange::Neighbour(Neighbour { ifindex, address, state: *state, mac: None }),
            None => NetworkChange::NeighbourGone { ifindex, address },
        })
    }

    /// The counters of one link have grown, or begun anew; all are read.
    pub fn reading(&mut self, slot: u8, sent: u16, per_mille: u8, restart: bool, current: bool) -> Evidence {
        let (counters, spread) = &mut self.counters[usize::from(slot % SLOTS)];
        if restart {
            (*counters, *spread) = Default::default();
        }
        let again = u64::from(sent) * u64::from(per_mille) / 1000;
        counters.segments_sent += u64::from(sent);
        let kind = if per_mille % 7 == 6 { RetransmitKind::Tlp } else { RetransmitKind::Fast };
        counters.retransmitted_segments[kind as usize] += again;
        let prefixes = usize::from(per_mille % 5) + 1;
        for i in 0..again as usize * usize::from(kind == RetransmitKind::Fast) {
            spread.flows[i % 23] += 1;
            spread.prefixes[i % prefixes] += 1;
        }
        let of = |slot: u8| self.index(slot).map(|i| (i, &self.counters[usize::from(slot)]));
        let all: Vec<_> = (0..SLOTS).filter_map(of).collect();
        Evidence::Tcp(Box::new(TcpReading {
            devices: all.iter().map(|(i, (counters, _))| (*i, *counters)).collect(),
            spread: all.iter().map(|(i, (_, spread))| (*i, spread.clone().into())).collect(),
            sent_is_current: current,
            ..TcpReading::default()
        }))
    }
}
