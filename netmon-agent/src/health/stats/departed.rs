//! What the addresses counted that a target no longer has.

use super::{AddressStats, NativeHistogram, ProbeCounters};

/// Sums of former addresses. A target's own sums, with these, only grow, wherever its name moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Departed {
    /// What became of their probes.
    pub counters: ProbeCounters,
    /// All their RTTs, where each of them kept a native histogram.
    pub native: Option<NativeHistogram>,
}

impl Default for Departed {
    fn default() -> Self {
        Self { counters: ProbeCounters::default(), native: Some(NativeHistogram::default()) }
    }
}

impl Departed {
    /// Counts what one more address had.
    pub fn add(&mut self, stats: &AddressStats) {
        self.counters.add(&stats.counters);
        self.native = match (self.native.take(), stats.native()) {
            (Some(mut sum), Some(more)) => {
                sum.add(more);
                Some(sum)
            }
            _ => None,
        };
    }
}
