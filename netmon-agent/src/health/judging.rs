//! When a verdict is given anew, and what it then looks at: one target's, and that over all (R1, R2, R2b, R6).

use std::net::IpAddr;

use super::{
    Event, Health, LinkKnowledge, Review, device,
    flaps::Flaps,
    network::{Device, is_gateway, usable_links},
    overall::{self, LinkFinding},
    reach::{Reach, Way, Ways},
    retransmits::Retransmits,
    stack,
    target::{Surroundings, Target},
    verdict::{Reason, ReasonCode, State, Subject, Verdict},
};
use crate::{
    observation::{IfIndex, Neighbour, Route, TargetId},
    time::Moment,
};

impl Health {
    pub(super) fn judge_all(&mut self, now: Moment) {
        for id in self.order.clone() {
            self.judge_target(now, id);
        }
        self.judge_overall(now);
    }

    /// R2, R2b (its ports), R10 and R12 for one watched device.
    pub(super) fn judge_device(&mut self, now: Moment, index: IfIndex) {
        let Some(link) = self.network.links.get(&index) else { return };
        let mut judged = device::judge(link, &self.network);
        let served = |port: IfIndex| self.devices.get(&port).is_some_and(|d| d.in_service);
        let mut impairments = stack::lost_ports(link, &self.network, served);
        let device = self.devices.entry(index).or_insert_with(|| Device {
            index,
            name: String::new(),
            verdict: Verdict { since: now, ..Verdict::default() },
            in_service: false,
            flaps: Flaps::default(),
            retransmits: Retransmits::default(),
        });
        device.name = link.name.escaped();
        device.in_service |= judged.0 == State::Up;
        device.retransmits.expire(now.mono, &self.settings);
        impairments.extend(device.retransmits.reason(&device.name, &self.settings));
        if judged.0 == State::Up && !impairments.is_empty() {
            judged = (State::Degraded, impairments);
        }
        let (state, reasons) = device.flaps.damp(now.mono, &self.settings, &device.name, true, judged);
        let reviews = [device.flaps.until(), device.retransmits.until(&self.settings)];
        self.reviews.set(Review::Device(index), reviews.into_iter().flatten().min());
        if device.verdict.reasons != reasons {
            self.dirty = true;
            // The verdict over all tells them too, with their numbers, whether or not the state is another.
            self.overall_due = Some(now);
        }
        let previous = device.verdict.state;
        if device.verdict.update(now, state, reasons) {
            self.dirty = true;
            let subject = Subject::Device(device.name.clone());
            let reasons = device.verdict.reasons.clone();
            self.events.push_back(Event::Changed { subject, previous, state, reasons });
            self.overall_due = Some(now);
        }
    }

    /// One target, by all rules.
    pub(super) fn judge_target(&mut self, now: Moment, id: TargetId) {
        let nameless = |t: &Target| t.addresses.is_empty() && t.unresolved.is_some();
        let cut_off = self.targets.get(&id).is_some_and(nameless) && {
            let ways = self.ways();
            self.links.were_read() && !self.any_way(ways)
        };
        let network = &self.network;
        let link_names = |reach: &Reach| match reach {
            Reach::LinkDown(links) => {
                let name = |i: &IfIndex| {
                    network.links.get(i).map_or_else(|| format!("#{}", i.0), |l| l.name.escaped())
                };
                links.iter().map(name).collect::<Vec<_>>().join(", ")
            }
            _ => String::new(),
        };
        let Some(target) = self.targets.get(&id) else { return };
        let link = target.spec.link;
        let neighbour = |a: IpAddr| {
            let of = |n: &&Neighbour| n.address == a && link.is_none_or(|l| l == n.ifindex);
            network.neighbours.values().find(of).map(|n| n.state)
        };
        let still_gateway = |a: IpAddr| is_gateway(network, a, link);
        let progress = |way: &Way| self.progress.along(now.mono, way, &self.settings);
        let around = Surroundings {
            settings: &self.settings,
            links_known: self.links.were_read(),
            link_names: &link_names,
            neighbour: &neighbour,
            still_gateway: &still_gateway,
            progress: &progress,
            cut_off,
        };
        let judged = target.judge(&around);
        let Some(target) = self.targets.get_mut(&id) else { return };
        let others = [ReasonCode::ExplainedByLink, ReasonCode::NoRoute];
        let own = !judged.1.first().is_some_and(|r| others.contains(&r.code));
        let (state, reasons) = target.flaps.damp(now.mono, &self.settings, &target.spec.name, own, judged);
        self.reviews.set(Review::Target(id), target.flaps.until());
        self.dirty |= target.verdict.reasons != reasons;
        let previous = target.verdict.state;
        let changed = target.verdict.update(now, state, reasons);
        match target.wants_progress(now.mono) {
            true => self.doubted.insert(id),
            false => self.doubted.remove(&id),
        };
        if !changed {
            return;
        }
        self.dirty = true;
        self.overall_due = Some(now);
        if let Some(tally) = self.scopes.get_mut(&target.spec.scope) {
            tally.put(&target.spec.name, state);
        }
        let subject = Subject::Target(target.spec.name.to_string());
        let reasons = target.verdict.reasons.clone();
        self.events.push_back(Event::Changed { subject, previous, state, reasons });
    }

