//! A scenario in virtual time: the core, its planner and the probe engine's schedule over the modelled world.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use netmon_agent::{
    config::Config,
    health::{Event, Health, Reason, State, Subject},
    observation::{Evidence, NetworkChange},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    Took, Wrong,
    format::{Expectation, Expected, FamilyWord, Flap, Scenario, StateWord, Step, is_reason},
    model::{Model, address},
};
use crate::sim::Agent;

/// Verdicts are looked at this often.
const TICK: Duration = Duration::from_millis(10);

/// The kernel's tables are read so long after the start.
const DUMP: Duration = Duration::from_millis(2);

/// Runs it once. The seed gives chance and phase: when within an interval things happen.
///
/// # Errors
/// [`Wrong`], at the first verdict that is wrong, late or missing.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Vec<Took>> {
    let config = Arc::new(Config::parse(&scenario.config, Path::new("netmon.toml"))?);
    let mut player = Player::new(scenario, &config, seed);
    let mut times = Vec::new();
    player.start(scenario, config);
    let origin = Duration::ZERO;
    times.extend(player.expect(
        0,
        "start",
        &scenario.first,
        Begin { origin, mark: 0, was: State::Unknown },
    )?);
    for (n, (step, at_any_moment)) in scenario.steps().enumerate() {
        if at_any_moment {
            player.wait_for_a_phase();
        }
        times.extend(player.step(n + 1, step)?);
    }
    Ok(times)
}

/// A change of a verdict, as the core told it.
struct Told {
    at: Duration,
    subject: Subject,
    state: State,
    reasons: Vec<Reason>,
}

/// Where a step began.
#[derive(Clone, Copy)]
struct Begin {
    /// What deadlines count from.
    origin: Duration,
    /// How many changes had been told.
    mark: usize,
    /// The verdict over all.
    was: State,
}

struct Player {
    agent: Agent<Model>,
    told: Vec<Told>,
    interval: Duration,
    rng: SmallRng,
}

impl Player {
    fn new(scenario: &Scenario, config: &Config, seed: u64) -> Self {
        let mut model = Model::new(scenario, config, seed);
        for fault in &scenario.before {
            model.break_it(Duration::ZERO, fault);
        }
        let agent = Agent::new(seed, config.health.clone(), config.watch.clone(), model);
        let rng = SmallRng::seed_from_u64(seed ^ 0x5eed);
        Self { agent, told: Vec::new(), interval: config.interval, rng }
    }

    /// As the agent does: targets that need no routes first, then the tables, then those that the routes name.
    fn start(&mut self, scenario: &Scenario, config: Arc<Config>) {
        // What broke before the start is in the first dump, and is no news.
        self.agent.wire.news(Duration::MAX);
        debug_assert!(scenario.world.uplinks > 0, "the resolver is on the first gateway");
        self.agent.plan(config, vec![address(0, FamilyWord::V4, 1)]);
        self.run_until(DUMP);
        let dump = self.agent.wire.dump();
        self.agent.observe(Evidence::Network(NetworkChange::Dump(Box::new(dump))));
    }

    fn step(&mut self, n: usize, step: &Step) -> Result<Option<Took>, Wrong> {
        let title = step.title();
        let mut begin = Begin {
            origin: self.agent.now(),
            mark: self.told.len(),
            was: self.agent.health().verdict().state,
        };
        self.act(step);
        begin.origin = self.agent.now();
        let took = match &step.then {
            Some(then) => self.expect(n, &title, then, begin)?,
            None => None,
        };
        self.lasts(n, &title, step, begin)?;
        Ok(took)
    }

    fn wait_for_a_phase(&mut self) {
        let phase = self.interval.mul_f64(self.rng.random());
        self.pass(phase);
    }

