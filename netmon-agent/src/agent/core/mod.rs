//! The core's loop: evidence in, verdicts out. One thread; netlink is read on it too, so that a lost link is published
//! without a thread being woken.

mod names;
mod targets;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use self::names::Names;
use super::{
    diagnose::Diagnoser,
    intake::{Inbox, Intake, Lost},
    links,
    tcp::Tcp,
    watch::{Watch, blind},
};
use crate::{
    added::Wanted,
    capability::Capability,
    config::Config,
    health::{Event, Health, Subject},
    observation::{Evidence, IfIndex, NetworkChange, Observation, Route, SourceKind},
    output::log,
    plan::{Planned, Planner},
    source::{
        bpf, netlink, probe,
        resolve::{self, Resolver, SystemResolvers},
    },
    state::{self, Board, ChangeEvent, OwnCounters, Snapshot, TargetView},
    time::{Boot, Moment, Mono, sleep_until},
};

/// A reader's wish for figures as of now, answered when they are published.
pub type Refresh = oneshot::Sender<()>;

/// At most so many batches are taken before the timers get their turn.
const BATCHES: usize = 64;

/// How often routes that vanished are looked at again.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// Changes of targets alone are published no more often than this for each target that there is: a tenth of a second
/// for a hundred thousand, so that an outage of them all is not as many snapshots. Other changes never wait.
const GATHER: Duration = Duration::from_micros(1);

/// Names that are resolved bring a new plan no more often than this for each target that there is: it takes a look at all of
/// them, and at the start each name is resolved.
const REPLAN: Duration = Duration::from_micros(10);

/// While somebody follows every update, one is published this often.
const UPDATE: Duration = Duration::from_secs(1);

/// Where the system's resolvers stand …
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// … and how often that is looked at, in turns that the core takes anyhow.
const LOOK: Duration = Duration::from_secs(1);

/// All that the core's thread needs, made before it starts.
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    pub(super) started: Moment,
    pub(super) board: Board,
    pub(super) sockets: Option<probe::Sockets>,
    pub(super) capabilities: Arc<Mutex<Vec<Capability>>>,
    pub(super) refresh: mpsc::Receiver<Refresh>,
    pub(super) wanted: watch::Receiver<Wanted>,
    /// Told when the configuration in force was read, each time that one was taken.
    pub(super) taken: watch::Sender<Boot>,
    pub(super) stop: oneshot::Receiver<()>,
}

/// Why the core could not start.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// No runtime, no thread.
    #[error("can't start the core: {0}")]
    Runtime(#[from] std::io::Error),
    /// No probe engine.
    #[error(transparent)]
    Engine(#[from] probe::EngineError),
}

/// Runs the core on this thread until it is told to stop. `ready` is told once it runs, or why it can't.
pub(super) fn run(
    parts: Parts,
    kernel: bpf::Kernel,
    ready: oneshot::Sender<Result<probe::Pulse, CoreError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            match Core::new(parts, kernel) {
                Ok(core) => {
                    // Nobody waits for the answer any more only when the agent is ending already.
                    let _ = ready.send(Ok(core.engine.pulse()));
                    core.run().await;
                }
                Err(e) => drop(ready.send(Err(e))),
            }
        }),
        Err(e) => drop(ready.send(Err(e.into()))),
    }
}

struct Core {
    parts: Parts,
    health: Health,
    planner: Planner,
    diagnoser: Diagnoser,
    engine: probe::EngineHandle,
    tcp: Tcp,
    resolver: Resolver,
    names: Names,
    system: SystemResolvers,
    next_look: Mono,
    /// Gateway and device of the default routes there were.
    ways: Vec<(Option<IpAddr>, IfIndex)>,
    links: netlink::StatsReader,
    watch: Watch,
    netlink: mpsc::UnboundedReceiver<Observation>,
    netlink_counters: Option<Arc<netlink::Counters>>,
    probes: Inbox,
    looked_up: mpsc::Receiver<Vec<Observation>>,
    lost: Arc<Lost>,
    seq: u64,
    planned: Vec<Planned>,
    /// The routes without a gateway there were, and which of what is planned they lead to.
    connected: Vec<Route>,
    on_link: Vec<bool>,
    /// Whether the configuration was valid the last time it was read, and when it last was.
    config: (bool, Boot),
    replan_due: bool,
    /// Not sooner on account of names alone.
    next_replan: Mono,
    /// What could not be sent may be sent now.
    retry_due: bool,
    next_housekeeping: Mono,
    next_update: Mono,
    /// Changes that are still to be published, and when that may be.
    changes: Vec<ChangeEvent>,
    next_publication: Mono,
}

