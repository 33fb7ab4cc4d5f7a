//! The socket API: HTTP/1.1 and JSON over a Unix socket, and the same, read-only and without waiting, over TCP. Programs
//! report connections that they hold over the Unix socket, and those who may add targets; everything else is read.
//!
//! A client that is slow, silent or hostile costs at most its own connection: headers are bounded in size and time,
//! writes in time, answers that nobody reads in bytes, connections, scrapes and waiters in number, all of it shared fairly by
//! user or address, and descriptors are kept back for probes.

mod budget;
mod company;
mod condition;
mod connections;
mod desk;
mod events;
mod figures;
mod group;
mod held;
mod history;
mod io;
mod judge;
mod listeners;
mod page;
mod passed;
mod plain;
mod quiet;
mod refresh;
mod reply;
mod reports;
mod rewound;
mod routes;
mod server;
mod shares;
mod socket;
mod stream;
mod targets;
mod ticket;
mod wait;
mod web;
pub mod wire_map;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Semaphore, mpsc, watch},
};

pub use condition::{Condition, Memory, Outcome};
pub use connections::{Changed, Connections, Refusal, Reported, Reporter};
pub use figures::Figures;
pub use history::Ledger;
pub use listeners::Listeners;
pub use passed::Passed;
pub use refresh::RefreshSender;
pub use shares::{Holder, Mark, Place, Shares};
pub use socket::{SocketError, SocketFile};
pub use wait::MAX_TIMEOUT;
#[cfg(feature = "fuzzing")]
pub(crate) use web::fuzzing;
pub use web::{Web, WebError};

use super::{
    WallAnchor,
    metrics::{self, Own},
};
use crate::{
    added::Added,
    budget::{Bucket, Settings},
    capability::Capability,
    state::Board,
    time::Boot,
};

/// Metrics requests served at one time.
const SCRAPES: usize = 8;
/// Big states written at one time; who comes then waits, as it costs much and everybody may ask.
const BIG_STATUSES: usize = 2;
/// Connections beyond the waiters': for `status`, `watch`, scrapes.
const OTHER_CONNECTIONS: usize = 256;
/// What a clean end may take.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// TCP addresses, for the read-only part.
    pub listen: Vec<SocketAddr>,
    /// TLS and users of that part; none of either without it.
    pub web: Option<Arc<Web>>,
    /// Most waiters at one time.
    pub max_waiters: usize,
    /// Bytes of answers that may wait for their readers.
    pub unread: u64,
    /// A sign of life on event streams at least so often: the probe interval, at most 2 s.
    pub heartbeat: Duration,
    /// Descriptors kept back for probes and files.
    pub reserved_descriptors: u64,
    /// Where to ask for a fresh snapshot before a rendering; none shows what the board has.
    pub refresh: Option<RefreshSender>,
    /// What metrics to write beyond the usual ones.
    pub metrics: metrics::Options,
    /// The retry budget.
    pub retry: Settings,
    /// The history of outages; none where none is kept.
    pub ledger: Option<Ledger>,
    /// Targets that are added while it runs; none where none can be.
    pub added: Option<Added>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket: "/run/netmon/netmon.sock".into(),
            listen: Vec::new(),
            web: None,
            max_waiters: 10_000,
            unread: held::ROOM,
            heartbeat: Duration::from_secs(2),
            reserved_descriptors: 256,
            refresh: None,
            metrics: metrics::Options::default(),
            retry: Settings::default(),
            ledger: None,
            added: None,
        }
    }
}

