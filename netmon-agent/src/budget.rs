//! The retry budget of this machine (pure): one token bucket for all programs that retry, fairly shared by user.
//!
//! A retry costs tokens, a success gives them back, and time does: while most things work nobody notices it, and when
//! nothing does, it runs dry and retries come at the pace of the refill, however many programs there are. It is what the
//! AWS SDKs call a retry quota, there one a process.
//!
//! **By user.** While there are tokens anybody may take any number. When they are used up, whoever has spent less than
//! an equal share of the bucket is served all the same, and the refill is spread evenly over those who have spent. So
//! one user that drains it for spite leaves every other one its share: half of the bucket where there are two, at half
//! the pace of the refill. The price is that `n` users together may spend up to `1 + 1/2 + … + 1/n` buckets.

use std::{collections::BTreeMap, time::Duration};

use crate::time::Boot;

/// What the budget is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Tokens in a full bucket.
    pub tokens: u32,
    /// What a retry after a transient failure costs.
    pub transient: u32,
    /// What a retry costs where the other side asked to slow down.
    pub throttle: u32,
    /// Tokens that come back each second.
    pub per_second: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tokens: 500, transient: 14, throttle: 5, per_second: 1.0 }
    }
}

/// Whether a retry may be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grant {
    /// It may.
    pub granted: bool,
    /// What the user could take now.
    pub tokens: f64,
    /// When it would be granted; zero when it is.
    pub retry_after: Duration,
}

/// The bucket: what each user has spent and did not get back yet.
#[derive(Clone, Debug)]
pub struct Bucket {
    settings: Settings,
    /// Users without an entry have spent nothing. Bounded: beyond the bucket an equal share has to hold one cost.
    spent: BTreeMap<u32, f64>,
    at: Boot,
}

/// What sums of inexact numbers may be off by.
const TOLERANCE: f64 = 1e-6;

impl Bucket {
    /// A full one.
    pub fn new(settings: Settings, now: Boot) -> Self {
        Self { settings, spent: BTreeMap::new(), at: now }
    }

    /// What it was made from.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Takes `cost` tokens for user `uid`, if they are there for this user.
    pub fn take(&mut self, now: Boot, uid: u32, cost: u32) -> Grant {
        self.refill(now);
        let cost = f64::from(cost);
        let available = self.available(uid);
        if cost <= available + TOLERANCE {
            *self.spent.entry(uid).or_default() += cost;
            return Grant { granted: true, tokens: self.available(uid), retry_after: Duration::ZERO };
        }
        // What is free grows by all that comes back, its own share by its part of it, as long as it has spent something.
        let (whole, users) = (f64::from(self.settings.tokens), self.users(uid));
        let own = self.spent.get(&uid).copied().unwrap_or_default();
        let of_all = cost - (whole - self.total());
        let of_share = cost - (whole / users - own);
        let by_share = if of_share <= own { of_share * users } else { f64::INFINITY };
        let seconds = of_all.min(by_share) / self.settings.per_second;
        let retry_after = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Grant { granted: false, tokens: available, retry_after }
    }

    /// Gives back to user `uid` what a retry had cost that succeeded: no more than this user has spent.
    pub fn give_back(&mut self, now: Boot, uid: u32, tokens: u32) -> Grant {
        self.refill(now);
        if let Some(spent) = self.spent.get_mut(&uid) {
            *spent -= f64::from(tokens);
        }
        self.forget();
        Grant { granted: true, tokens: self.available(uid), retry_after: Duration::ZERO }
    }

    /// What is left of the whole bucket.
    pub fn tokens(&mut self, now: Boot) -> f64 {
        self.refill(now);
        (f64::from(self.settings.tokens) - self.total()).max(0.0)
    }

    /// What `uid` may take: all that is left, or what is missing to an equal share.
    fn available(&self, uid: u32) -> f64 {
        let whole = f64::from(self.settings.tokens);
        let own = self.spent.get(&uid).copied().unwrap_or_default();
        (whole - self.total()).max(whole / self.users(uid) - own).max(0.0)
    }

    fn total(&self) -> f64 {
        self.spent.values().sum()
    }

    /// How many have spent something, `uid` among them in any case.
    fn users(&self, uid: u32) -> f64 {
        (self.spent.len() + usize::from(!self.spent.contains_key(&uid))) as f64
    }

    /// Spreads what came back since the last look evenly over those who have spent; what one does not need is for the
    /// others.
    fn refill(&mut self, now: Boot) {
        let mut back = now.since(self.at).as_secs_f64() * self.settings.per_second;
        self.at = self.at.max(now);
        while back > 0.0 && !self.spent.is_empty() {
            let users = self.spent.len() as f64;
            let least = self.spent.values().copied().fold(f64::INFINITY, f64::min);
            let each = least.min(back / users);
            self.spent.values_mut().for_each(|spent| *spent -= each);
            back -= each * users;
            self.forget();
            if each < least {
                break;
            }
        }
    }

