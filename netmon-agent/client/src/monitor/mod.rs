//! The state, kept up to date beside a program's own work.

mod shared;
mod subscription;
#[cfg(test)]
mod tests;
mod tracker;
mod word;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

pub use shared::Connection;
#[cfg(feature = "tokio")]
pub(crate) use subscription::Queue;
pub use subscription::{Subscription, Update};
pub(crate) use {
    shared::{Flow, Shared},
    tracker::Standing,
};

use crate::{
    Client, Condition, Error, State, WaitOptions, clock,
    events::EventStream,
    http,
    wire::{Device, Waited},
};

/// How long a monitor waits at its start for the first word of the agent.
pub(crate) const FIRST_WORD: Duration = Duration::from_secs(1);

/// The state, kept up to date by a thread of its own: for programs that look often. A read costs nanoseconds and no
/// system call.
///
/// It says [`State::Unknown`] while no agent is connected, and as soon as the agent has been silent for as long as its
/// state stays valid – by the reader's own look at the clock, also when this process was stopped or starved, or the
/// machine suspended. It connects again for as long as it lives, and is told what it missed.
///
/// ```no_run
/// use netmon_client::{Client, Monitor};
///
/// let network = Monitor::connect(Client::default_socket())?;
/// if network.is_usable() {
///     println!("go");
/// }
/// # Ok::<(), netmon_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    client: Client,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Watches the agent at `socket`. Returns once the agent has told its state, or after a failed try or a second
    /// without: an agent that comes later is found.
    ///
    /// ```no_run
    /// # use netmon_client::Monitor;
    /// let network = Monitor::connect("/run/netmon/netmon.sock")?;
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// Only when no thread can be made.
    pub fn connect(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        let client = Client::new(socket);
        let shared = Arc::new(Shared::default());
        let (worker, path) = (shared.clone(), client.socket().to_owned());
        let thread =
            thread::Builder::new().name("netmon-monitor".into()).spawn(move || run(&worker, &path))?;
        shared.wait(Some(FIRST_WORD), |_, look| if look.tried() { Ok(()) } else { Err(None) });
        Ok(Self { shared, client, thread: Some(thread) })
    }

    /// The state of the whole network. Two atomic loads and two looks at coarse clocks, without a system call.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// println!("{}", network.state().as_str());
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    #[inline]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Whether the network is up.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// while network.is_up() {
    ///     // one more piece of work
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    #[inline]
    pub fn is_up(&self) -> bool {
        self.state() == State::Up
    }

    /// Whether the network is up or degraded.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// assert!(network.is_usable() || !network.is_up());
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.state().is_usable()
    }

    /// What retries see the network by.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The last state that was told, whatever its age: one relaxed load. Only to measure what [`Monitor::state`] costs
    /// beyond that; nobody should act on it.
    #[doc(hidden)]
    #[inline]
    pub fn state_unaged(&self) -> State {
        self.shared.state_unaged()
    }

    /// Waits until `condition` has held for `stable` without a break, the time before the connection included as far as
    /// the agent tells of it. A lost connection is no break when the agent has all that was missed, and knew the state
    /// all the while. False when `timeout` passed first; none waits without end.
    ///
    /// Of a device or a target: [`Monitor::wait`].
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Condition, Monitor};
    /// # use std::time::Duration;
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// let minute = Some(Duration::from_secs(60));
    /// if network.wait_for(Condition::Usable, Duration::from_secs(5), minute) {
    ///     println!("go");
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn wait_for(&self, condition: Condition, stable: Duration, timeout: Option<Duration>) -> bool {
        let holds = self.shared.wait(timeout, |_, look| match look.standing(condition, stable) {
            Standing::Holds => Ok(()),
            Standing::In(pause) => Err(Some(pause)),
            Standing::No => Err(None),
        });
        holds.is_some()
    }

    /// Waits until the state is another than `from`, and returns it; none when `timeout` passed first.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// let mut state = network.state();
    /// while let Some(next) = network.changed(state, None) {
    ///     println!("{} → {}", state.as_str(), next.as_str());
    ///     state = next;
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn changed(&self, from: State, timeout: Option<Duration>) -> Option<State> {
        self.shared.wait(timeout, |shared, look| match shared.state() {
            state if state != from => Ok(state),
            // It may turn unknown with nobody there to tell.
            State::Unknown => Err(None),
            _ => Err(Some(look.valid_for())),
        })
    }

    /// Waits for a device, a target or the network, over restarts of the agent: see [`Client::wait_through`]. The agent
    /// judges, which alone knows devices and targets at all times; it takes a connection of its own.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor, WaitOptions};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// network.wait(&WaitOptions { device: Some("eth0".into()), ..WaitOptions::up() })?;
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::wait_through`].
    pub fn wait(&self, options: &WaitOptions) -> Result<Waited, Error> {
        self.client.wait_through(options)
    }

    /// Changes from now on: of the network, of devices, of targets.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor, Update};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// for update in network.subscribe() {
    ///     println!("{update:?}");
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn subscribe(&self) -> Subscription {
        Subscription(self.shared.subscribe(false))
    }

    /// The same, and every update: an event of kind `update` for each publication of the agent, once a second at least,
    /// changed or not. While somebody wants them the agent is asked for them.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor, Update};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// println!("{:?}", network.subscribe_all().recv());
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn subscribe_all(&self) -> Subscription {
        Subscription(self.shared.subscribe(true))
    }

    /// Whether an agent is connected.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// println!("agent: {}", if network.is_connected() { "there" } else { "away" });
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn is_connected(&self) -> bool {
        self.shared.connection().connected
    }

    /// How the connection to the agent is.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// println!("{:?}", network.connection());
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn connection(&self) -> Connection {
        self.shared.connection()
    }

    /// The watched devices with their statistics, asked for now.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// for device in network.devices()? {
    ///     println!("{} {} {:?}", device.name, device.state.as_str(), device.traffic);
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn devices(&self) -> Result<Vec<Device>, Error> {
        self.client.devices()
    }

    /// One device with its statistics, asked for now.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// println!("{:?}", network.device("eth0")?.mac);
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::device`].
    pub fn device(&self, name: &str) -> Result<Device, Error> {
        self.client.device(name)
    }

    /// A client of the same agent.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// println!("{:?}", network.client().status()?.reasons);
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's work.
fn run(shared: &Shared, path: &Path) {
    loop {
        let error = match follow(shared, path) {
            _ if shared.is_reopening() => continue,
            Ok(()) => Error::Disconnected,
            Err(error) => error,
        };
        let Some(pause) = shared.lost(error) else { return };
        if !shared.pause(pause) {
            return;
        }
    }
}

/// Follows one connection to its end.
fn follow(shared: &Shared, path: &Path) -> Result<(), Error> {
    let Some(options) = shared.options() else { return Ok(()) };
    let asked = clock::boot();
    let stream = http::connect(path)?;
    if !shared.hold(stream.try_clone()?) {
        return Ok(());
    }
    let mut events = EventStream::over(stream, options)?;
    shared.opened(&events.opened(), options.last_id.is_some(), asked);
    while let Some(item) = events.item()? {
        if shared.take(item) == Flow::Reopen {
            break;
        }
    }
    Ok(())
}
