//! The clocks, as distinct types, and the only place that reads them.
//!
//! | type | clock | counts suspend | steps | used for |
//! |---|---|---|---|---|
//! | [`Mono`] | `CLOCK_MONOTONIC` | no | never | every deadline and every duration in the health core |
//! | [`Boot`] | `CLOCK_BOOTTIME` | yes | never | telling how old a published state is, across processes |
//! | [`Wall`] | `CLOCK_REALTIME` | yes | yes | socket timestamps and what a person reads |
//! | [`DeviceTime`] | a network card's | – | may | hardware stamps, two of one card |
//!
//! They never meet in one subtraction: a wall-clock step spoils no RTT and no deadline.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The readings of a clock, whoever reads it.
macro_rules! clock_of_device {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// A reading made elsewhere, in nanoseconds of this clock.
            pub const fn from_nanos(ns: u64) -> Self {
                Self(ns)
            }

            /// Nanoseconds of this clock.
            pub const fn as_nanos(self) -> u64 {
                self.0
            }

            /// Time elapsed from `earlier` to `self`; zero when `earlier` is later.
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(self.0.saturating_sub(earlier.0))
            }
        }
    };
}

macro_rules! clock {
    ($(#[$doc:meta])* $name:ident, $id:expr) => {
        clock_of_device!($(#[$doc])* $name);

        impl $name {
            /// Reads the clock. Nanoseconds; resolution is the kernel's (1 ns on common hardware).
            pub fn now() -> Self {
                // clock_gettime fails only for a clock id the kernel does not know; these exist since 2.6.39.
                let t = clock_gettime($id).expect("a standard clock");
                Self(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
            }
        }

        impl std::ops::Add<Duration> for $name {
            type Output = Self;
            fn add(self, d: Duration) -> Self {
                Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
            }
        }
    };
}

clock!(
    /// `CLOCK_MONOTONIC`, nanoseconds. Stands still while the machine is suspended.
    Mono,
    ClockId::CLOCK_MONOTONIC
);
clock!(
    /// `CLOCK_BOOTTIME`, nanoseconds since boot, suspend included. The same for every process of the machine.
    Boot,
    ClockId::CLOCK_BOOTTIME
);
clock!(
    /// `CLOCK_REALTIME`, nanoseconds since 1970-01-01 UTC. May step either way at any moment.
    Wall,
    ClockId::CLOCK_REALTIME
);

clock_of_device!(
    /// A network card's own clock, nanoseconds since whenever it likes: what it stamps packets with. Of use only beside
    /// another stamp of the same card.
    DeviceTime
);

/// One instant on the two clocks that never step. Their distance grows by the time spent suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`.
    pub mono: Mono,
    /// `CLOCK_BOOTTIME`.
    pub boot: Boot,
}

impl Moment {
    /// Reads both clocks, one right after the other.
    pub fn now() -> Self {
        Self { mono: Mono::now(), boot: Boot::now() }
    }

    /// A moment `d` later with no suspend in between.
    pub fn after(self, d: Duration) -> Self {
        Self { mono: self.mono + d, boot: self.boot + d }
    }
}

impl Wall {
    /// The wall-clock time at which `then` was, judged by both clocks now. For display only.
    pub fn of(then: Boot, now: Boot, wall_now: Wall) -> Wall {
        Wall(wall_now.0.saturating_sub(now.since(then).as_nanos() as u64))
    }
}

/// Sleeps until `deadline`, on tokio's timer (millisecond resolution).
pub async fn sleep_until(deadline: Mono) {
    tokio::time::sleep(deadline.since(Mono::now())).await;
}
