//! The oracle: what the verdicts have to be by the text of the rules, worked out from the whole history by the simplest
//! means. It shares the plain types with the core and none of its code.
//!
//! | rule | how it is held against the core |
//! |---|---|
//! | R1, R2, R2b, R3, R4, R6, R8, R9, R10, R12, R13, R14, R16 | worked out anew: state and reasons |
//! | R5 | worked out: whose burst starts, and when none does |
//! | R7 | worked out, but for whether a silent host is alone in that: bounds from both sides ([`address::Lonely`]) |
//! | R11 | bounds from both sides, with room for the core's buckets ([`latency`]) |
//! | pace of R4 and R8 | bounds, in `invariants` |

pub mod address;
pub mod codes;
mod judge;
pub mod latency;
pub mod net;
pub mod tcp;
pub mod trust;
mod uplinks;
mod wilson;

use std::{collections::BTreeMap, net::IpAddr};

use super::super::*;
use address::{Addr, Fact};
use codes::Expect;
use net::Net;
use tcp::{Reading, Reports, Resends, TimeOuts};
use trust::{Judged, Scale};
use uplinks::Uplinks;

/// What is known of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are never told of.
    Absent,
    /// Not read yet.
    Starting,
    /// Being read anew: what was last known of routes is held on to for targets (R3), devices are unknown.
    Gap,
    Known,
}

/// A watched device.
#[derive(Debug)]
pub struct Dev {
    pub name: String,
    pub in_service: bool,
    judged: Judged,
    readings: Vec<Reading>,
    resends: Resends,
    pub expect: Expect,
}

/// A target.
#[derive(Debug)]
pub struct Tgt {
    pub spec: TargetSpec,
    pub unresolved: bool,
    pub addresses: Vec<Addr>,
    judged: Judged,
    pub expect: Expect,
}

/// What the core is asked for because the oracle bounds it only.
pub trait Core {
    /// R7 and R11 of an address: whether it is alone in its silence, and slow.
    fn word(&self, target: TargetId, address: IpAddr) -> (bool, bool);
}

/// The oracle.
#[derive(Debug)]
pub struct Model {
    pub settings: Settings,
    /// Beginnings of names that are not watched.
    unwatched: Vec<&'static str>,
    pub links: Links,
    pub net: Net,
    uplinks: Uplinks,
    /// R2b: as of the last look at routes, or since one was forgotten.
    uplink_missed: bool,
    pub devices: BTreeMap<IfIndex, Dev>,
    pub targets: Vec<Tgt>,
    last_look: Moment,
    /// R14: when all was last forgotten.
    pub forgot: Mono,
    started: Mono,
    pub settled: bool,
    /// Something made the core look at the whole.
    weighed: bool,
    /// The links were read for the first time in this moment.
    first_read: bool,
    interrupted: Option<ReasonCode>,
    throttled: bool,
    reports: Reports,
    timeouts: TimeOuts,
    pub scale: Scale,
    /// R14, R5: whom the core has to probe before the moment is over.
    pub to_probe: Vec<(TargetId, IpAddr)>,
}

impl Model {
    pub fn new(now: Moment, settings: Settings, unwatched: Vec<&'static str>, netlink: bool) -> Self {
        Self {
            settings,
            unwatched,
            links: if netlink { Links::Starting } else { Links::Absent },
            net: Net::default(),
            uplinks: Uplinks::default(),
            uplink_missed: false,
            devices: BTreeMap::new(),
            targets: Vec::new(),
            last_look: now,
            forgot: Mono::default(),
            started: now.mono,
            settled: false,
            weighed: false,
            first_read: false,
            interrupted: None,
            throttled: false,
            reports: Reports::default(),
            timeouts: TimeOuts::default(),
            scale: Scale::new(),
            to_probe: Vec::new(),
        }
    }