    fn forget(&mut self) {
        self.spent.retain(|_, spent| *spent > TOLERANCE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn full() -> (Bucket, Boot) {
        let now = Boot::from_nanos(1_000_000_000_000);
        (Bucket::new(Settings::default(), now), now)
    }

    /// Takes until it is refused; how often it was granted.
    fn drain(bucket: &mut Bucket, now: Boot, uid: u32, cost: u32) -> usize {
        (0..10_000).take_while(|_| bucket.take(now, uid, cost).granted).count()
    }

    #[test]
    fn a_bucket_of_500_is_35_retries_and_then_one_in_14_seconds() {
        let (mut bucket, now) = full();
        assert_eq!(drain(&mut bucket, now, 0, 14), 35);
        let refused = bucket.take(now, 0, 14);
        assert_eq!((refused.granted, refused.tokens), (false, 10.0));
        assert_eq!(refused.retry_after, S(4));
        assert!(!bucket.take(now + S(3), 0, 14).granted);
        assert!(bucket.take(now + S(4), 0, 14).granted);
        assert_eq!(drain(&mut bucket, now + S(4 + 140), 0, 14), 10);
        assert_eq!(drain(&mut bucket, now + S(100_000), 0, 5), 100);
    }

    #[test]
    fn a_success_gives_back_what_was_spent_and_no_more() {
        let (mut bucket, now) = full();
        assert_eq!(drain(&mut bucket, now, 7, 14), 35);
        assert!(bucket.give_back(now, 7, 14).granted);
        assert!((bucket.tokens(now) - 24.0).abs() < 1e-9);
        for _ in 0..1000 {
            bucket.give_back(now, 7, 14);
            bucket.give_back(now, 8, 14);
        }
        assert_eq!(bucket.tokens(now), 500.0);
        assert_eq!(drain(&mut bucket, now, 7, 14), 35);
    }

    #[test]
    fn one_who_drains_it_leaves_the_others_their_share() {
        let (mut bucket, now) = full();
        const SPITE: u32 = 1000;
        assert_eq!(drain(&mut bucket, now, SPITE, 1), 500);
        assert_eq!(drain(&mut bucket, now, 0, 14), 17, "half of the bucket");
        assert!(!bucket.take(now, SPITE, 1).granted);
        // Whoever takes all that comes back cannot keep root from its half of it.
        let mut granted = 0;
        for second in 1..=280 {
            let later = now + S(second);
            drain(&mut bucket, later, SPITE, 1);
            granted += usize::from(bucket.take(later, 0, 14).granted);
        }
        assert!((9..=11).contains(&granted), "{granted} retries of 14 tokens from half of 280");
    }

    #[test]
    fn the_refill_is_shared_by_those_who_have_spent() {
        let (mut bucket, now) = full();
        bucket.take(now, 1, 4);
        bucket.take(now, 2, 100);
        bucket.take(now, 3, 100);
        // Twelve seconds: four each; then eight for two.
        bucket.refill(now + S(20));
        assert_eq!(bucket.spent, BTreeMap::from([(2, 92.0), (3, 92.0)]));
        assert_eq!(
            bucket.tokens(now),
            bucket.tokens(now + S(20)),
            "a clock that stands back changes nothing"
        );
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_told_and_nothing_is_spent_beyond_the_bound(
            steps in prop::collection::vec((0u32..6, 0u64..40, 0u8..3, any::<bool>()), 1..200)
        ) {
            let (mut bucket, mut now) = full();
            for (uid, seconds, kind, back) in steps {
                now = now + S(seconds);
                let cost = [14, 5, 1][usize::from(kind)];
                if back {
                    bucket.give_back(now, uid, cost);
                } else {
                    let grant = bucket.take(now, uid, cost);
                    prop_assert!(grant.granted == grant.retry_after.is_zero());
                    if !grant.granted {
                        let told = now + grant.retry_after + Duration::from_millis(1);
                        prop_assert!(bucket.clone().take(told, uid, cost).granted, "told {:?}", grant);
                    }
                }
                // 500 · (1 + 1/2 + … + 1/6)
                prop_assert!(bucket.total() <= 1225.0 + 1e-3 && bucket.spent.values().all(|s| *s > 0.0));
                prop_assert!(bucket.spent.values().all(|s| *s <= 500.0 + 1e-3));
            }
        }
    }
}
