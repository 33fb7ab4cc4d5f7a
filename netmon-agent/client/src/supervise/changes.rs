use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::record::ConnectionSnapshot;
use crate::clock;

/// Most changes that wait for their reader.
const ROOM: usize = 256;

/// What a stream of changes tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionUpdate {
    /// The state of a connection is another.
    Changed(Box<ConnectionSnapshot>),
    /// So many changes were dropped, the oldest, because nobody read them.
    Lagged(u64),
}

/// Changes of all connections of a supervisor, from the moment it was asked for. At most 256 wait to be read.
#[derive(Debug)]
pub struct ConnectionChanges {
    queue: Arc<Queue>,
}

impl ConnectionChanges {
    pub(super) fn new() -> (Self, Arc<Queue>) {
        let queue = Arc::new(Queue::default());
        (Self { queue: queue.clone() }, queue)
    }

    /// Waits for the next; none when `timeout` passed first, or the supervisor has been stopped.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<ConnectionUpdate> {
        self.next_until(clock::after(timeout))
    }

    /// The next, if there is one now.
    pub fn try_recv(&self) -> Option<ConnectionUpdate> {
        self.queue.try_next()
    }

    fn next_until(&self, deadline: Option<std::time::Instant>) -> Option<ConnectionUpdate> {
        let mut waiting = self.queue.lock();
        loop {
            if let Some(update) = waiting.pop() {
                return Some(update);
            }
            if waiting.ended {
                return None;
            }
            let changed = &self.queue.changed;
            waiting = match deadline {
                None => changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = clock::left(deadline)?;
                    changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Ends when the supervisor has been stopped.
impl Iterator for ConnectionChanges {
    type Item = ConnectionUpdate;

    fn next(&mut self) -> Option<ConnectionUpdate> {
        self.next_until(None)
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// The same for the one async reader that a queue has.
    #[cfg(feature = "tokio")]
    notify: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: VecDeque<ConnectionSnapshot>,
    lagged: u64,
    ended: bool,
}

impl Waiting {
    fn pop(&mut self) -> Option<ConnectionUpdate> {
        if self.lagged > 0 {
            return Some(ConnectionUpdate::Lagged(std::mem::take(&mut self.lagged)));
        }
        self.changes.pop_front().map(|change| ConnectionUpdate::Changed(Box::new(change)))
    }
}

impl Queue {
    pub(super) fn push(&self, change: ConnectionSnapshot) {
        let mut waiting = self.lock();
        if waiting.changes.len() == ROOM {
            waiting.changes.pop_front();
            waiting.lagged += 1;
        }
        waiting.changes.push_back(change);
        self.rings();
    }

    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.rings();
    }

    pub(super) fn try_next(&self) -> Option<ConnectionUpdate> {
        self.lock().pop()
    }

    /// Waits for the next; none at the end.
    #[cfg(feature = "tokio")]
    pub(super) async fn next(&self) -> Option<ConnectionUpdate> {
        loop {
            {
                let mut waiting = self.lock();
                let update = waiting.pop();
                if update.is_some() || waiting.ended {
                    return update;
                }
            }
            // What was pushed since the look has left its mark.
            self.notify.notified().await;
        }
    }

    fn rings(&self) {
        self.changed.notify_all();
        #[cfg(feature = "tokio")]
        self.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u64) -> ConnectionSnapshot {
        ConnectionSnapshot { attempts_total: n, ..ConnectionSnapshot::default() }
    }

    #[test]
    fn a_slow_reader_has_the_newest_and_is_told() {
        let (changes, queue) = ConnectionChanges::new();
        for n in 0..ROOM as u64 + 7 {
            queue.push(change(n));
        }
        assert_eq!(changes.try_recv(), Some(ConnectionUpdate::Lagged(7)));
        assert_eq!(changes.try_recv(), Some(ConnectionUpdate::Changed(Box::new(change(7)))));
        queue.end();
        assert_eq!(changes.count(), ROOM - 1);
    }

    #[test]
    fn who_waits_is_woken() {
        let (changes, queue) = ConnectionChanges::new();
        assert_eq!(changes.recv_timeout(Duration::from_millis(1)), None);
        let reader = std::thread::spawn(move || changes.collect::<Vec<_>>());
        queue.push(change(1));
        queue.end();
        assert_eq!(reader.join().unwrap(), [ConnectionUpdate::Changed(Box::new(change(1)))]);
    }
}