    pub(super) fn judge_overall(&mut self, now: Moment) {
        self.overall_due = None;
        self.settle(now);
        let ways = self.ways();
        let evidence = overall::Evidence {
            settled: self.settled,
            links: self.link_finding(ways),
            required_down: self.required_down(),
            excuse: self.excuse(now.mono),
            device_faults: self.faults(),
            scopes: &self.scopes,
            quorum: &self.settings.quorum,
        };
        let (state, mut reasons) = overall::judge(&evidence);
        let probes_decide = evidence.links == LinkFinding::Usable && evidence.required_down.is_empty();
        let excused = reasons.first().is_some_and(|r| r.code == ReasonCode::IcmpFiltered);
        self.down_by_probes =
            probes_decide && (state == State::Down || excused) && self.silent_gateways().next().is_some();
        // Down is a verdict, whatever was still to be heard of: the next one is not the first.
        self.settled |= state == State::Down;
        match &self.interrupted {
            Some(why) if state == State::Unknown => reasons.insert(0, why.clone()),
            _ => self.interrupted = None,
        }
        reasons.extend(self.throttled.clone());
        self.dirty |= self.verdict.reasons != reasons;
        let previous = self.verdict.state;
        if self.verdict.update(now, state, reasons) {
            self.dirty = true;
            let reasons = self.verdict.reasons.clone();
            self.events.push_back(Event::Changed { subject: Subject::Network, previous, state, reasons });
        }
    }

    /// Found once for many verdicts: it takes a look at every address.
    fn ways(&mut self) -> Ways {
        let find = || Ways::of(self.targets.values().flat_map(|t| &t.addresses).map(|a| &a.reach));
        *self.ways.get_or_insert_with(find)
    }

    /// R1: whether the first verdict over all may be given.
    fn settle(&mut self, now: Moment) {
        let unknown = || self.scopes.values().any(|tally| tally.count(State::Unknown) > 0);
        let pending = matches!(self.links, LinkKnowledge::Pending(_)) || self.settle_at.is_some();
        self.settled |= now.mono.since(self.started) > self.settings.settle || !pending && !unknown();
    }

    /// R2 over all links.
    fn link_finding(&self, ways: Ways) -> LinkFinding {
        match self.links {
            LinkKnowledge::Absent => return LinkFinding::Unknown(None),
            LinkKnowledge::Pending(code) => {
                let detail = match code {
                    ReasonCode::Gap => "netlink events were lost; the state is being read anew",
                    _ => "links have not been read yet",
                };
                return LinkFinding::Unknown(Some(Reason::new(code, "", detail)));
            }
            LinkKnowledge::Known => {}
        }
        if self.any_way(ways) {
            return LinkFinding::Usable;
        }
        let mut reasons: Vec<Reason> = Vec::new();
        let uplinks = self.uplinks.iter().filter_map(|i| self.network.links.get(i));
        let faults = uplinks.flat_map(|link| device::judge(link, &self.network).1);
        for d in faults.chain(self.device_faults(&[State::Down])) {
            if !reasons.iter().any(|r| r.subject == d.subject) {
                reasons.push(d);
            }
        }
        reasons.push(match self.network.routes.iter().any(|r| r.is_default() && self.is_own(r)) {
            false => Reason::new(ReasonCode::NoRoute, "", "no default route, and no route to any target"),
            true => Reason::new(ReasonCode::NoUsableLink, "", "no usable link carries a default route"),
        });
        LinkFinding::Unusable(reasons)
    }

    /// R2: whether a default route stands on a usable link, or a route to a target; by what was last read.
    fn any_way(&self, ways: Ways) -> bool {
        let usable = usable_links(&self.network, &self.settings);
        let carries = |r: &Route| r.is_default() && usable.contains(&r.ifindex) && self.is_own(r);
        // The machine itself needs no link; but a resolver of its own makes no network either.
        self.network.routes.iter().any(carries) || ways.routed || ways.local
    }

    /// A VRF's default route is none of the machine's own, unless there never was another.
    fn is_own(&self, route: &Route) -> bool {
        self.uplinks.is_empty() || self.network.vrf_of(route).is_none()
    }

    /// R2b: required devices that are down or missing.
    fn required_down(&self) -> Vec<Reason> {
        if self.links != LinkKnowledge::Known {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        for name in &self.settings.required {
            match self.network.links.values().find(|l| l.name.escaped() == *name) {
                None => {
                    let detail = format!("required device {name} does not exist");
                    reasons.push(Reason::new(ReasonCode::DeviceGone, name, detail));
                }
                Some(link) => {
                    let (state, why) = device::judge(link, &self.network);
                    if state == State::Down {
                        let detail = format!("required device {name} is down");
                        reasons.push(Reason::new(ReasonCode::RequiredDeviceDown, name, detail));
                        reasons.extend(why);
                    }
                }
            }
        }
        reasons
    }

    /// R2b: what is wrong with devices, and uplinks that are lost while another carries. Each reason once: what stands on
    /// a device gives that device's reasons too.
    fn faults(&self) -> Vec<Reason> {
        let mut faults: Vec<Reason> = Vec::new();
        let missed = if self.links == LinkKnowledge::Known { self.carriers.reasons() } else { Vec::new() };
        for reason in self.device_faults(&[State::Down, State::Degraded]).into_iter().chain(missed) {
            if !faults.contains(&reason) {
                faults.push(reason);
            }
        }
        faults
    }

    /// R2b: why devices that have been in service are in one of these states. The loss of a port is its master's to tell,
    /// where that is watched.
    fn device_faults(&self, states: &[State]) -> Vec<Reason> {
        let faulty = self.devices.values().filter(|d| d.in_service && states.contains(&d.verdict.state));
        let counts =
            |d: &&Device| self.settings.preferred.is_empty() || self.settings.preferred.contains(&d.name);
        let told = |d: &&Device| {
            let port = self.network.links.get(&d.index).filter(|link| stack::is_port(link, &self.network));
            let master = port.filter(|_| d.verdict.state == State::Down).and_then(|link| link.master);
            !master.is_some_and(|master| self.devices.contains_key(&master))
        };
        faulty.filter(counts).filter(told).flat_map(|d| d.verdict.reasons.iter().cloned()).collect()
    }
}
