//! A table of the programs: rows by key, in memory that is shared with them (`netmon_ebpf::Row`).

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    mem::offset_of,
    os::fd::AsFd,
    sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, Stack},
};
use netmon_ebpf::{
    Book, Drop, Key, LocalAddress, Other, RTT_BUCKETS, Row, Rtt, RttHistogram, Spread, Table as Names,
    rtt_kind, state,
};

use super::error::LoadError;
use crate::sys::Mapped;

/// The key of a row, as words of 32 bits.
pub(super) trait RowKey: Copy + Ord {
    /// How many they are.
    const WORDS: usize;
    /// The key whose n-th word is told.
    fn of(word: impl Fn(usize) -> u32) -> Self;
}

/// The value of a row, as words of 64 bits.
pub(super) trait RowValue: Sized {
    /// How many they are.
    const LONGS: usize;
    /// The value whose n-th word is told. Asks for each once, for what is read out of a row is gone from it.
    fn of(long: impl Fn(usize) -> u64) -> Self;
}

/// A table with keys `K` and values `V`.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: Mapped,
    book: Mapped,
    /// Rows.
    room: u32,
    /// Places in the book, a power of two.
    places: u32,
    /// Numbers of rows that were retired since [`settle`](Self::settle).
    leaving: Vec<u32>,
    of: PhantomData<(K, V)>,
}

impl<K: RowKey, V: RowValue> Table<K, V> {
    /// Where a row's state, key and value are in it, and from one row to the next, in bytes.
    const STATE: usize = offset_of!(Row<K, V>, state);
    const KEY: usize = offset_of!(Row<K, V>, key);
    const VALUE: usize = offset_of!(Row<K, V>, value);
    const STRIDE: usize = size_of::<Row<K, V>>();
    const CHECK: () = {
        assert!(size_of::<K>() == K::WORDS * 4 && size_of::<V>() == V::LONGS * 8);
        assert!(Self::VALUE.is_multiple_of(8) && Self::STRIDE.is_multiple_of(8));
    };

    /// Maps a table that was just loaded, and has every row of it be free.
    pub(super) fn share(ebpf: &mut Ebpf, names: &Names) -> Result<Self, LoadError> {
        let free = ebpf.map_mut(names.free).ok_or(LoadError::NotInObject(names.free))?;
        let mut free: Stack<&mut MapData, u32> = free.try_into().map_err(of_object)?;
        let room = free.capacity().min(names.most);
        // The first is on top, so that those handed out stay close together.
        (0..room).rev().try_for_each(|row| free.push(row, 0)).map_err(of_object)?;
        Ok(Self::over(
            share(ebpf, names.rows, room as usize * Self::STRIDE)?,
            share(ebpf, names.book, size_of::<Book<0>>() + names.most as usize * 4)?,
            (room, names.most),
        ))
    }

    /// A table over memory with `room` rows, and a book with so many places.
    pub(super) fn over(rows: Mapped, book: Mapped, (room, places): (u32, u32)) -> Self {
        let () = Self::CHECK;
        Self { rows, book, room, places, leaving: Vec::new(), of: PhantomData }
    }

    /// Rows that there can be.
    pub(super) fn room(&self) -> usize {
        self.room as usize
    }

    /// The rows that are in use.
    pub(super) fn rows(&self) -> impl Iterator<Item = (K, V)> {
        self.used().map(|(row, key)| (key, self.value(row, |at| self.rows.long(at).load(Relaxed))))
    }

    /// Takes out the rows that `is_out` picks: what they had. Their keys begin anew with their next event.
    pub(super) fn retire(&mut self, is_out: impl Fn(&K) -> bool) -> BTreeMap<K, V> {
        let picked: Vec<(u32, K)> = self.used().filter(|(_, key)| is_out(key)).collect();
        let mut left = BTreeMap::new();
        for (row, key) in picked {
            // First, for what is counted after it has been read out is for a row in use again.
            self.rows.word(self.at(row) + Self::STATE).store(state::LEAVING, Release);
            left.insert(key, self.value(row, |at| self.rows.long(at).swap(0, AcqRel)));
            self.leaving.push(row);
        }
        left
    }

    /// Gives back to the programs what was retired before. To be called when every program is over that had found such a row
    /// in use: a moment later will do.
    pub(super) fn settle(&mut self) {
        for row in std::mem::take(&mut self.leaving) {
            let state = self.rows.word(self.at(row) + Self::STATE);
            let mut values = (0..V::LONGS).map(|n| self.at(row) + Self::VALUE + 8 * n);
            // What was counted in after it was read out is not lost: such a row stays.
            let is_empty = values.all(|at| self.rows.long(at).load(Relaxed) == 0);
            let becomes = if is_empty { state::RETIRED } else { state::USED };
            let is_leaving = state.compare_exchange(state::LEAVING, becomes, AcqRel, Relaxed).is_ok();
            if is_leaving && is_empty {
                self.give_back(row);
            }
        }
    }