impl Core {
    fn new(mut parts: Parts, kernel: bpf::Kernel) -> Result<Self, CoreError> {
        let now = parts.started;
        let config = Arc::clone(&parts.config);
        let (intake, probes, lost) = Intake::new();
        let sockets = parts.sockets.take().unwrap_or_else(probe::Sockets::open);
        // Who looks names up may wait for the core.
        let (told, looked_up) = mpsc::channel(BATCHES);
        let resolver = Resolver::new(told, resolve::Options::default());
        let engine =
            probe::Engine::start(sockets, probe::Options::default(), move |batch| intake.offer(batch))?;
        engine.set_max_rate(f64::from(config.max_probes));
        let (tcp, capability) = Tcp::new(kernel, now.mono);
        parts.capabilities.lock().unwrap_or_else(PoisonError::into_inner).push(capability);
        let (netlink, netlink_counters) = links::start(&config, &parts.capabilities);
        let watch = Watch::new(now.mono, config.limits);
        if let Some(c) = blind(config.limits) {
            tracing::warn!(capability = c.name, remedy = c.remedy, "{}: {}", c.name, c.detail);
            parts.capabilities.lock().unwrap_or_else(PoisonError::into_inner).push(c);
        }
        let mut system = SystemResolvers::new(RESOLV_CONF.as_ref());
        let mut core = Self {
            health: Health::new(now, config.health.clone(), config.watch.clone(), true),
            diagnoser: Diagnoser::new(config.diagnosis),
            planner: Planner::new(config, system.news().unwrap_or_default()),
            engine,
            tcp,
            resolver,
            names: Names::default(),
            system,
            next_look: now.mono + LOOK,
            ways: Vec::new(),
            links: netlink::StatsReader::open(),
            watch,
            netlink,
            netlink_counters,
            probes,
            looked_up,
            lost,
            seq: parts.board.snapshot().seq,
            planned: Vec::new(),
            connected: Vec::new(),
            on_link: Vec::new(),
            config: (true, now.boot),
            replan_due: false,
            next_replan: now.mono,
            retry_due: false,
            next_housekeeping: now.mono,
            next_update: now.mono,
            changes: Vec::new(),
            next_publication: now.mono,
            parts,
        };
        core.replan(now);
        Ok(core)
    }

    async fn run(mut self) {
        let mut batches = Vec::with_capacity(BATCHES);
        loop {
            let due = self.next_housekeeping.min(self.tcp.due()).min(self.watch.due());
            let due = self.diagnoser.due().map_or(due, |look| look.min(due));
            let waiting = (!self.changes.is_empty()).then_some(self.next_publication);
            let planning = self.replan_due.then_some(self.next_replan);
            let deadline = [waiting, planning].into_iter().flatten().fold(due, Mono::min);
            let deadline = deadline.min(self.health.poll_timeout());
            tokio::select! {
                biased;
                _ = &mut self.parts.stop => break,
                Some(observation) = self.netlink.recv() => {
                    self.observe(observation);
                    while let Ok(more) = self.netlink.try_recv() {
                        self.observe(more);
                    }
                }
                () = self.probes.receive(&mut batches, BATCHES) => {
                    batches.drain(..).flatten().for_each(|o| self.observe(o));
                }
                Some(news) = self.looked_up.recv() => news.into_iter().for_each(|o| self.observe(o)),
                () = self.tcp.timed_out() => {
                    for observation in self.tcp.timeouts() {
                        self.observe(observation);
                    }
                }
                Some(reader) = self.parts.refresh.recv() => {
                    // What was wanted before the question is part of the answer.
                    if self.parts.wanted.has_changed().unwrap_or(false) {
                        self.take();
                    }
                    self.read_figures();
                    self.settle(true);
                    // A reader that has gone needs no answer.
                    let _ = reader.send(());
                }
                Ok(()) = self.parts.wanted.changed() => self.take(),
                () = self.diagnoser.answer() => {}
                () = sleep_until(deadline) => {}
            }
            self.settle(false);
            if !self.engine.is_running() {
                // Without probes every verdict would stay as it is for ever. Better no agent than one that lies.
                tracing::error!("the probe engine ended");
                break;
            }
        }
        self.engine.stop();
    }

