//! A scenario in the lab: the same steps, by the kernel, seen as a user of the agent sees them.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use netmon_agent::time::{Boot, Mono};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Took, Wrong,
    format::{
        Answers, Expectation, Expected, FamilyWord, Fault, Ground, Lost, Refusal, Scenario, StateWord, Step,
        WayWord, Wire, is_reason,
    },
};
use crate::{
    agent::{Agent, Start, Witness, await_until},
    lab::{self, Answer, Bulk, Code, Family, Options, Place, What, World},
};

/// Runs it once. Things happen `phase` after the verdict before them: within an interval, by chance where the caller
/// has some.
///
/// # Errors
/// [`Wrong`], at the first verdict that is wrong, late or missing; else what the lab itself could not do.
pub fn run(scenario: &Scenario, phase: &mut dyn FnMut() -> Duration) -> Result<Vec<Took>> {
    let world = World::with(scenario.world.options())?;
    let mut broken = Broken::new(&world);
    for fault in &scenario.before {
        broken.add(fault)?;
    }
    let mut start = Start::new(&world)?;
    if !scenario.config.is_empty() {
        start = start.config(&scenario.config);
    }
    let (started, origin) = (Mono::now(), Boot::now());
    let agent = start.start()?;
    let witness = Witness::new(&agent)?;
    let mut stage = Stage { world: &world, agent: &agent, witness, broken, upload: None };
    let mut times = Vec::new();
    let begin = Begin { origin, started, seq: 0 };
    times.extend(stage.expect(0, "start", &scenario.first, begin)?);
    for (n, (step, at_any_moment)) in scenario.steps().enumerate() {
        if at_any_moment {
            thread::sleep(phase());
        }
        times.extend(stage.step(n + 1, step)?);
    }
    Ok(times)
}

impl Ground {
    /// The lab's world of this kind.
    pub(super) fn options(&self) -> Options {
        Options {
            uplinks: self.uplinks,
            ipv6: self.ipv6,
            link_local_gateway: self.link_local_gateway,
            ..Options::default()
        }
    }
}

/// Where a step began.
#[derive(Clone, Copy)]
struct Begin {
    /// What figures count from.
    origin: Boot,
    /// What the deadline counts from.
    started: Mono,
    /// The last change before it.
    seq: u64,
}

struct Stage<'w> {
    world: &'w World,
    agent: &'w Agent<'w>,
    witness: Witness<'w>,
    broken: Broken<'w>,
    upload: Option<Bulk>,
}