/// A running server. [`Server::shutdown`] ends it well; dropping it ends it at once.
#[derive(Debug)]
pub struct Server {
    /// Where the Unix socket is, and its file, where that is ours.
    path: PathBuf,
    _file: Option<SocketFile>,
    tcp: Vec<SocketAddr>,
    capabilities: Vec<Capability>,
    own: Own,
    figures: Figures,
    closing: watch::Sender<bool>,
    kill: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

/// What the handlers share.
#[derive(Debug)]
struct App {
    board: Board,
    heartbeat: Duration,
    metrics: metrics::Options,
    refresher: refresh::Refresher,
    budget: Mutex<Bucket>,
    waiters: Shares,
    connections: Connections,
    groups: group::Groups,
    scrapes: Shares,
    big_statuses: Arc<Semaphore>,
    histories: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    past: page::Cache,
    tcp_streams: Shares,
    ledger: Option<Ledger>,
    added: Option<targets::Keeper>,
    room: held::Room,
    web: Option<Arc<Web>>,
    own: Own,
    walls: WallAnchor,
    closing: watch::Receiver<bool>,
}

/// Starts to serve `board`, on the current tokio runtime.
///
/// # Errors
/// When the Unix socket can't be had. A TCP address that can't is said in [`Server::capabilities`] and the log.
pub fn start(board: Board, options: Options) -> Result<Server, SocketError> {
    let listeners = Listeners::bind(Passed::default(), &options.socket, &options.listen)?;
    start_on(listeners, board, options)
}

/// The same on listeners that are open already: [`Options::socket`] and [`Options::listen`] are not looked at.
///
/// # Errors
/// The runtime does not take the Unix socket.
pub fn start_on(listeners: Listeners, board: Board, options: Options) -> Result<Server, SocketError> {
    let Listeners { path, file, unix, tcp: listening, mut capabilities } = listeners;
    let unix = unix.into_iter().map(UnixListener::from_std).collect::<std::io::Result<Vec<_>>>();
    let unix = unix.map_err(|source| SocketError::Io { path: path.clone(), source })?;
    let (closing, closing_told) = watch::channel(false);
    let (kill, kill_told) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    let own = Own::new();
    let app = Arc::new(App {
        groups: group::Groups::new(board.clone(), own.clone()),
        board,
        heartbeat: options.heartbeat.clamp(Duration::from_millis(10), Duration::from_secs(2)),
        metrics: options.metrics,
        refresher: refresh::Refresher::new(options.refresh),
        budget: Mutex::new(Bucket::new(options.retry, Boot::now())),
        waiters: Shares::new(options.max_waiters),
        connections: Connections::new(nix::unistd::geteuid().as_raw()),
        scrapes: Shares::for_movers(SCRAPES),
        big_statuses: Arc::new(Semaphore::new(BIG_STATUSES)),
        histories: Arc::new(Semaphore::new(history::READERS)),
        pages: Arc::new(Semaphore::new(page::WRITERS)),
        past: page::Cache::default(),
        tcp_streams: Shares::new(events::TCP_STREAMS),
        ledger: options.ledger,
        added: options.added.map(targets::Keeper::new),
        room: held::Room::new(options.unread),
        web: options.web,
        own: own.clone(),
        walls: WallAnchor::default(),
        closing: closing_told.clone(),
    });
    let context = server::Context {
        router: routes::router(app.clone()),
        app: app.clone(),
        own: own.clone(),
        shares: Shares::new(connections(options.max_waiters, options.reserved_descriptors))
            .counting(own.refusals("unix")),
        closing: closing_told,
        kill: kill_told,
        alive,
    };
    for listener in unix {
        tokio::spawn(server::serve_unix(listener, context.clone()));
    }
    let mut tcp = Vec::new();
    let room = Shares::for_movers(server::TCP_CONNECTIONS).counting(own.refusals("tcp"));
    for (name, address, listener) in listening {
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                let scheme = app.web.as_ref().map_or("http", |web| web.scheme());
                capabilities.push(listeners::served(name, scheme, address));
                tcp.push(address);
                tokio::spawn(server::serve_tcp(listener, address, room.clone(), context.clone()));
            }
            Err(e) => capabilities.push(listeners::not_served(name, address, &e)),
        }
    }
    let figures = Figures::new(app);
    Ok(Server { path, _file: file, tcp, capabilities, own, figures, closing, kill, ended })
}

impl Server {
    /// Where the Unix socket is.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// TCP addresses in use, with the ports that the kernel chose.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// One for each TCP address, whether it is served.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// The outputs' own counters.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// What metrics are made of, for those who send them.
    pub fn figures(&self) -> Figures {
        self.figures.clone()
    }

    /// Answers every waiter with 503 (so that it comes back to the next agent), ends event streams, and removes the
    /// socket's file. Connections that are not done within 2 s are cut.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        // All senders are held by tasks; none is ever sent on.
        if tokio::time::timeout(SHUTDOWN, self.ended.recv()).await.is_err() {
            self.kill.send_replace(true);
            let _ = tokio::time::timeout(SHUTDOWN, self.ended.recv()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        self.kill.send_replace(true);
    }
}

/// How many Unix connections there may be.
fn connections(waiters: usize, reserved: u64) -> usize {
    let wanted = waiters.saturating_add(OTHER_CONNECTIONS);
    let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let spare = soft.saturating_sub(reserved).saturating_sub(server::TCP_CONNECTIONS as u64);
    let room = wanted.min(usize::try_from(spare).unwrap_or(usize::MAX)).max(16);
    if room < wanted {
        tracing::info!("room for {room} connections, not {wanted}: the limit of open files is {soft}");
    }
    room
}
