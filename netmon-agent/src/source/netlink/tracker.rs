//! What the source has told so far, and what an event adds to it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::observation::{IfIndex, Link, LinkStats, Neighbour, Network, NetworkChange};

use super::{
    decode::{Assigned, Event},
    dump::{Everything, Gateway, Routing, address_key, gateways, has_speed},
};

/// Neighbour events kept while routes are being read; more than these, and neighbours are read again.
const MAX_HELD: usize = 1024;

/// Events kept while everything is being read; with more than these the reading is not used.
const MAX_REPLAYED: usize = 16 * 1024;

/// What an event calls for beyond its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Consequences {
    /// Routes may have changed.
    pub(super) routes: bool,
    /// This link's speed may have changed.
    pub(super) speed: Option<IfIndex>,
}

/// The network as told, which is what whoever applies all changes has.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    network: Network,
    /// Every address with its peer; see [`Assigned`].
    peers: BTreeSet<(IfIndex, IpAddr, u8, Option<IpAddr>)>,
    gateways: BTreeSet<Gateway>,
    /// Neighbour events since a reading of routes began: it may find that they are of gateways.
    held: Option<BTreeMap<Gateway, Option<Neighbour>>>,
    held_too_many: bool,
    /// Events since a reading of everything began, for what it will find.
    replay: Option<Vec<Event>>,
}

impl Tracker {
    /// The network as told.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// A reading of everything begins.
    pub(super) fn begin_everything(&mut self) {
        self.replay = Some(Vec::new());
    }

    /// A reading of everything is over. Gives what to tell: the network as read and as changed since, if it differs
    /// from the network as told or `always`. None also if so much happened meanwhile that the reading is of no use.
    pub(super) fn everything(&mut self, read: Everything, always: bool) -> Option<NetworkChange> {
        let replay = self.replay.take().filter(|events| events.len() < MAX_REPLAYED)?;
        let mut fresh = Self {
            peers: read.assigned.iter().map(peer_key).collect(),
            gateways: gateways(&read.network.routes),
            network: read.network,
            ..Self::default()
        };
        let mut told_already = Vec::new();
        for event in replay {
            fresh.event(event, &mut told_already);
            told_already.clear();
        }
        if !always && quiet(&fresh.network) == quiet(&self.network) {
            return None;
        }
        *self = fresh;
        Some(NetworkChange::Dump(Box::new(self.network.clone())))
    }

    /// Takes an event in and puts what it changes into `out`. What changes nothing is not told.
    pub(super) fn event(&mut self, event: Event, out: &mut Vec<NetworkChange>) -> Consequences {
        if let Some(replay) = self.replay.as_mut().filter(|events| events.len() < MAX_REPLAYED) {
            replay.push(event.clone());
        }
        let mut consequences = Consequences::default();
        match event {
            Event::Link(link) => consequences = self.link(link, out),
            Event::LinkGone(index) => {
                if self.network.links.contains_key(&index) {
                    self.peers.retain(|p| p.0 != index);
                    self.gateways.retain(|g| g.0 != index);
                    self.tell(NetworkChange::LinkGone(index), out);
                }
                consequences.routes = true;
            }
            Event::Address(a) => {
                self.peers.insert(peer_key(&a));
                if self.network.addresses.get(&address_key(&a.address)) != Some(&a.address) {
                    self.tell(NetworkChange::Address(a.address), out);
                }
            }
            Event::AddressGone(a) => {
                self.peers.remove(&peer_key(&a));
                let (ifindex, address, len, _) = peer_key(&a);
                let still = self.peers.iter().any(|p| (p.0, p.1, p.2) == (ifindex, address, len));
                if !still && self.network.addresses.contains_key(&address_key(&a.address)) {
                    self.tell(NetworkChange::AddressGone(a.address), out);
                }
                consequences.routes = true;
            }
            Event::Routes => consequences.routes = true,
            Event::Neighbour(n) => self.neighbour((n.ifindex, n.address), Some(n), out),
            Event::NeighbourGone(ifindex, address) => self.neighbour((ifindex, address), None, out),
        }
        consequences
    }

