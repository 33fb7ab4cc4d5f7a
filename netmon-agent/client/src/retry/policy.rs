use std::time::Duration;

/// Of full jitter: nothing is tried again sooner, or at once it would be.
const FLOOR: Duration = Duration::from_millis(250);
/// What proportional jitter adds at most, as a part of the delay.
const PROPORTION: f64 = 0.25;
/// Longest delay that is reckoned with, so that no sum overflows: some 136 years.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// How often, how long and how far apart something is tried. The default serves uploads and backups.
///
/// ```
/// use std::time::Duration;
/// use netmon_client::retry::Policy;
///
/// let policy = Policy { attempts: Some(8), max_delay: Duration::from_secs(300), ..Policy::default() };
/// policy.validate()?;
/// // Full jitter: the third failure is followed by a delay between 250 ms and 4 s.
/// assert_eq!(policy.delay(3, 0.0, None), Duration::from_millis(250));
/// assert_eq!(policy.delay(3, 1.0, None), Duration::from_secs(4));
/// # Ok::<(), netmon_client::retry::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Attempts in all, the first included, those refunded not. At least 1; none: without end. 5 by default.
    pub attempts: Option<u32>,
    /// What the delay after the first failure grows from. 1 s by default.
    pub initial: Duration,
    /// How much longer each further delay is. Finite, at least 1; 2 by default.
    pub multiplier: f64,
    /// Longest delay before jitter. 60 s by default.
    pub max_delay: Duration,
    /// How delays are scattered. Full by default.
    pub jitter: Jitter,
    /// Time for everything together, outages included: nothing starts later. None: without end. An hour by default.
    pub max_time: Option<Duration>,
    /// Time for one attempt; one that takes longer has failed and may be repeated. None by default.
    pub attempt_timeout: Option<Duration>,
    /// How many attempts an outage may cut at no charge. 10 by default.
    pub max_refunds: u32,
    /// How long before the news of an outage an attempt may have failed to count as cut by it: silence is known to be
    /// an outage only after some lost probes, with the agent's defaults 5.2 s at most. Where the network is known and
    /// the last attempt has failed, its failure is told so much later, lest it was of an outage. Zero: no such thing.
    /// 6 s by default.
    pub hindsight: Duration,
    /// Whether the end of an outage is met at a random moment of the ten seconds that follow, a tenth of the outage at
    /// most, so that what was paused everywhere does not come back as one. True by default.
    pub spread: bool,
    /// How long the network must have been usable after an outage. 5 s by default.
    pub stable: Duration,
}

/// How delays are scattered, so that clients who failed together do not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Jitter {
    /// Anything from 250 ms to the delay (where `max_delay` is under 500 ms, from half of it). A delay below 500 ms
    /// counts as that much, so that some room is left.
    #[default]
    Full,
    /// The delay and up to a quarter more; never earlier.
    Proportional,
    /// The delay, to the point.
    None,
}

/// A policy that can't be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// `attempts` is 0.
    #[error("attempts: 0 would never try at all; give 1 or more, or none for no end")]
    NoAttempts,
    /// `multiplier` is below 1 or not a number.
    #[error("multiplier: {0} is not a number of 1 or more")]
    Multiplier(f64),
    /// `max_delay` is 0 although `initial` is not.
    #[error("max_delay: 0 leaves no room for the initial delay; make both 0 to try again at once")]
    NoDelay,
    /// `max_time` is 0.
    #[error("max_time: 0 leaves no time to try; give more, or none for no end")]
    NoTime,
    /// `attempt_timeout` is 0.
    #[error("attempt_timeout: 0 leaves an attempt no time; give more, or none for no end")]
    NoAttemptTime,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: Some(5),
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(60),
            jitter: Jitter::Full,
            max_time: Some(Duration::from_secs(3600)),
            attempt_timeout: None,
            max_refunds: 10,
            hindsight: Duration::from_secs(6),
            spread: true,
            stable: Duration::from_secs(5),
        }
    }
}

impl Policy {
    /// Attempts without end in number; `max_time` still binds.
    pub fn endless() -> Self {
        Self { attempts: None, ..Self::default() }
    }

