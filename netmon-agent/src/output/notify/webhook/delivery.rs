//! When a delivery is tried again, and when no more. Pure.
//!
//! While the network is down nothing is counted: the delivery waits for its end, and so does its age. It has been tried
//! once by then, for a receiver may be near when what is far away is out of reach; and every five minutes it is tried all
//! the same.

use std::time::Duration;

use netmon_client::retry::{Jitter, Policy, Verdict, classify};

use crate::time::Mono;

/// Longest delay between two attempts, and the pace of attempts in an outage.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// Over so long what waited for the end of an outage is spread, a tenth of the outage at most: a fleet that was cut off
/// together does not come back together.
const SPREAD: Duration = Duration::from_secs(10);

/// One notice on its way.
#[derive(Clone, Debug)]
pub struct Delivery {
    policy: Policy,
    failures: u32,
    expires: Mono,
    waiting_since: Option<Mono>,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Mono),
    /// Try again when the network is there, or then.
    Network(Mono),
    /// It is too old.
    Expired,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken.
    Taken,
    /// Another time, perhaps, and not sooner than this.
    Later(Option<Duration>),
    /// The same request will never be taken.
    Never,
}

/// What an answer means, by its status and its `Retry-After`. A redirect is none: it would lead to where nobody has
/// looked.
pub fn judge(status: u16, retry_after: Option<&str>) -> Answer {
    match (status, classify::http(status, retry_after)) {
        (200..=299, _) => Answer::Taken,
        (_, Verdict::Retryable { retry_after }) => Answer::Later(retry_after),
        // Those that the table does not know, and 501, may be a proxy's on the way.
        (500.., _) => Answer::Later(None),
        _ => Answer::Never,
    }
}

impl Delivery {
    /// One that begins now, and is worth nothing when it is older than this.
    pub fn new(now: Mono, max_age: Duration) -> Self {
        let policy =
            Policy { attempts: None, max_delay: MAX_DELAY, jitter: Jitter::Full, ..Policy::default() };
        Self { policy, failures: 0, expires: now + max_age, waiting_since: None }
    }

    /// It could not be delivered: for want of a network, `down`, or with this wish of the receiver's, if any. `random` is
    /// uniform in 0..=1.
    pub fn failed(&mut self, now: Mono, down: bool, retry_after: Option<Duration>, random: f64) -> Next {
        self.end_wait(now);
        if down {
            self.waiting_since = Some(now);
            return Next::Network(now + MAX_DELAY);
        }
        self.failures += 1;
        let at = now + self.policy.delay(self.failures, random, retry_after);
        if at > self.expires { Next::Expired } else { Next::At(at) }
    }

    /// The network is back: when to try again. What failed before is forgotten with the outage.
    pub fn network_is_back(&mut self, now: Mono, random: f64) -> Mono {
        let outage = self.end_wait(now);
        self.failures = 0;
        let most = SPREAD.min(outage / 10);
        now + most.mul_f64(random.clamp(0.0, 1.0))
    }

    fn end_wait(&mut self, now: Mono) -> Duration {
        let waited = self.waiting_since.take().map_or(Duration::ZERO, |since| now.since(since));
        self.expires = self.expires + waited;
        waited
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn each_answer_is_told_apart() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(status, Some("5")), Answer::Taken);
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 505, 599] {
            assert_eq!(judge(status, None), Answer::Later(None), "{status}");
        }
        for status in
            [100, 199, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 418, 499]
        {
            assert_eq!(judge(status, Some("5")), Answer::Never, "{status}");
        }
        assert_eq!(judge(429, Some("7")), Answer::Later(Some(Duration::from_secs(7))));
        assert_eq!(judge(503, Some("soon")), Answer::Later(None));
    }

    #[test]
    fn delays_grow_and_the_receivers_wish_is_kept() {
        let mut delivery = Delivery::new(at(0), HOUR);
        let mut delays = Vec::new();
        for _ in 0..12 {
            let mut once = delivery.clone();
            let Next::At(then) = once.failed(at(10), false, None, 1.0) else { panic!("{once:?}") };
            delays.push(then.since(at(10)).as_secs());
            delivery.failed(at(10), false, None, 0.0);
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        let wish = Some(Duration::from_secs(900));
        let Next::At(then) = delivery.failed(at(10), false, wish, 0.0) else { panic!() };
        assert_eq!(then, at(910));
    }

    #[test]
    fn what_is_too_old_is_given_up() {
        let mut delivery = Delivery::new(at(0), HOUR);
        assert!(matches!(delivery.failed(at(3590), false, None, 0.0), Next::At(_)));
        assert_eq!(delivery.failed(at(3600), false, None, 0.0), Next::Expired);
        let mut delivery = Delivery::new(at(0), HOUR);
        assert_eq!(delivery.failed(at(0), false, Some(HOUR * 2), 0.0), Next::Expired, "too long a wish");
    }

    #[test]
    fn an_outage_costs_neither_attempts_nor_age() {
        let mut delivery = Delivery::new(at(0), HOUR);
        let day = 86_400;
        let mut now = 0;
        // Every five minutes of a day, as long as it is down.
        while now < day {
            let Next::Network(then) = delivery.failed(at(now), true, None, 0.5) else { panic!() };
            assert_eq!(then, at(now + 300));
            now += 300;
        }
        let then = delivery.network_is_back(at(now), 1.0);
        assert_eq!(then, at(now + 10), "spread");
        // As young as before, and the delays begin anew.
        let Next::At(then) = delivery.failed(at(now + 10), false, None, 1.0) else { panic!() };
        assert_eq!(then, at(now + 11));
        assert!(matches!(delivery.failed(at(day + 3590), false, None, 0.0), Next::At(_)));
        assert_eq!(delivery.failed(at(day + 3601), false, None, 0.0), Next::Expired);
    }

    #[test]
    fn a_short_outage_is_hardly_spread() {
        let mut delivery = Delivery::new(at(0), HOUR);
        assert!(matches!(delivery.failed(at(0), true, None, 0.5), Next::Network(_)));
        assert_eq!(delivery.network_is_back(at(5), 1.0).since(at(5)), Duration::from_millis(500));
    }

    proptest! {
        /// Whatever happens, a delivery without an end of failures is given up when the network was there for its age,
        /// and is never tried before it is due.
        #[test]
        fn the_time_with_a_network_is_bounded(
            steps in prop::collection::vec((any::<bool>(), 0.0f64..1.0, prop::option::of(0u64..100)), 1..400),
        ) {
            let mut delivery = Delivery::new(at(0), HOUR);
            let (mut now, mut with_network) = (at(0), Duration::ZERO);
            for (down, random, wish) in steps {
                match delivery.failed(now, down, wish.map(Duration::from_secs), random) {
                    Next::At(then) => {
                        prop_assert!(then.since(now) >= Duration::from_millis(250).max(Duration::from_secs(wish.unwrap_or(0))));
                        with_network += then.since(now);
                        now = then;
                    }
                    Next::Network(then) => {
                        prop_assert!(down);
                        now = then;
                        now = delivery.network_is_back(now, random);
                        with_network += SPREAD;
                    }
                    Next::Expired => {
                        prop_assert!(with_network + MAX_DELAY + Duration::from_secs(100) >= HOUR);
                        return Ok(());
                    }
                }
            }
            prop_assert!(with_network <= HOUR + SPREAD * 400);
        }
    }
}
