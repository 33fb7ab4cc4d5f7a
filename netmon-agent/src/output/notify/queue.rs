//! What waits to be told: bounded. Pure.

use std::collections::{HashMap, VecDeque};

use super::hold::Notice;
use crate::health::{State, Subject};

/// Notices in the order they are to be told. Where there is no room, those of one subject become one, its newest; and
/// where that makes none, the oldest goes.
#[derive(Debug)]
pub struct Queue {
    room: usize,
    waiting: VecDeque<Notice>,
}

/// What a notice that came took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Notices that a newer one of the same subject stands for.
    pub collapsed: u64,
    /// Notices that nobody will be told.
    pub dropped: u64,
}

impl Queue {
    /// With room for so many, one at least.
    pub fn new(room: usize) -> Self {
        Self { room: room.max(1), waiting: VecDeque::new() }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The one to be told next.
    pub fn pop(&mut self) -> Option<Notice> {
        self.waiting.pop_front()
    }

    /// One more.
    pub fn push(&mut self, notice: Notice) -> Lost {
        self.waiting.push_back(notice);
        let mut lost = Lost::default();
        if self.waiting.len() > self.room {
            lost.collapsed = self.collapse();
        }
        while self.waiting.len() > self.room {
            self.waiting.pop_front();
            lost.dropped += 1;
        }
        lost
    }

    /// Leaves the newest of each subject, which then tells the way from where the oldest began.
    fn collapse(&mut self) -> u64 {
        let before = self.waiting.len();
        // Oldest known of each, and how many it stands for.
        let mut older: HashMap<Subject, (State, u64)> = HashMap::new();
        let mut kept = VecDeque::with_capacity(before);
        let mut left: HashMap<Subject, usize> = HashMap::new();
        for notice in &self.waiting {
            *left.entry(notice.subject().clone()).or_default() += 1;
        }
        for mut notice in self.waiting.drain(..) {
            let subject = notice.subject().clone();
            let left = left.entry(subject.clone()).or_default();
            *left -= 1;
            let (previous, count) = older.remove(&subject).unwrap_or((notice.previous, 0));
            if *left > 0 {
                older.insert(subject, (previous, count + notice.collapsed + 1));
                continue;
            }
            notice.previous = previous;
            notice.collapsed += count;
            kept.push_back(notice);
        }
        self.waiting = kept;
        (before - self.waiting.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{state::ChangeEvent, time::Boot, time::Mono};

    fn notice(subject: &str, previous: State, state: State, seq: u64) -> Notice {
        let subject = Subject::Target(subject.to_owned());
        let (at, reasons) = (Boot::default(), Vec::new());
        let change = ChangeEvent { seq, at, subject, previous, state, reasons, diagnosis: None };
        Notice { change: Arc::new(change), previous, due: Mono::default(), collapsed: 0 }
    }

    use State::{Degraded, Down, Up};

    #[test]
    fn where_there_is_room_nothing_is_lost() {
        let mut queue = Queue::new(3);
        for seq in 1..=3 {
            assert_eq!(queue.push(notice("a", Up, Down, seq)), Lost::default());
        }
        assert_eq!([(); 4].map(|()| queue.pop().map_or(0, |n| n.change.seq)), [1, 2, 3, 0]);
    }

    #[test]
    fn of_one_subject_the_newest_stands_for_all() {
        let mut queue = Queue::new(3);
        queue.push(notice("a", Up, Down, 1));
        queue.push(notice("b", Up, Down, 2));
        queue.push(notice("a", Down, Up, 3));
        assert_eq!(queue.push(notice("a", Up, Degraded, 4)), Lost { collapsed: 2, dropped: 0 });
        let (b, a) = (queue.pop().unwrap(), queue.pop().unwrap());
        assert_eq!((b.change.seq, b.collapsed), (2, 0));
        assert_eq!((a.change.seq, a.previous, a.change.state, a.collapsed), (4, Up, Degraded, 2));
        // What stands for others already is counted with them.
        let mut queue = Queue::new(1);
        queue.push(a);
        queue.push(notice("a", Degraded, Down, 5));
        let last = queue.pop().unwrap();
        assert_eq!((last.previous, last.change.state, last.collapsed), (Up, Down, 3));
    }

    #[test]
    fn where_each_is_of_another_the_oldest_goes() {
        let mut queue = Queue::new(2);
        for (seq, name) in (1..).zip(["a", "b", "c"]) {
            let lost = queue.push(notice(name, Up, Down, seq));
            assert_eq!(lost, Lost { collapsed: 0, dropped: u64::from(seq == 3) });
        }
        assert_eq!(queue.pop().map(|n| n.change.seq), Some(2));
    }

    proptest! {
        /// Whatever comes and goes: it is bounded, in order, everything is accounted for, and of each subject that was not
        /// dropped the last word gets through, with the state before it that was told last.
        #[test]
        fn nothing_is_lost_uncounted(
            room in 1usize..6,
            steps in prop::collection::vec(prop_oneof![3 => (0u8..4).prop_map(Some), 2 => Just(None)], 0..200),
        ) {
            let mut queue = Queue::new(room);
            let mut states = [Up; 4];
            let mut told: [(State, u64); 4] = [(Up, 0); 4];
            let mut last = [0u64; 4];
            let (mut pushed, mut popped, mut collapsed, mut dropped) = (0u64, 0u64, 0, 0);
            let mut take = |queue: &mut Queue, popped: &mut u64, dropped: u64| {
                let Some(n) = queue.pop() else { return Ok(()) };
                let i: usize = n.subject().name().parse().unwrap();
                prop_assert!(n.change.seq > told[i].1, "in order");
                if dropped == 0 {
                    prop_assert_eq!(n.previous, told[i].0);
                }
                told[i] = (n.change.state, n.change.seq);
                *popped += 1 + n.collapsed;
                Ok(())
            };
            for step in steps {
                let Some(i) = step else { take(&mut queue, &mut popped, dropped)?; continue };
                let i = usize::from(i);
                let state = if states[i] == Up { Down } else { Up };
                pushed += 1;
                let lost = queue.push(notice(&i.to_string(), states[i], state, pushed));
                (states[i], last[i]) = (state, pushed);
                collapsed += lost.collapsed;
                dropped += lost.dropped;
                prop_assert!(queue.len() <= room);
            }
            while !queue.is_empty() {
                take(&mut queue, &mut popped, dropped)?;
            }
            let _ = collapsed;
            if dropped == 0 {
                prop_assert_eq!(popped, pushed);
                for i in 0..4 {
                    prop_assert_eq!(told[i], (states[i], last[i]));
                }
            }
        }
    }
}
