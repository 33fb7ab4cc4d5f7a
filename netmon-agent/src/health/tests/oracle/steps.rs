//! How each step happens.

use super::{
    super::*,
    catalogue,
    model::Links,
    step::{FateAct, RawAct, Step},
    tell::SLOTS,
    world::{Fate, INTERVAL, Play},
};
use crate::observation::{LinkStats, TcpTimeout};

/// Readings of the counters are no closer than this: the core would leave some of them out.
const APART: u64 = 2200;

impl Play {
    /// Lets one step happen.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Run(_) | Step::LinkStats | Step::LookedUp | Step::Throttle(_) | Step::Blind(_) => {}
            Step::Acknowledge(..) | Step::Report(..) | Step::Reading(..) | Step::Fate(..) => {}
            _ => self.disturb(),
        }
        match *step {
            Step::Run(ms) => self.run(ms.into()),
            Step::Freeze(ms) => self.freeze(ms.into()),
            Step::Suspend(ms) => {
                self.boot_ahead += u64::from(ms);
                Ok(())
            }
            Step::Link(slot, act) => {
                let change = self.truth.link(slot, act);
                self.change(change)
            }
            Step::Address(slot, act) => self.change(self.truth.address(slot, act)),
            Step::Routes(mask, truncated) => self.change(Some(self.truth.routes(mask, truncated))),
            Step::Neighbour(slot, state) => self.change(self.truth.neighbour(slot, state)),
            Step::LinkStats => {
                let all = self.truth.net.links.keys();
                let stats = all.map(|i| (*i, LinkStats { rx_bytes: self.now, ..LinkStats::default() }));
                let change = NetworkChange::LinkStats(stats.collect());
                self.change(Some(change))
            }
            Step::Gap => self.tell(self.now, Evidence::Gap(SourceKind::Netlink)),
            Step::Dump if self.model.links == Links::Absent => Ok(()),
            Step::Dump => {
                let all = Box::new(self.truth.net.clone());
                self.tell(self.now, Evidence::Network(NetworkChange::Dump(all)))
            }
            Step::Lost(probes) => {
                let source = if probes { SourceKind::Probe } else { SourceKind::Bpf };
                self.tell(self.now, Evidence::Gap(source))
            }
            Step::Fate(which, act) => {
                self.fate(which, act);
                Ok(())
            }
            Step::Raw(which, act) => self.raw(which, act),
            Step::Resolved(mask) => self.resolve(mask),
            Step::ResolveFailed => {
                let error = "no such name (NXDOMAIN)".to_owned();
                self.tell(self.now, Evidence::ResolveFailed { target: catalogue::NAMED, error })
            }
            Step::LookedUp => {
                let took = Duration::from_millis(9);
                self.tell(self.now, Evidence::LookedUp { target: catalogue::NAMED, took })
            }
            Step::Reading(slot, sent, again, restart, current) => {
                if self.now - self.truth.last_reading < APART {
                    return Ok(());
                }
                self.truth.last_reading = self.now;
                let reading = self.truth.reading(slot, sent, again, restart, current);
                self.tell(self.now, reading)
            }
            Step::TimeOuts(slot, prefixes, times) => self.time_outs(slot, prefixes, times),
            Step::Acknowledge(slot, n) => {
                let index = self.truth.index(slot).map_or(0, |i| i.0);
                self.acknowledge.insert(index, n.into());
                Ok(())
            }
            Step::Report(slot, n, over) => {
                let index = self.truth.index(slot % SLOTS).unwrap_or_default();
                let report = TcpProgress {
                    over: Duration::from_millis(over.into()),
                    prefixes: [(index, (0..n.into()).collect())].into(),
                };
                self.tell(self.now, Evidence::TcpProgress(report))
            }
            Step::Blind(blind) => {
                self.blind = blind;
                Ok(())
            }
            Step::Configure(variant) => self.configure(variant),
            Step::Targets(mask, odd) => self.targets(mask, odd),
            Step::Throttle(on) => {
                self.health.throttle(self.moment(), on.then(|| "5.1 % of 5.0 %".to_owned()));
                self.model.throttle(on);
                Ok(())
            }
        }
    }

    /// Something changed in the network. While events are lost, every other change is not told.
    fn change(&mut self, change: Option<NetworkChange>) -> Result<(), String> {
        let Some(change) = change else { return Ok(()) };
        self.truth.net.apply(change.clone());
        let deaf = self.model.links == Links::Gap && self.coverage.steps % 2 == 1;
        if deaf || self.model.links == Links::Absent {
            return Ok(());
        }
        self.tell(self.now, Evidence::Network(change))
    }

    fn fate(&mut self, which: u8, act: FateAct) {
        let one = usize::from(which);
        let all = catalogue::ADDRESSES.iter().enumerate();
        for (_, address) in all.filter(|(i, _)| *i == one || one >= catalogue::ADDRESSES.len()) {
            let fate = self.fates.entry(ip(address)).or_default();
            let before = *fate;
            match act {
                FateAct::Answers => fate.failure = None,
                FateAct::Silent => fate.failure = Some(FailureReason::Timeout),
                FateAct::Fails(reason) => fate.failure = Some(reason),
                FateAct::Loses(percent) => fate.lost = percent,
                FateAct::Rtt(ms) => fate.rtt = ms.max(1).into(),
                FateAct::Unproven(percent) => fate.unproven = percent,
                FateAct::Late(percent) => fate.late = percent,
                FateAct::Twice(percent) => fate.twice = percent,
            }
            if *fate != before {
                fate.since = self.now;
            }
        }
    }

    fn raw(&mut self, which: u8, act: RawAct) -> Result<(), String> {
        let id = TargetId(which.into());
        let known = self.health.targets.get(&id).and_then(|t| t.spec.addresses.first());
        let (id, address) = match known {
            Some(address) if act != RawAct::Stray => (id, *address),
            _ => (TargetId(77), ip(catalogue::ADDRESSES[1])),
        };
        let key = (id, address);
        let under_way: Vec<u64> = self.open.iter().filter(|(k, _)| *k == key).map(|(_, seq)| *seq).collect();
        let nth = |n: u8| under_way.get(usize::from(n) % under_way.len().max(1)).copied().unwrap_or(u64::MAX);
        let (seq, outcome) = match act {
            RawAct::Sent | RawAct::Stray => {
                let entry = self.regular.entry(key).or_insert((u64::MAX, 0));
                entry.1 += 1;
                self.open.push((key, entry.1));
                (entry.1, ProbeOutcome::Sent)
            }
            RawAct::Reply(n) => (nth(n), answered()),
            RawAct::Failed(n, reason) => (nth(n), ProbeOutcome::Failed { reason, reporter: None }),
            RawAct::Inconclusive(n, ms) => {
                (nth(n), ProbeOutcome::Inconclusive { lag: Duration::from_millis(ms.into()) })
            }
            RawAct::Late(n) => (nth(n), ProbeOutcome::Late { rtt: Duration::from_millis(1500) }),
            RawAct::Duplicate => (1, ProbeOutcome::Duplicate),
            RawAct::Corrupted => (1, ProbeOutcome::Corrupted),
            RawAct::Detail => (1, ProbeOutcome::Detail(Box::default())),
            RawAct::Forged => (u64::MAX - 1, answered()),
        };
        if matches!(act, RawAct::Reply(_) | RawAct::Failed(..) | RawAct::Inconclusive(..)) {
            self.open.retain(|open| *open != (key, seq));
        }
        let event = ProbeEvent { target: id, address, seq, outcome };
        self.tell(self.now, Evidence::Probe(event))
    }

    fn resolve(&mut self, mask: u8) -> Result<(), String> {
        let addresses = catalogue::addresses(mask);
        if self.health.targets.contains_key(&catalogue::NAMED) {
            self.resolved.insert(catalogue::NAMED, addresses.clone());
        }
        self.tell(self.now, Evidence::Resolved { target: catalogue::NAMED, addresses })?;
        self.drain()?;
        self.plan()
    }

    fn time_outs(&mut self, slot: u8, prefixes: u8, times: u8) -> Result<(), String> {
        let device = self.truth.index(slot).unwrap_or_default();
        for _ in 0..times {
            for prefix in 0..prefixes {
                let timeout = TcpTimeout { device, prefix: prefix.into() };
                self.tell(self.now, Evidence::TcpTimeout(timeout))?;
                self.settle()?;
            }
        }
        Ok(())
    }

    fn configure(&mut self, variant: u8) -> Result<(), String> {
        let (settings, unwatched) = catalogue::settings(variant, self.seed);
        self.health.configure(self.moment(), settings.clone(), catalogue::watch(&unwatched));
        self.with_core(|model, now, core| model.configure(now, settings, unwatched, core))
    }

    fn targets(&mut self, mask: u16, odd: u8) -> Result<(), String> {
        let mut specs = catalogue::targets(mask, odd, &self.resolved);
        if self.reversed {
            specs.reverse();
        }
        self.health.set_targets(self.moment(), specs.clone());
        self.with_core(|model, now, core| model.set_targets(now, &specs, core))?;
        if !specs.iter().any(|s| s.id == catalogue::NAMED) {
            self.resolved.clear();
        }
        self.drain()?;
        self.plan()
    }

    /// What is new is probed at once, what is gone no more.
    fn plan(&mut self) -> Result<(), String> {
        let specs = self.health.targets().map(|t| &t.spec);
        let mut keys: Vec<_> = specs.flat_map(|s| s.addresses.iter().map(|a| (s.id, *a))).collect();
        keys.sort_unstable();
        for (key, entry) in &mut self.regular {
            entry.0 = if keys.contains(key) { entry.0 } else { u64::MAX };
        }
        for key in keys {
            let (next, seq) = self.regular.get(&key).copied().unwrap_or((u64::MAX, 0));
            if next == u64::MAX {
                self.regular.insert(key, (self.now + INTERVAL, seq));
                self.send(self.now, key.0, key.1)?;
            }
        }
        Ok(())
    }

    /// Lets milliseconds pass, from one thing that happens to the next.
    fn run(&mut self, ms: u64) -> Result<(), String> {
        let end = self.now + ms;
        while self.now < end {
            let due = self.health.poll_timeout().as_nanos().div_ceil(1_000_000);
            let look = self.last_look.map_or(end, |t| t + 1000);
            let next = self.next_of_probes().min(due).min(look).min(end);
            self.now = next.max(self.now + 1);
            self.probes_until(self.now)?;
            self.settle()?;
            self.look_at_sockets()?;
        }
        Ok(())
    }

    /// The core hears of nothing for so long; then of all at once.
    fn freeze(&mut self, ms: u64) -> Result<(), String> {
        self.watcher.frozen(self.moment(), ms)?;
        self.now += ms;
        self.disturb();
        self.probes_until(self.now)
    }

    fn next_of_probes(&self) -> u64 {
        let regular = self.regular.values().map(|(next, _)| *next);
        regular.chain(self.pending.iter().map(|(at, _)| *at)).min().unwrap_or(u64::MAX)
    }

    /// All that the probe engine does until then, each at its time.
    fn probes_until(&mut self, end: u64) -> Result<(), String> {
        loop {
            let at = self.next_of_probes();
            if at > end {
                return Ok(());
            }
            let due: Vec<_> =
                self.regular.iter().filter(|(_, (next, _))| *next <= at).map(|(k, _)| *k).collect();
            for key in due {
                self.send(at, key.0, key.1)?;
                let seq = self.regular[&key].1;
                let next = self.next_regular(at, key, seq);
                self.regular.entry(key).and_modify(|entry| entry.0 = next);
            }
            let (heard, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(t, _)| *t <= at);
            self.pending = pending;
            let heard: Vec<(u64, ProbeEvent)> = heard;
            for (t, event) in heard {
                self.tell(t, Evidence::Probe(event))?;
            }
        }
    }

    /// As the agent does: a look a second while it is wanted, and a report from the second on.
    fn look_at_sockets(&mut self) -> Result<(), String> {
        if self.blind || !self.health.wants_progress() {
            self.last_look = None;
            return Ok(());
        }
        if self.last_look.is_some_and(|t| self.now - t < 1000) {
            return Ok(());
        }
        let Some(before) = self.last_look.replace(self.now) else { return Ok(()) };
        let prefixes = self.acknowledge.iter().map(|(i, n)| (IfIndex(*i), (0..*n).collect()));
        let over = Duration::from_millis(self.now - before);
        let report = TcpProgress { over, prefixes: prefixes.collect() };
        self.tell(self.now, Evidence::TcpProgress(report))?;
        self.settle()
    }
}

fn answered() -> ProbeOutcome {
    ProbeOutcome::Reply {
        rtt: Duration::from_millis(5),
        stamp: StampSource::Kernel,
        ttl: None,
        reordered: false,
    }
}

/// A fate that was never set is the usual one, since the world began or was disturbed.
pub fn fate_of(fates: &HashMap<IpAddr, Fate>, address: IpAddr) -> Fate {
    fates.get(&address).copied().unwrap_or_default()
}
