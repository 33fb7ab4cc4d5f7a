use std::{
    fmt,
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::Bell;
use crate::clock;

/// Where a blocking [`Retryer`](super::Retryer) has its time from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Time since a fixed origin.
    fn now(&self) -> Duration;

    /// Blocks until `until` (none: without end), or until the bell rings, or shorter.
    fn wait(&self, bell: &Bell, until: Option<Duration>);
}

/// Where an asynchronous [`Retryer`](super::Retryer) has its time from: any runtime's.
pub trait Timer {
    /// Time since a fixed origin.
    fn now(&self) -> Duration;

    /// Is ready `duration` from now.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// The system's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock;

/// The first reading, as far as this crate needs one.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        let now = clock::now();
        now.saturating_duration_since(*ORIGIN.get_or_init(|| now))
    }

    fn wait(&self, bell: &Bell, until: Option<Duration>) {
        match until.map(|until| until.saturating_sub(self.now())) {
            Some(Duration::ZERO) => {}
            most => bell.wait(most),
        }
    }
}

/// The clock of tokio, whose time-driver the runtime needs (`enable_time`). Paused with it.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokioTimer;

#[cfg(feature = "tokio")]
impl Timer for TokioTimer {
    fn now(&self) -> Duration {
        static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
        let now = tokio::time::Instant::now();
        now.saturating_duration_since(*ORIGIN.get_or_init(|| now))
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }
}