impl Stage<'_> {
    fn step(&mut self, n: usize, step: &Step) -> Result<Option<Took>> {
        let title = step.title();
        let status = self.agent.status()?;
        let mut begin = Begin {
            origin: Boot::now(),
            started: Mono::now(),
            seq: status["seq"].as_u64().context("no seq")?,
        };
        let was = status["state"].as_str().unwrap_or_default().to_owned();
        // While a link flaps the state may be another, and be right: a waiter is for what comes of one change.
        let at_once = step.lasting() == Duration::ZERO;
        let waited = step.then.as_ref().filter(|_| at_once).and_then(|then| woken(then, &was));
        match (&step.then, waited) {
            (Some(then), Some(state)) => {
                let within = then.lab_deadline();
                let reasons: Vec<&str> = then.reasons.iter().map(String::as_str).collect();
                let witnessed = {
                    let (broken, upload) = (&mut self.broken, &mut self.upload);
                    let (world, agent) = (self.world, self.agent);
                    let act = || act(world, agent, broken, upload, step);
                    self.witness.after(state, &reasons, within, act)
                };
                witnessed.map_err(|e| self.wrong(n, &title, &format!("{e:#}"), begin))?;
            }
            _ => act(self.world, self.agent, &mut self.broken, &mut self.upload, step)?,
        }
        if step.lasting() > Duration::ZERO {
            (begin.origin, begin.started) = (begin.origin + step.lasting(), Mono::now());
        }
        let took = match &step.then {
            Some(then) => self.expect(n, &title, then, begin)?,
            None => None,
        };
        self.lasts(n, &title, step, &was, begin)?;
        Ok(took)
    }

    /// `stays`, `quiet` and `never`.
    fn lasts(&self, n: usize, title: &str, step: &Step, was: &str, begin: Begin) -> Result<()> {
        if let Some(time) = step.lasts {
            // From before the deed on: on a busy machine the program that did it ends long after the kernel had.
            thread::sleep(time.0.saturating_sub(Mono::now().since(begin.started)));
        }
        let told = self.told(begin)?;
        let over_all = || told.iter().filter(|c| c["kind"] == "state");
        let broken =
            step.stays.is_some_and(|s| s.as_str() != was || over_all().any(|c| c["state"] != s.as_str()))
                || step.quiet && !told.is_empty()
                || over_all().any(|c| step.never.iter().any(|s| c["state"] == s.as_str()));
        match broken {
            false => Ok(()),
            true => {
                let wanted = step.stays.map_or("not what it never is", StateWord::as_str);
                Err(self.wrong(n, title, &format!("it was to stay {wanted} from {was} on"), begin).into())
            }
        }
    }

    fn expect(&self, n: usize, title: &str, e: &Expectation, begin: Begin) -> Result<Option<Took>> {
        let left = e.lab_deadline().saturating_sub(Mono::now().since(begin.started));
        // What has held already, as a rule, when the waiter was woken, has time for one look.
        let left = left.max(Duration::from_millis(50));
        let mut missing = String::new();
        let found = await_until(left, || {
            match self.missing(e, begin)? {
                None => return Ok(Some(Boot::now())),
                Some(what) => missing = what,
            }
            // A look costs the agent a little; verdicts that are timed closer have their time in them.
            thread::sleep(Duration::from_millis(10));
            Ok(None)
        })?;
        let Some(found) = found else {
            return Err(self
                .wrong(n, title, &format!("not within {:?}: {missing}", e.lab_deadline()), begin)
                .into());
        };
        let what = match e.state {
            Some(state) => format!("{title}: {}", state.as_str()),
            None => title.to_owned(),
        };
        let at = self.changed_at(e, begin)?.unwrap_or(found);
        Ok(Some(Took { step: n, what, time: at.since(begin.origin), bound: e.within.0 }))
    }

    /// When the verdict over all became what it is, where that is all that was asked for.
    fn changed_at(&self, e: &Expectation, begin: Begin) -> Result<Option<Boot>> {
        if e.state.is_none()
            || e.passing
            || !e.targets.is_empty()
            || !e.devices.is_empty()
            || e.reasons.len() > 1
        {
            return Ok(None);
        }
        let since = self.agent.status()?["since_boottime_ns"].as_u64().context("no since_boottime_ns")?;
        let since = Boot::from_nanos(since);
        Ok((since >= begin.origin).then_some(since))
    }

    /// What of it is not so yet.
    fn missing(&self, e: &Expectation, begin: Begin) -> Result<Option<String>> {
        if e.passing {
            let state = e.state.map_or("", StateWord::as_str);
            let passed = |c: &Value| {
                c["kind"] == "state" && c["state"] == state && e.reasons.iter().all(|r| has(&c["reasons"], r))
            };
            return Ok((!self.told(begin)?.iter().any(passed)).then(|| format!("{state} never was")));
        }
        let status = self.agent.status()?;
        if let Some(state) = e.state.map(StateWord::as_str).filter(|s| status["state"] != *s) {
            return Ok(Some(format!("the state is {}, not {state}", status["state"])));
        }
        if let Some(r) = e.reasons.iter().find(|r| !has(&status["reasons"], r)) {
            return Ok(Some(format!("the reason {r} is missing")));
        }
        if let Some(r) = e.without.iter().find(|r| has(&status["reasons"], r)) {
            return Ok(Some(format!("the reason {r} is there")));
        }
        let of = |kind: &str, (name, wanted): (&String, &Expected)| {
            let all = status[kind].as_array().into_iter().flatten();
            let is = all.into_iter().find(|t| t["name"] == **name);
            let state = is.and_then(|t| t["state"].as_str()).unwrap_or("gone");
            let reasons = is.map_or(&Value::Null, |t| &t["reasons"]);
            let fits = state == wanted.state.as_str() && wanted.reasons.iter().all(|r| has(reasons, r));
            (!fits).then(|| format!("{name} is {state} {reasons}, not {wanted:?}"))
        };
        let mut targets = e.targets.iter().filter_map(|one| of("targets", one));
        let mut devices = e.devices.iter().filter_map(|one| of("devices", one));
        Ok(targets.next().or_else(|| devices.next()))
    }

    /// Changes since the step began.
    fn told(&self, begin: Begin) -> Result<Vec<Value>> {
        let changes = self.witness.watch().changes()?.into_iter();
        Ok(changes.filter(|c| c["seq"].as_u64().is_some_and(|seq| seq > begin.seq)).collect())
    }

    fn wrong(&self, step: usize, title: &str, why: &str, begin: Begin) -> Wrong {
        let mut why = why.to_owned();
        for change in self.told(begin).unwrap_or_default() {
            why += &format!("\n  {change}");
        }
        if let Ok(status) = self.agent.status() {
            why += &format!("\n  now: {status}");
        }
        Wrong { step, title: title.to_owned(), why }
    }
}

