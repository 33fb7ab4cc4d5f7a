//! When a server or DNS is asked again. Pure: the time and the luck are arguments.

use std::time::Duration;

use crate::time::Mono;

/// No answer of DNS is used for less, nor for longer: as for names of targets.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);
/// The pause after a first failure; it doubles with each further one, up to the ordinary pause or …
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// … this.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What is asked for again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// The source's name.
    pub(super) source: String,
    /// The URL, or the name that is asked for.
    pub(super) key: String,
    /// How often; none: as the answer says.
    pub(super) every: Option<Duration>,
    pub(super) due: Mono,
    pub(super) is_busy: bool,
    pub(super) failures: u32,
}

impl Job {
    /// One that is due at once.
    pub(super) fn new(source: &str, key: &str, every: Option<Duration>, now: Mono) -> Self {
        let (source, key) = (source.to_owned(), key.to_owned());
        Self { source, key, every, due: now, is_busy: false, failures: 0 }
    }

    /// It was asked for, and the answer lives for `life`; none is a failure. `luck`, from 0 to 1, spreads agents that
    /// were started together.
    pub(super) fn ended(&mut self, now: Mono, life: Option<Duration>, luck: f64) {
        self.is_busy = false;
        let pause = match life {
            Some(life) => {
                self.failures = 0;
                self.every.unwrap_or_else(|| life.clamp(SHORTEST, LONGEST))
            }
            None => {
                self.failures = self.failures.saturating_add(1);
                let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures.min(20) - 1));
                doubled.min(LAST_RETRY).min(self.every.unwrap_or(LAST_RETRY))
            }
        };
        self.due = now + pause.mul_f64(1.0 + luck / 10.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(every: Option<u64>, lives: &[Option<u64>]) -> Vec<u64> {
        let seconds = Duration::from_secs;
        let mut job = Job::new("s", "k", every.map(seconds), Mono::default());
        let now = Mono::default();
        let next = |life: &Option<u64>| {
            job.ended(now, life.map(seconds), 0.0);
            job.due.since(now).as_secs()
        };
        lives.iter().map(next).collect()
    }

    #[test]
    fn an_answer_lives_within_bounds_and_a_failure_is_tried_again_ever_more_rarely() {
        assert_eq!(pauses(None, &[Some(300), Some(0), Some(86_400)]), [300, 5, 3600]);
        assert_eq!(pauses(None, &[None, None, None, Some(30), None]), [2, 4, 8, 30, 2]);
        assert_eq!(pauses(None, &[None; 7])[4..], [32, 60, 60]);
        // A server is asked at its own pace, and never more often than that for its failures.
        assert_eq!(pauses(Some(60), &[Some(0), None, None]), [60, 2, 4]);
        assert_eq!(pauses(Some(1), &[None, None]), [1, 1]);
    }

    #[test]
    fn luck_only_delays() {
        let mut job = Job::new("s", "k", None, Mono::default());
        job.ended(Mono::default(), Some(Duration::from_secs(100)), 1.0);
        assert_eq!(job.due.since(Mono::default()).as_secs(), 110);
    }
}