    /// Takes an observation that the core has taken. `examined` are the addresses that R5 would have examined.
    pub fn observe(
        &mut self,
        now: Moment,
        o: &Observation,
        core: &dyn Core,
        examined: Vec<(TargetId, IpAddr)>,
    ) -> Result<(), String> {
        self.look(now, core)?;
        match &o.evidence {
            Evidence::Network(change) => self.network(now, change)?,
            Evidence::Probe(event) => self.probe(now, o.at, event, core)?,
            // Before the links were read nothing was known that could be lost.
            Evidence::Gap(SourceKind::Netlink) if self.links == Links::Known => self.links = Links::Gap,
            Evidence::Gap(SourceKind::Probe) => self.all_learn(now.mono, Fact::ProbesLost)?,
            Evidence::Gap(_) | Evidence::LookedUp { .. } => {}
            Evidence::Resolved { target, addresses } => {
                if let Some(i) = self.targets.iter().position(|t| t.spec.id == *target) {
                    let spec = TargetSpec { addresses: addresses.clone(), ..self.targets[i].spec.clone() };
                    let old = self.targets.remove(i);
                    let mut new = self.put(now, spec, Some(old))?;
                    new.unresolved = false;
                    self.targets.insert(i, new);
                }
            }
            Evidence::ResolveFailed { target, .. } => {
                let named = self.targets.iter_mut().filter(|t| t.spec.id == *target);
                named.for_each(|t| t.unresolved = true);
            }
            Evidence::Tcp(reading) if reading.sent_is_current => {
                for (index, device) in &mut self.devices {
                    let c = reading.devices.get(index).copied().unwrap_or_default();
                    device.readings.push(Reading {
                        at: o.at,
                        sent: c.segments_sent,
                        again: c.retransmitted_segments[0] + c.retransmitted_segments[1],
                        spread: reading.spread.get(index).cloned().unwrap_or_default(),
                    });
                    device.resends = tcp::resends(&device.readings, &self.settings);
                }
            }
            Evidence::Tcp(_) => {}
            Evidence::TcpTimeout(timeout) => {
                if self.timeouts.take(now.mono, o.at, *timeout, &self.settings) {
                    self.to_probe.extend(examined);
                }
            }
            Evidence::TcpProgress(report) => {
                let taken = self.reports.take(o.at.min(now.mono), report, &self.settings);
                let enough = usize::from(self.settings.progress_prefixes);
                self.weighed |= taken && report.prefixes.iter().any(|(i, p)| i.0 != 0 && p.len() >= enough);
            }
        }
        self.judge(now.mono, core)
    }

    /// The core was told that time passed; `due` is when it wanted to be.
    pub fn tick(&mut self, now: Moment, due: Mono, core: &dyn Core) -> Result<(), String> {
        self.look(now, core)?;
        self.weighed = true;
        if now.mono.since(due) > self.settings.late_tick {
            self.scale.late(now.mono, &self.settings);
        } else {
            self.scale.quiet(now.mono);
        }
        self.first_read = false;
        self.uplinks.forget(now.mono, &self.net, &self.settings.preferred);
        self.uplink_missed = self.uplinks.any_is_missed();
        self.settled |= self.waited_long(now.mono);
        self.judge(now.mono, core)
    }

    pub fn configure(
        &mut self,
        now: Moment,
        settings: Settings,
        unwatched: Vec<&'static str>,
        core: &dyn Core,
    ) -> Result<(), String> {
        if self.settings.preferred != settings.preferred {
            // Others are to carry now, and nothing was lost.
            (self.uplinks, self.uplink_missed) = (Uplinks::default(), false);
        }
        (self.settings, self.unwatched) = (settings, unwatched);
        self.weighed = true;
        if self.links == Links::Known {
            self.find_devices();
            self.find_ways(now, false)?;
        }
        self.judge(now.mono, core)
    }

    pub fn throttle(&mut self, throttled: bool) {
        self.weighed |= self.throttled != throttled;
        self.throttled = throttled;
    }

    pub fn set_targets(&mut self, now: Moment, specs: &[TargetSpec], core: &dyn Core) -> Result<(), String> {
        self.weighed = true;
        let mut old = std::mem::take(&mut self.targets);
        for spec in specs {
            let before = old.iter().position(|t| t.spec.id == spec.id).map(|i| old.remove(i));
            let new = self.put(now, spec.clone(), before)?;
            self.targets.push(new);
        }
        self.judge(now.mono, core)
    }

