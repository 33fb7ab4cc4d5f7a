//! What a subscriber is told, in a queue of bounded size.

use std::{collections::VecDeque, time::Duration};

use crate::{
    State, clock,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    wire::Change,
};

/// Updates that a queue holds: more than the agent tells in minutes, unless everything breaks at once.
pub(crate) const CAPACITY: usize = 1024;

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// A change, as the agent tells it; of kind `gap` when the agent itself no longer has all that was missed.
    Change(Arc<Change>),
    /// The agent is gone or silent: nothing is known from here on.
    Lost,
    /// The network's state is known again, and this it is. What changed meanwhile was told before, or is a `gap`.
    Resumed(State),
    /// So many updates were dropped, the oldest, because they were not taken in time. Look at the state as it is.
    Lagged(u64),
}

/// Updates of a [`Monitor`](crate::Monitor), from when it was made. Up to 1024 of them wait to be taken; of more the
/// oldest are dropped, and [`Update::Lagged`] tells how many. As an iterator it ends with the monitor.
///
/// ```no_run
/// use netmon_client::{Client, Monitor, Update};
///
/// let network = Monitor::connect(Client::default_socket())?;
/// for update in network.subscribe() {
///     match update {
///         Update::Change(change) => println!("{} is {}", change.subject, change.state.as_str()),
///         other => println!("{other:?}: the state is {}", network.state().as_str()),
///     }
/// }
/// # Ok::<(), netmon_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Subscription(pub(crate) Arc<Queue>);

impl Subscription {
    /// Waits for the next update; none when the monitor is gone.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// let updates = network.subscribe();
    /// println!("{:?}", updates.recv());
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn recv(&self) -> Option<Update> {
        self.0.pop_by(|queue, inner| Some(queue.ready.wait(inner).unwrap_or_else(PoisonError::into_inner)))
    }

    /// The same, for `timeout` at most; none also when it passed.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # use std::time::Duration;
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// let updates = network.subscribe();
    /// println!("{:?}", updates.recv_timeout(Duration::from_secs(1)));
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Update> {
        let Some(deadline) = clock::after(timeout) else { return self.recv() };
        self.0.pop_by(|queue, inner| {
            let left = clock::left(deadline)?;
            Some(queue.ready.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0)
        })
    }

    /// The next update, if there is one.
    ///
    /// ```no_run
    /// # use netmon_client::{Client, Monitor};
    /// # let network = Monitor::connect(Client::default_socket())?;
    /// let updates = network.subscribe();
    /// while let Some(update) = updates.try_recv() {
    ///     println!("{update:?}");
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    pub fn try_recv(&self) -> Option<Update> {
        self.0.pop_by(|_, _| None)
    }
}

impl Iterator for Subscription {
    type Item = Update;

    fn next(&mut self) -> Option<Update> {
        self.recv()
    }
}

/// The queue, shared by its two ends.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Whether it takes every update, not the changes alone.
    pub(crate) all: bool,
    inner: Mutex<Inner>,
    ready: Condvar,
    #[cfg(feature = "tokio")]
    pub(crate) notify: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Inner {
    updates: VecDeque<Update>,
    dropped: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(all: bool) -> Self {
        Self {
            all,
            inner: Mutex::default(),
            ready: Condvar::new(),
            #[cfg(feature = "tokio")]
            notify: tokio::sync::Notify::new(),
        }
    }

    /// Puts an update in; the oldest makes room for it where there is none.
    pub(crate) fn push(&self, update: Update) {
        let mut inner = self.lock();
        if inner.updates.len() == CAPACITY {
            inner.updates.pop_front();
            inner.dropped += 1;
        }
        inner.updates.push_back(update);
        drop(inner);
        self.wake();
    }

    /// No more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    /// The next update; `Err` when none will ever come.
    #[cfg(feature = "tokio")]
    pub(crate) fn pop(&self) -> Result<Option<Update>, ()> {
        let mut inner = self.lock();
        match inner.pop() {
            None if inner.closed => Err(()),
            update => Ok(update),
        }
    }

    fn pop_by<'a>(
        &'a self,
        mut sleep: impl FnMut(&'a Self, MutexGuard<'a, Inner>) -> Option<MutexGuard<'a, Inner>>,
    ) -> Option<Update> {
        let mut inner = self.lock();
        loop {
            if let Some(update) = inner.pop() {
                return Some(update);
            }
            if inner.closed {
                return None;
            }
            inner = sleep(self, inner)?;
        }
    }

    fn wake(&self) {
        self.ready.notify_all();
        #[cfg(feature = "tokio")]
        self.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn pop(&mut self) -> Option<Update> {
        match std::mem::take(&mut self.dropped) {
            0 => self.updates.pop_front(),
            dropped => Some(Update::Lagged(dropped)),
        }
    }
}
