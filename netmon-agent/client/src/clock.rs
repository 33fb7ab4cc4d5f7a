//! The only place of this crate that reads a clock.

use std::time::{Duration, Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "the one reader of the clock here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The moment `d` from now; none when that is beyond what the clock can tell, which is as good as never.
pub(crate) fn after(d: Duration) -> Option<Instant> {
    now().checked_add(d)
}

/// Time left until `deadline`; none when it has passed.
pub(crate) fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(now()).filter(|d| !d.is_zero())
}

/// The wall clock, for what is told in dates.
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock here")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