    fn observe(&mut self, mut observation: Observation) {
        if let Evidence::Network(change) = &observation.evidence {
            self.forget_links(change, observation.at);
            if matches!(change, NetworkChange::Neighbour(_)) {
                self.diagnoser.note_neighbours();
            }
            // What is known of neighbours changes every minute, and keeps nothing from being sent.
            let of_neighbours =
                matches!(change, NetworkChange::Neighbour(_) | NetworkChange::NeighbourGone { .. });
            self.retry_due |= !of_neighbours && !matches!(change, NetworkChange::LinkStats(_));
        }
        if matches!(observation.evidence, Evidence::Resolved { .. }) {
            observation.evidence = self.names.learn(observation.evidence);
            // The engine has to know the addresses too.
            self.replan_due = true;
        }
        self.health.handle(Moment::now(), observation);
    }

    /// Links that a change takes away are told to whoever counts by them, while it is known which of them are watched.
    fn forget_links(&mut self, change: &NetworkChange, at: Mono) {
        let known = &self.health.network().links;
        let gone: Vec<IfIndex> = match change {
            NetworkChange::LinkGone(index) => vec![*index],
            NetworkChange::Dump(all) => {
                known.keys().filter(|index| !all.links.contains_key(index)).copied().collect()
            }
            _ => return,
        };
        for index in gone {
            let watched = self.health.devices().any(|device| device.index == index);
            self.tcp.forget(index, watched, at);
        }
    }

    /// Lets time pass, does what the core wants, and publishes what changed; with `figures`, publishes anyhow.
    fn settle(&mut self, figures: bool) {
        let now = Moment::now();
        if self.lost.take_fresh() {
            let evidence = Evidence::Gap(SourceKind::Probe);
            self.health.handle(now, Observation { at: now.mono, evidence });
        }
        let housekeeping = self.next_housekeeping <= now.mono;
        if housekeeping {
            self.next_housekeeping = now.mono + HOUSEKEEPING;
            self.tcp.flush_log();
        }
        let resolvers_changed = self.next_look <= now.mono && self.look_at_resolvers(now);
        let wanted = self.health.wants_progress();
        for observation in self.tcp.step(now, self.health.network(), wanted) {
            self.health.handle(now, observation);
        }
        let names = self.replan_due && self.next_replan <= now.mono;
        if names || resolvers_changed || housekeeping {
            self.replan(now);
        }
        if std::mem::take(&mut self.retry_due) {
            self.engine.retry_unsent();
        }
        let stretched = self.watch.step(now.mono);
        if stretched {
            self.stretch(now);
        }
        self.obey(now);
        while self.health.poll_timeout() <= now.mono {
            self.health.handle_timeout(now);
            self.obey(now);
        }
        for found in self.diagnoser.step(now, &self.health, &self.planned) {
            self.seq += 1;
            let change = found.into_event(self.seq, now.boot);
            log::diagnosed(&change);
            self.changes.push(change);
        }
        let board = &self.parts.board;
        let followed = board.is_followed() && self.next_update <= now.mono;
        let whole = figures || stretched || (followed && self.health.take_dirty());
        let of_target = |c: &ChangeEvent| matches!(c.subject, Subject::Target(_));
        let waits = self.next_publication > now.mono && self.changes.iter().all(of_target);
        if whole || !(self.changes.is_empty() || waits) {
            // Notes that it was evaluated, too, when its changes are there to be read and not before.
            self.publish(now, whole);
        } else {
            board.evaluated(now.boot);
        }
    }

    /// Publishes what is, the figures of every target if `whole`.
    fn publish(&mut self, now: Moment, whole: bool) {
        let changes = std::mem::take(&mut self.changes);
        let targets = if whole {
            self.next_update = now.mono + UPDATE;
            state::targets(&self.health, self.diagnoser.known())
        } else {
            let names = changes.iter().filter_map(|c| match &c.subject {
                Subject::Target(name) => Some(name.as_str()),
                _ => None,
            });
            let shown = self.parts.board.snapshot();
            state::targets_changed(&self.health, self.diagnoser.known(), &shown.targets, &names.collect())
        };
        self.next_publication = now.mono + GATHER * targets.len() as u32;
        let snapshot = self.snapshot(now, targets);
        self.parts.board.publish(snapshot, changes);
    }