    fn act(&mut self, step: &Step) {
        let now = self.agent.now();
        if let Some(fault) = &step.breaks {
            self.agent.wire.break_it(now, fault);
        }
        if let Some(kind) = &step.mend {
            self.agent.wire.mend(now, kind);
        }
        if let Some(hosts) = &step.upload {
            self.agent.wire.upload(hosts);
        }
        if let Some(time) = step.wait {
            self.pass(time.0);
        }
        if let Some(time) = step.stop {
            self.agent.stall(time.0);
            self.pass(time.0);
        }
        if let Some(time) = step.suspend {
            self.agent.suspend(time.0);
        }
        if let Some(flap) = step.flap {
            self.flap(flap);
        }
    }

    fn flap(&mut self, flap: Flap) {
        let half = Duration::from_secs_f64(0.5 / flap.hz);
        let end = self.agent.now() + flap.lasts.0;
        while self.agent.now() < end {
            for up in [false, true] {
                let now = self.agent.now();
                self.agent.wire.set_far(now, flap.uplink, up);
                self.pass(half);
            }
        }
    }

    /// `stays`, `quiet` and `never`.
    fn lasts(&mut self, n: usize, title: &str, step: &Step, begin: Begin) -> Result<(), Wrong> {
        if let Some(time) = step.lasts {
            self.pass(time.0);
        }
        let told = &self.told[begin.mark..];
        let over_all = || told.iter().filter(|t| t.subject == Subject::Network);
        let stays = step.stays.and_then(StateWord::state);
        let broken = stays.is_some_and(|s| begin.was != s || over_all().any(|t| t.state != s))
            || step.quiet && !told.is_empty()
            || over_all().any(|t| step.never.iter().any(|s| s.state() == Some(t.state)));
        match broken {
            false => Ok(()),
            true => {
                let wanted = step.stays.map_or("not what it never is".to_owned(), |s| s.as_str().to_owned());
                Err(self.wrong(n, title, &format!("it was to stay {wanted} from {:?} on", begin.was), begin))
            }
        }
    }

    fn expect(
        &mut self,
        n: usize,
        title: &str,
        e: &Expectation,
        begin: Begin,
    ) -> Result<Option<Took>, Wrong> {
        let deadline = begin.origin + e.within.0;
        loop {
            match self.missing(e, begin) {
                None => break,
                Some(what) if self.agent.now() >= deadline => {
                    let why = format!("not within {:?}: {what}", e.within.0);
                    return Err(self.wrong(n, title, &why, begin));
                }
                Some(_) => self.pass(TICK),
            }
        }
        if let (Some(state), Some(first)) = (e.state.and_then(StateWord::state), e.reasons.first()) {
            let changed = |t: &&Told| t.subject == Subject::Network && t.state == state;
            let last = self.told[begin.mark..].iter().rfind(changed);
            if last.is_some_and(|t| !has(&t.reasons, first)) {
                return Err(self.wrong(n, title, &format!("the change came without {first}"), begin));
            }
        }
        let what = match e.state {
            Some(state) => format!("{title}: {}", state.as_str()),
            None => title.to_owned(),
        };
        // Where the state is all that was asked for, its change has the exact time.
        let alone = e.reasons.len() < 2 && e.targets.is_empty() && e.devices.is_empty();
        let changed = |t: &&Told| t.subject == Subject::Network && t.at >= begin.origin;
        let last = self.told[begin.mark..].iter().rfind(changed).filter(|_| alone);
        let time = last.map_or(self.agent.now(), |t| t.at).saturating_sub(begin.origin);
        Ok(Some(Took { step: n, what, time, bound: e.within.0 }))
    }

