//! A timing wheel: numbers that come due, in order of time to the tick. Pure, and without allocation once it has grown.
//!
//! Eight levels of 64 slots (Varghese and Lauck, 1987, scheme 7). An entry's level is where its tick first differs from
//! the wheel's own, in groups of six bits, so every entry of a level comes due before those of the levels above, and
//! the first occupied slot of the lowest occupied level holds the earliest. Slots are lists linked through one array by
//! number: to add, to remove and to take one costs the same however many there are.

use crate::time::Mono;

/// A tick is 2^20 ns, about 1.05 ms.
const TICK: u32 = 20;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// 20 bits of a tick and 8 groups of six: more than the 64 bits of a clock.
const LEVELS: usize = 8;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    at: Mono,
    next: u32,
    previous: u32,
    /// Level and slot it is in, [`OUT`] if in none.
    home: u16,
}

const OUT: u16 = u16::MAX;

/// Numbers below 2^32 - 1, each at most once, with the time it is due.
#[derive(Debug)]
pub(super) struct Wheel {
    links: Vec<Link>,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    /// The tick up to which everything has been taken.
    tick: u64,
    /// The answer to [`Wheel::next`], as long as it holds.
    next: Option<Mono>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { links: Vec::new(), heads: [[NONE; SLOTS]; LEVELS], occupied: [0; LEVELS], tick: 0, next: None }
    }
}

