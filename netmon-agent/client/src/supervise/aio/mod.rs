//! The supervisor for async programs: the same machine, with a task for each connection in place of threads.

mod link;
mod report;
#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Display},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{runtime::Handle, task::JoinHandle};

use self::{
    link::{Link, drive},
    report::Reporter,
};
use super::{
    ConnectionSnapshot, ConnectionUpdate, OptionsError, ReportState, SuperviseOptions,
    changes::{self, Queue},
    shell::{By, Shared},
};
use crate::{
    Error,
    aio::{Client, Monitor},
    wire::ConnectionState,
};

/// A connection that can be supervised.
///
/// ```
/// use std::io;
/// use netmon_client::aio::Supervise;
/// use tokio::{io::Interest, net::TcpStream};
///
/// /// A connection on which the other side says nothing that was not asked for.
/// struct Quiet(TcpStream);
///
/// impl Supervise for Quiet {
///     type Error = io::Error;
///
///     async fn closed(&self) -> io::Error {
///         match self.0.ready(Interest::READABLE).await {
///             Ok(_) => io::ErrorKind::UnexpectedEof.into(),
///             Err(e) => e,
///         }
///     }
///
///     async fn check(&self) -> io::Result<()> {
///         self.0.peer_addr().map(drop)
///     }
/// }
/// ```
pub trait Supervise: Send + Sync + 'static {
    /// Why it is over, or does not work.
    type Error: Display;

    /// Is ready once the connection is over, with the reason; then it is made anew. One that can't tell is
    /// `std::future::pending().await`: its checks find out.
    fn closed(&self) -> impl Future<Output = Self::Error> + Send;

    /// Whether it works: asks the other side, best of all. Dropped when it takes longer than it may.
    fn check(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Called once the connection is over, before it is dropped: may end what still uses it. It must not block.
    fn close(&self) {}
}

/// Keeps any number of connections alive, as [`crate::supervise::Supervisor`] does, by the same rules and without a
/// thread: a task for each connection, one that follows the network, and one for reports.
///
/// ```no_run
/// # use std::io;
/// # use netmon_client::{aio, aio::Supervise};
/// # struct Session;
/// # impl Session {
/// #     async fn open(_: &str) -> io::Result<Self> { Ok(Self) }
/// #     async fn query(&self) -> io::Result<()> { Ok(()) }
/// # }
/// # impl Supervise for Session {
/// #     type Error = io::Error;
/// #     async fn closed(&self) -> io::Error { std::future::pending().await }
/// #     async fn check(&self) -> io::Result<()> { Ok(()) }
/// # }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = aio::Client::new(aio::Client::default_socket());
/// let supervisor = aio::Supervisor::new(aio::Monitor::connect(agent.socket()).await);
/// supervisor.report_to(&agent, "exporter")?;
/// let vcenter = supervisor.supervise("vcenter", || Session::open("vcenter.example.com"))?;
/// while let Some(session) = vcenter.wait().await {
///     if let Err(e) = session.query().await {
///         vcenter.failed(&session, e);
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// The program's futures are polled by the connection's own task. They must not block, or they hold up their own
/// connection, and may panic, which is an error like any other; what takes longer than it may is dropped.
pub struct Supervisor {
    shared: Arc<Shared>,
    follower: Option<JoinHandle<()>>,
    reporter: Mutex<Option<Reporter>>,
}

impl Supervisor {
    /// One that pauses through the outages that `monitor` tells of: see [`crate::supervise::Supervisor::new`].
    ///
    /// ```no_run
    /// # async fn example() {
    /// # use netmon_client::aio;
    /// let network = aio::Monitor::connect(aio::Client::default_socket()).await;
    /// let supervisor = aio::Supervisor::new(network);
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub fn new(monitor: impl Into<Arc<Monitor>>) -> Self {
        let mut supervisor = Self::without_agent();
        let (monitor, shared) = (monitor.into(), supervisor.shared.clone());
        shared.network(monitor.state());
        supervisor.follower = Some(tokio::spawn(async move {
            let mut state = monitor.state();
            loop {
                shared.network(state);
                state = monitor.changed(state).await;
            }
        }));
        supervisor
    }

    /// One that knows nothing of the network.
    ///
    /// ```
    /// let supervisor = netmon_client::aio::Supervisor::without_agent();
    /// assert!(supervisor.snapshots().is_empty());
    /// ```
    pub fn without_agent() -> Self {
        Self { shared: Arc::new(Shared::new(By::Tasks)), follower: None, reporter: Mutex::default() }
    }