/// The state that a waiter is to be woken for: one that lasts, and is not there already.
fn woken(then: &Expectation, was: &str) -> Option<&'static str> {
    let state = then.state.filter(|s| *s != StateWord::Unknown && !then.passing)?.as_str();
    (state != was).then_some(state)
}

fn has(reasons: &Value, wanted: &str) -> bool {
    let fits = |r: &Value| {
        let word = |key: &str| r[key].as_str().unwrap_or_default().to_owned();
        is_reason(wanted, &word("code"), &word("subject"))
    };
    reasons.as_array().is_some_and(|all| all.iter().any(fits))
}

fn act<'w>(
    world: &'w World,
    agent: &Agent<'_>,
    broken: &mut Broken<'w>,
    upload: &mut Option<Bulk>,
    step: &Step,
) -> Result<()> {
    if let Some(fault) = &step.breaks {
        broken.add(fault)?;
    }
    if let Some(kind) = &step.mend {
        broken.mend(kind)?;
    }
    if let Some(hosts) = &step.upload {
        if let Some(bulk) = upload.take() {
            bulk.stop();
        }
        *upload = if hosts.is_empty() { None } else { Some(Bulk::start(world, hosts)?) };
    }
    if let Some(time) = step.wait {
        thread::sleep(time.0);
    }
    if let Some(time) = step.stop {
        agent.signal(Signal::SIGSTOP)?;
        thread::sleep(time.0);
        agent.signal(Signal::SIGCONT)?;
    }
    if let Some(flap) = step.flap {
        world.flap(flap.uplink, flap.hz, flap.lasts.0)?;
    }
    ensure!(step.suspend.is_none(), "a namespace can't be suspended");
    Ok(())
}

/// What is broken, each with what mends it.
pub(super) struct Broken<'w> {
    world: &'w World,
    all: Vec<(Fault, Vec<lab::Fault<'w>>)>,
}

