//! Boot time as wall-clock time, for people and dashboards.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::{Boot, Wall};

/// How far the wall clock may drift before instants in the past are told anew, nanoseconds. Less is slewing: a timestamp that
/// is shown must not crawl with it.
pub(crate) const STEP_NS: u64 = 1_000_000_000;

/// Distance of the wall clock from boot time, held still between steps of the wall clock.
#[derive(Debug, Default)]
pub struct WallAnchor {
    offset: AtomicI64,
}

/// What to add to a boot time to have the wall-clock time, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallOffset(i64);

impl WallAnchor {
    /// The distance, given both clocks now.
    pub fn offset(&self, boot: Boot, wall: Wall) -> WallOffset {
        let now = (wall.as_nanos() as i64).saturating_sub(boot.as_nanos() as i64);
        let held = self.offset.load(Ordering::Relaxed);
        if now.abs_diff(held) < STEP_NS {
            return WallOffset(held);
        }
        self.offset.store(now, Ordering::Relaxed);
        WallOffset(now)
    }

    /// The distance, by the clocks.
    pub fn now(&self) -> WallOffset {
        self.offset(Boot::now(), Wall::now())
    }
}

impl WallOffset {
    /// The wall-clock time of an instant.
    pub fn wall(self, then: Boot) -> Wall {
        Wall::from_nanos((then.as_nanos() as i64).saturating_add(self.0).max(0) as u64)
    }

    /// The distance, nanoseconds.
    pub fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds since 1970, for metrics; to the millisecond.
    pub fn unix_seconds(self, then: Boot) -> f64 {
        (self.wall(then).as_nanos() / 1_000_000) as f64 / 1e3
    }

    /// RFC 3339, UTC, to the millisecond.
    pub fn rfc3339(self, then: Boot) -> String {
        rfc3339(self.wall(then))
    }
}

/// RFC 3339, UTC, to the millisecond.
pub fn rfc3339(wall: Wall) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(wall.as_nanos()))
        .map(|t| format!("{t:.3}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_instant_follows_steps_but_not_slewing() {
        let anchor = WallAnchor::default();
        let s = |n: u64| n * 1_000_000_000;
        let told = |boot: u64, wall: u64| {
            anchor.offset(Boot::from_nanos(boot), Wall::from_nanos(wall)).rfc3339(Boot::from_nanos(s(5)))
        };
        let start = 1_700_000_000;
        assert_eq!(told(s(10), s(start + 10)), "2023-11-14T22:13:25.000Z");
        assert_eq!(told(s(20), s(start + 20) + 400_000_000), "2023-11-14T22:13:25.000Z");
        assert_eq!(told(s(30), s(start + 3630)), "2023-11-14T23:13:25.000Z");
    }
}