    fn put(&self, now: Moment, spec: TargetSpec, old: Option<Tgt>) -> Result<Tgt, String> {
        let same_host = old.as_ref().is_some_and(|t| t.spec.host == spec.host);
        let unresolved = same_host && old.as_ref().is_some_and(|t| t.unresolved);
        // What is probed otherwise is another thing.
        let old = old.filter(|t| t.spec.method == spec.method && t.spec.link == spec.link);
        let (mut before, judged) = old.map(|t| (t.addresses, t.judged)).unwrap_or_default();
        let none_stays = before.iter().all(|a| !spec.addresses.contains(&a.address));
        let moved = same_host && none_stays && before.iter().any(|a| a.seen.state == State::Up);
        let mut addresses = Vec::new();
        for address in &spec.addresses {
            if let Some(i) = before.iter().position(|a| a.address == *address) {
                addresses.push(before.remove(i));
                continue;
            }
            let reach = self.net.reach(&spec, *address, &self.settings.preferred);
            let way = self.net.way(&spec, *address, &self.settings.preferred);
            let mut a = Addr::new(now.mono, *address, reach, way);
            if self.links == Links::Known && !reach.stands() {
                a.learn(now.mono, Fact::LinkLost, false, &self.settings)?;
            }
            if moved {
                a.learn(now.mono, Fact::Succeeded, false, &self.settings)?;
            }
            addresses.push(a);
        }
        Ok(Tgt { spec, unresolved, addresses, judged, expect: Expect::default() })
    }

    /// R14: after a suspend or a stall nothing is known, and everything is probed at once.
    fn look(&mut self, now: Moment, core: &dyn Core) -> Result<(), String> {
        let last = std::mem::replace(&mut self.last_look, now);
        let Some(code) = trust::interruption(last, now, &self.settings) else { return Ok(()) };
        (self.interrupted, self.forgot, self.weighed) = (Some(code), now.mono, true);
        (self.settled, self.started) = (false, now.mono);
        self.reports.forget();
        self.timeouts.forget();
        let all = self.targets.iter().flat_map(|t| t.addresses.iter().map(|a| (t.spec.id, a.address)));
        self.to_probe = all.collect();
        self.all_learn(now.mono, Fact::Forgotten)?;
        // That is a verdict of its own, whatever else is seen in this moment.
        self.judge(now.mono, core)?;
        let state = self.overall(now.mono)[0].state;
        self.given(now.mono, state);
        Ok(())
    }

    fn all_learn(&mut self, now: Mono, fact: Fact) -> Result<(), String> {
        for a in self.targets.iter_mut().flat_map(|t| &mut t.addresses) {
            let slow = a.latency.is_slow();
            a.learn(now, fact, slow, &self.settings)?;
        }
        Ok(())
    }

    fn network(&mut self, now: Moment, change: &NetworkChange) -> Result<(), String> {
        let first = self.links == Links::Starting;
        // Until all is read, single changes are not looked at.
        if self.links != Links::Known && !matches!(change, NetworkChange::Dump(_)) {
            return Ok(());
        }
        (self.links, self.weighed) = (Links::Known, true);
        self.net.apply(change);
        let no_link = matches!(
            change,
            NetworkChange::LinkStats(_) | NetworkChange::Neighbour(_) | NetworkChange::NeighbourGone { .. }
        );
        if no_link {
            return Ok(());
        }
        self.first_read |= first;
        self.find_devices();
        self.find_ways(now, first)
    }

    fn find_devices(&mut self) {
        let name = |l: &Link| String::from_utf8_lossy(l.name.as_bytes()).into_owned();
        let watched = |l: &&Link| !self.unwatched.iter().any(|u| l.name.as_bytes().starts_with(u.as_bytes()));
        let present: BTreeMap<IfIndex, String> =
            self.net.links.iter().filter(watched).map(|l| (l.index, name(l))).collect();
        self.devices.retain(|index, _| present.contains_key(index));
        for (index, name) in present {
            let new = || Dev {
                name: String::new(),
                in_service: false,
                judged: Judged::default(),
                readings: Vec::new(),
                resends: None,
                expect: Expect::default(),
            };
            self.devices.entry(index).or_insert_with(new).name = name;
        }
    }

