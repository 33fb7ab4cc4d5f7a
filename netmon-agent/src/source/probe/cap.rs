//! How many probes may leave: a token bucket, one token a probe. Pure.

use std::time::Duration;

use crate::time::Mono;

/// The bucket holds what comes in during this time: room for the 256 new targets that are probed at once at the default
/// rate of 10,000 a second, and for a turn that comes late.
const DEPTH: Duration = Duration::from_millis(50);

/// Once empty, it is waited for until so much has come in, so that many waiting probes are not as many wake-ups.
const BATCH: Duration = Duration::from_millis(10);

/// In any time `t`, at most `rate` × (`t` + 50 ms) probes, and one at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cap {
    /// Tokens a second; infinite where there is no cap.
    rate: f64,
    tokens: f64,
    filled: Mono,
}

impl Cap {
    /// None at all.
    pub(super) fn none() -> Self {
        Self { rate: f64::INFINITY, tokens: f64::INFINITY, filled: Mono::default() }
    }

    /// From now on this many a second; anything but a positive number lifts the cap.
    pub(super) fn set(&mut self, now: Mono, rate: f64) {
        self.fill(now);
        *self = match rate > 0.0 && rate.is_finite() {
            true => Self { rate, tokens: self.tokens.min(depth(rate)), filled: now },
            false => Self::none(),
        };
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Mono) -> bool {
        self.fill(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    /// Nothing was sent for the token taken last.
    pub(super) fn put_back(&mut self) {
        self.tokens += 1.0;
    }

    /// When it is worth the while to ask for tokens.
    pub(super) fn ready(&self) -> Mono {
        if self.tokens >= 1.0 {
            return self.filled;
        }
        let enough = (self.rate * BATCH.as_secs_f64()).max(1.0);
        // A rate next to nothing gives a time that no duration holds.
        self.filled + Duration::try_from_secs_f64((enough - self.tokens) / self.rate).unwrap_or(Duration::MAX)
    }

    fn fill(&mut self, now: Mono) {
        if self.rate.is_finite() {
            let more = self.rate * now.since(self.filled).as_secs_f64();
            self.tokens = (self.tokens + more).min(depth(self.rate));
            self.filled = self.filled.max(now);
        }
    }
}

fn depth(rate: f64) -> f64 {
    (rate * DEPTH.as_secs_f64()).max(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(t: u64) -> Mono {
        Mono::from_nanos(1_000_000_000 + t * 1_000_000)
    }

    #[test]
    fn without_a_cap_every_probe_has_its_token() {
        let mut cap = Cap::none();
        assert!((0..1_000_000).all(|_| cap.take(ms(0))));
        cap.set(ms(0), 10.0);
        assert!(cap.take(ms(0)) && !cap.take(ms(0)));
        cap.set(ms(0), f64::INFINITY);
        assert!((0..100).all(|_| cap.take(ms(0))));
    }

    #[test]
    fn a_rate_next_to_nothing_waits_for_ever() {
        let mut cap = Cap::none();
        cap.set(ms(0), f64::MIN_POSITIVE);
        assert!(cap.take(ms(0)) && !cap.take(ms(1_000)));
        assert!(cap.ready().since(ms(0)) > Duration::from_secs(100 * 365 * 86_400));
    }

    #[test]
    fn an_empty_bucket_tells_when_it_is_worth_asking() {
        let mut cap = Cap::none();
        cap.set(ms(0), 1_000.0);
        while cap.take(ms(0)) {}
        let at = cap.ready();
        assert_eq!(at.since(ms(0)).as_millis(), 10);
        assert_eq!((0..50).filter(|_| cap.take(at)).count(), 10);
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_than_its_share(
            rate in 1.0f64..50_000.0,
            asks in proptest::collection::vec((0u64..200, 0usize..300), 1..100),
        ) {
            let mut cap = Cap::none();
            cap.set(ms(0), rate);
            let (mut t, mut granted) = (0, Vec::new());
            for (pause, wanted) in asks {
                t += pause;
                granted.push((t, (0..wanted).filter(|_| cap.take(ms(t))).count()));
            }
            for from in 0..granted.len() {
                let mut sum = 0;
                for (at, count) in &granted[from..] {
                    sum += count;
                    let time = (at - granted[from].0) as f64 / 1e3;
                    prop_assert!(sum as f64 <= rate * time + (rate * 0.05).max(1.0) + 1e-6);
                }
            }
        }
    }
}