impl Wheel {
    /// Sets when `id` is due, wherever it was before.
    pub(super) fn set(&mut self, id: u32, at: Mono) {
        self.remove(id);
        let index = id as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, Link { at, next: NONE, previous: NONE, home: OUT });
        }
        self.links[index].at = at;
        if self.next.is_some_and(|next| at < next) || self.is_empty() {
            self.next = Some(at);
        }
        self.insert(id);
    }

    /// Takes `id` out, if it is in.
    pub(super) fn remove(&mut self, id: u32) {
        let Some(link) = self.links.get(id as usize).copied().filter(|link| link.home != OUT) else { return };
        if self.next == Some(link.at) {
            self.next = None;
        }
        self.unlink(id, link);
    }

    /// When the earliest is due, to the nanosecond.
    pub(super) fn next(&mut self) -> Option<Mono> {
        if self.next.is_none() {
            let (level, slot) = self.first()?;
            self.next = self.slot(level, slot).map(|id| self.links[id as usize].at).min();
        }
        self.next
    }

    /// Takes one that is due at `now`; within a tick in any order.
    pub(super) fn pop(&mut self, now: Mono) -> Option<(u32, Mono)> {
        if self.next.is_some_and(|next| next > now) {
            return None;
        }
        let last = now.as_nanos() >> TICK;
        loop {
            let (level, slot) = self.first()?;
            let start = self.start(level, slot);
            if start > last {
                return None;
            }
            if level == 0 {
                self.tick = self.tick.max(start);
                let due = self.slot(0, slot).find(|id| self.links[*id as usize].at <= now);
                // The rest of this tick is not due yet, and everything else is later.
                let id = due?;
                let link = self.links[id as usize];
                self.next = None;
                self.unlink(id, link);
                return Some((id, link.at));
            }
            self.spread(level, slot, start);
        }
    }

    fn is_empty(&self) -> bool {
        self.occupied == [0; LEVELS]
    }

    /// The slot that holds the earliest.
    fn first(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of a slot.
    fn start(&self, level: usize, slot: usize) -> u64 {
        let shift = BITS * level as u32;
        let above = self.tick.checked_shr(shift + BITS).unwrap_or(0);
        ((above << BITS) | slot as u64) << shift
    }

    fn slot(&self, level: usize, slot: usize) -> impl Iterator<Item = u32> {
        let some = |id: u32| (id != NONE).then_some(id);
        std::iter::successors(some(self.heads[level][slot]), move |id| some(self.links[*id as usize].next))
    }

    /// Brings the wheel to a slot's first tick, and what the slot holds to the levels below.
    fn spread(&mut self, level: usize, slot: usize, start: u64) {
        self.tick = start;
        let mut id = std::mem::replace(&mut self.heads[level][slot], NONE);
        self.occupied[level] &= !(1 << slot);
        while id != NONE {
            let next = self.links[id as usize].next;
            self.insert(id);
            id = next;
        }
    }

    fn insert(&mut self, id: u32) {
        // What is overdue waits in the wheel's own tick.
        let tick = (self.links[id as usize].at.as_nanos() >> TICK).max(self.tick);
        let differing = (tick ^ self.tick) | 1;
        let level = (differing.ilog2() / BITS) as usize;
        let slot = (tick >> (BITS * level as u32)) as usize % SLOTS;
        let next = std::mem::replace(&mut self.heads[level][slot], id);
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = id;
        }
        let home = (level * SLOTS + slot) as u16;
        let link = &mut self.links[id as usize];
        (link.next, link.previous, link.home) = (next, NONE, home);
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, id: u32, link: Link) {
        let (level, slot) = (usize::from(link.home) / SLOTS, usize::from(link.home) % SLOTS);
        if let Some(next) = self.links.get_mut(link.next as usize) {
            next.previous = link.previous;
        }
        match self.links.get_mut(link.previous as usize) {
            Some(previous) => previous.next = link.next,
            None => self.heads[level][slot] = link.next,
        }
        if self.heads[level][slot] == NONE {
            self.occupied[level] &= !(1 << slot);
        }
        self.links[id as usize].home = OUT;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ns: u64) -> Mono {
        Mono::from_nanos(ns)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Remove(u32),
        /// Time goes on by this, and what is due is taken.
        Take(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // From a tick to weeks, so that every level is used.
        let ahead = (0u32..50).prop_flat_map(|bits| 0..1u64 << bits);
        prop_oneof![
            4 => (0u32..40, ahead.clone()).prop_map(|(id, ns)| Step::Set(id, ns)),
            1 => (0u32..40).prop_map(Step::Remove),
            3 => ahead.prop_map(Step::Take),
        ]
    }

    proptest! {
        #[test]
        fn it_gives_what_a_sorted_map_gives(start in 0..1u64 << 60, steps in prop::collection::vec(step(), 1..200)) {
            let (mut wheel, mut model, mut now) = (Wheel::default(), BTreeMap::new(), start);
            for step in steps {
                match step {
                    Step::Set(id, ahead) => {
                        wheel.set(id, at(now + ahead));
                        model.insert(id, now + ahead);
                    }
                    Step::Remove(id) => {
                        wheel.remove(id);
                        model.remove(&id);
                    }
                    Step::Take(ns) => {
                        now += ns;
                        let mut before = 0;
                        while let Some((id, due)) = wheel.pop(at(now)) {
                            prop_assert_eq!(model.remove(&id), Some(due.as_nanos()));
                            prop_assert!(due.as_nanos() >> TICK >= before, "out of order");
                            before = due.as_nanos() >> TICK;
                        }
                        prop_assert!(model.values().all(|due| *due > now));
                    }
                }
                prop_assert_eq!(wheel.next().map(Mono::as_nanos), model.values().min().copied());
            }
        }
    }

    #[test]
    fn what_is_later_within_the_same_tick_waits() {
        let mut wheel = Wheel::default();
        wheel.set(1, at(100));
        wheel.set(2, at(300));
        assert_eq!(wheel.next(), Some(at(100)));
        assert_eq!(wheel.pop(at(200)), Some((1, at(100))));
        assert_eq!((wheel.pop(at(200)), wheel.next()), (None, Some(at(300))));
    }

    #[test]
    fn what_is_set_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::default();
        wheel.set(1, at(5_000 * MS));
        assert_eq!(wheel.pop(at(5_000 * MS)), Some((1, at(5_000 * MS))));
        wheel.set(1, at(MS));
        assert_eq!(wheel.next(), Some(at(MS)));
        assert_eq!(wheel.pop(at(5_000 * MS)), Some((1, at(MS))));
        assert_eq!(wheel.pop(at(u64::MAX)), None);
    }

    #[test]
    fn once_grown_it_allocates_no_more() {
        let mut wheel = Wheel::default();
        (0..1_000).for_each(|id| wheel.set(id, at(u64::from(id) * MS)));
        let capacity = wheel.links.capacity();
        for now in 0..20_000 {
            while let Some((id, due)) = wheel.pop(at(now * MS)) {
                wheel.set(id, at(due.as_nanos() + 1_000 * MS));
            }
        }
        assert_eq!(wheel.links.capacity(), capacity);
    }
}
