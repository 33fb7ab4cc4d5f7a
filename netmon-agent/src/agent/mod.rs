//! The composition root: the only place that knows all the parts. Starts them, runs until a signal, ends them.

pub mod capabilities;
mod core;
mod diagnose;
mod discover;
mod intake;
mod links;
mod look;
mod manager;
mod shut_in;
mod tcp;
mod throttle;
mod vitals;
mod watch;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::{SigSet, Signal},
};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{
        mpsc, oneshot,
        watch::{Receiver, channel},
    },
    time::timeout,
};

pub use self::core::{CoreError, Refresh};
#[cfg(feature = "otlp")]
use crate::output::otlp;
use crate::{
    added::Added,
    capability::Capability,
    config::Config,
    health::{Reason, ReasonCode, Verdict},
    history,
    output::{api, metrics, notify},
    sandbox::{self, Reach},
    source::{bpf, probe, resolve},
    state::{Board, Snapshot},
    time::{Boot, Moment, Wall},
};

/// Threads that serve sockets. Two keep a slow scrape from holding up a waiter.
const API_WORKERS: usize = 2;
/// What these are called, and those that do what takes long for them.
const API_THREAD: &str = "api";
/// Stores of memory that threads allocate from. Each keeps what its busiest moment took, and there would be sixteen and more.
const STORES: u8 = 2;
/// How long a new configuration may take to be taken before the service manager is told that it is.
const TAKEN: Duration = Duration::from_secs(10);

/// What the agent is told from outside its configuration.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Where it was read from, for SIGHUP; none is the default place.
    pub config_path: Option<PathBuf>,
    /// The Unix socket.
    pub socket: PathBuf,
    /// Whether addresses outside loopback may be served in the clear.
    pub insecure: bool,
    /// The file that is logged to, if it is one.
    pub log_file: Option<PathBuf>,
    /// What the kernel programs are to do.
    pub kernel: bpf::Options,
}

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An address outside loopback, without encryption.
    #[error(
        "{0} is not a loopback address, and what it would serve is neither encrypted nor authenticated; \
         listen on 127.0.0.1 or [::1], set web_config_file, or say --insecure"
    )]
    Exposed(SocketAddr),
    /// What is served over TCP has rules that can't be read.
    #[error(transparent)]
    Web(#[from] api::WebError),
    /// What the environment says of descriptors that were passed makes no sense.
    #[error("can't take the sockets that the service manager passes: {0}; see LISTEN_FDS and LISTEN_FDNAMES")]
    Passed(std::io::Error),
    /// No runtime, no signal handler.
    #[error("can't start: {0}")]
    Runtime(#[from] std::io::Error),
    /// The Unix socket can't be had.
    #[error(transparent)]
    Socket(#[from] api::SocketError),
    /// The core can't start.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The core ended by itself.
    #[error("the core ended unexpectedly; nothing would be judged any more")]
    CoreGone,
}

/// Where the agent's socket is when nobody says otherwise: the system's place for root, the user's own for others.
pub fn default_socket() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|dir| !dir.is_empty() && !nix::unistd::geteuid().is_root());
    match runtime {
        Some(dir) => PathBuf::from(dir).join("netmon.sock"),
        None => "/run/netmon/netmon.sock".into(),
    }
}

/// TLS and users of what the configuration, or `passed` beside it, has served over TCP.
///
/// # Errors
/// An address outside loopback would be served in the clear to anybody, and that is not what is meant; or the web
/// configuration can't be used.
pub fn guard(
    config: &Config,
    passed: Option<SocketAddr>,
    insecure: bool,
) -> Result<Option<Arc<api::Web>>, AgentError> {
    let exposed = config.exposed().or(passed).filter(|_| !insecure);
    match (&config.web_config_file, exposed) {
        (Some(path), _) => Ok(Some(Arc::new(api::Web::read(path, exposed.is_some())?))),
        (None, Some(address)) => Err(AgentError::Exposed(address)),
        (None, None) => Ok(None),
    }
}

/// An agent that has what takes privilege, and has given up the rest.
#[derive(Debug)]
pub struct Prepared {
    options: Options,
    listeners: api::Listeners,
    web: Option<Arc<api::Web>>,
    started: Moment,
    kernel: bpf::Kernel,
    sockets: probe::Sockets,
    runner: Option<notify::Runner>,
    reach: Reach,
    found: Vec<Capability>,
}

