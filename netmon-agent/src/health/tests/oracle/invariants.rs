//! What may never be, whatever happens: looked at after every instant.

use super::{
    super::*,
    model::{Links, Model, net::Reach},
    releases::Releases,
    steps::fate_of,
    world::{Fate, TIMEOUT},
};
use crate::health::{Device, Reason, overall::ScopeTally};

/// R4: a silent blackhole is down by then: 2.6 intervals, a time-out, and a little for milliseconds rounded up.
const BLACKHOLE: u64 = 5200 + TIMEOUT + 50;

/// R8: back up by then.
const BACK: u64 = 3050;

/// R9: dwell, less the longest freeze that a history has: what was seen in it is told at its end.
const DWELL: u64 = 60_000 - 5_000;

/// The last that was told of one subject.
#[derive(Clone, Debug)]
struct Told {
    subject: Subject,
    index: Option<IfIndex>,
    state: State,
    since: Mono,
}

/// Watches events and verdicts.
#[derive(Debug)]
pub struct Watcher {
    told: Vec<Told>,
    changed: bool,
    /// Every change: for a comparison with another run of the history.
    pub transcript: Vec<(Mono, Subject, State)>,
    /// Since when nothing but time has passed.
    pub disturbed: u64,
    lossy: HashMap<(TargetId, IpAddr), u64>,
    releases: Option<Releases>,
}

impl Watcher {
    /// One that also looks whom the verdicts would release, which takes longer than all the rest.
    pub fn new(thorough: bool) -> Self {
        Self {
            told: Vec::new(),
            changed: false,
            transcript: Vec::new(),
            disturbed: START,
            lossy: HashMap::new(),
            releases: thorough.then(Releases::new),
        }
    }

    /// Events are exactly the changes: each begins where the last one of its subject ended.
    pub fn event(&mut self, now: Moment, event: &Event, health: &Health) -> Result<(), String> {
        let Event::Changed { subject, previous, state, reasons } = event else { return Ok(()) };
        let gone = reasons.first().is_some_and(|r| r.code == ReasonCode::DeviceGone)
            && matches!(subject, Subject::Device(_));
        let named = |name: &str| health.devices().find(|d| d.name == name).map(|d| d.index);
        let index = match subject {
            Subject::Device(name) if !gone => named(name),
            _ => None,
        };
        let same = |t: &Told| if index.is_some() { t.index == index } else { t.subject == *subject };
        let i = self.told.iter().position(same);
        let last = i.map_or(State::Unknown, |i| self.told[i].state);
        if last != *previous || previous == state {
            return Err(format!("a hole in the events: {event:?} after {last}"));
        }
        if *state != State::Up && reasons.is_empty() {
            return Err(format!("no reason: {event:?}"));
        }
        if let Some(i) = i {
            let before = self.told.remove(i);
            if now.mono < before.since {
                return Err(format!("time runs backwards: {event:?}"));
            }
        }
        if !gone {
            self.told.push(Told { subject: subject.clone(), index, state: *state, since: now.mono });
        }
        self.transcript.push((now.mono, subject.clone(), *state));
        self.changed = true;
        Ok(())
    }

    /// Nothing more is wanted for now: what is no more has no state any more, and devices may be called otherwise.
    pub fn drained(&mut self, health: &Health) {
        self.told.retain_mut(|t| match &t.subject {
            Subject::Network => true,
            Subject::Target(name) => health.targets().any(|known| *known.spec.name == **name),
            Subject::Device(_) => {
                let Some(device) = t.index.and_then(|i| health.devices.get(&i)) else { return false };
                t.subject = Subject::Device(device.name.clone());
                true
            }
        });
    }

    /// The core stands still from now on, for so long: nobody is released on what it said.
    pub fn frozen(&mut self, now: Moment, ms: u64) -> Result<(), String> {
        self.releases.as_mut().map_or(Ok(()), |r| r.frozen(now, ms))
    }

    /// Compares all verdicts with the oracle's, and looks at all that may never be.
    pub fn check(
        &mut self,
        now: u64,
        moment: Moment,
        health: &mut Health,
        model: &Model,
        fates: &HashMap<IpAddr, Fate>,
    ) -> Result<(), String> {
        if health.poll_timeout() <= moment.mono {
            return Err("a deadline is over and stays".into());
        }
        if std::mem::take(&mut self.changed) && !health.take_dirty() {
            return Err("a change that need not be published".into());
        }
        compare(moment, health, model)?;
        self.told_all(moment, health)?;
        same_numbers(health)?;
        lost_links(health, model)?;
        self.dwell(now, health, model)?;
        for (t, of_core) in model.targets.iter().zip(health.targets()) {
            for (a, of_core) in t.addresses.iter().zip(&of_core.addresses) {
                let fate = fate_of(fates, a.address);
                let steady = now.saturating_sub(fate.since.max(self.disturbed));
                let state = of_core.fsm.state();
                if fate.is_plain() && fate.failure.is_some() && steady > BLACKHOLE && state != State::Down {
                    return Err(format!("R4: {} is silent for {steady} ms and {state}", a.address));
                }
                let lost = a.reach == Reach::LinkLost || a.reach == Reach::NoRoute;
                let answers = fate.is_plain() && fate.failure.is_none() && fate.rtt <= 50;
                if answers && steady > BACK && state != State::Up && (model.links == Links::Absent || !lost) {
                    return Err(format!("R8: {} answers for {steady} ms and is {state}", a.address));
                }
            }
        }
        self.releases.as_mut().map_or(Ok(()), |r| r.check(moment, health))
    }

