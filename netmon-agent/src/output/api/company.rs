//! Those who wait for one condition, and what is due to them: pure.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    condition::{Condition, Memory, Outcome, STALE_RETRY},
    judge::Judge,
};
use crate::{health::State, state::Snapshot, time::Boot};

/// Most that are released on one look: before the next ones the newest state is looked at again.
pub const BATCH: usize = 64;

/// Waiters with the same condition, each a `T`.
#[derive(Debug)]
pub struct Company<T> {
    condition: Arc<Condition>,
    judge: Judge,
    waiting: BTreeMap<u64, T>,
    next: u64,
}

/// What is to be done now.
#[derive(Debug, PartialEq)]
pub enum Turn<T> {
    /// It holds, as of this look. There may be more; look again when these are served.
    Release {
        /// The state of what is waited for.
        state: State,
        /// The snapshot's number.
        seq: u64,
        /// When the snapshot was made by which it came true; none when time did it.
        published: Option<Boot>,
        /// Who is released, by number, oldest first. They wait no longer.
        batch: Vec<(u64, T)>,
    },
    /// It holds, or never can, and those who are not served here should look for themselves.
    Look {
        /// When to look again: who found the state gone stale meanwhile is still there.
        until: Boot,
    },
    /// Nothing, until the next publication.
    Rest {
        /// Or until then, if time alone may change the outcome.
        until: Option<Boot>,
    },
}

impl<T> Company<T> {
    /// Nobody yet. `memory` is of the first look that anybody had.
    pub fn new(condition: Arc<Condition>, memory: Memory) -> Self {
        Self { condition, judge: Judge::new(memory), waiting: BTreeMap::new(), next: 0 }
    }

    /// Takes from the memory of a newcomer's own look what can't be found out any more.
    pub fn learn(&mut self, memory: &Memory) {
        self.judge.learn(memory);
    }

    /// One more waits; the number by which it leaves.
    pub fn join(&mut self, waiter: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, waiter);
        number
    }

    /// Waits no longer; none when it was released already.
    pub fn leave(&mut self, number: u64) -> Option<T> {
        self.waiting.remove(&number)
    }

    /// Those of a batch who were not served after all wait on.
    pub fn put_back(&mut self, batch: impl IntoIterator<Item = (u64, T)>) {
        self.waiting.extend(batch);
    }

    /// Judges the newest snapshot, for one who asks. Then, when the condition came true by a publication: when that was
    /// made. `stale`: whether nobody may be released on it.
    pub fn look(&mut self, snapshot: &Arc<Snapshot>, now: Boot, stale: bool) -> (Outcome, Option<Boot>) {
        let outcome = self.judge.judge(&self.condition, snapshot, now, stale);
        (outcome, self.judge.published())
    }

    /// The same for all: releases some of them if it holds.
    pub fn turn(&mut self, snapshot: &Arc<Snapshot>, now: Boot, stale: bool) -> Turn<T> {
        match self.look(snapshot, now, stale) {
            (Outcome::Satisfied { state }, published) if !self.waiting.is_empty() => {
                let batch = std::iter::from_fn(|| self.waiting.pop_first()).take(BATCH).collect();
                Turn::Release { state, seq: snapshot.seq, published, batch }
            }
            (Outcome::Satisfied { .. } | Outcome::NoSuch(_), _) => Turn::Look { until: now + STALE_RETRY },
            (Outcome::Blocked { retry_at, .. }, _) => Turn::Rest { until: retry_at },
        }
    }
}

#[cfg(test)]
#[path = "company_tests.rs"]
mod tests;
