//! The clock of the benchmarks that reckon by CPU time.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CPU time of this thread.
pub fn cpu() -> Duration {
    // It fails only for a clock that the kernel does not know.
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a standard clock"))
}