    /// The agent takes more than it may, or no longer does: the pace of probing, and the age at which a state is stale
    /// (R15), are others now.
    fn stretch(&mut self, now: Moment) {
        let factor = self.watch.factor();
        self.engine.stretch(factor);
        self.parts.board.set_stale_after(self.parts.config.stale_after().mul_f64(factor));
        self.health.throttle(now, self.watch.reason());
    }

    /// Does what the core wants; the changes are left to be published.
    fn obey(&mut self, now: Moment) {
        while let Some(event) = self.health.poll_event() {
            match event {
                Event::Changed { subject, previous, state, reasons } => {
                    self.seq += 1;
                    let diagnosis = self.diagnoser.changed(now, &self.health, &self.planner, &subject);
                    let (seq, at) = (self.seq, now.boot);
                    let change = ChangeEvent { seq, at, subject, previous, state, reasons, diagnosis };
                    log::transition(&change);
                    self.changes.push(change);
                }
                Event::Probe { target, address } => self.engine.probe_now(target, address),
                Event::TimeoutScale(scale) => self.engine.set_timeout_scale(f64::from(scale)),
                Event::RoutesChanged => {
                    self.note_ways();
                    self.replan(now);
                }
            }
        }
    }

    /// Reads the counters that the kernel keeps and nobody is told of.
    fn read_figures(&mut self) {
        let now = Moment::now();
        let observation = self.tcp.read(now, self.health.network(), true);
        self.health.handle(now, observation);
        let stats = self.links.read();
        let evidence = Evidence::Network(NetworkChange::LinkStats(stats));
        self.health.handle(now, Observation { at: now.mono, evidence });
        self.tcp.flush_log();
    }

    /// Takes what is wanted, and tells when it was read.
    fn take(&mut self) {
        self.reload();
        self.parts.taken.send_replace(self.config.1);
    }

    fn reload(&mut self) {
        let now = Moment::now();
        let Wanted { config, valid, read, left_out: _ } = self.parts.wanted.borrow_and_update().clone();
        self.config = (valid, read);
        if Arc::ptr_eq(&config, &self.parts.config) {
            return;
        }
        self.engine.set_max_rate(f64::from(config.max_probes));
        self.diagnoser.configure(config.diagnosis);
        let stretched = self.watch.configure(config.limits);
        // Other targets alone are no reason to judge everything anew.
        if config.health != self.parts.config.health || config.watch != self.parts.config.watch {
            self.health.configure(now, config.health.clone(), config.watch.clone());
        }
        self.planner.configure(Arc::clone(&config));
        self.parts.config = config;
        self.stretch(now);
        self.replan(now);
        if stretched {
            self.publish(now, true);
        }
    }

    fn snapshot(&self, now: Moment, targets: Vec<Arc<TargetView>>) -> Snapshot {
        let devices = state::devices(&self.health, now.mono);
        let capabilities = self.parts.capabilities.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot {
            seq: self.seq,
            at: now,
            started: self.parts.started,
            verdict: self.health.verdict().clone(),
            diagnosis: self.diagnoser.known().whole.clone(),
            devices,
            targets,
            tcp: self.health.tcp().cloned(),
            capabilities: Arc::new(capabilities),
            own: self.own_counters(),
        }
    }

    fn own_counters(&self) -> OwnCounters {
        let engine = self.engine.stats();
        let skipped = probe::SkipReason::ALL.iter().map(|r| r.as_str()).zip(engine.skipped);
        OwnCounters {
            netlink_overruns: self.netlink_counters.as_ref().map_or(0, |c| c.overruns()),
            timestamps: engine.stamps,
            probes_skipped: skipped.collect(),
            diagnoses: self.diagnoser.counts(),
            scheduler_lag_buckets: engine.lag,
            scheduler_lag_sum: engine.lag_sum,
            receive_drops: engine.receive_drops,
            clock_steps: engine.clock_steps,
            resets_sent: engine.tcp_resets,
            unmatched: engine.unmatched,
            sockets_reopened: engine.reopened,
            observations_dropped: self.lost.total(),
            interval_stretch: self.watch.factor(),
            config_valid: self.config.0,
            config_read: self.config.1,
        }
    }
}
