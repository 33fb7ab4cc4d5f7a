use std::{
    fmt::{self, Display},
    sync::Arc,
    time::Duration,
};

use super::{link::Link, record::ConnectionSnapshot, shell::Shared};
use crate::wire::ConnectionState;

/// A connection that is kept alive, and the hand on it. Dropping it stops the supervision and closes the connection.
pub struct Supervised<C: Send + Sync + 'static> {
    link: Arc<Link<C>>,
    shared: Arc<Shared>,
    id: u64,
}

impl<C: Send + Sync + 'static> Supervised<C> {
    pub(super) fn new(link: Arc<Link<C>>, shared: Arc<Shared>, id: u64) -> Self {
        Self { link, shared, id }
    }

    /// The connection as it is now; none while there is none. It is the caller's for as long as it holds the `Arc`,
    /// though it may be given up meanwhile.
    pub fn get(&self) -> Option<Arc<C>> {
        self.link.get()
    }

    /// Waits until there is one. None when `timeout` passed first (none: no end), and as soon as it is clear that there
    /// will be none: stopped, or the attempts are used up.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Arc<C>> {
        self.link.wait(timeout)
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

    /// Stops the supervision and closes the connection, but for those who still hold it. Calls of the user's code that
    /// are under way are not waited for; what they bring is closed.
    pub fn stop(&self) {
        self.shared.stop(self.id, false);
    }
}

impl<C: Send + Sync + 'static> Drop for Supervised<C> {
    fn drop(&mut self) {
        self.shared.stop(self.id, true);
    }
}

impl<C: Send + Sync + 'static> fmt::Debug for Supervised<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("snapshot", &self.snapshot()).finish()
    }
}
