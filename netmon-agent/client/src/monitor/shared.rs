//! What a monitor's worker writes and everybody else reads. The blocking and the async monitor share it.

use std::{
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    subscription::{Queue, Update},
    tracker::{Standing, Tracker},
    word::Word,
};
use crate::{
    Condition, Error, State,
    clock::{self, Offsets},
    events::EventOptions,
    proto::{Item, Opened, reconnect},
    retry::Pulse,
};

/// How the connection to the agent is: for diagnostics.
///
/// ```no_run
/// # use netmon_client::{Client, Monitor};
/// # let network = Monitor::connect(Client::default_socket())?;
/// let connection = network.connection();
/// if let (false, Some(error)) = (connection.connected, &connection.last_error) {
///     eprintln!("no netmon: {error}");
/// }
/// # Ok::<(), netmon_client::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Connection {
    /// Whether there is one.
    pub connected: bool,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Failures since the agent was last heard.
    pub failures: u32,
    /// Why the last connection ended or did not come about; kept when a later one does.
    pub last_error: Option<Arc<Error>>,
    /// Age of the state that the agent last vouched for; none before the first time.
    pub age: Option<Duration>,
    /// Age at which a state is no longer valid.
    pub stale_after: Duration,
}

/// Whether a worker goes on with its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Yes.
    On,
    /// It has to be asked for anew, with or without every update.
    Reopen,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    word: Word,
    /// The same for retries, which ask for outages between two looks too.
    pulse: Pulse,
    inner: Mutex<Inner>,
    changed: Condvar,
    #[cfg(feature = "tokio")]
    pub(crate) notify: tokio::sync::Notify,
    /// Tells an async worker that its stream has to be asked for anew.
    #[cfg(feature = "tokio")]
    pub(crate) reopen: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: Tracker,
    subscribers: Vec<Arc<Queue>>,
    connected: bool,
    connections: u64,
    failures: u32,
    last_error: Option<Arc<Error>>,
    /// Whether the stream at hand tells every update.
    stream_all: bool,
    /// That stream, of a blocking worker.
    stream: Option<UnixStream>,
    told_lost: bool,
    /// The first connection has told something, or failed.
    tried: bool,
    stop: bool,
}

