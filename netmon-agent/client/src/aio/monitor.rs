//! The state, kept up to date by a task.

use std::{
    future::poll_fn,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Client, events::EventStream};
use crate::{
    Condition, Connection, Error, State, Update, WaitOptions, clock,
    monitor::{FIRST_WORD, Flow, Queue, Shared, Standing},
    proto::Item,
    wire::{Device, Waited},
};

/// The state, kept up to date by a task of its own. See [`crate::Monitor`], of which it is the async twin: reads are the
/// same, and right also when the runtime's threads are too busy to run the task.
///
/// ```no_run
/// # async fn example() {
/// use netmon_client::aio;
///
/// let network = aio::Monitor::connect(aio::Client::default_socket()).await;
/// if network.is_usable() {
///     println!("go");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    client: Client,
    task: JoinHandle<()>,
}

impl Monitor {
    /// Watches the agent at `socket`, on the current runtime. Returns once the agent has told its state, or after a
    /// failed try or a second without: an agent that comes later is found.
    ///
    /// ```no_run
    /// # async fn example() {
    /// # use netmon_client::aio;
    /// let network = aio::Monitor::connect("/run/netmon/netmon.sock").await;
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn connect(socket: impl Into<PathBuf>) -> Self {
        let client = Client::new(socket);
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(shared.clone(), client.socket().to_owned()));
        let monitor = Self { shared, client, task };
        let tried = || if monitor.shared.tried() { Ok(()) } else { Err(None) };
        monitor.wait_until(Some(FIRST_WORD), tried).await;
        monitor
    }

    /// What retries see the network by.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The state of the whole network, without a system call.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{}", network.state().as_str());
    /// # }
    /// ```
    #[inline]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Whether the network is up.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{}", network.is_up());
    /// # }
    /// ```
    #[inline]
    pub fn is_up(&self) -> bool {
        self.state() == State::Up
    }

    /// Whether the network is up or degraded.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{}", network.is_usable());
    /// # }
    /// ```
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.state().is_usable()
    }

    /// Waits until the state is another than `from`, and returns it.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// let mut state = network.state();
    /// loop {
    ///     state = network.changed(state).await;
    ///     println!("{}", state.as_str());
    /// }
    /// # }
    /// ```
    pub async fn changed(&self, from: State) -> State {
        let look = || match self.state() {
            state if state != from => Ok(state),
            // It may turn unknown with nobody there to tell.
            State::Unknown => Err(None),
            _ => Err(Some(self.shared.valid_for())),
        };
        self.wait_until(None, look).await.unwrap_or_default()
    }

    /// Waits until `condition` has held for `stable` without a break: see [`crate::Monitor::wait_for`]. False when
    /// `timeout` passed first; none waits without end.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// # use netmon_client::Condition;
    /// # use std::time::Duration;
    /// network.wait_for(Condition::Usable, Duration::from_secs(5), None).await;
    /// # }
    /// ```
    pub async fn wait_for(&self, condition: Condition, stable: Duration, timeout: Option<Duration>) -> bool {
        let look = || match self.shared.standing(condition, stable) {
            Standing::Holds => Ok(()),
            Standing::In(pause) => Err(Some(pause)),
            Standing::No => Err(None),
        };
        self.wait_until(timeout, look).await.is_some()
    }

    /// Waits for a device, a target or the network, over restarts of the agent: see [`Client::wait_through`].
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) -> Result<(), netmon_client::Error> {
    /// # use netmon_client::WaitOptions;
    /// network.wait(&WaitOptions { device: Some("eth0".into()), ..WaitOptions::up() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::wait_through`].
    pub async fn wait(&self, options: &WaitOptions) -> Result<Waited, Error> {
        self.client.wait_through(options).await
    }

    /// Changes from now on: of the network, of devices, of targets.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// let mut updates = network.subscribe();
    /// while let Some(update) = updates.recv().await {
    ///     println!("{update:?}");
    /// }
    /// # }
    /// ```
    pub fn subscribe(&self) -> Subscription {
        Subscription(self.shared.subscribe(false))
    }

    /// The same, and every update: see [`crate::Monitor::subscribe_all`].
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{:?}", network.subscribe_all().recv().await);
    /// # }
    /// ```
    pub fn subscribe_all(&self) -> Subscription {
        Subscription(self.shared.subscribe(true))
    }

    /// Whether an agent is connected.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{}", network.is_connected());
    /// # }
    /// ```
    pub fn is_connected(&self) -> bool {
        self.shared.connection().connected
    }

    /// How the connection to the agent is.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{:?}", network.connection());
    /// # }
    /// ```
    pub fn connection(&self) -> Connection {
        self.shared.connection()
    }

    /// The watched devices with their statistics, asked for now.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) -> Result<(), netmon_client::Error> {
    /// println!("{:?}", network.devices().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        self.client.devices().await
    }

    /// One device with its statistics, asked for now.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) -> Result<(), netmon_client::Error> {
    /// println!("{:?}", network.device("eth0").await?.traffic);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::device`].
    pub async fn device(&self, name: &str) -> Result<Device, Error> {
        self.client.device(name).await
    }

    /// A client of the same agent.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) -> Result<(), netmon_client::Error> {
    /// println!("{:?}", network.client().status().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until `look` has an answer, looking again whenever something changed and after the pause that it asks for.
    async fn wait_until<T>(
        &self,
        patience: Option<Duration>,
        look: impl Fn() -> Result<T, Option<Duration>>,
    ) -> Option<T> {
        let answer = async {
            loop {
                let mut changed = pin!(self.shared.notify.notified());
                // Before the look, so that nothing is missed between the two.
                changed.as_mut().enable();
                match look() {
                    Ok(answer) => return answer,
                    Err(None) => changed.await,
                    // Passed or changed: either is a reason to look again.
                    Err(Some(pause)) => drop(timeout(pause, changed).await),
                }
            }
        };
        match patience {
            Some(patience) => timeout(patience, answer).await.ok(),
            None => Some(answer.await),
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.shared.stop();
        self.task.abort();
    }
}

