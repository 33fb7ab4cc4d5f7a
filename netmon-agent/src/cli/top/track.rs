//! What `top` itself remembers of a target: its last round trips.

use std::collections::VecDeque;

use netmon_client::wire::Target;

/// Samples kept: as many as a wide terminal shows.
pub(super) const KEPT: usize = 160;

/// What one look at the agent showed: a round trip in microseconds, or that something was lost since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample(u32);

impl Sample {
    /// A loss.
    pub(super) const LOST: Self = Self(u32::MAX);

    fn answered(ns: u64) -> Self {
        Self(u32::try_from(ns / 1000).unwrap_or(u32::MAX).min(u32::MAX - 1))
    }

    /// Microseconds; none for a loss.
    pub(super) fn micros(self) -> Option<u32> {
        (self != Self::LOST).then_some(self.0)
    }
}

/// The last round trips of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Its place in the status that was seen last.
    pub(super) place: usize,
    /// Number of that status.
    pub(super) seen: u64,
    /// Probes answered and lost as of the last look; none before the first.
    counted: Option<(u64, u64)>,
    samples: VecDeque<Sample>,
}

impl Track {
    /// Takes what is new of the target since the last look, if anything is.
    pub(super) fn look(&mut self, target: &Target) {
        let sum = |of: fn(&netmon_client::wire::TargetAddress) -> u64| -> u64 {
            target.addresses.iter().map(of).fold(0, u64::saturating_add)
        };
        let (replies, lost) = (sum(|a| a.replies), sum(|a| a.lost));
        let last = target.addresses.iter().filter_map(|a| a.rtt.last_ns).max().map(Sample::answered);
        let new = match self.counted.replace((replies, lost)) {
            // Fewer than before: another agent, or other addresses.
            Some((r, l)) if replies < r || lost < l => None,
            Some((_, l)) if lost > l => Some(Sample::LOST),
            Some((r, _)) if replies > r => last,
            Some(_) => None,
            None => last,
        };
        if let Some(sample) = new {
            if self.samples.len() == KEPT {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
        }
    }

    /// The last `most` samples, the newest last.
    pub(super) fn last(&self, most: usize) -> impl Iterator<Item = Sample> + Clone + '_ {
        self.samples.iter().skip(self.samples.len().saturating_sub(most)).copied()
    }
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Rtt, TargetAddress};

    use super::*;

    fn target(replies: u64, lost: u64, last_ns: u64) -> Target {
        let rtt = Rtt { last_ns: Some(last_ns), ..Rtt::default() };
        Target {
            addresses: vec![TargetAddress { replies, lost, rtt, ..TargetAddress::default() }],
            ..Target::default()
        }
    }

    #[test]
    fn a_look_is_a_sample_where_something_is_new() {
        let mut track = Track::default();
        for (replies, lost, ns) in [
            (1, 0, 5_000),
            (1, 0, 5_000),
            (2, 0, 7_000),
            (2, 1, 7_000),
            (4, 2, 9_000),
            (1, 0, 3_000),
            (2, 0, 4_000),
        ] {
            track.look(&target(replies, lost, ns));
        }
        let micros: Vec<_> = track.last(KEPT).map(Sample::micros).collect();
        assert_eq!(micros, [Some(5), Some(7), None, None, Some(4)]);
        assert_eq!(track.last(2).count(), 2);
    }

    #[test]
    fn it_forgets_the_oldest() {
        let mut track = Track::default();
        for n in 0..1000 {
            track.look(&target(n + 1, 0, n * 1000));
        }
        assert_eq!(track.last(usize::MAX).count(), KEPT);
        assert_eq!(track.last(1).next().and_then(Sample::micros), Some(999));
        track.look(&target(2000, 0, u64::MAX));
        assert_eq!(track.last(1).next().and_then(Sample::micros), Some(u32::MAX - 1));
    }
}
