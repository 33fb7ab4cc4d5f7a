//! The core's loop: evidence in, verdicts out. One thread; netlink is read on it too, so that a lost link is published
//! without a thread being woken.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    capabilities::NETLINK_REMEDY,
    intake::{Intake, Lost},
    tcp::Tcp,
};
use crate::{
    capability::Capability,
    config::Config,
    health::{Event, Health, Role},
    observation::{Evidence, IfIndex, Network, NetworkChange, Observation, SourceKind, TargetId},
    output::log,
    plan::{FALLBACK_PORTS, Planned, Planner, resolvers},
    source::{
        bpf, netlink, probe,
        resolve::{self, Resolver},
    },
    state::{Board, ChangeEvent, OwnCounters, Snapshot, views},
    time::{Boot, Moment, Mono, sleep_until},
};

/// A reader's wish for figures as of now, answered when they are published.
pub type Refresh = oneshot::Sender<()>;

/// At most so many batches are taken before the timers get their turn.
const BATCHES: usize = 64;

/// How often routes that vanished are looked at again, and figures that nobody asked for are read.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// While somebody follows every update, one is published this often.
const UPDATE: Duration = Duration::from_secs(1);

/// Where the system's resolvers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// All that the core's thread needs, made before it starts.
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    pub(super) started: Moment,
    pub(super) board: Board,
    pub(super) sockets: Option<probe::Sockets>,
    pub(super) capabilities: Arc<Mutex<Vec<Capability>>>,
    pub(super) refresh: mpsc::Receiver<Refresh>,
    pub(super) reload: mpsc::Receiver<Option<Arc<Config>>>,
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
pub(super) fn run(parts: Parts, kernel: bpf::Kernel, ready: oneshot::Sender<Result<(), CoreError>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            match Core::new(parts, kernel) {
                Ok(core) => {
                    // Nobody waits for the answer any more only when the agent is ending already.
                    let _ = ready.send(Ok(()));
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
    engine: probe::EngineHandle,
    tcp: Tcp,
    resolver: Resolver,
    /// Gateway and device of the default routes there were.
    ways: Vec<(Option<IpAddr>, IfIndex)>,
    links: netlink::StatsReader,
    netlink: mpsc::UnboundedReceiver<Observation>,
    netlink_counters: Option<Arc<netlink::Counters>>,
    probes: mpsc::Receiver<Vec<Observation>>,
    lost: Arc<Lost>,
    seq: u64,
    planned: Vec<Planned>,
    /// Whether the configuration was valid the last time it was read, and when it last was.
    config: (bool, Boot),
    replan_due: bool,
    next_housekeeping: Mono,
    next_update: Mono,
}

impl Core {
    fn new(mut parts: Parts, kernel: bpf::Kernel) -> Result<Self, CoreError> {
        let now = parts.started;
        let config = Arc::clone(&parts.config);
        let (intake, probes, lost) = Intake::new();
        let sockets = parts.sockets.take().unwrap_or_else(probe::Sockets::open);
        let resolver = Resolver::new(intake.sender(), resolve::Options::default());
        let engine =
            probe::Engine::start(sockets, probe::Options::default(), move |batch| intake.offer(batch))?;
        let (tcp, capability) = Tcp::new(kernel, now.mono);
        parts.capabilities.lock().unwrap_or_else(PoisonError::into_inner).push(capability);
        let (netlink, netlink_counters) = start_netlink(&config, &parts.capabilities);
        let mut core = Self {
            health: Health::new(now, config.health.clone(), config.watch.clone(), true),
            planner: Planner::new(config, resolvers(RESOLV_CONF.as_ref())),
            engine,
            tcp,
            resolver,
            ways: Vec::new(),
            links: netlink::StatsReader::open(),
            netlink,
            netlink_counters,
            probes,
            lost,
            seq: parts.board.snapshot().seq,
            planned: Vec::new(),
            config: (true, now.boot),
            replan_due: false,
            next_housekeeping: now.mono,
            next_update: now.mono,
            parts,
        };
        core.replan(now);
        Ok(core)
    }

    async fn run(mut self) {
        let mut batches = Vec::with_capacity(BATCHES);
        loop {
            let deadline = self.health.poll_timeout().min(self.next_housekeeping).min(self.tcp.due());
            tokio::select! {
                biased;
                _ = &mut self.parts.stop => break,
                Some(observation) = self.netlink.recv() => {
                    self.observe(observation);
                    while let Ok(more) = self.netlink.try_recv() {
                        self.observe(more);
                    }
                }
                _ = self.probes.recv_many(&mut batches, BATCHES) => {
                    batches.drain(..).flatten().for_each(|o| self.observe(o));
                }
                () = self.tcp.timed_out() => {
                    for observation in self.tcp.timeouts() {
                        self.observe(observation);
                    }
                }
                Some(reader) = self.parts.refresh.recv() => {
                    self.read_figures();
                    self.settle(true);
                    // A reader that has gone needs no answer.
                    let _ = reader.send(());
                }
                Some(config) = self.parts.reload.recv() => self.reload(config),
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

    fn observe(&mut self, observation: Observation) {
        if let Evidence::Network(NetworkChange::LinkGone(index)) = observation.evidence {
            self.tcp.forget(index, observation.at);
        }
        // The engine has to know the addresses too.
        self.replan_due |= matches!(observation.evidence, Evidence::Resolved { .. });
        self.health.handle(Moment::now(), observation);
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
        let wanted = self.health.wants_progress();
        for observation in self.tcp.step(now, self.health.network(), wanted) {
            self.health.handle(now, observation);
        }
        if std::mem::take(&mut self.replan_due) || housekeeping {
            self.replan(now);
        }
        let mut changes = self.obey(now);
        while self.health.poll_timeout() <= now.mono {
            self.health.handle_timeout(now);
            changes.extend(self.obey(now));
        }
        let board = &self.parts.board;
        board.evaluated(now.boot);
        let followed = board.is_followed() && self.next_update <= now.mono;
        if !changes.is_empty() || figures || (followed && self.health.take_dirty()) {
            self.next_update = now.mono + UPDATE;
            let snapshot = self.snapshot(now);
            self.parts.board.publish(snapshot, changes);
        }
    }

    /// Does what the core wants; the changes are left to be published.
    fn obey(&mut self, now: Moment) -> Vec<ChangeEvent> {
        let mut changes = Vec::new();
        while let Some(event) = self.health.poll_event() {
            match event {
                Event::Changed { subject, previous, state, reasons } => {
                    self.seq += 1;
                    let change =
                        ChangeEvent { seq: self.seq, at: now.boot, subject, previous, state, reasons };
                    log::transition(&change);
                    changes.push(change);
                }
                Event::Probe { target, address } => self.engine.probe_now(target, address),
                Event::TimeoutScale(scale) => self.engine.set_timeout_scale(f64::from(scale)),
                Event::RoutesChanged => {
                    self.note_ways();
                    self.replan(now);
                }
            }
        }
        changes
    }

    /// A new way out of the machine may be a way to a resolver, or to one that knows other names.
    fn note_ways(&mut self) {
        let ways: Vec<_> =
            self.health.network().default_routes().iter().map(|r| (r.gateway, r.ifindex)).collect();
        if ways.iter().any(|way| !self.ways.contains(way)) {
            self.resolver.poke();
        }
        self.ways = ways;
    }

    /// Reads the counters that the kernel keeps and nobody is told of.
    fn read_figures(&mut self) {
        let now = Moment::now();
        if let Some(observation) = self.tcp.read(now, self.health.network(), true) {
            self.health.handle(now, observation);
        }
        let stats = self.links.read();
        let evidence = Evidence::Network(NetworkChange::LinkStats(stats));
        self.health.handle(now, Observation { at: now.mono, evidence });
        self.tcp.flush_log();
    }

    /// The targets may be others now: tells the core, the engine and the resolver.
    fn replan(&mut self, now: Moment) {
        let mut planned = self.planner.plan(now.mono, self.health.network());
        let resolved: HashMap<(TargetId, &str), _> =
            self.health.targets().map(|t| ((t.spec.id, t.spec.host.as_str()), &t.spec.addresses)).collect();
        let mut names = HashMap::new();
        for p in &mut planned {
            if p.spec.addresses.is_empty() {
                names.insert(p.spec.id, p.spec.host.clone());
                let known = resolved.get(&(p.spec.id, p.spec.host.as_str()));
                p.spec.addresses = known.map(|a| (*a).clone()).unwrap_or_default();
                p.spec.addresses.retain(|address| p.path.suits(*address));
            }
        }
        self.resolver.set(&names);
        if planned == self.planned {
            return;
        }
        self.health.set_targets(now, planned.iter().map(|p| p.spec.clone()).collect());
        let network = self.health.network();
        self.engine.set_targets(planned.iter().map(|p| probe_spec(p, network)).collect());
        self.planned = planned;
    }

    fn reload(&mut self, config: Option<Arc<Config>>) {
        let now = Moment::now();
        let Some(config) = config else {
            self.config.0 = false;
            return;
        };
        self.config = (true, now.boot);
        self.parts.board.set_stale_after(config.stale_after());
        self.health.configure(now, config.health.clone(), config.watch.clone());
        self.planner.configure(Arc::clone(&config), resolvers(RESOLV_CONF.as_ref()));
        self.parts.config = config;
        self.replan(now);
    }

    fn snapshot(&self, now: Moment) -> Snapshot {
        let (devices, targets) = views(&self.health, now.mono);
        let capabilities = self.parts.capabilities.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot {
            seq: self.seq,
            at: now,
            started: self.parts.started,
            verdict: self.health.verdict().clone(),
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
            scheduler_lag_buckets: engine.lag,
            scheduler_lag_sum: engine.lag_sum,
            observations_dropped: self.lost.total(),
            config_valid: self.config.0,
            config_read: self.config.1,
        }
    }
}

fn probe_spec(p: &Planned, network: &Network) -> probe::TargetSpec {
    probe::TargetSpec {
        path: Arc::clone(&p.path),
        fallback_ports: FALLBACK_PORTS.to_vec(),
        interval: p.interval,
        timeout: p.timeout,
        scope: p.spec.link.map_or(0, |i| i.0),
        on_link: p.spec.role == Role::Gateway || p.spec.addresses.iter().all(|a| network.is_on_link(*a)),
        ..probe::TargetSpec::new(p.spec.id, p.spec.addresses.clone(), p.spec.method.clone())
    }
}

type NetlinkSide = (mpsc::UnboundedReceiver<Observation>, Option<Arc<netlink::Counters>>);

/// Starts telling of links: by netlink, or where that can't be had or is not wanted, by looking at sysfs once an
/// interval. Unbounded, because reader and core take turns on one thread and the kernel bounds what can wait.
fn start_netlink(config: &Config, capabilities: &Mutex<Vec<Capability>>) -> NetlinkSide {
    let (out, receiver) = mpsc::unbounded_channel();
    let options = netlink::Options::default();
    let note = |c: Capability| capabilities.lock().unwrap_or_else(PoisonError::into_inner).push(c);
    let interval = config.interval;
    if !config.netlink {
        note(Capability::missing(
            "netlink",
            "switched off; links are looked at once an interval",
            "set netlink = true in [devices]",
        ));
        tokio::spawn(poll_sysfs(options, interval, out));
        return (receiver, None);
    }
    match netlink::Netlink::open(&options) {
        Ok(source) => {
            note(Capability::works("netlink", "links, addresses and routes are told of as they change"));
            let counters = source.counters();
            tokio::spawn(async move {
                let emit = |o| drop(out.send(o));
                let error = source.run(emit).await;
                tracing::error!(%error, "netlink is lost; links are looked at once an interval from now on");
                let gap = Observation { at: Mono::now(), evidence: Evidence::Gap(SourceKind::Netlink) };
                if out.send(gap).is_ok() {
                    poll_sysfs(options, interval, out).await;
                }
            });
            (receiver, Some(counters))
        }
        Err(error) => {
            note(Capability::missing(
                "netlink",
                format!("{error}; links are looked at once an interval"),
                NETLINK_REMEDY,
            ));
            tokio::spawn(poll_sysfs(options, interval, out));
            (receiver, None)
        }
    }
}

async fn poll_sysfs(options: netlink::Options, interval: Duration, out: mpsc::UnboundedSender<Observation>) {
    let mut poller = netlink::sysfs::Poller::new(options);
    loop {
        if let Some(observation) = poller.poll()
            && out.send(observation).is_err()
        {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}
