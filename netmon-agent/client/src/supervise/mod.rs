//! Connections that a daemon holds, kept alive with an eye on the network.
//!
//! A [`Supervisor`] makes each connection by the program's own code, looks at it now and then by more of that code, and
//! makes it anew when it is lost: with growing pauses where the other side is at fault, not at all in an outage, and at
//! once when that is over. Where the network is degraded it does not wait for the connection to fail altogether.
//!
//! ```no_run
//! use std::{io::Write, net::TcpStream};
//! use netmon_client::{Client, Monitor, supervise::Supervisor};
//!
//! let agent = Client::new(Client::default_socket());
//! let supervisor = Supervisor::new(Monitor::connect(agent.socket())?)?;
//! supervisor.report_to(&agent, "exporter")?;
//! let connection = supervisor.supervise(
//!     "vcenter",
//!     || TcpStream::connect("vcenter.example.com:443"),
//!     |tcp| tcp.peer_addr().map(drop),
//! )?;
//! while let Some(tcp) = connection.wait(None) {
//!     if let Err(e) = (&*tcp).write_all(b"work") {
//!         connection.failed(&tcp, e);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rules
//!
//! | what is heard | with a connection | without |
//! |---|---|---|
//! | network down | it is held; no check begins, none is timed out, one that fails ends it | no attempt; those that failed within `hindsight` and the one under way are refunded |
//! | network back after an outage | checked at once, by the strict rule | an attempt at once, after U(0, min(10 s, 10 % of the outage)) |
//! | network degraded | checked at once, by the strict rule | – |
//! | network known again, no outage | checked at once | – |
//! | network unknown | as if it were up | attempts at their pace; from an outage on after ten seconds |
//!
//! A check that fails counts; `check_failures` in a row, the next a second after each, or one that takes longer than
//! `check_timeout`, end the connection. The **strict rule**, in a degraded network and for the first check after an
//! outage: one that fails, or takes longer than `slow_check`, is enough; and where the connection had worked, another is
//! made at once in place of after a delay.
//!
//! What was made counts as working once a check has passed: until then its loss is one more failure, so that a server
//! that takes connections and drops them is not asked without end.
//!
//! # The program's code
//!
//! It may block, hang and panic: it runs on a thread of its own while it runs, and a connection that idles has none. A
//! call that takes longer than it may is given up, not ended: give `connect` and `health_check` time-outs of their own
//! where they can have some, or a way to be ended by
//! [`Supervisor::supervise_with`]'s `close`. With four calls that have not come back no further one begins: an attempt or
//! a check that is due meanwhile fails at once, and counts like any other that fails.
//!
//! Async programs have `aio::Supervisor` (feature `tokio`), which keeps to the same rules and drops what it gives up.

#[cfg(feature = "tokio")]
pub(crate) mod aio;
mod changes;
mod link;
mod machine;
mod metrics;
mod options;
mod record;
mod report;
mod shell;
mod supervised;

use std::{
    fmt::Display,
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::Duration,
};

pub use changes::{ConnectionChanges, ConnectionUpdate};
pub use metrics::metrics;
pub use options::{OptionsError, SuperviseOptions};
pub use record::ConnectionSnapshot;
pub use report::ReportState;
pub use supervised::Supervised;

use crate::{Client, Error, Monitor};
use link::Link;
use report::Reporter;
use shell::{By, Shared};

/// How often the network's state is looked at where no change tells of it.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps any number of connections alive. One thread for all, one that follows the network, and one for reports.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    timer: Option<JoinHandle<()>>,
    /// Ends the thread that follows it when it goes.
    monitor: Option<Arc<Monitor>>,
    reporter: std::sync::Mutex<Option<Reporter>>,
}

