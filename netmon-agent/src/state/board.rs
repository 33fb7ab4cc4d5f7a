//! Where the state is published.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::watch;

use super::{ChangeEvent, Snapshot};
use crate::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Boot,
};

/// Oldest evaluation that releases a waiter.
const RELEASE_AGE: Duration = Duration::from_millis(2500);

/// How many gaps are kept.
const GAPS: usize = 64;

/// How many changes the backlog keeps for clients that come back.
pub const BACKLOG: usize = 4096;

/// Where the state is published: one writer, any number of readers.
#[derive(Clone, Debug)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: watch::Sender<Arc<Snapshot>>,
    /// Boot time of the core's last evaluation, which is more often than a snapshot is made.
    evaluated: AtomicU64,
    stale_after: AtomicU64,
    backlog: Mutex<VecDeque<Arc<ChangeEvent>>>,
    /// The last times for which it was not evaluated.
    gaps: Mutex<VecDeque<(Boot, Boot)>>,
    followers: AtomicUsize,
}

/// While it lives, an update is published every second although nothing changed.
#[derive(Debug)]
pub struct Follower(Arc<Shared>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Board {
    /// A board that shows `first`. A state is stale when it was last evaluated `stale_after` ago (R15).
    pub fn new(first: Snapshot, stale_after: Duration) -> Self {
        let evaluated = AtomicU64::new(first.at.boot.as_nanos());
        let writer = watch::Sender::new(Arc::new(first));
        let stale_after = AtomicU64::new(stale_after.as_nanos() as u64);
        Self {
            shared: Arc::new(Shared {
                writer,
                evaluated,
                stale_after,
                backlog: Mutex::default(),
                gaps: Mutex::default(),
                followers: AtomicUsize::new(0),
            }),
        }
    }

    /// Shows a new snapshot, with the changes that led to it, oldest first. The core alone calls this.
    pub fn publish(&self, snapshot: Snapshot, changes: impl IntoIterator<Item = ChangeEvent>) {
        {
            let mut backlog = self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                if backlog.len() == BACKLOG {
                    backlog.pop_front();
                }
                backlog.push_back(Arc::new(change));
            }
        }
        self.evaluated(snapshot.at.boot);
        self.shared.writer.send_replace(Arc::new(snapshot));
    }

    /// Notes that the core looked at its evidence, though nothing changed.
    pub fn evaluated(&self, at: Boot) {
        let before = Boot::from_nanos(self.shared.evaluated.swap(at.as_nanos(), Ordering::AcqRel));
        // The machine slept, or the agent stood still: as rare as it is worth to be known.
        if at.since(before) > RELEASE_AGE {
            let mut gaps = self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
            if gaps.len() == GAPS {
                gaps.pop_front();
            }
            gaps.push_back((before, at));
        }
    }

    /// The times that ended after `then` and in which nobody looked at the evidence for so long that nobody could have
    /// been released on it, oldest first; only the last few are kept.
    pub fn gaps_after(&self, then: Boot) -> Vec<(Boot, Boot)> {
        let gaps = self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.iter().filter(|(_, to)| *to > then).copied().collect()
    }

    /// Sets the age at which a state is stale.
    pub fn set_stale_after(&self, age: Duration) {
        self.shared.stale_after.store(age.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Age at which a state is stale (R15).
    pub fn stale_after(&self) -> Duration {
        Duration::from_nanos(self.shared.stale_after.load(Ordering::Relaxed))
    }

    /// When the core last looked at its evidence.
    pub fn last_evaluated(&self) -> Boot {
        Boot::from_nanos(self.shared.evaluated.load(Ordering::Acquire))
    }

    /// Whether the state says nothing any more, because nobody looked at the evidence for too long (R15).
    pub fn is_stale(&self, now: Boot) -> bool {
        now.since(self.last_evaluated()) > self.stale_after()
    }

    /// The state now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.writer.borrow().clone()
    }

    /// Whether the state is fresh enough for somebody to be released on it. Stricter than [`Board::is_stale`]: a core that
    /// runs looks at its evidence every second, so one that did not for longer was stopped, and a waiter whose time
    /// came meanwhile waits for its next word (R14).
    pub fn may_release(&self, now: Boot) -> bool {
        now.since(self.last_evaluated()) <= self.stale_after().min(RELEASE_AGE)
    }

    /// Follows every update, not only changes, for as long as the guard lives.
    pub fn follow(&self) -> Follower {
        self.shared.followers.fetch_add(1, Ordering::Relaxed);
        Follower(Arc::clone(&self.shared))
    }

    /// Whether anybody follows every update.
    pub fn is_followed(&self) -> bool {
        self.shared.followers.load(Ordering::Relaxed) > 0
    }

    /// A receiver that wakes at every publication.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.writer.subscribe()
    }

    /// The changes after number `seq`, oldest first.
    ///
    /// # Errors
    /// When some of them have left the backlog, or `seq` is of an earlier boot.
    pub fn changes_after(&self, seq: u64) -> Result<Vec<Arc<ChangeEvent>>, BacklogOverrun> {
        self.next_changes(seq, usize::MAX)
    }

    /// The same, but no more than so many of them: who reads slowly takes them as it goes.
    ///
    /// # Errors
    /// As [`Board::changes_after`].
    pub fn next_changes(&self, seq: u64, most: usize) -> Result<Vec<Arc<ChangeEvent>>, BacklogOverrun> {
        let current = self.snapshot();
        let backlog = self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = backlog.back().map_or(current.seq, |c| c.seq);
        // Before the first change the board's own number is as far back as anybody can have seen.
        let oldest_known = backlog.front().map_or(current.seq, |c| c.seq - 1);
        if seq < oldest_known || seq > newest {
            return Err(BacklogOverrun { newest });
        }
        // They are in order: the core, which publishes under the same lock, is not to wait for a search of them all.
        let first = backlog.partition_point(|c| c.seq <= seq);
        Ok(backlog.range(first..).take(most).cloned().collect())
    }
}

/// Changes were asked for that the backlog no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not all changes up to number {newest} are kept any more")]
pub struct BacklogOverrun {
    /// Number of the newest change.
    pub newest: u64,
}
