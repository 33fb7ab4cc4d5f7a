//! Links, routes and devices as they come and go: R2, R3, R16.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    Event, Health, LinkKnowledge, Review, device,
    flaps::Flaps,
    reach::{self, Reach, Way},
    retransmits::Retransmits,
    settings::Settings,
    stack,
    target::{Role, TargetSpec},
    verdict::{Reason, ReasonCode, State, Subject, Verdict},
};
use crate::{
    observation::{IfIndex, Network, NetworkChange, Route, TargetId},
    time::Moment,
};

/// A watched device and its verdict. What netlink says of it stands in [`Health::network`].
#[derive(Clone, Debug)]
pub struct Device {
    /// Its index.
    pub index: IfIndex,
    /// Its printable name.
    pub name: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Whether it has ever been usable: an idle port that never was is no fault of the node's (R2b).
    pub in_service: bool,
    pub(super) flaps: Flaps,
    pub(super) retransmits: Retransmits,
}

/// Links that R2 finds usable and that can carry a route: all but loopback and ports, or the preferred ones where some
/// are given.
pub(super) fn usable_links(network: &Network, settings: &Settings) -> BTreeSet<IfIndex> {
    let carries = |name: &str| settings.preferred.is_empty() || settings.preferred.iter().any(|p| p == name);
    let links = network.links.values().filter(|l| !l.loopback && !stack::is_port(l, network));
    let usable = links.filter(|l| carries(&l.name.escaped()) && device::judge(l, network).0 == State::Up);
    usable.map(|l| l.index).collect()
}

/// How a target's address can be reached over these links.
pub(super) fn reach_of(
    network: &Network,
    usable: &BTreeSet<IfIndex>,
    target: &TargetSpec,
    address: IpAddr,
) -> Reach {
    let usable = |i: IfIndex| usable.contains(&i);
    match target.role {
        Role::Gateway => reach::reach_gateway(network, usable, address, target.link),
        Role::Plain => reach::reach(network, usable, address, target.link),
    }
}

/// Which way packets to a target's address leave.
pub(super) fn way_of(
    network: &Network,
    usable: &BTreeSet<IfIndex>,
    target: &TargetSpec,
    address: IpAddr,
) -> Option<Way> {
    let usable = |i: IfIndex| usable.contains(&i);
    match target.role {
        Role::Gateway => reach::way_to_gateway(network, usable, address, target.link),
        Role::Plain => reach::way(network, usable, address, target.link),
    }
}

/// Whether a default route names this gateway, or another on the same link that has taken its place.
pub(super) fn is_gateway(network: &Network, address: IpAddr, link: Option<IfIndex>) -> bool {
    let on_its_link = |r: &&Route| match link {
        Some(link) => r.ifindex == link,
        None => network
            .routes
            .iter()
            .any(|c| c.gateway.is_none() && !c.is_default() && c.ifindex == r.ifindex && c.covers(address)),
    };
    let mut defaults = network.routes.iter().filter(|r| r.is_default() && reach::serves(network, r, link));
    defaults.clone().any(|r| r.gateway == Some(address) && link.is_none_or(|l| l == r.ifindex))
        || defaults.any(|r| r.gateway.is_some_and(|g| g.is_ipv4() == address.is_ipv4()) && on_its_link(&r))
}

impl Health {
    /// Takes a change of the network. Until all is read, or read anew (R16), single changes are not looked at: they are in
    /// what will be read.
    pub(super) fn network_changed(&mut self, now: Moment, change: NetworkChange) {
        let all = matches!(change, NetworkChange::Dump(_));
        if self.links != LinkKnowledge::Known && !all {
            return;
        }
        self.dirty = true;
        let replan = match &change {
            NetworkChange::Routes { .. } | NetworkChange::Dump(_) | NetworkChange::LinkGone(_) => true,
            // A gateway with a link-local address is named after its link.
            NetworkChange::Link(l) => self.network.links.get(&l.index).is_some_and(|old| old.name != l.name),
            _ => false,
        };
        let only_counters = matches!(change, NetworkChange::LinkStats(_));
        let only_neighbours =
            matches!(change, NetworkChange::Neighbour(_) | NetworkChange::NeighbourGone { .. });
        let first = self.links == LinkKnowledge::Pending(ReasonCode::Starting);
        self.links = LinkKnowledge::Known;
        self.network.apply(change);
        self.note_uplinks();
        if only_counters {
            return;
        }
        if only_neighbours {
            // No link, route or other target is judged by them.
            for id in self.gateways.clone() {
                self.judge_target(now, id);
            }
            return self.judge_overall(now);
        }
        self.judge_devices(now);
        self.update_reach(now, first);
        if replan {
            self.events.push_back(Event::RoutesChanged);
        }
        if first {
            // The first routes name the gateways, which are targets of their own: no verdict before they are in.
            self.settle_at = Some(now.mono);
        }
        self.judge_all(now);
    }