    /// R3: what stands and what does not.
    fn find_ways(&mut self, now: Moment, first: bool) -> Result<(), String> {
        self.uplinks.look(now.mono, &self.net, &self.settings.preferred);
        self.uplink_missed = self.uplinks.any_is_missed();
        for t in &mut self.targets {
            for a in &mut t.addresses {
                let reach = self.net.reach(&t.spec, a.address, &self.settings.preferred);
                let way = self.net.way(&t.spec, a.address, &self.settings.preferred);
                if way != a.way {
                    a.lonely.unsure();
                }
                a.way = way;
                let was = std::mem::replace(&mut a.reach, reach);
                let fact = match (was.stands(), reach.stands()) {
                    (_, false) if a.seen.state != State::Down => Fact::LinkLost,
                    // What was never judged is as any new one; at the start all are probed anyhow.
                    (false, true) if !first && a.seen.state != State::Unknown => Fact::LinkBack,
                    _ => continue,
                };
                let slow = a.latency.is_slow();
                a.learn(now.mono, fact, slow, &self.settings)?;
            }
        }
        Ok(())
    }

    fn probe(&mut self, now: Moment, at: Mono, event: &ProbeEvent, core: &dyn Core) -> Result<(), String> {
        let fact = match event.outcome {
            ProbeOutcome::Sent => Fact::Sent(event.seq),
            ProbeOutcome::Reply { rtt, .. } => Fact::Reply(event.seq, rtt),
            ProbeOutcome::Failed { reason, .. } => Fact::Failed(event.seq, reason),
            ProbeOutcome::Inconclusive { lag } => {
                if lag > self.settings.late_tick {
                    self.scale.late(now.mono, &self.settings);
                }
                Fact::Inconclusive(event.seq)
            }
            // They are counted, and judged by nobody; but they come from where no link leads.
            ProbeOutcome::Late { .. }
            | ProbeOutcome::Duplicate
            | ProbeOutcome::Corrupted
            | ProbeOutcome::Detail(_) => {
                return self.probed_without_link(event, at);
            }
        };
        let Some(t) = self.targets.iter_mut().find(|t| t.spec.id == event.target) else { return Ok(()) };
        let echo = t.spec.method == Method::Icmp && t.spec.role == Role::Plain;
        let Some(a) = t.addresses.iter_mut().find(|a| a.address == event.address) else { return Ok(()) };
        let (_, slow) = core.word(event.target, event.address);
        a.learn(at, fact, slow, &self.settings)?;
        let way = a.way.clone().filter(|w| w.beyond && echo);
        if let (Fact::Reply(_, rtt), Some(way)) = (fact, way) {
            let left = Mono::from_nanos(at.as_nanos() - rtt.as_nanos() as u64);
            for other in self.targets.iter_mut().flat_map(|t| &mut t.addresses) {
                let shared = |w: &net::Way| w.links.iter().any(|i| way.links.contains(i));
                let same_link = other.way.as_ref().is_some_and(shared);
                other.lonely.heard(left, same_link);
            }
        }
        self.probed_without_link(event, at)
    }

    /// R3: while its link is lost no reply can acquit it, and none of its losses are its own.
    fn probed_without_link(&mut self, event: &ProbeEvent, at: Mono) -> Result<(), String> {
        let of_target = self.targets.iter_mut().find(|t| t.spec.id == event.target);
        let a = of_target.and_then(|t| t.addresses.iter_mut().find(|a| a.address == event.address));
        match a {
            Some(a) if self.links == Links::Known && !a.reach.stands() => {
                let slow = a.latency.is_slow();
                a.learn(at, Fact::LinkLost, slow, &self.settings)
            }
            _ => Ok(()),
        }
    }
}
