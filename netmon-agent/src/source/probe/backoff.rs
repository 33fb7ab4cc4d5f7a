//! How long an address waits whose probes can't be sent from here. Pure.
//!
//! A probe that leaves and is not answered is the target's affair, and the pace stays (rule R8). One that can't leave
//! for want of a route, a device or a socket finds the same want at its next turn as a rule, and whoever mends it is
//! heard of ([`super::EngineHandle::retry_unsent`]).

use std::time::Duration;

use crate::time::Mono;

/// The longest wait, unless the interval itself is longer.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// Nothing is tried again sooner than this, however often somebody says that things changed: rule R8's own pace.
pub(super) const SHORTEST: Duration = Duration::from_millis(250);

/// Scheduled probes in a row that could not be sent, and when the last was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failed: u8,
    tried: Mono,
}

impl Backoff {
    pub(super) fn is_on(self) -> bool {
        self.failed > 0
    }

    /// Another could not be sent: how long to wait, twice as long each time.
    pub(super) fn failed(&mut self, now: Mono, interval: Duration) -> Duration {
        self.failed = self.failed.saturating_add(1);
        self.tried = now;
        let doubled = 1u32.checked_shl(self.failed.into()).and_then(|n| interval.checked_mul(n));
        doubled.unwrap_or(LONGEST).min(LONGEST).max(interval)
    }

    /// Begins anew: the earliest time to try again.
    pub(super) fn retry(&mut self) -> Mono {
        self.failed = 0;
        self.tried + SHORTEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        let (mut backoff, now) = (Backoff::default(), Mono::from_nanos(1));
        let waits: Vec<u64> =
            (0..300).map(|_| backoff.failed(now, Duration::from_secs(2)).as_secs()).collect();
        assert_eq!(waits[..9], [4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(waits[9..].iter().all(|wait| *wait == 300));
        assert_eq!((backoff.retry(), backoff.is_on()), (now + SHORTEST, false));
        assert_eq!(backoff.failed(now, Duration::from_secs(2)).as_secs(), 4);
    }

    #[test]
    fn an_interval_beyond_that_stays() {
        let hour = Duration::from_secs(3600);
        assert_eq!(Backoff::default().failed(Mono::default(), hour), hour);
    }
}