    /// Routes go with their link, so what is to blame for there being none is the link that had one last.
    fn note_uplinks(&mut self) {
        let defaults = self.network.default_routes();
        if !defaults.is_empty() {
            self.uplinks.clear();
            for route in defaults {
                if !self.uplinks.contains(&route.ifindex) {
                    self.uplinks.push(route.ifindex);
                }
            }
        }
    }

    /// The same links under other rules.
    pub(super) fn links_judged_anew(&mut self, now: Moment) {
        self.judge_devices(now);
        self.update_reach(now, false);
        self.judge_all(now);
    }

    /// R16: events were lost. What links said before is unknown until it is read anew; before anything was read there is
    /// nothing to lose.
    pub(super) fn network_gap(&mut self, now: Moment) {
        if self.links != LinkKnowledge::Known {
            return;
        }
        self.links = LinkKnowledge::Pending(ReasonCode::Gap);
        let reason =
            Reason::new(ReasonCode::Gap, "", "netlink events were lost; the state is being read anew");
        for device in self.devices.values_mut() {
            let previous = device.verdict.state;
            if device.verdict.update(now, State::Unknown, vec![reason.clone()]) {
                let subject = Subject::Device(device.name.clone());
                let reasons = device.verdict.reasons.clone();
                self.events.push_back(Event::Changed { subject, previous, state: State::Unknown, reasons });
            }
        }
        self.judge_overall(now);
    }

    /// R2b: an uplink whose route went has been missed for long enough.
    pub(super) fn uplinks_forgotten(&mut self, now: Moment) {
        if self.carriers.expire(now.mono) {
            self.judge_overall(now);
        }
        self.reviews.set(Review::Uplinks, self.carriers.until());
    }

    /// R2 for each watched device.
    fn judge_devices(&mut self, now: Moment) {
        let watched = |l: &crate::observation::Link| self.watch.watches(&l.name);
        let present: BTreeSet<IfIndex> =
            self.network.links.values().filter(|l| watched(l)).map(|l| l.index).collect();
        let gone: Vec<IfIndex> = self.devices.keys().filter(|i| !present.contains(i)).copied().collect();
        for index in gone {
            let Some(d) = self.devices.remove(&index) else { continue };
            self.dirty = true;
            self.reviews.set(Review::Device(index), None);
            // One that is there and no longer watched has no verdict any more, and that is no event.
            if d.verdict.state == State::Down || self.network.links.contains_key(&index) {
                continue;
            }
            let reasons = vec![Reason::new(ReasonCode::DeviceGone, &d.name, format!("{} is gone", d.name))];
            let (subject, previous) = (Subject::Device(d.name), d.verdict.state);
            self.events.push_back(Event::Changed { subject, previous, state: State::Down, reasons });
        }
        for index in present {
            self.judge_device(now, index);
        }
    }

    /// R3: an address whose last usable route went is down at once; one that has a route again is probed at once.
    fn update_reach(&mut self, now: Moment, first: bool) {
        self.ways = None;
        let usable = usable_links(&self.network, &self.settings);
        self.carriers.look(now.mono, &self.network, &usable);
        self.reviews.set(Review::Uplinks, self.carriers.until());
        self.echoes.retain(|link, _| self.network.links.contains_key(link));
        for id in self.order.clone() {
            self.update_reach_of(now, id, &usable, first);
        }
    }

    /// The same for one target.
    pub(super) fn update_reach_of(
        &mut self,
        now: Moment,
        id: TargetId,
        usable: &BTreeSet<IfIndex>,
        first: bool,
    ) {
        let Some(target) = self.targets.get_mut(&id) else { return };
        let mut touched = false;
        for a in &mut target.addresses {
            a.way = way_of(&self.network, usable, &target.spec, a.address);
            let reach = reach_of(&self.network, usable, &target.spec, a.address);
            let was = std::mem::replace(&mut a.reach, reach);
            match (was.stands(), a.reach.stands()) {
                // One that never had a route is down as well, and has to come back as any other (R8).
                (_, false) if a.fsm.state() != State::Down => a.lose_link(now.mono),
                // At the start every target is being probed already.
                (false, true) if first => continue,
                (false, true) if a.fsm.state() == State::Unknown => {
                    self.events.push_back(Event::Probe { target: id, address: a.address });
                }
                (false, true) => a.fsm.hasten(now.mono, &self.settings),
                _ => continue,
            }
            touched = true;
        }
        if touched {
            self.attend(now.mono, id);
        }
    }
}
