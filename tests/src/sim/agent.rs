//! The agent's core loop in virtual time: what `agent/core` does with the core, in its order.

use std::{collections::HashMap, sync::Arc, time::Duration};

use netmon_agent::{
    config::Config,
    health::{Event, Health, Settings, TargetSpec, Watch},
    observation::{Evidence, NetworkChange, Observation, TargetId, TcpProgress},
    plan::{Planned, Planner},
    source::resolve::Nameserver,
    time::{Boot, Moment, Mono},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{engine::Engine, wire::Wire};

/// The clocks at the start: a machine that has been up for a quarter of an hour.
const START: Mono = Mono::from_nanos(900_000_000_000);

/// While the core wants to know of progress, sockets are looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// An agent whose time is what it is told, and whose network is `W`.
///
/// Times are since the start and count suspends. What is told to it between two calls of [`Agent::run_until`] happens
/// at the end of the first.
#[derive(Debug)]
pub struct Agent<W> {
    /// What becomes of its probes.
    pub wire: W,
    health: Health,
    engine: Engine,
    now: Mono,
    asleep: Duration,
    interval: Duration,
    timeout: Duration,
    planner: Option<Planner>,
    planned: Vec<Planned>,
    /// Told while the core stood still.
    waiting: Vec<Evidence>,
    probes: Vec<Observation>,
    /// Something was handed to the core, and what it wants is still to be done.
    unsettled: bool,
    replan_due: bool,
    retry_due: bool,
    /// When sockets were last looked at, while that is wanted, and when they next are.
    looked: Option<Mono>,
    next_look: Option<Mono>,
    /// Neither runs before.
    core_from: Mono,
    engine_from: Mono,
    /// How much later than its own deadline each runs the next time.
    core_late: Duration,
    engine_late: Duration,
    /// Which of the two gets the processor first after both stood still.
    core_first: bool,
    rng: SmallRng,
}

impl<W: Wire> Agent<W> {
    /// An agent that has just started, without targets, to which no link was told yet. The seed is for the jitter of
    /// its own intervals; the wire's chance is the wire's.
    pub fn new(seed: u64, settings: Settings, watch: Watch, wire: W) -> Self {
        let now = Moment { mono: START, boot: Boot::from_nanos(START.as_nanos()) };
        Self {
            wire,
            health: Health::new(now, settings, watch, true),
            engine: Engine::new(seed),
            now: START,
            asleep: Duration::ZERO,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            planner: None,
            planned: Vec::new(),
            waiting: Vec::new(),
            probes: Vec::new(),
            unsettled: true,
            replan_due: false,
            retry_due: false,
            looked: None,
            next_look: None,
            core_from: START,
            engine_from: START,
            core_late: Duration::ZERO,
            engine_late: Duration::ZERO,
            core_first: false,
            rng: SmallRng::seed_from_u64(!seed),
        }
    }

    /// The core.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Since the start, suspends included.
    pub fn now(&self) -> Duration {
        self.now.since(START) + self.asleep
    }

    /// Interval and time-out of targets that are set from now on; 2 s and 1 s at first.
    pub fn set_pace(&mut self, interval: Duration, timeout: Duration) {
        (self.interval, self.timeout) = (interval, timeout);
    }

    /// Makes these the targets, for the core and for the engine.
    pub fn set_targets(&mut self, targets: Vec<TargetSpec>) {
        let (interval, timeout) = (self.interval, self.timeout);
        let planned =
            targets.into_iter().map(|spec| Planned { spec, path: Arc::default(), interval, timeout });
        self.put(planned.collect());
    }

    /// Lets the agent's own planner choose the targets from now on, as the configuration and the routes have it.
    pub fn plan(&mut self, config: Arc<Config>, resolvers: Vec<std::net::IpAddr>) {
        let resolvers = resolvers.into_iter().map(|address| Nameserver { address, zone: None });
        self.planner = Some(Planner::new(config, resolvers.collect()));
        self.replan();
    }

    /// Something changed in the network.
    pub fn network(&mut self, change: NetworkChange) {
        self.observe(Evidence::Network(change));
    }

    /// Something was seen. While the agent stands still it waits.
    pub fn observe(&mut self, evidence: Evidence) {
        if self.core_from > self.now {
            self.waiting.push(evidence);
        } else {
            self.take(evidence);
        }
    }

    /// Lets time pass until `at`, that moment included; `tell` hears every event with its time.
    pub fn run_until(&mut self, at: Duration, tell: &mut impl FnMut(Duration, &Event)) {
        let end = START + at.saturating_sub(self.asleep);
        loop {
            let core = self.core_due().max(self.core_from).max(self.now);
            let engine = self.engine.next(self.now).map(|due| due.max(self.engine_from).max(self.now));
            let next = engine.map_or(core, |engine| engine.min(core));
            if next > end {
                break;
            }
            self.now = next;
            let engine_runs = engine == Some(next);
            if core == next && (self.core_first || !engine_runs) {
                self.core_turn(tell);
            } else if engine_runs {
                self.engine_turn();
            }
            self.core_first = false;
        }
        self.now = self.now.max(end);
    }

    /// The agent is stopped, or gets no processor at all, for so long from now on. Then everything happens at once;
    /// which of its threads runs first is chance.
    pub fn stall(&mut self, time: Duration) {
        let until = self.now + time;
        self.core_from = self.core_from.max(until);
        self.engine_from = self.engine_from.max(until);
        self.core_first = self.rng.random();
    }

    /// The machine is suspended for so long. What was on its way to it is lost.
    pub fn suspend(&mut self, time: Duration) {
        self.asleep += time;
        self.engine.lose_arrivals();
    }

    /// The core's next deadline finds it so much too late.
    pub fn late(&mut self, by: Duration) {
        self.core_late = by;
    }

    /// The probe engine's next deadline finds it so much too late.
    pub fn late_engine(&mut self, by: Duration) {
        self.engine_late = by;
    }

    fn moment(&self) -> Moment {
        Moment { mono: self.now, boot: Boot::from_nanos(self.now.as_nanos()) + self.asleep }
    }

    fn core_due(&self) -> Mono {
        if self.unsettled || !self.waiting.is_empty() || !self.probes.is_empty() {
            return self.now;
        }
        let timeout = self.health.poll_timeout();
        self.next_look.map_or(timeout, |look| look.min(timeout))
    }

    fn engine_turn(&mut self) {
        if self.engine_late > Duration::ZERO && self.engine.has_planned() {
            self.engine_from = self.now + std::mem::take(&mut self.engine_late);
            return;
        }
        let since_start = self.now();
        self.engine.turn(self.now, since_start, &mut self.wire, &mut self.probes);
    }

    fn core_turn(&mut self, tell: &mut impl FnMut(Duration, &Event)) {
        if self.core_late > Duration::ZERO && self.health.poll_timeout() <= self.now {
            self.core_from = self.now + std::mem::take(&mut self.core_late);
            return;
        }
        if !self.waiting.is_empty() {
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.drain(..).for_each(|evidence| self.take(evidence));
            self.waiting = waiting;
            self.settle(tell);
        }
        let mut probes = std::mem::take(&mut self.probes);
        let now = self.moment();
        probes.drain(..).for_each(|o| self.health.handle(now, o));
        self.probes = probes;
        self.settle(tell);
    }

    fn take(&mut self, evidence: Evidence) {
        if let Evidence::Network(change) = &evidence {
            self.retry_due |= !matches!(change, NetworkChange::LinkStats(_));
        }
        self.replan_due |= matches!(evidence, Evidence::Resolved { .. });
        self.unsettled = true;
        self.health.handle(self.moment(), Observation { at: self.now, evidence });
    }

    /// As `Core::settle`.
    fn settle(&mut self, tell: &mut impl FnMut(Duration, &Event)) {
        self.unsettled = false;
        self.look();
        if std::mem::take(&mut self.replan_due) {
            self.replan();
        }
        if std::mem::take(&mut self.retry_due) {
            self.engine.retry_unsent(self.now);
        }
        self.obey(tell);
        while self.health.poll_timeout() <= self.now {
            self.health.handle_timeout(self.moment());
            self.obey(tell);
        }
    }

    fn obey(&mut self, tell: &mut impl FnMut(Duration, &Event)) {
        while let Some(event) = self.health.poll_event() {
            match &event {
                Event::Probe { target, address } => self.engine.ask(*target, *address),
                Event::TimeoutScale(scale) => self.engine.set_timeout_scale(*scale),
                Event::RoutesChanged => self.replan(),
                Event::Changed { .. } => {}
            }
            tell(self.now(), &event);
        }
    }

    /// Looks at the sockets once a second while that is wanted, and reports from the second look on.
    fn look(&mut self) {
        if !self.health.wants_progress() {
            (self.looked, self.next_look) = (None, None);
            return;
        }
        if self.next_look.is_some_and(|due| due > self.now) {
            return;
        }
        self.next_look = Some(self.now + LOOK);
        let Some(before) = self.looked.replace(self.now) else { return };
        let over = self.now.since(before);
        if let Some(prefixes) = self.wire.progress(self.now(), over) {
            let evidence = Evidence::TcpProgress(TcpProgress { over, prefixes });
            self.health.handle(self.moment(), Observation { at: self.now, evidence });
        }
    }

    /// As `Core::replan`: what was resolved stays; without a planner, the engine follows the core's addresses.
    fn replan(&mut self) {
        let resolved: HashMap<TargetId, TargetSpec> =
            self.health.targets().map(|t| (t.spec.id, t.spec.clone())).collect();
        let planner = self.planner.as_mut();
        let mut planned = match planner {
            Some(planner) => planner.plan(self.now, self.health.network()),
            None => self.planned.clone(),
        };
        let by_name = |p: &Planned| p.spec.host.parse::<std::net::IpAddr>().is_err();
        for p in planned.iter_mut().filter(|p| by_name(p)) {
            let known = resolved.get(&p.spec.id).filter(|known| known.host == p.spec.host);
            p.spec.addresses = known.map(|known| known.addresses.clone()).unwrap_or_default();
        }
        if planned != self.planned {
            self.put(planned);
        }
    }

    fn put(&mut self, planned: Vec<Planned>) {
        let now = self.moment();
        self.health.set_targets(now, planned.iter().map(|p| p.spec.clone()).collect());
        self.engine.set(self.now, &planned);
        self.planned = planned;
        self.unsettled = true;
    }
}
