use std::{collections::BTreeMap, fs::File, os::fd::AsFd};

use proptest::prelude::*;

use super::*;
use crate::sys::file_in_memory;

const ROWS: u32 = 8;

/// The programs' side, as `netmon-ebpf/src/tables.rs` has it, over the same memory.
struct Programs {
    table: Table<Key, [u64; 2]>,
    index: BTreeMap<Key, u32>,
    free: Vec<u32>,
}

impl Programs {
    /// Theirs and the agent's.
    fn and_agent() -> (Self, Table<Key, [u64; 2]>) {
        let file = |bytes: usize| {
            let file = File::from(file_in_memory(c"table").unwrap());
            file.set_len(bytes as u64).unwrap();
            file
        };
        let rows = ROWS as usize * size_of::<Row<Key, [u64; 2]>>();
        let (rows, book) = ((file(rows), rows), (file(4096), 4096));
        let table = || {
            let shared = |(file, bytes): &(File, usize)| Mapped::new(file.as_fd(), *bytes).unwrap();
            Table::over(shared(&rows), shared(&book), (ROWS, ROWS))
        };
        (Self { table: table(), index: BTreeMap::new(), free: (0..ROWS).rev().collect() }, table())
    }

    fn state(&self, row: u32) -> u32 {
        self.table.rows.word(self.table.at(row)).load(Relaxed)
    }

    fn set_state(&self, row: u32, state: u32) {
        self.table.rows.word(self.table.at(row)).store(state, Relaxed);
    }

    /// An event: whether there was room to count it.
    fn count(&mut self, key: Key) -> bool {
        let Some(row) = self.place(key) else { return false };
        let at = self.table.at(row) + Table::<Key, [u64; 2]>::VALUE;
        self.table.rows.long(at).fetch_add(1, Relaxed);
        self.table.rows.long(at + 8).fetch_add(10, Relaxed);
        true
    }

    fn place(&mut self, key: Key) -> Option<u32> {
        if let Some(row) = self.index.get(&key) {
            self.set_state(*row, state::USED);
            return Some(*row);
        }
        self.free_one();
        self.free_one();
        let row = self.free.pop()?;
        if self.state(row) == state::FRESH {
            self.table.book.word(0).fetch_add(1, Relaxed);
        }
        let at = self.table.at(row) + Table::<Key, [u64; 2]>::KEY;
        self.table.rows.word(at).store(key.netns, Relaxed);
        self.table.rows.word(at + 4).store(key.ifindex, Relaxed);
        self.set_state(row, state::USED);
        self.index.insert(key, row);
        Some(row)
    }

    fn free_one(&mut self) {
        let (head, tail) = (self.table.book.word(4).load(Relaxed), self.table.book.word(8).load(Relaxed));
        if head == tail {
            return;
        }
        let row = self.table.book.word(16 + (tail % ROWS) as usize * 4).load(Relaxed);
        if self.state(row) == state::RETIRED {
            self.index.retain(|_, at| *at != row);
            self.set_state(row, state::FREE);
            self.free.push(row);
        }
        self.table.book.word(8).store(tail.wrapping_add(1), Relaxed);
    }
}

fn key(ifindex: u32) -> Key {
    Key { netns: 4_026_531_840, ifindex }
}

#[test]
fn a_row_that_is_retired_is_given_to_another_key() {
    let (mut programs, mut agent) = Programs::and_agent();
    assert!((0..ROWS).all(|n| programs.count(key(n))));
    assert!(!programs.count(key(100)), "eight rows, and a ninth key");
    assert_eq!(agent.rows().count(), 8);
    assert_eq!(agent.retire(|key| key.ifindex == 3), BTreeMap::from([(key(3), [1, 10])]));
    assert_eq!(agent.rows().count(), 7);
    assert!(!programs.count(key(100)), "a program may still write into it");
    agent.settle();
    assert!(programs.count(key(100)));
    assert!(!programs.count(key(3)));
    assert_eq!(agent.rows().find(|(of, _)| *of == key(100)), Some((key(100), [1, 10])));
}

#[test]
fn a_key_that_comes_back_begins_anew_and_keeps_its_row() {
    let (mut programs, mut agent) = Programs::and_agent();
    programs.count(key(1));
    for _ in 0..3 * ROWS {
        agent.retire(|_| true);
        agent.settle();
        agent.settle();
        assert_eq!(agent.rows().count(), 0);
        assert!(programs.count(key(1)));
        assert_eq!(agent.rows().collect::<Vec<_>>(), [(key(1), [1, 10])]);
    }
    assert_eq!(programs.free.len(), ROWS as usize - 1);
}

