//! The only place of this crate that reads a clock.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

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

/// Nanoseconds of `CLOCK_BOOTTIME`: suspend counts, and it is the agent's own clock.
pub(crate) fn boot() -> u64 {
    read(ClockId::Boottime)
}

/// What a read of the state looks at. Nanoseconds.
pub(crate) trait Clocks {
    /// `CLOCK_MONOTONIC`, up to one tick of the kernel old (10 ms at most).
    fn mono(&self) -> u64;
    /// `CLOCK_REALTIME`, as old.
    fn wall(&self) -> u64;
    /// `CLOCK_BOOTTIME`, exact.
    fn boot(&self) -> u64;
}

/// The machine's clocks. The coarse ones are read from memory that the kernel shares with every process (vdso(7)):
/// without a system call, and without the hardware's counter, whatever that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Clocks for System {
    #[inline]
    fn mono(&self) -> u64 {
        read(ClockId::MonotonicCoarse)
    }

    #[inline]
    fn wall(&self) -> u64 {
        read(ClockId::RealtimeCoarse)
    }

    fn boot(&self) -> u64 {
        boot()
    }
}

/// How far two clocks are ahead of `CLOCK_MONOTONIC`, nanoseconds, modulo 2⁶⁴. Steps of the wall clock change the one,
/// suspends change both, and nothing else does: adjustments slew all clocks alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offsets {
    /// `CLOCK_REALTIME`.
    pub(crate) wall: u64,
    /// `CLOCK_BOOTTIME`.
    pub(crate) boot: u64,
}

impl Offsets {
    /// Reads them; of several readings the tightest, as this thread may be held up between two.
    pub(crate) fn now() -> Self {
        let one = || {
            let before = read(ClockId::Monotonic);
            let (wall, boot) = (read(ClockId::Realtime), read(ClockId::Boottime));
            let took = read(ClockId::Monotonic).wrapping_sub(before);
            (took, Self { wall: wall.wrapping_sub(before), boot: boot.wrapping_sub(before) })
        };
        let (first, second) = (one(), one());
        if first.0 <= second.0 { first.1 } else { second.1 }
    }
}

#[inline]
fn read(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    // None of these clocks was ever before its zero; in nanoseconds they last until the year 2554.
    (t.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(t.tv_nsec as u64)
}

/// The wall clock, for what is told in dates.
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock here")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