impl Shared {
    #[inline]
    pub(crate) fn state(&self) -> State {
        self.word.read()
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    #[inline]
    pub(crate) fn state_unaged(&self) -> State {
        self.word.read_unaged()
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn standing(&self, condition: Condition, stable: Duration) -> Standing {
        self.lock().tracker.standing(condition, stable, clock::boot())
    }

    /// How long the state is valid yet; never nothing.
    #[cfg(feature = "tokio")]
    pub(crate) fn valid_for(&self) -> Duration {
        self.lock().valid_for()
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn tried(&self) -> bool {
        self.lock().tried
    }

    pub(crate) fn connection(&self) -> Connection {
        let inner = self.lock();
        Connection {
            connected: inner.connected,
            reconnects: inner.connections.saturating_sub(1),
            failures: inner.failures,
            last_error: inner.last_error.clone(),
            age: inner.tracker.age(clock::boot()),
            stale_after: inner.tracker.stale_after(),
        }
    }

    /// Waits until `look` has an answer, looking again whenever something changed and after the pause that it asks
    /// for. None when `timeout` passed first.
    pub(crate) fn wait<T>(
        &self,
        timeout: Option<Duration>,
        mut look: impl FnMut(&Self, &Look<'_>) -> Result<T, Option<Duration>>,
    ) -> Option<T> {
        let deadline = timeout.and_then(clock::after);
        let mut inner = self.lock();
        loop {
            let pause = match look(self, &Look(&inner)) {
                Ok(answer) => return Some(answer),
                Err(pause) => pause,
            };
            let left = match deadline {
                Some(deadline) => Some(clock::left(deadline)?),
                None => None,
            };
            inner = match [pause, left].into_iter().flatten().min() {
                Some(pause) => {
                    self.changed.wait_timeout(inner, pause).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    pub(crate) fn subscribe(&self, all: bool) -> Arc<Queue> {
        let queue = Arc::new(Queue::new(all));
        let mut inner = self.lock();
        inner.forget_gone();
        inner.subscribers.push(queue.clone());
        let reopen = inner.wants_reopen();
        if reopen && let Some(stream) = &inner.stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
        #[cfg(feature = "tokio")]
        if reopen {
            self.reopen.notify_one();
        }
        queue
    }

    #[cfg(test)]
    pub(super) fn subscribers(&self) -> usize {
        self.lock().subscribers.len()
    }

    /// What to ask the agent for now; none when the monitor is gone.
    pub(crate) fn options(&self) -> Option<EventOptions> {
        let mut inner = self.lock();
        if inner.stop {
            return None;
        }
        let all = inner.wants_all();
        inner.stream_all = all;
        Some(EventOptions { last_id: inner.tracker.last_id(), all })
    }

    /// Holds on to a blocking worker's connection, so that it can be ended; false when the monitor is gone.
    pub(crate) fn hold(&self, stream: UnixStream) -> bool {
        let mut inner = self.lock();
        inner.stream = Some(stream);
        !inner.stop
    }

    /// A stream began that was asked for at `asked`, boot time.
    pub(crate) fn opened(&self, opened: &Opened, resumes: bool, asked: u64) {
        let mut inner = self.lock();
        inner.connected = true;
        inner.connections += 1;
        inner.tracker.opened(opened, resumes, asked, clock::boot());
        self.publish(inner);
    }

    /// Takes in what came over the stream.
    pub(crate) fn take(&self, item: Item) -> Flow {
        let mut inner = self.lock();
        inner.failures = 0;
        inner.tracker.take(&item, clock::boot());
        if let Item::Change(change) = item {
            let update = change.kind == "update";
            inner.tell(&Update::Change(change.into()), |queue| queue.all || !update);
        }
        let flow = if inner.wants_reopen() { Flow::Reopen } else { Flow::On };
        self.publish(inner);
        flow
    }

    /// The stream ended, or did not come about. The pause before the next try; none when the monitor is gone.
    pub(crate) fn lost(&self, error: Error) -> Option<Duration> {
        let mut inner = self.lock();
        inner.stream = None;
        inner.connected = false;
        if inner.stop {
            return None;
        }
        inner.failures = inner.failures.saturating_add(1);
        let pause = reconnect(inner.failures, &error);
        inner.last_error = Some(error.into());
        inner.tracker.lost();
        // Before it is told: who hears of it and looks is not to see what was.
        self.show(&inner);
        inner.tried = true;
        if !std::mem::replace(&mut inner.told_lost, true) {
            inner.tell(&Update::Lost, |_| true);
        }
        drop(inner);
        self.wake();
        Some(pause)
    }

    /// Whether the stream was ended to be asked for anew.
    pub(crate) fn is_reopening(&self) -> bool {
        let inner = self.lock();
        !inner.stop && inner.wants_reopen()
    }

    /// A blocking worker's pause; false when the monitor is gone.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let going = |_: &Self, look: &Look<'_>| if look.0.stop { Ok(()) } else { Err(None) };
        self.wait(Some(pause), going).is_none()
    }

    /// Ends it: the worker, and what subscribers wait for.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stop = true;
        if let Some(stream) = &inner.stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for queue in inner.subscribers.drain(..) {
            queue.close();
        }
        drop(inner);
        self.wake();
    }

    /// Shows the tracker's state to readers, and wakes who waits.
    fn publish(&self, mut inner: MutexGuard<'_, Inner>) {
        let state = self.show(&inner);
        if state != State::Unknown {
            inner.tried = true;
            if std::mem::replace(&mut inner.told_lost, false) {
                inner.tell(&Update::Resumed(state), |_| true);
            }
        }
        drop(inner);
        self.wake();
    }

    fn show(&self, inner: &Inner) -> State {
        let (state, deadline) = inner.tracker.word();
        self.word.set(state, deadline, Offsets::now());
        self.pulse.set(state.into());
        state
    }

    fn wake(&self) {
        self.changed.notify_all();
        #[cfg(feature = "tokio")]
        self.notify.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look at what is behind the lock.
#[derive(Debug)]
pub(crate) struct Look<'a>(&'a Inner);

impl Look<'_> {
    pub(crate) fn standing(&self, condition: Condition, stable: Duration) -> Standing {
        self.0.tracker.standing(condition, stable, clock::boot())
    }

    pub(crate) fn tried(&self) -> bool {
        self.0.tried
    }

    /// How long the state is valid yet; never nothing.
    pub(crate) fn valid_for(&self) -> Duration {
        self.0.valid_for()
    }
}

impl Inner {
    fn valid_for(&self) -> Duration {
        // The coarse clock that readers look at lags by a tick.
        Duration::from_nanos(self.tracker.word().1.saturating_sub(clock::boot())) + Duration::from_millis(10)
    }

    /// A queue whose subscriber is gone is held here alone.
    fn forget_gone(&mut self) {
        self.subscribers.retain(|queue| Arc::strong_count(queue) > 1);
    }

    fn tell(&mut self, update: &Update, wanted: impl Fn(&Queue) -> bool) {
        self.forget_gone();
        for queue in self.subscribers.iter().filter(|queue| wanted(queue)) {
            queue.push(update.clone());
        }
    }

    fn wants_all(&self) -> bool {
        self.subscribers.iter().any(|queue| queue.all && Arc::strong_count(queue) > 1)
    }

    fn wants_reopen(&self) -> bool {
        self.connected && self.wants_all() != self.stream_all
    }
}