    /// A reading of routes begins. Gives the gateways whose neighbours are known.
    pub(super) fn begin_routing(&mut self) -> BTreeSet<Gateway> {
        self.held = Some(BTreeMap::new());
        if std::mem::take(&mut self.held_too_many) { BTreeSet::new() } else { self.gateways.clone() }
    }

    /// A reading of routes is over. Says whether another is needed.
    pub(super) fn routing(&mut self, read: Routing, out: &mut Vec<NetworkChange>) -> bool {
        let held = self.held.take().unwrap_or_default();
        let consistent = read.consistent;
        let same = read.routes == self.network.routes && read.truncated == self.network.routes_truncated;
        self.gateways = gateways(&read.routes);
        if !same {
            self.tell(NetworkChange::Routes { routes: read.routes, truncated: read.truncated }, out);
        }
        let no_more: Vec<Gateway> =
            self.network.neighbours.keys().filter(|key| !self.gateways.contains(key)).copied().collect();
        for (ifindex, address) in no_more {
            self.tell(NetworkChange::NeighbourGone { ifindex, address }, out);
        }
        // What was heard since the reading began comes after what was read.
        let read = read.neighbours.into_iter().flatten().map(|n| ((n.ifindex, n.address), Some(n)));
        for (key, neighbour) in read.chain(held) {
            self.neighbour(key, neighbour, out);
        }
        self.held_too_many || !consistent
    }

    /// The reading of routes failed; what was held for it is of no use.
    pub(super) fn routing_failed(&mut self) {
        self.held = None;
        // Neighbours of gateways may have been among it.
        self.held_too_many = true;
    }

    /// A link's speed was read.
    pub(super) fn speed(&mut self, index: IfIndex, mbps: Option<u32>, out: &mut Vec<NetworkChange>) {
        if let Some(link) = self.network.links.get(&index)
            && link.speed_mbps != mbps
        {
            let link = Link { speed_mbps: mbps, ..link.clone() };
            self.tell(NetworkChange::Link(Box::new(link)), out);
        }
    }

    fn link(&mut self, mut link: Box<Link>, out: &mut Vec<NetworkChange>) -> Consequences {
        let mut consequences = Consequences::default();
        let state = |l: &Link| (l.admin_up, l.carrier, l.oper, l.master);
        let before = self.network.links.get(&link.index);
        let changed = before.is_none_or(|b| state(b) != state(&link));
        consequences.routes = changed && before.is_some();
        if has_speed(&link) {
            link.speed_mbps = before.and_then(|b| b.speed_mbps).filter(|_| link.carrier);
            consequences.speed = (changed && link.carrier).then_some(link.index);
        }
        if before != Some(&*link) {
            self.tell(NetworkChange::Link(link), out);
        }
        consequences
    }

    fn neighbour(&mut self, key: Gateway, to: Option<Neighbour>, out: &mut Vec<NetworkChange>) {
        if let Some(held) = &mut self.held {
            if held.len() < MAX_HELD || held.contains_key(&key) {
                held.insert(key, to.clone());
            } else {
                self.held_too_many = true;
            }
        }
        if !self.gateways.contains(&key) || self.network.neighbours.get(&key) == to.as_ref() {
            return;
        }
        let change = match to {
            Some(n) => NetworkChange::Neighbour(n),
            None => NetworkChange::NeighbourGone { ifindex: key.0, address: key.1 },
        };
        self.tell(change, out);
    }

    fn tell(&mut self, change: NetworkChange, out: &mut Vec<NetworkChange>) {
        self.network.apply(change.clone());
        out.push(change);
    }
}

/// Without traffic counters, which never stand still.
fn quiet(network: &Network) -> Network {
    let mut network = network.clone();
    for link in network.links.values_mut() {
        link.stats = LinkStats::default();
    }
    network
}

fn peer_key(a: &Assigned) -> (IfIndex, IpAddr, u8, Option<IpAddr>) {
    (a.address.ifindex, a.address.address, a.address.prefix_len, a.peer)
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
