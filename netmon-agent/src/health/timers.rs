//! Deadlines by key: at most one a key, the earliest first.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use crate::time::Mono;

/// A set of deadlines.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Mono, K)>,
    by_key: HashMap<K, Mono>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_key: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// Sets, moves or clears the deadline of `key`.
    pub fn set(&mut self, key: K, deadline: Option<Mono>) {
        let old = match deadline {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key));
        }
        if let Some(at) = deadline {
            self.by_time.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Mono> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Deadlines that there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert_eq!(self.by_time.len(), self.by_key.len());
        self.by_key.len()
    }

    /// Takes one key whose deadline has come.
    pub fn pop_due(&mut self, now: Mono) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_deadline() {
        let t = Mono::from_nanos;
        let mut timers = Timers::default();
        timers.set(1, Some(t(30)));
        timers.set(2, Some(t(20)));
        timers.set(1, Some(t(10)));
        assert_eq!(timers.next(), Some(t(10)));
        assert_eq!(timers.pop_due(t(15)), Some(1));
        assert_eq!(timers.pop_due(t(15)), None);
        timers.set(2, None);
        assert_eq!(timers.next(), None);
    }
}