    /// No change without its event, no verdict without a reason, no time but forwards.
    fn told_all(&self, now: Moment, health: &Health) -> Result<(), String> {
        let one = |subject: Subject, verdict: &Verdict| {
            let told = self.told.iter().find(|t| t.subject == subject);
            let (state, since) = told.map_or((State::Unknown, Mono::default()), |t| (t.state, t.since));
            if state != verdict.state || told.is_some() && since != verdict.since.mono {
                return Err(format!("{subject:?}: told as {state} since {since:?}, is {verdict:?}"));
            }
            if verdict.since.mono > now.mono || verdict.since.boot > now.boot {
                return Err(format!("{subject:?}: since later than now"));
            }
            if verdict.state != State::Up && verdict.reasons.is_empty() {
                return Err(format!("{subject:?} is {} for no reason", verdict.state));
            }
            Ok(())
        };
        one(Subject::Network, health.verdict())?;
        health.devices().try_for_each(|d| one(Subject::Device(d.name.clone()), &d.verdict))?;
        health.targets().try_for_each(|t| one(Subject::Target(t.spec.name.to_string()), &t.verdict))
    }

    /// R9: once there is too much loss, it is so for a minute, unless nothing is known any more.
    fn dwell(&mut self, now: u64, health: &Health, model: &Model) -> Result<(), String> {
        let mut lossy = HashMap::new();
        for t in health.targets() {
            for a in &t.addresses {
                let key = (t.spec.id, a.address);
                let since = self.lossy.get(&key).copied();
                if a.loss.is_degraded() {
                    lossy.insert(key, since.unwrap_or(now));
                } else if let Some(since) = since
                    && model.forgot < moment(since, 0).mono
                    && now - since < DWELL
                    && a.loss.counts().1 > 0
                {
                    return Err(format!("R9: {} was lossy for {} ms alone", a.address, now - since));
                }
            }
        }
        self.lossy = lossy;
        Ok(())
    }

    /// The history is over: what the core holds is bounded by what there is.
    pub fn end(&self, health: &Health) -> Result<(), String> {
        let addresses = health.targets().map(|t| t.addresses.len()).sum::<usize>();
        let reviews = health.devices.len() + health.targets.len() + 1;
        let tallied = health.scopes.values().map(ScopeTally::total).sum::<usize>();
        let bounds = [
            ("timers", health.timers.len(), addresses),
            ("reviews", health.reviews.len(), reviews),
            ("doubted", health.doubted.len(), health.targets.len()),
            ("events", health.events.len(), 0),
            ("echoes", health.echoes.len(), health.network().links.len()),
            ("tallied", tallied, health.targets.len()),
            ("order", health.order.len(), health.targets.len()),
        ];
        for (what, held, most) in bounds {
            if held > most {
                return Err(format!("{held} {what} are held, of {most}"));
            }
        }
        let large = health.targets().flat_map(|t| &t.addresses).find(|a| a.heap() > 8192);
        large.map_or(Ok(()), |a| Err(format!("{} holds {} bytes", a.address, a.heap())))
    }
}

fn compare(now: Moment, health: &Health, model: &Model) -> Result<(), String> {
    for (t, expected) in health.targets().zip(&model.targets) {
        if !expected.expect.is_met_by(&t.verdict) {
            let seen: Vec<_> = expected.addresses.iter().map(|a| (a.address, a.reach, &a.seen)).collect();
            return Err(format!(
                "target {} is {:?}\nexpected {:?}\nof {seen:?}",
                t.spec.name, t.verdict, expected.expect
            ));
        }
    }
    let named = |d: &Device| (d.index, d.name.clone());
    let devices: Vec<_> = health.devices().map(named).collect();
    let expected: Vec<_> = model.devices.iter().map(|(i, d)| (*i, d.name.clone())).collect();
    if devices != expected || health.targets().count() != model.targets.len() {
        return Err(format!("watches {devices:?}, expected {expected:?}"));
    }
    for (d, (_, expected)) in health.devices().zip(&model.devices) {
        if !expected.expect.is_met_by(&d.verdict) || d.in_service != expected.in_service {
            return Err(format!("device {} is {:?}\nexpected {expected:?}", d.name, d.verdict));
        }
    }
    let expected = model.overall(now.mono);
    if !expected.iter().any(|e| e.is_met_by(health.verdict())) {
        return Err(format!("the whole is {:?}\nexpected {expected:?}", health.verdict()));
    }
    Ok(())
}

/// R10: of what a device sends again the whole tells what the device itself does, to the number.
fn same_numbers(health: &Health) -> Result<(), String> {
    let of_devices = |r: &&Reason| r.code == ReasonCode::Retransmits;
    let mut told = health.verdict().reasons.iter().filter(of_devices);
    match told.find(|r| !health.devices().any(|d| d.verdict.reasons.contains(r))) {
        Some(r) => Err(format!("the whole tells what no device does: {r:?}")),
        None => Ok(()),
    }
}

/// R2: where no link works at all, the whole is down at once; R12: and no damping hides what is.
fn lost_links(health: &Health, model: &Model) -> Result<(), String> {
    if model.links != Links::Known {
        return Ok(());
    }
    let net = &model.net;
    let works = net.links.iter().any(|l| !l.loopback && l.master.is_none() && net.fault(l).is_none());
    let own = model.targets.iter().flat_map(|t| &t.addresses).any(|a| a.reach == Reach::Local);
    if !works && !own && !net.truncated && health.verdict().state != State::Down {
        return Err(format!("no link works, and the whole is {}", health.verdict().state));
    }
    let mut faulty = health.devices().filter(|d| net.link(d.index).is_some_and(|l| net.fault(l).is_some()));
    match faulty.find(|d| d.verdict.state != State::Down) {
        Some(d) => Err(format!("{} does not work and is {}", d.name, d.verdict.state)),
        None => Ok(()),
    }
}