impl Supervisor {
    /// One that pauses through the outages that `monitor` tells of. While that knows nothing, for want of an agent, the
    /// network counts as unknown: attempts go on at their pace.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn new(monitor: impl Into<Arc<Monitor>>) -> Result<Self, Error> {
        let mut supervisor = Self::without_agent()?;
        let monitor = monitor.into();
        supervisor.shared.network(monitor.state());
        follow(&monitor, &supervisor.shared)?;
        supervisor.monitor = Some(monitor);
        Ok(supervisor)
    }

    /// One that knows nothing of the network.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn without_agent() -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(By::Threads));
        let timed = shared.clone();
        let timer = shell::spawn("netmon-supervise", move || timed.run())?;
        Ok(Self { shared, timer: Some(timer), monitor: None, reporter: std::sync::Mutex::default() })
    }

    /// Keeps a connection alive, as is usual: see [`SuperviseOptions`]. `connect` makes it, `health_check` says whether
    /// it works.
    ///
    /// # Errors
    /// A name that is not 1 to 64 bytes of printable text, or is taken; a supervisor that has been stopped.
    pub fn supervise<C, E, F>(
        &self,
        name: &str,
        connect: impl Fn() -> Result<C, E> + Send + Sync + 'static,
        health_check: impl Fn(&C) -> Result<(), F> + Send + Sync + 'static,
    ) -> Result<Supervised<C>, OptionsError>
    where
        C: Send + Sync + 'static,
        E: Display,
        F: Display,
    {
        self.supervise_with(name, SuperviseOptions::default(), connect, health_check, |_| {})
    }

    /// The same with options, and with `close`, which is called with a connection that is over before it is dropped. It
    /// may end what still uses it: `TcpStream::shutdown` ends reads and writes on other threads.
    ///
    /// # Errors
    /// As [`Supervisor::supervise`], and options that can't be.
    pub fn supervise_with<C, E, F>(
        &self,
        name: &str,
        options: SuperviseOptions,
        connect: impl Fn() -> Result<C, E> + Send + Sync + 'static,
        health_check: impl Fn(&C) -> Result<(), F> + Send + Sync + 'static,
        close: impl Fn(&C) + Send + Sync + 'static,
    ) -> Result<Supervised<C>, OptionsError>
    where
        C: Send + Sync + 'static,
        E: Display,
        F: Display,
    {
        let link = Arc::new(Link::new(connect, health_check, close));
        let id = self.shared.add(name, options, link.clone())?;
        Ok(Supervised::new(link, self.shared.clone(), id))
    }

    /// Reports every connection to the agent, as those of the program `client`, for as long as this supervisor lives:
    /// over restarts of the agent, and quietly while there is none. A second call replaces the first.
    ///
    /// # Errors
    /// When no thread can be made, or `client` is not 1 to 64 bytes of printable text ([`Error::BadRequest`]).
    pub fn report_to(&self, agent: &Client, client: &str) -> Result<(), Error> {
        check_client(client)?;
        let mut reporter = self.reporter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Its end takes its reports back: first, lest they be those of the next one.
        drop(reporter.take());
        *reporter = Some(Reporter::start(&self.shared, agent.socket(), client)?);
        Ok(())
    }

    /// What has become of the reports; none without [`Supervisor::report_to`].
    pub fn report_state(&self) -> Option<ReportState> {
        let reporter = self.reporter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        reporter.as_ref().map(Reporter::state)
    }

    /// What is known of every connection, in the order in which they came.
    pub fn snapshots(&self) -> Vec<ConnectionSnapshot> {
        self.shared.snapshots()
    }

    /// Changes of every connection's state, from now on.
    pub fn changes(&self) -> ConnectionChanges {
        let (changes, queue) = ConnectionChanges::new();
        self.shared.add_stream(&queue);
        changes
    }

    /// Stops all: connections are closed, but for those who still hold them, and the threads of the supervisor's own
    /// are joined. The program's code that is under way is not waited for. Dropping it does the same.
    pub fn stop(self) {}
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.stop_all();
        self.shared.wake();
        let reporter = self.reporter.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        drop(reporter);
        self.monitor = None;
        if let Some(timer) = self.timer.take() {
            let _ = timer.join();
        }
    }
}

/// Whether the agent takes reports of a program with this name.
fn check_client(client: &str) -> Result<(), Error> {
    if crate::wire::is_connection_name(client) {
        return Ok(());
    }
    Err(Error::BadRequest(format!("client {client:?}: a name has 1 to 64 bytes and no control characters")))
}

/// Tells `shared` what `monitor` knows, on a thread that ends with either.
fn follow(monitor: &Arc<Monitor>, shared: &Arc<Shared>) -> Result<(), Error> {
    let changes = monitor.subscribe();
    let (monitor, shared): (Weak<Monitor>, Weak<Shared>) = (Arc::downgrade(monitor), Arc::downgrade(shared));
    shell::spawn("netmon-network", move || {
        loop {
            let state = monitor.upgrade().map(|monitor| monitor.state());
            let (Some(state), Some(shared)) = (state, shared.upgrade()) else { return };
            if shared.is_stopped() {
                return;
            }
            shared.network(state);
            drop(shared);
            // Whatever it is, the state is looked at.
            let _ = changes.recv_timeout(LOOK);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