/// Does what takes privilege, and then gives up what is not needed any more, as the configuration has it. To be called
/// while there is no other thread: those that there are keep what they have.
///
/// # Errors
/// What the agent can't do without: see [`AgentError`].
pub fn prepare(options: Options) -> Result<Prepared, AgentError> {
    crate::sys::share_stores(STORES);
    let passed = manager::passed().map_err(AgentError::Passed)?;
    let passed = api::Passed::new(passed);
    let web = guard(&options.config, passed.exposed(), options.insecure)?;
    let started = Moment::now();
    // A signal that comes before there is anybody to hear it waits until there is.
    ending_signals().thread_block().map_err(std::io::Error::from)?;
    raise_descriptor_limit();
    let kernel = bpf::Kernel::load(&options.kernel);
    let sockets = probe::Sockets::open().with_ways(&shut_in::ways(&options.config));
    let listeners = api::Listeners::bind(passed, &options.socket, &options.config.listen)?;
    let mut found = kernel.capabilities().to_vec();
    found.extend(capabilities::of_sockets(sockets.capabilities()));
    shut_in::make_room(options.log_file.as_deref());
    let reach = shut_in::reach(&options.config, options.config_path.as_deref(), options.log_file.as_deref())
        .removing(listeners.own_socket())
        .reading(web.iter().flat_map(|web| web.files()));
    // It is begun by somebody who may still execute something.
    let runner = shut_in::runner(&options, &reach);
    found.extend(runner.capability);
    let plan = sandbox::Plan {
        mode: options.config.sandbox,
        kept: shut_in::kept(&options.config),
        reach: reach.clone(),
    };
    found.extend(sandbox::enter(&plan));
    // What only follows from another missing thing is no line of its own.
    for c in found.iter().filter(|c| !c.ok && !c.remedy.starts_with("see ")) {
        tracing::warn!(capability = c.name, remedy = c.remedy, "{}: {}", c.name, c.detail);
    }
    Ok(Prepared { options, listeners, web, started, kernel, sockets, runner: runner.runner, reach, found })
}

/// Runs the agent until SIGINT or SIGTERM. When it returns, waiters were answered, the socket's file is gone, and
/// nothing is left in the kernel.
///
/// # Errors
/// What the agent can't do without: see [`AgentError`].
pub fn run(prepared: Prepared) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(API_WORKERS)
        .thread_name(API_THREAD)
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(prepared));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(prepared: Prepared) -> Result<(), AgentError> {
    let Prepared { options, listeners, web, started, kernel, sockets, runner, reach, found } = prepared;
    let capabilities = Arc::new(Mutex::new(found));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    #[cfg(not(feature = "checked"))]
    ending_signals().thread_unblock().map_err(std::io::Error::from)?;
    #[cfg(feature = "checked")]
    crate::sys::hear(ending_signals())?;
    let Options { config, config_path, socket, insecure, log_file, .. } = options;
    let found = discover::first(Arc::new(config)).await;
    let added = Added::new(discover::base(found.news()), started.boot, Wall::now());
    let wanted = added.subscribe();
    // With what was found and what was added: the first plan has it all.
    let config = Arc::clone(&wanted.borrow().config);
    let board = Board::new(first_snapshot(started), config.stale_after());
    let ledger = config.history.as_ref().map(|settings| api::Ledger {
        reader: history::Reader::new(&settings.path),
        live: history::Live::default(),
        jobs: history::Jobs::default(),
    });
    let (refresh_sender, refresh) = mpsc::channel(64);
    let server = api::start_on(
        listeners,
        board.clone(),
        api::Options {
            socket,
            listen: config.listen.clone(),
            web,
            heartbeat: config.interval,
            refresh: Some(refresh_sender),
            metrics: metrics::Options {
                windows: config.metrics.windows,
                native_histograms: config.metrics.native_histograms,
                lean: config.metrics.lean,
            },
            retry: config.retry,
            ledger: ledger.clone(),
            added: Some(added.clone()),
            ..api::Options::default()
        },
    )?;
    if let Ok(mut all) = capabilities.lock() {
        all.extend(server.capabilities().iter().cloned());
    }
    // Before the core's first word, so that it misses none.
    let writer = config.history.clone().zip(ledger).and_then(|(settings, ledger)| {
        let counters = server.own().history.clone();
        let started = history::Writer::start(
            settings,
            board.clone(),
            ledger.jobs,
            ledger.live,
            counters,
            capabilities.clone(),
        );
        started.inspect_err(|error| tracing::warn!(%error, "no history: no thread to write it")).ok()
    });
    let mut notify =
        notify::Service::new(board.clone(), server.own().notify.clone(), look_up(), runner.clone());
    tell(&mut notify, &config.notifiers);
    #[cfg(feature = "otlp")]
    let exports = config.otlp.clone().and_then(|settings| {
        let started =
            otlp::Service::start(settings, server.figures(), server.own().exports.clone(), look_up());
        started.inspect_err(|error| tracing::warn!(%error, "no metrics are pushed: no thread for it")).ok()
    });
    let (taken, in_force) = channel(started.boot);
    let files = discover::start(found, added.clone(), capabilities.clone(), server.own().discovered.clone());
    let (stop, stopped) = oneshot::channel();
    let (ready, is_ready) = oneshot::channel();
    let parts = core::Parts {
        config,
        started,
        board: board.clone(),
        sockets: Some(sockets),
        capabilities,
        refresh,
        wanted,
        taken,
        stop: stopped,
    };
    let (ended, mut core_ended) = oneshot::channel::<()>();
    let core_thread = thread::Builder::new().name("core".to_owned()).spawn(move || {
        core::run(parts, kernel, ready);
        drop(ended);
    })?;
    let pulse = is_ready.await.map_err(|_| AgentError::CoreGone)??;
    tracing::info!(socket = %server.socket().display(), tcp = ?server.tcp(), "netmon {} runs", env!("CARGO_PKG_VERSION"));
    manager::ready(&manager::words(&board.snapshot().verdict));
    let reports = manager::Reports::start(board.clone(), pulse);

    let mut result = Ok(());
    loop {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                #[cfg(feature = "checked")]
                crate::sys::do_wrong();
                manager::reloading();
                let begun = Boot::now();
                let reloaded = reload_from(config_path.as_deref(), insecure, &files);
                if let Ok(config) = &reloaded {
                    if config.sandbox != sandbox::Mode::Off {
                        let now = shut_in::reach(config, config_path.as_deref(), log_file.as_deref());
                        shut_in::warn_of_what_is_new(&reach, &now, config);
                    }
                    // Before anybody asks for a command of the new one.
                    runner.iter().for_each(notify::Runner::reload);
                    tell(&mut notify, &config.notifiers);
                }
                tokio::spawn(say_reloaded(reloaded.map(drop), begun, in_force.clone(), board.clone()));
                continue;
            }
            _ = &mut core_ended => {
                result = Err(AgentError::CoreGone);
                break;
            }
        };
        tracing::info!("{signal}: ending");
        break;
    }
    drop(reports);
    manager::tell(&[NotifyState::Stopping]);
    server.shutdown().await;
    notify.stop();
    if let Some(runner) = runner {
        runner.end();
    }
    #[cfg(feature = "otlp")]
    if let Some(exports) = exports {
        exports.stop();
    }
    // The core may be gone already; either way its thread ends.
    let _ = stop.send(());
    if core_thread.join().is_err() {
        result = Err(AgentError::CoreGone);
    }
    if let Some(writer) = writer {
        writer.stop();
    }
    result
}