#[test]
fn what_comes_too_late_is_not_lost() {
    let (mut programs, mut agent) = Programs::and_agent();
    programs.count(key(1));
    agent.retire(|_| true);
    // A program that had found the row in use before.
    let at = programs.table.at(0) + Table::<Key, [u64; 2]>::VALUE;
    programs.table.rows.long(at).fetch_add(1, Relaxed);
    assert_eq!(agent.rows().count(), 0);
    agent.settle();
    assert_eq!(agent.rows().collect::<Vec<_>>(), [(key(1), [1, 0])]);
    assert_eq!(agent.retire(|_| true), BTreeMap::from([(key(1), [1, 0])]));
    agent.settle();
    assert!((2..2 + ROWS).all(|n| programs.count(key(n))));
}

#[test]
fn figures_from_nowhere_are_within_the_memory() {
    let (programs, agent) = Programs::and_agent();
    for word in [0, 4, 8, 16, 20] {
        programs.table.book.word(word).store(u32::MAX, Relaxed);
    }
    (0..ROWS).for_each(|row| programs.set_state(row, state::USED));
    assert_eq!(agent.rows().count(), ROWS as usize);
    agent.give_back(3);
}

/// A row in use whose words of 32 bits are their own numbers, from the state on: as it is read, and as it is read out.
fn numbered<V: RowValue>() -> [V; 2] {
    let map = |bytes: usize| {
        let file = File::from(file_in_memory(c"table").unwrap());
        file.set_len(bytes as u64).unwrap();
        Mapped::new(file.as_fd(), bytes).unwrap()
    };
    let bytes = Table::<Key, V>::STRIDE;
    let mut table = Table::<Key, V>::over(map(bytes), map(4096), (1, 1));
    (1..bytes / 4).for_each(|n| table.rows.word(n * 4).store(n as u32, Relaxed));
    table.rows.word(0).store(state::USED, Relaxed);
    table.book.word(offset_of!(Book<0>, high)).store(1, Relaxed);
    let (_, read) = table.rows().next().unwrap();
    let (_, out) = table.retire(|_| true).pop_first().unwrap();
    assert!((Table::<Key, V>::VALUE / 4..bytes / 4).all(|n| table.rows.word(n * 4).load(Relaxed) == 0));
    [read, out]
}

#[test]
fn every_value_is_read_as_it_lies() {
    // The state and two words of the key come first, and values are at multiples of eight bytes.
    const FIRST: usize = Table::<Key, u64>::VALUE / 4;
    fn long(n: usize) -> u64 {
        (n as u64 + 1) << 32 | n as u64
    }
    assert_eq!(numbered::<u64>(), [long(FIRST); 2]);
    assert_eq!(numbered::<[u64; 3]>(), [[long(FIRST), long(FIRST + 2), long(FIRST + 4)]; 2]);
    for spread in numbered::<Spread>() {
        let words = spread.prefixes.iter().chain(&spread.flows);
        assert!(words.zip(FIRST..).all(|(word, n)| *word as usize == n));
        assert_eq!(spread.prefixes[0] as usize, FIRST + offset_of!(Spread, prefixes) / 4);
    }
    for rtt in numbered::<Rtt>() {
        let longs = rtt.iter().flat_map(|of_kind| std::iter::once(&of_kind.sum).chain(&of_kind.buckets));
        assert!(longs.zip((FIRST..).step_by(2)).all(|(found, n)| *found == long(n)));
        assert_eq!(offset_of!(RttHistogram, sum), 0);
    }
    for other in numbered::<Other>() {
        let name = FIRST + offset_of!(Other, name) / 4;
        assert!(other.counters.iter().zip((FIRST..name).step_by(2)).all(|(found, n)| *found == long(n)));
        let octets: Vec<u8> = (name as u32..name as u32 + 4).flat_map(u32::to_ne_bytes).collect();
        assert_eq!(other.name.as_slice(), octets);
    }
}

proptest! {
    /// Whatever comes and goes: what is read, and what was left by those retired, is what was counted.
    #[test]
    fn every_event_is_somewhere(steps in proptest::collection::vec((0_u32..14, 0_u8..8), 1..400)) {
        let (mut programs, mut agent) = Programs::and_agent();
        let mut counted: BTreeMap<Key, u64> = BTreeMap::new();
        let mut left: BTreeMap<Key, u64> = BTreeMap::new();
        for (n, what) in steps {
            match what {
                0 => for (key, [one, ten]) in agent.retire(|key| key.ifindex == n) {
                    prop_assert_eq!(one * 10, ten);
                    *left.entry(key).or_default() += one;
                },
                1 => agent.settle(),
                _ if programs.count(key(n)) => *counted.entry(key(n)).or_default() += 1,
                // There is no room only when no row is free, and every one that waits to be comes behind some whose key came
                // again. Those are past now.
                _ => {
                    let waits = (0..ROWS).any(|row| programs.state(row) == state::RETIRED);
                    let has_room = (0..ROWS).any(|_| programs.count(key(n)));
                    prop_assert_eq!(has_room, waits);
                    if has_room {
                        *counted.entry(key(n)).or_default() += 1;
                    }
                }
            }
            let mut seen = left.clone();
            for (key, [one, _]) in agent.rows() {
                *seen.entry(key).or_default() += one;
            }
            prop_assert_eq!(&seen, &counted);
        }
    }
}