    /// Whether the policy can be followed.
    ///
    /// # Errors
    /// The first field that leaves no attempt, no time or no delay.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.attempts == Some(0) {
            return Err(PolicyError::NoAttempts);
        }
        if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            return Err(PolicyError::Multiplier(self.multiplier));
        }
        if self.max_delay.is_zero() && !self.initial.is_zero() {
            return Err(PolicyError::NoDelay);
        }
        if self.max_time == Some(Duration::ZERO) {
            return Err(PolicyError::NoTime);
        }
        if self.attempt_timeout == Some(Duration::ZERO) {
            return Err(PolicyError::NoAttemptTime);
        }
        Ok(())
    }

    /// The delay after the `failures`-th failure, counted from 1. `random` is uniform in 0..=1. A server's wish raises
    /// the least delay, over the longest if need be, and the jitter comes on top: those whom one server sent away
    /// together do not come back together.
    pub fn delay(&self, failures: u32, random: f64, retry_after: Option<Duration>) -> Duration {
        let (least, most) = self.range(failures);
        let extra = (most - least).mul_f64(random.clamp(0.0, 1.0));
        least.max(retry_after.unwrap_or_default().min(LONGEST)) + extra
    }

    /// The least and the greatest delay after the `failures`-th failure, where no server has asked for more.
    pub fn range(&self, failures: u32) -> (Duration, Duration) {
        let cap = self.max_delay.min(LONGEST);
        let grown = self.grown(failures, cap);
        match self.jitter {
            Jitter::None => (grown, grown),
            Jitter::Proportional => (grown, grown + grown.mul_f64(PROPORTION)),
            Jitter::Full => {
                let floor = FLOOR.min(cap / 2);
                (floor, grown.max(floor * 2).min(cap))
            }
        }
    }

    /// `initial · multiplier^(failures − 1)`, `cap` at most.
    fn grown(&self, failures: u32, cap: Duration) -> Duration {
        if self.initial.is_zero() {
            return Duration::ZERO;
        }
        let seconds = self.initial.as_secs_f64() * self.multiplier.powf(f64::from(failures.max(1) - 1));
        // Of a number and what is not one, `min` takes the number.
        Duration::from_secs_f64(seconds.min(cap.as_secs_f64()).max(0.0)).min(cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn delays_grow_to_the_cap() {
        let policy = Policy { jitter: Jitter::None, ..Policy::default() };
        let delays: Vec<u64> = (1..=8).map(|n| policy.delay(n, 0.7, None).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(policy.delay(u32::MAX, 0.0, None), ms(60_000));
        assert_eq!(policy.delay(0, 0.0, None), ms(1000), "there is no failure before the first");
    }

    #[test]
    fn each_jitter_has_its_range() {
        let of = |jitter, failures| Policy { jitter, ..Policy::default() }.range(failures);
        assert_eq!(of(Jitter::Full, 1), (ms(250), ms(1000)));
        assert_eq!(of(Jitter::Full, 7), (ms(250), ms(60_000)));
        assert_eq!(of(Jitter::Proportional, 1), (ms(1000), ms(1250)));
        assert_eq!(of(Jitter::Proportional, 7), (ms(60_000), ms(75_000)));
        assert_eq!(of(Jitter::None, 3), (ms(4000), ms(4000)));
    }

    #[test]
    fn small_delays_keep_the_floor_and_some_room() {
        let short = Policy { initial: ms(10), ..Policy::default() };
        assert_eq!(short.range(1), (ms(250), ms(500)));
        assert_eq!(Policy { max_delay: ms(100), ..short }.range(9), (ms(50), ms(100)));
        let none = Policy { initial: ms(0), max_delay: ms(0), ..Policy::default() };
        assert_eq!(none.range(9), (ms(0), ms(0)));
        none.validate().unwrap();
    }

    #[test]
    fn a_servers_wish_is_a_floor() {
        let policy = Policy::default();
        assert_eq!(policy.delay(1, 0.0, Some(ms(30_000))), ms(30_000));
        assert_eq!(policy.delay(1, 1.0, Some(ms(30_000))), ms(30_750), "jitter comes on top");
        assert_eq!(policy.delay(1, 0.0, Some(ms(600_000))), ms(600_000), "over the cap");
        assert_eq!(policy.delay(1, 0.5, Some(ms(10))), policy.delay(1, 0.5, None));
        let plain = Policy { jitter: Jitter::None, ..Policy::default() };
        assert_eq!(plain.delay(3, 1.0, Some(ms(3000))), ms(4000));
        assert!(policy.delay(1, 1.0, Some(Duration::MAX)) >= LONGEST, "without overflow");
    }

    #[test]
    fn what_leaves_nothing_to_do_is_refused() {
        let good = Policy::default();
        good.validate().unwrap();
        Policy::endless().validate().unwrap();
        let refused = |policy: Policy| policy.validate().unwrap_err();
        assert_eq!(refused(Policy { attempts: Some(0), ..good.clone() }), PolicyError::NoAttempts);
        assert_eq!(refused(Policy { multiplier: 0.5, ..good.clone() }), PolicyError::Multiplier(0.5));
        assert!(matches!(
            refused(Policy { multiplier: f64::NAN, ..good.clone() }),
            PolicyError::Multiplier(_)
        ));
        assert_eq!(refused(Policy { max_delay: ms(0), ..good.clone() }), PolicyError::NoDelay);
        assert_eq!(refused(Policy { max_time: Some(ms(0)), ..good.clone() }), PolicyError::NoTime);
        assert_eq!(refused(Policy { attempt_timeout: Some(ms(0)), ..good }), PolicyError::NoAttemptTime);
    }
}