    /// What of it is not so yet.
    fn missing(&self, e: &Expectation, begin: Begin) -> Option<String> {
        let health = self.agent.health();
        if let Some(state) = e.state.and_then(StateWord::state) {
            if e.passing {
                let passed = |t: &Told| {
                    t.subject == Subject::Network
                        && t.state == state
                        && e.reasons.iter().all(|r| has(&t.reasons, r))
                };
                return (!self.told[begin.mark..].iter().any(passed)).then(|| format!("{state} never was"));
            }
            if health.verdict().state != state {
                return Some(format!("the state is {}, not {state}", health.verdict().state));
            }
        }
        let reasons = &health.verdict().reasons;
        if let Some(r) = e.reasons.iter().find(|r| !has(reasons, r)) {
            return Some(format!("the reason {r} is missing"));
        }
        if let Some(r) = e.without.iter().find(|r| has(reasons, r)) {
            return Some(format!("the reason {r} is there"));
        }
        let target = |name: &str| {
            let found = health.targets().find(|t| &*t.spec.name == name)?;
            Some((found.verdict.state, found.verdict.reasons.clone()))
        };
        let device = |name: &str| {
            let found = health.devices().find(|d| d.name == name)?;
            Some((found.verdict.state, found.verdict.reasons.clone()))
        };
        let of = |(name, wanted): (&String, &Expected), is: Option<(State, Vec<Reason>)>| {
            let (state, reasons) = is.map_or((None, Vec::new()), |(s, r)| (Some(s), r));
            let fits = state == wanted.state.state() && wanted.reasons.iter().all(|r| has(&reasons, r));
            (!fits).then(|| {
                format!("{name} is {} {reasons:?}, not {wanted:?}", state.map_or("gone", State::as_str))
            })
        };
        let mut targets = e.targets.iter().filter_map(|one| of(one, target(one.0)));
        let mut devices = e.devices.iter().filter_map(|one| of(one, device(one.0)));
        targets.next().or_else(|| devices.next())
    }

    fn pass(&mut self, time: Duration) {
        self.run_until(self.agent.now() + time);
    }

    /// Lets time pass in small steps, for the world's news are told at their own time.
    fn run_until(&mut self, end: Duration) {
        loop {
            let now = self.agent.now();
            for evidence in self.agent.wire.news(now) {
                self.agent.observe(evidence);
            }
            let next = self.agent.wire.next_news().unwrap_or(end).min(now + TICK).min(end);
            let told = &mut self.told;
            self.agent.run_until(next, &mut |at, event: &Event| {
                if let Event::Changed { subject, state, reasons, .. } = event {
                    let (subject, state, reasons) = (subject.clone(), *state, reasons.clone());
                    told.push(Told { at, subject, state, reasons });
                }
            });
            if next >= end && self.agent.wire.next_news().is_none_or(|at| at > end) {
                return;
            }
        }
    }

    fn wrong(&self, step: usize, title: &str, why: &str, begin: Begin) -> Wrong {
        let mut text = format!("{why}\n  now: {}", spoken(self.agent.health()));
        for t in &self.told[begin.mark..] {
            let after = t.at.as_secs_f64() - begin.origin.as_secs_f64();
            let codes: Vec<String> = t.reasons.iter().map(|r| format!("{}/{}", r.code, r.subject)).collect();
            text += &format!("\n  {after:>9.3} s {:<28} {} {}", t.subject.name(), t.state, codes.join(" "));
        }
        Wrong { step, title: title.to_owned(), why: text }
    }
}

fn has(reasons: &[Reason], wanted: &str) -> bool {
    reasons.iter().any(|r| is_reason(wanted, r.code.as_str(), &r.subject))
}

fn spoken(health: &Health) -> String {
    let reasons = |all: &[Reason]| {
        all.iter().map(|r| format!("{}/{}", r.code, r.subject)).collect::<Vec<_>>().join(" ")
    };
    let all = health.verdict();
    let mut text = format!("{} {}", all.state, reasons(&all.reasons));
    for t in health.targets().filter(|t| t.verdict.state != State::Up) {
        text += &format!("; {} {} {}", t.spec.name, t.verdict.state, reasons(&t.verdict.reasons));
    }
    for d in health.devices().filter(|d| d.verdict.state != State::Up) {
        text += &format!("; {} {} {}", d.name, d.verdict.state, reasons(&d.verdict.reasons));
    }
    text
}
