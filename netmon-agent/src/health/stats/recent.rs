//! The last minute's samples as they were.

use std::{collections::VecDeque, time::Duration};

use super::WINDOW;
use crate::time::Mono;

/// Samples kept at most: a minute of bursts at the recovery pace.
const SAMPLES: usize = 256;

/// In place of a round-trip time.
const LOST: u64 = u64::MAX;

/// A sample, 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Mono,
    rtt_ns: u64,
}

/// The last [`SAMPLES`] samples of the last [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Sample>);

impl Recent {
    /// Takes the RTT of an answered probe, or none of a lost one.
    pub(super) fn record(&mut self, at: Mono, rtt_ns: Option<u64>) {
        let Self(all) = self;
        while all.len() >= SAMPLES || all.front().is_some_and(|old| at.since(old.at) > WINDOW) {
            all.pop_front();
        }
        all.push_back(Sample { at, rtt_ns: rtt_ns.map_or(LOST, |ns| ns.min(LOST - 1)) });
    }

    /// RTTs of the samples of the last [`WINDOW`], none for a lost one.
    pub(super) fn samples(&self, now: Mono) -> impl Iterator<Item = Option<Duration>> {
        let recent = self.0.iter().filter(move |s| now.since(s.at) <= WINDOW);
        recent.map(|s| (s.rtt_ns != LOST).then(|| Duration::from_nanos(s.rtt_ns)))
    }

    /// The same with their age, oldest first.
    pub(super) fn aged(&self, now: Mono) -> impl Iterator<Item = (Duration, Option<Duration>)> {
        let recent = self.0.iter().filter(move |s| now.since(s.at) <= WINDOW);
        recent.map(move |s| (now.since(s.at), (s.rtt_ns != LOST).then(|| Duration::from_nanos(s.rtt_ns))))
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.0.capacity() * size_of::<Sample>()
    }
}

impl Clone for Recent {
    /// With the same room: a copy that had to grow at once would be two allocations.
    fn clone(&self) -> Self {
        let mut all = VecDeque::with_capacity(self.0.capacity());
        all.extend(self.0.iter().copied());
        Self(all)
    }
}