    /// Keeps a connection alive, as is usual: see [`SuperviseOptions`]. `connect` makes it.
    ///
    /// # Errors
    /// A name that is not 1 to 64 bytes of printable text, or is taken.
    ///
    /// # Panics
    /// Outside a tokio runtime with time.
    pub fn supervise<C, E, F>(
        &self,
        name: &str,
        connect: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Supervised<C>, OptionsError>
    where
        C: Supervise,
        E: Display + 'static,
        F: Future<Output = Result<C, E>> + Send + 'static,
    {
        self.supervise_with(name, SuperviseOptions::default(), connect)
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Supervisor::supervise`], and options that can't be.
    ///
    /// # Panics
    /// Outside a tokio runtime with time.
    pub fn supervise_with<C, E, F>(
        &self,
        name: &str,
        options: SuperviseOptions,
        connect: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Supervised<C>, OptionsError>
    where
        C: Supervise,
        E: Display + 'static,
        F: Future<Output = Result<C, E>> + Send + 'static,
    {
        let runtime = Handle::current();
        let link = Arc::new(Link::new());
        let id = self.shared.add(name, options, link.clone())?;
        runtime.spawn(drive(self.shared.clone(), id, link.clone(), connect));
        Ok(Supervised { link, shared: self.shared.clone(), id })
    }

    /// Reports every connection to the agent, as those of the program `client`, for as long as this supervisor lives:
    /// over restarts of the agent, and quietly while there is none. A second call replaces the first.
    ///
    /// ```no_run
    /// # async fn example(supervisor: netmon_client::aio::Supervisor) -> Result<(), netmon_client::Error> {
    /// # use netmon_client::aio;
    /// supervisor.report_to(&aio::Client::new(aio::Client::default_socket()), "exporter")
    /// # }
    /// ```
    ///
    /// # Errors
    /// When `client` is not 1 to 64 bytes of printable text ([`Error::BadRequest`]).
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub fn report_to(&self, agent: &Client, client: &str) -> Result<(), Error> {
        super::check_client(client)?;
        let mut reporter = self.reporter();
        let before = reporter.take();
        *reporter = Some(Reporter::start(&self.shared, agent.socket(), client, before));
        Ok(())
    }

    /// What has become of the reports; none without [`Supervisor::report_to`].
    ///
    /// ```
    /// assert_eq!(netmon_client::aio::Supervisor::without_agent().report_state(), None);
    /// ```
    pub fn report_state(&self) -> Option<ReportState> {
        self.reporter().as_ref().map(Reporter::state)
    }

    /// What is known of every connection, in the order in which they came: for [`crate::supervise::metrics`], say.
    ///
    /// ```no_run
    /// # fn example(supervisor: netmon_client::aio::Supervisor) {
    /// use netmon_client::supervise::metrics;
    /// print!("{}", metrics("exporter", &supervisor.snapshots()));
    /// # }
    /// ```
    pub fn snapshots(&self) -> Vec<ConnectionSnapshot> {
        self.shared.snapshots()
    }

    /// Changes of every connection's state, from now on.
    ///
    /// ```no_run
    /// # async fn example(supervisor: netmon_client::aio::Supervisor) {
    /// let mut changes = supervisor.changes();
    /// while let Some(change) = changes.recv().await {
    ///     println!("{change:?}");
    /// }
    /// # }
    /// ```
    pub fn changes(&self) -> ConnectionChanges {
        let (_, queue) = changes::ConnectionChanges::new();
        self.shared.add_stream(&queue);
        ConnectionChanges(queue)
    }

    /// Stops all: connections are closed, but for those who still hold them, and what is under way is dropped. Dropping
    /// it does the same.
    ///
    /// ```
    /// netmon_client::aio::Supervisor::without_agent().stop();
    /// ```
    pub fn stop(self) {}

    fn reporter(&self) -> MutexGuard<'_, Option<Reporter>> {
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.stop_all();
        if let Some(follower) = self.follower.take() {
            follower.abort();
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("connections", &self.snapshots()).finish_non_exhaustive()
    }
}

/// A connection that is kept alive, and the hand on it. Dropping it stops the supervision and closes the connection.
pub struct Supervised<C: Supervise> {
    link: Arc<Link<C>>,
    shared: Arc<Shared>,
    id: u64,
}

impl<C: Supervise> Supervised<C> {
    /// The connection as it is now; none while there is none. It is the caller's for as long as it holds the `Arc`,
    /// though it may be given up meanwhile.
    pub fn get(&self) -> Option<Arc<C>> {
        self.link.get()
    }

    /// Waits until there is one. None as soon as it is clear that there will be none: stopped, or the attempts are used
    /// up. The future may be dropped at any time, as by `tokio::time::timeout`.
    pub async fn wait(&self) -> Option<Arc<C>> {
        self.link.wait().await
    }

    /// Works with the connection; none while there is none.
    pub fn with<R>(&self, work: impl FnOnce(&C) -> R) -> Option<R> {
        self.get().map(|c| work(&c))
    }

    /// Says that this connection does not work, as whoever uses it found out: it is made anew, at the usual pace or, in
    /// an outage, at its end. Of one that has been given up already nothing happens.
    pub fn failed(&self, connection: &C, error: impl Display) {
        self.shared.broken(self.id, format!("{error:#}"), || self.link.is(connection));
    }

    /// What it is.
    pub fn state(&self) -> ConnectionState {
        self.snapshot().state
    }

    /// What is known of it.
    pub fn snapshot(&self) -> ConnectionSnapshot {
        // It is forgotten with this value, not before.
        self.shared.snapshot(self.id).unwrap_or_default()
    }

    /// Stops the supervision and closes the connection, but for those who still hold it. What is under way is dropped.
    pub fn stop(&self) {
        self.shared.stop(self.id, false);
    }
}

impl<C: Supervise> Drop for Supervised<C> {
    fn drop(&mut self) {
        self.shared.stop(self.id, true);
    }
}

impl<C: Supervise> fmt::Debug for Supervised<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("snapshot", &self.snapshot()).finish()
    }
}

/// Changes of all connections of a [`Supervisor`], from the moment it was asked for. At most 256 wait to be read.
#[derive(Debug)]
pub struct ConnectionChanges(Arc<Queue>);

impl ConnectionChanges {
    /// Waits for the next; none once the supervisor has been stopped and all is read. Nothing is lost when the future is
    /// dropped.
    pub async fn recv(&mut self) -> Option<ConnectionUpdate> {
        self.0.next().await
    }

    /// The next, if there is one now.
    pub fn try_recv(&mut self) -> Option<ConnectionUpdate> {
        self.0.try_next()
    }
}
