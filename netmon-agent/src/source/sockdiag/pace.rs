//! How long to rest between dumps.

use std::time::Duration;

/// What dumps are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Segments sent ([`Census`](super::Census)): every 10 s, at no more than 0.2 % of a core.
    Census,
    /// Who acknowledges ([`Progress`](super::Progress)): every second, at no more than 2 % of a core, which a dump of
    /// more than 20 ms would exceed. For as long as a rule asks, not for good.
    Progress,
}

impl Want {
    /// From the end of a dump that cost so much ([`Summary::cost`](super::Summary::cost)) to the beginning of the
    /// next one. The number of sockets is in the cost already.
    pub fn next_dump(self, cost: Duration) -> Duration {
        let (least, rest) = match self {
            Self::Census => (Duration::from_secs(10), 500),
            Self::Progress => (Duration::from_secs(1), 50),
        };
        least.max(cost.saturating_mul(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn cheap_dumps_keep_their_pace_and_dear_ones_their_share_of_a_core() {
        for (cost, census, progress) in
            [(0, 10_000, 1_000), (20, 10_000, 1_000), (21, 10_500, 1_050), (400, 200_000, 20_000)]
        {
            assert_eq!(Want::Census.next_dump(ms(cost)), ms(census));
            assert_eq!(Want::Progress.next_dump(ms(cost)), ms(progress));
        }
        assert_eq!(Want::Census.next_dump(Duration::MAX), Duration::MAX);
    }
}