    /// Enters the number of a row in the book, unless it waits there already.
    fn give_back(&self, row: u32) {
        let head = self.book.word(offset_of!(Book<0>, head));
        let place =
            |n: u32| self.book.word(offset_of!(Book<0>, retired) + (n & (self.places - 1)) as usize * 4);
        let (end, tail) = (head.load(Relaxed), self.book.word(offset_of!(Book<0>, tail)).load(Acquire));
        let waiting = end.wrapping_sub(tail).min(self.places);
        if (0..waiting).any(|n| place(tail.wrapping_add(n)).load(Relaxed) == row) {
            return;
        }
        place(end).store(row, Relaxed);
        head.store(end.wrapping_add(1), Release);
    }

    /// Numbers and keys of the rows in use.
    fn used(&self) -> impl Iterator<Item = (u32, K)> {
        let high = self.book.word(offset_of!(Book<0>, high)).load(Acquire).min(self.room);
        let is_used = |row: &u32| self.rows.word(self.at(*row) + Self::STATE).load(Acquire) == state::USED;
        (0..high).filter(is_used).map(|row| {
            let at = self.at(row) + Self::KEY;
            (row, K::of(|n| self.rows.word(at + 4 * n).load(Relaxed)))
        })
    }

    fn value(&self, row: u32, of: impl Fn(usize) -> u64) -> V {
        let at = self.at(row) + Self::VALUE;
        V::of(|n| of(at + 8 * n))
    }

    fn at(&self, row: u32) -> usize {
        row as usize * Self::STRIDE
    }
}

fn of_object(error: MapError) -> LoadError {
    LoadError::Object(error.into())
}

/// Maps the memory of an array.
pub(super) fn share(ebpf: &Ebpf, name: &'static str, bytes: usize) -> Result<Mapped, LoadError> {
    let Some(Map::Array(data)) = ebpf.map(name) else { return Err(LoadError::NotInObject(name)) };
    Mapped::new(data.fd().as_fd(), bytes).map_err(|source| LoadError::NotShared(name, source))
}

impl RowKey for Key {
    const WORDS: usize = 2;

    fn of(word: impl Fn(usize) -> u32) -> Self {
        Self { netns: word(0), ifindex: word(1) }
    }
}

impl RowKey for Drop {
    const WORDS: usize = 3;

    fn of(word: impl Fn(usize) -> u32) -> Self {
        Self { netns: word(0), ifindex: word(1), reason: word(2) }
    }
}

impl RowKey for LocalAddress {
    const WORDS: usize = 5;

    fn of(word: impl Fn(usize) -> u32) -> Self {
        let mut octets = [0; 16];
        for (n, four) in octets.chunks_exact_mut(4).enumerate() {
            four.copy_from_slice(&word(1 + n).to_ne_bytes());
        }
        Self { netns: word(0), octets }
    }
}

impl<const N: usize> RowValue for [u64; N] {
    const LONGS: usize = N;

    fn of(long: impl Fn(usize) -> u64) -> Self {
        std::array::from_fn(long)
    }
}

impl RowValue for u64 {
    const LONGS: usize = 1;

    fn of(long: impl Fn(usize) -> u64) -> Self {
        long(0)
    }
}

impl RowValue for Other {
    const LONGS: usize = size_of::<Self>() / 8;

    fn of(long: impl Fn(usize) -> u64) -> Self {
        let mut other = Self { counters: RowValue::of(&long), name: [0; 16] };
        for (n, eight) in other.name.chunks_exact_mut(8).enumerate() {
            eight.copy_from_slice(&long(netmon_ebpf::slot::COUNT + n).to_ne_bytes());
        }
        other
    }
}

impl RowValue for Rtt {
    const LONGS: usize = rtt_kind::COUNT * (1 + RTT_BUCKETS);

    fn of(long: impl Fn(usize) -> u64) -> Self {
        std::array::from_fn(|kind| {
            let first = kind * (1 + RTT_BUCKETS);
            RttHistogram { sum: long(first), buckets: RowValue::of(|n| long(first + 1 + n)) }
        })
    }
}

impl RowValue for Spread {
    const LONGS: usize = size_of::<Self>() / 8;

    fn of(long: impl Fn(usize) -> u64) -> Self {
        const { assert!(netmon_ebpf::PREFIX_CELLS.is_multiple_of(2)) };
        let mut spread = Self { prefixes: [0; _], flows: [0; _] };
        let halves = spread.prefixes.chunks_exact_mut(2).chain(spread.flows.chunks_exact_mut(2));
        for (n, pair) in halves.enumerate() {
            let [a, b, c, d, e, f, g, h] = long(n).to_ne_bytes();
            pair.copy_from_slice(&[u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]);
        }
        spread
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