/// Updates of a [`Monitor`]: see [`crate::Subscription`].
#[derive(Debug)]
pub struct Subscription(Arc<Queue>);

impl Subscription {
    /// The next update; none when the monitor is gone. Nothing is lost when the future is dropped.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{:?}", network.subscribe().recv().await);
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<Update> {
        loop {
            let ready = self.0.notify.notified();
            match self.0.pop() {
                Ok(None) => ready.await,
                update => return update.ok().flatten(),
            }
        }
    }

    /// The next update, if there is one.
    ///
    /// ```no_run
    /// # async fn example(network: netmon_client::aio::Monitor) {
    /// println!("{:?}", network.subscribe().try_recv());
    /// # }
    /// ```
    pub fn try_recv(&mut self) -> Option<Update> {
        self.0.pop().ok().flatten()
    }
}

/// The task's work.
async fn run(shared: Arc<Shared>, path: PathBuf) {
    loop {
        let error = match follow(&shared, &path).await {
            _ if shared.is_reopening() => continue,
            Ok(()) => Error::Disconnected,
            Err(error) => error,
        };
        let Some(pause) = shared.lost(error) else { return };
        sleep(pause).await;
    }
}

/// Follows one connection to its end.
async fn follow(shared: &Shared, path: &Path) -> Result<(), Error> {
    let Some(options) = shared.options() else { return Ok(()) };
    let asked = clock::boot();
    let mut stream = EventStream::open(path, options).await?;
    shared.opened(&stream.opened(), options.last_id.is_some(), asked);
    while let Some(item) = next(shared, &mut stream).await? {
        if shared.take(item) == Flow::Reopen {
            break;
        }
    }
    Ok(())
}

/// The next item; none when the stream ended, or has to be asked for anew.
async fn next(shared: &Shared, stream: &mut EventStream) -> Result<Option<Item>, Error> {
    let mut item = pin!(stream.item());
    loop {
        let mut reopen = pin!(shared.reopen.notified());
        let item = poll_fn(|cx| match item.as_mut().poll(cx) {
            Poll::Ready(item) => Poll::Ready(Some(item)),
            Poll::Pending => reopen.as_mut().poll(cx).map(|()| None),
        });
        match item.await {
            Some(item) => return item,
            None if shared.is_reopening() => return Ok(None),
            None => {}
        }
    }
}
