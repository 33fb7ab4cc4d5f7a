//! The composition root: the only place that knows all the parts. Starts them, runs until a signal, ends them.

pub mod capabilities;
mod core;
mod diagnose;
mod discover;
mod intake;
mod links;
mod look;
mod tcp;
mod throttle;
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
    sync::{mpsc, oneshot},
};

pub use self::core::{CoreError, Refresh};
use crate::{
    added::Added,
    config::Config,
    health::{Reason, ReasonCode, Verdict},
    history,
    output::{api, metrics},
    source::{bpf, probe},
    state::{Board, Snapshot},
    time::{Moment, Wall},
};

/// Threads that serve sockets. Two keep a slow scrape from holding up a waiter.
const API_WORKERS: usize = 2;
/// What these are called, and those that do what takes long for them.
const API_THREAD: &str = "api";

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
    /// What the kernel programs are to do.
    pub kernel: bpf::Options,
}

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An address outside loopback, without encryption.
    #[error(
        "{0} is not a loopback address, and what it would serve is neither encrypted nor authenticated; \
         listen on 127.0.0.1 or [::1], or say --insecure"
    )]
    Exposed(SocketAddr),
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

/// Runs the agent until SIGINT or SIGTERM. When it returns, waiters were answered, the socket's file is gone, and
/// nothing is left in the kernel.
///
/// # Errors
/// What the agent can't do without: see [`AgentError`].
pub fn run(options: Options) -> Result<(), AgentError> {
    if let Some(address) = options.config.exposed().filter(|_| !options.insecure) {
        return Err(AgentError::Exposed(address));
    }
    let started = Moment::now();
    // A signal that comes before there is anybody to hear it waits until there is.
    ending_signals().thread_block().map_err(std::io::Error::from)?;
    raise_descriptor_limit();
    // What takes privilege comes first, on the only thread there is.
    let kernel = bpf::Kernel::load(&options.kernel);
    let sockets = probe::Sockets::open();
    let mut found = kernel.capabilities().to_vec();
    found.extend(capabilities::of_sockets(sockets.capabilities()));
    // What only follows from another missing thing is no line of its own.
    for c in found.iter().filter(|c| !c.ok && !c.remedy.starts_with("see ")) {
        tracing::warn!(capability = c.name, remedy = c.remedy, "{}: {}", c.name, c.detail);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(API_WORKERS)
        .thread_name(API_THREAD)
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(options, started, kernel, sockets, Arc::new(Mutex::new(found))));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(
    options: Options,
    started: Moment,
    kernel: bpf::Kernel,
    sockets: probe::Sockets,
    capabilities: Arc<Mutex<Vec<crate::capability::Capability>>>,
) -> Result<(), AgentError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    ending_signals().thread_unblock().map_err(std::io::Error::from)?;
    let Options { config, config_path, socket, insecure, .. } = options;
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
    let server = api::start(
        board.clone(),
        api::Options {
            socket,
            listen: config.listen.clone(),
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
    let files = discover::start(found, added.clone(), capabilities.clone(), server.own().discovered.clone());
    let (stop, stopped) = oneshot::channel();
    let (ready, is_ready) = oneshot::channel();
    let parts = core::Parts {
        config,
        started,
        board,
        sockets: Some(sockets),
        capabilities,
        refresh,
        wanted,
        stop: stopped,
    };
    let (ended, mut core_ended) = oneshot::channel::<()>();
    let core_thread = thread::Builder::new().name("core".to_owned()).spawn(move || {
        core::run(parts, kernel, ready);
        drop(ended);
    })?;
    is_ready.await.map_err(|_| AgentError::CoreGone)??;
    tracing::info!(socket = %server.socket().display(), tcp = ?server.tcp(), "netmon {} runs", env!("CARGO_PKG_VERSION"));
    tell_manager(NotifyState::Ready);

    let mut result = Ok(());
    loop {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                reload_from(config_path.as_deref(), insecure, &files);
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
    tell_manager(NotifyState::Stopping);
    server.shutdown().await;
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

/// Tells the service manager that started this, if it asks for it (sd_notify(3), `NOTIFY_SOCKET`): units ordered behind
/// the agent may use its socket from then on.
fn tell_manager(news: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[news]) {
        tracing::warn!(%error, "the service manager can't be told how the agent is; see NOTIFY_SOCKET");
    }
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
/// to it: a busy core must not keep a signal from being heard.
fn reload_from(path: Option<&std::path::Path>, insecure: bool, files: &discover::Files) {
    let loaded = Config::load(path).map_err(|e| e.one_line()).and_then(|config| {
        let exposed = config.exposed().filter(|_| !insecure);
        exposed.map_or(Ok(config), |address| Err(AgentError::Exposed(address).to_string()))
    });
    match files.reload(loaded) {
        Ok(()) => {
            tracing::info!(
                "SIGHUP: configuration read anew; `listen`, `socket` and `netlink`, [kernel], [metrics], [retry] and [history] take effect at the next start"
            );
        }
        Err(error) => tracing::error!("SIGHUP: the old configuration stays: {error}"),
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
