//! The last hour of one address, in little room: the running minute, five minutes that are over, and twelve stretches of
//! five minutes, each a sparse histogram of round-trip times (64 buckets an octave) with its losses.
//!
//! A window is made of whole slots, so it is as long as its name says and up to one slot longer: "5 m" is the running
//! minute and the five before it, "1 h" the running five minutes and the twelve times five before them.

use std::sync::Arc;

use super::{
    buckets::bucket,
    figures::OneSlot,
    packed::{self, Slot},
};
use crate::time::Mono;

/// Minutes of a long slot, and of the shorter window.
const FIVE: u32 = 5;

/// Long slots of the longer window.
const LONG_SLOTS: u32 = 12;

const MINUTE_NS: u64 = 60_000_000_000;

/// An hour of samples.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Number of the running minute, from the clock's zero.
    minute: u32,
    lost: u32,
    max_ns: u64,
    /// Of the running minute: buckets with their counts, by bucket. A count stays at its greatest: a thousand probes a
    /// second would be needed.
    entries: Vec<(u16, u16)>,
    /// What is over, in [`packed`] form: long slots, then short ones, oldest first. Made anew once a minute, and shared
    /// by all copies until then.
    past: Arc<[u8]>,
}

/// Of what a window is made.
pub(super) trait Visitor {
    /// A slot's losses and longest RTT.
    fn slot(&mut self, lost: u64, max_ns: u64);
    /// A bucket of it.
    fn bucket(&mut self, bucket: u16, count: u64);
}

impl History {
    /// Takes the RTT of an answered probe, or none of a lost one. What comes from before the running minute counts in
    /// it: time goes forward only.
    pub(super) fn record(&mut self, at: Mono, rtt_ns: Option<u64>) {
        let minute = minute(at);
        if minute > self.minute {
            self.turn(minute);
        }
        let Some(ns) = rtt_ns else {
            self.lost = self.lost.saturating_add(1);
            return;
        };
        self.max_ns = self.max_ns.max(ns);
        let bucket = bucket(ns);
        match self.entries.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(i) => self.entries[i].1 = self.entries[i].1.saturating_add(1),
            Err(i) => self.entries.insert(i, (bucket, 1)),
        }
    }

    /// Shows the running minute and the five before it.
    pub(super) fn visit_five_minutes(&self, now: Mono, visitor: &mut impl Visitor) {
        let now = minute(now).max(self.minute);
        let within = |minute: u32| minute + FIVE >= now;
        packed::slots(&self.past).filter(|s| !s.long && within(s.minute)).for_each(|s| show(&s, visitor));
        if within(self.minute) {
            self.show_running(visitor);
        }
    }

    /// Shows the running five minutes and the twelve times five before them.
    pub(super) fn visit_hour(&self, now: Mono, visitor: &mut impl Visitor) {
        let now = minute(now).max(self.minute);
        packed::slots(&self.past)
            .filter(|s| self.once(s) && within_hour(s.minute, now))
            .for_each(|s| show(&s, visitor));
        if within_hour(self.minute, now) {
            self.show_running(visitor);
        }
    }

    /// Shows what [`History::visit_hour`] does, each slot by itself with its begin and end: oldest first, the running minute
    /// last.
    pub(super) fn each_slot(&self, now: Mono, mut each: impl FnMut(Mono, Mono, &dyn Fn(&mut OneSlot))) {
        let now = minute(now).max(self.minute);
        let start = |minute: u32| Mono::from_nanos(u64::from(minute) * MINUTE_NS);
        for slot in packed::slots(&self.past).filter(|s| self.once(s) && within_hour(s.minute, now)) {
            let length = if slot.long { FIVE } else { 1 };
            each(start(slot.minute), start(slot.minute + length), &|to| show(&slot, to));
        }
        if within_hour(self.minute, now) && !self.is_empty() {
            each(start(self.minute), start(self.minute + 1), &|to| self.show_running(to));
        }
    }

    /// Whether a slot is one of those that together are the hour, each moment once: short ones are in a long one already, but
    /// for those of the five minutes that the history itself is in.
    fn once(&self, slot: &Slot<'_>) -> bool {
        slot.long || slot.minute / FIVE == self.minute / FIVE
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        // The two counts of an `Arc` stand before its content.
        self.entries.capacity() * size_of::<(u16, u16)>() + self.past.len() + 2 * size_of::<usize>()
    }

    fn show_running(&self, visitor: &mut impl Visitor) {
        visitor.slot(self.lost.into(), self.max_ns);
        self.entries().for_each(|(bucket, count)| visitor.bucket(bucket, count));
    }

    fn entries(&self) -> impl Iterator<Item = (u16, u64)> {
        self.entries.iter().map(|(bucket, count)| (*bucket, u64::from(*count)))
    }

    /// The running minute is over; `next` begins. What is too old for every window goes.
    fn turn(&mut self, next: u32) {
        let mut past = Vec::with_capacity(self.past.len() + 2 * self.entries.len() + 32);
        let keep = |past: &mut Vec<u8>, slots: &dyn Fn(&Slot<'_>) -> bool| {
            packed::slots(&self.past).filter(slots).for_each(|s| past.extend_from_slice(s.raw));
        };
        keep(&mut past, &|s| s.long && within_hour(s.minute, next));
        if next / FIVE > self.minute / FIVE && within_hour(self.minute, next) {
            self.push_long(&mut past);
        }
        keep(&mut past, &|s| !s.long && s.minute + FIVE >= next);
        if self.minute + FIVE >= next && !self.is_empty() {
            packed::push(&mut past, (self.minute, false), (self.lost.into(), self.max_ns), self.entries());
        }
        self.past = past.into();
        (self.minute, self.lost, self.max_ns) = (next, 0, 0);
        self.entries.clear();
    }

    fn is_empty(&self) -> bool {
        self.lost == 0 && self.entries.is_empty()
    }

    /// The five minutes that the running one ends, as one slot.
    fn push_long(&self, past: &mut Vec<u8>) {
        let first = self.minute - self.minute % FIVE;
        let (mut lost, mut max_ns) = (u64::from(self.lost), self.max_ns);
        let mut all: Vec<(u16, u64)> = self.entries().collect();
        for slot in packed::slots(&self.past).filter(|s| !s.long && s.minute >= first) {
            lost += slot.lost;
            max_ns = max_ns.max(slot.max_ns);
            all.extend(slot.entries());
        }
        if lost == 0 && all.is_empty() {
            return;
        }
        all.sort_unstable_by_key(|(bucket, _)| *bucket);
        all.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        packed::push(past, (first, true), (lost, max_ns), all.into_iter());
    }
}

impl Clone for History {
    /// With the same room: a copy that had to grow at once would be two allocations.
    fn clone(&self) -> Self {
        let mut entries = Vec::with_capacity(self.entries.capacity());
        entries.extend_from_slice(&self.entries);
        Self { entries, past: Arc::clone(&self.past), ..*self }
    }
}

fn minute(at: Mono) -> u32 {
    (at.as_nanos() / MINUTE_NS) as u32
}

/// Whether the five minutes that `minute` is of belong to the hour before `now`, a minute too.
fn within_hour(minute: u32, now: u32) -> bool {
    minute / FIVE + LONG_SLOTS >= now / FIVE
}

fn show(slot: &Slot<'_>, visitor: &mut impl Visitor) {
    visitor.slot(slot.lost, slot.max_ns);
    slot.entries().for_each(|(bucket, count)| visitor.bucket(bucket, count));
}
