//! Which probes count as samples for R9 and R11: those far enough from one another to be independent.

use std::{collections::VecDeque, time::Duration};

use crate::time::Mono;

/// Shortest distance of two samples, by departure. Of a burst (R4) or of probes at the recovery pace (R8) only one can
/// be a sample, and no regular probe of an interval of 2 s ±10 % is left out. What is probed faster is thinned out.
pub const SPACING: Duration = Duration::from_millis(1500);

/// Samples under way that are remembered. Beyond it the oldest is forgotten.
const PENDING: usize = 32;

/// Picks the samples out of one address's probes.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    last: Option<Mono>,
    pending: VecDeque<u64>,
}

impl Sampler {
    /// A probe left.
    pub fn sent(&mut self, at: Mono, seq: u64) {
        if self.last.is_some_and(|last| at.since(last) < SPACING) {
            return;
        }
        self.last = Some(at);
        if self.pending.len() == PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(seq);
    }

    /// A probe was concluded; whether it is a sample.
    pub fn concluded(&mut self, seq: u64) -> bool {
        match self.pending.iter().position(|s| *s == seq) {
            Some(i) => self.pending.remove(i).is_some(),
            None => false,
        }
    }

    /// None of the probes under way is a sample any more.
    pub fn forget(&mut self) {
        self.pending.clear();
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.pending.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_sample_and_regular_probes_are_all_samples() {
        let ms = |t: u64| Mono::from_nanos(t * 1_000_000);
        let mut sampler = Sampler::default();
        let times = [0, 200, 500, 900, 1400, 1800, 2000, 3600];
        let all: Vec<u64> = times.into_iter().inspect(|t| sampler.sent(ms(*t), *t)).collect();
        let samples: Vec<u64> = all.into_iter().filter(|t| sampler.concluded(*t)).collect();
        assert_eq!(samples, [0, 1800, 3600]);
        assert!(!sampler.concluded(0), "once");
    }
}