/// Has these told from now on.
fn tell(service: &mut notify::Service, notifiers: &[notify::Notifier]) {
    if let Err(error) = service.configure(notifiers) {
        tracing::warn!(%error, "nobody is told of changes: no thread for it");
    }
}

/// Tells the service manager that a reload is done, and what came of it: of a good one when the core has taken it. A core
/// that is busy takes it when it comes to it, and keeps no signal from being heard.
async fn say_reloaded(reloaded: Result<(), String>, begun: Boot, mut in_force: Receiver<Boot>, board: Board) {
    let line = match reloaded {
        Ok(()) => {
            // Targets that are added meanwhile are taken with a configuration that was read before.
            let _ = timeout(TAKEN, in_force.wait_for(|read| *read >= begun)).await;
            manager::words(&board.snapshot().verdict)
        }
        Err(why) => format!("the old configuration stays: {why}"),
    };
    manager::ready(&line);
}

/// How webhooks find their hosts: as the agent finds its targets.
fn look_up() -> notify::LookUp {
    Arc::new(|name| {
        Box::pin(async move {
            resolve::look_up(&name, &resolve::Options::default()).await.map_err(|failure| failure.to_string())
        })
    })
}

fn ending_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Every waiter is a descriptor; the soft limit is made for programs that use `select(2)`.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::info!(%error, "the limit of open files stays as it is");
    }
}

/// All or nothing: a bad file changes nothing, and the core shows that there was one. It takes the last one when it comes
/// to it: a busy core must not keep a signal from being heard. The one that holds from now on, or why nothing changes.
fn reload_from(
    path: Option<&std::path::Path>,
    insecure: bool,
    files: &discover::Files,
) -> Result<Arc<Config>, String> {
    let loaded = Config::load(path).map_err(|e| e.one_line()).and_then(|config| {
        guard(&config, None, insecure).map(|_| Arc::new(config)).map_err(|e| e.to_string())
    });
    match files.reload(loaded) {
        Ok(config) => {
            tracing::info!(
                "SIGHUP: configuration read anew; `listen`, `web_config_file`, `socket`, `sandbox` and `netlink`, [kernel], [metrics], [otlp], [retry], [history] and [log] take effect at the next start"
            );
            Ok(config)
        }
        Err(error) => {
            tracing::error!("SIGHUP: the old configuration stays: {error}");
            Err(error)
        }
    }
}

/// What is shown before the core's first word: unknown (R1). Numbers start at the boot time in microseconds, so that
/// they grow across restarts of the agent.
fn first_snapshot(started: Moment) -> Snapshot {
    let reasons = vec![Reason::new(ReasonCode::Starting, "", "the agent has just started")];
    Snapshot {
        seq: started.boot.as_nanos() / 1000,
        at: started,
        started,
        verdict: Verdict { since: started, reasons, ..Verdict::default() },
        ..Snapshot::default()
    }
}