impl<'w> Broken<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self { world, all: Vec::new() }
    }

    pub(super) fn add(&mut self, fault: &Fault) -> Result<()> {
        let world = self.world;
        let mut rules = Vec::new();
        match fault {
            Fault::Carrier { uplink, at: Wire::Uplink } => world.carrier_down(*uplink)?,
            Fault::Carrier { uplink, at: Wire::Wan } => world.wan_carrier_down(*uplink)?,
            Fault::Admin { uplink } => world.admin_down(*uplink)?,
            Fault::Device { uplink } => world.delete_device(*uplink)?,
            Fault::Name { uplink, to } => world.rename_device(&world.device(*uplink), to)?,
            Fault::Address { uplink, family } => world.remove_address(*uplink, of(*family))?,
            Fault::Route { uplink, family } => world.remove_route(*uplink, of(*family))?,
            Fault::Neighbour { uplink } => {
                rules.push(world.lose(Place::Uplink(*uplink), lab::Way::Both, What::Neighbours)?);
                world.forget_neighbours(*uplink)?;
            }
            Fault::Lose { uplink, at, way, what } => {
                let way = match way {
                    WayWord::Both => lab::Way::Both,
                    WayWord::FromNode => lab::Way::FromNode,
                    WayWord::ToNode => lab::Way::ToNode,
                };
                let all = 0..world.gateways.len();
                for n in all.filter(|n| uplink.is_none_or(|u| u == *n)) {
                    let place = if *at == Wire::Uplink { Place::Uplink(n) } else { Place::Wan(n) };
                    rules.push(world.lose(place, way, lost(*what))?);
                }
            }
            Fault::Refuse { uplink, code, host } => {
                let code = match code {
                    Refusal::NetUnreachable => Code::NetUnreachable,
                    Refusal::HostUnreachable => Code::HostUnreachable,
                    Refusal::Prohibited => Code::AdminProhibited,
                };
                rules.push(world.refuse(*uplink, code, *host)?);
            }
            Fault::Resolver { answers } => world.resolver.answer(match answers {
                Answers::Servfail => Answer::Servfail,
                Answers::Nxdomain => Answer::Nxdomain,
                Answers::Silence => Answer::Silence,
            }),
            Fault::Port { port } => rules.push(world.close_port(*port)?),
            Fault::Latency { .. } => return Err(anyhow!("nothing here delays a packet")),
        }
        self.all.push((fault.clone(), rules));
        Ok(())
    }

    pub(super) fn mend(&mut self, kind: &str) -> Result<()> {
        let is = |fault: &Fault| kind == "all" || kind == fault.kind();
        let (mended, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.all).into_iter().partition(|(fault, _)| is(fault));
        self.all = kept;
        let world = self.world;
        for (fault, rules) in mended.into_iter().rev() {
            rules.into_iter().try_for_each(lab::Fault::mend)?;
            match &fault {
                Fault::Carrier { uplink, at: Wire::Uplink } => world.carrier_up(*uplink)?,
                Fault::Carrier { uplink, at: Wire::Wan } => world.wan_carrier_up(*uplink)?,
                Fault::Admin { uplink } => world.admin_up(*uplink)?,
                Fault::Device { uplink } => world.create_device(*uplink)?,
                Fault::Name { uplink, to } => world.rename_device(to, &world.device(*uplink))?,
                Fault::Address { uplink, .. } => world.configure_uplink(*uplink)?,
                Fault::Route { uplink, family } => world.add_route(*uplink, of(*family))?,
                Fault::Resolver { .. } => world.resolver.answer(Answer::Yes),
                Fault::Neighbour { .. }
                | Fault::Lose { .. }
                | Fault::Refuse { .. }
                | Fault::Port { .. }
                | Fault::Latency { .. } => {}
            }
        }
        Ok(())
    }
}

fn of(family: FamilyWord) -> Family {
    match family {
        FamilyWord::V4 => Family::V4,
        FamilyWord::V6 => Family::V6,
    }
}

fn lost(what: Lost) -> What {
    match what {
        Lost::Everything => What::Everything,
        Lost::Echo => What::Echo,
        Lost::Ipv6 => What::Ipv6,
        Lost::Tcp => What::Tcp,
        Lost::Percent(percent) => What::Loss(percent),
        Lost::Host(host) => What::Host(host),
        Lost::LongerThan(bytes) => What::LongerThan(bytes),
    }
}
