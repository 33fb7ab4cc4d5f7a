//! Patience with an agent that is not there: how long, and when it is asked again.

use std::time::Duration;

/// How long an agent that went away, or has no room, is waited for: as long as a restart takes.
pub(super) const RESTART: Duration = Duration::from_secs(3);

const FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
pub(super) const LONGEST: Duration = Duration::from_secs(2);

/// The pauses before the next connections: each twice as long as the one before, from 100 ms to 2 s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses(Duration);

impl Pauses {
    /// From the first on.
    pub(super) fn new() -> Self {
        Self(FIRST)
    }

    /// The next one, of which `random`, in 0..=1, takes off up to a half: many who lost one agent do not all come back to the
    /// next at once.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let pause = self.0.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
        self.0 = (self.0 * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_spread_over_their_longer_half() {
        let all = |random| {
            let mut pauses = Pauses::new();
            [(); 7].map(|()| pauses.next(random).as_millis())
        };
        assert_eq!(all(0.0), [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(all(1.0), [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
