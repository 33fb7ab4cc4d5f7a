//! Deadlines by key: at most one a key, the earliest first.
//!
//! A heap, in which a deadline that was moved or cleared stays until its turn comes: most are cleared within a round trip,
//! and to take one out of the middle costs more than to pass over it. No memory is asked for once there is enough.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::Hash,
};

use crate::time::Mono;

/// Entries that are passed over, beyond as many as are valid, before the heap is cleared of them.
const SLACK: usize = 64;

/// A set of deadlines.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    /// All that are in `by_key`, and some that no longer are; the first is one that is.
    heap: BinaryHeap<Reverse<(Mono, K)>>,
    by_key: HashMap<K, Mono>,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), by_key: HashMap::new() }
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
        if let Some(at) = deadline {
            self.heap.push(Reverse((at, key)));
        }
        if self.heap.len() > 2 * self.by_key.len() + SLACK {
            self.heap.retain(|Reverse((at, key))| self.by_key.get(key) == Some(at));
        }
        self.pass_over();
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Mono> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Deadlines that there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert!(self.heap.len() <= 2 * self.by_key.len() + SLACK + 1);
        self.by_key.len()
    }

    /// Takes one key whose deadline has come.
    pub fn pop_due(&mut self, now: Mono) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, key)) = self.heap.pop()?;
        self.by_key.remove(&key);
        self.pass_over();
        Some(key)
    }

    /// Drops from the front what is no deadline any more.
    fn pass_over(&mut self) {
        while let Some(Reverse((at, key))) = self.heap.peek()
            && self.by_key.get(key) != Some(at)
        {
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

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

    proptest! {
        /// Against a plain map that is searched through.
        #[test]
        fn it_is_a_map_in_order_of_time(
            steps in prop::collection::vec((0..12u32, prop::option::of(0..50u64), 0..8u8), 0..400),
        ) {
            let (mut timers, mut plain) = (Timers::default(), BTreeMap::<u32, Mono>::new());
            for (key, at, pop) in steps {
                let at = at.map(Mono::from_nanos);
                timers.set(key, at);
                match at {
                    Some(at) => plain.insert(key, at),
                    None => plain.remove(&key),
                };
                let first = |plain: &BTreeMap<u32, Mono>| plain.iter().map(|(k, at)| (*at, *k)).min();
                prop_assert_eq!(timers.next(), first(&plain).map(|(at, _)| at));
                if pop == 0 {
                    let due = first(&plain).filter(|(at, _)| *at <= Mono::from_nanos(25)).map(|(_, k)| k);
                    if let Some(key) = due {
                        plain.remove(&key);
                    }
                    prop_assert_eq!(timers.pop_due(Mono::from_nanos(25)), due);
                }
                prop_assert!(timers.heap.len() <= 2 * timers.by_key.len() + SLACK + 1);
            }
        }
    }
}
