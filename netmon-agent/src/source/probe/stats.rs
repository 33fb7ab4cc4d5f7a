//! What the engine counts about itself.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{observation::StampSource, time::Mono};

/// Upper bounds of the scheduler lag's buckets, seconds; one more bucket holds what is above.
pub const LAG_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// Why a probe that was due did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The engine ran so late that its turn had passed.
    Lag,
    /// The socket's send buffer was full.
    SendBuffer,
    /// No socket can send it, and no fallback port was given.
    NoSocket,
    /// Its turn passed while it waited for the cap on probes a second.
    RateCap,
    /// There was no file descriptor, or no memory, for a socket.
    NoDescriptor,
}

impl SkipReason {
    /// Every value.
    pub const ALL: [Self; 5] =
        [Self::Lag, Self::SendBuffer, Self::NoSocket, Self::RateCap, Self::NoDescriptor];

    /// The word for it in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::SendBuffer => "send_buffer",
            Self::NoSocket => "no_socket",
            Self::RateCap => "rate_cap",
            Self::NoDescriptor => "no_descriptor",
        }
    }
}

/// A reading of the engine's counters. All but `lanes` count up from the engine's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Addresses being probed.
    pub lanes: u64,
    /// Probes sent.
    pub sent: u64,
    /// Probes that were due and did not leave, in the order of [`SkipReason::ALL`].
    pub skipped: [u64; SkipReason::ALL.len()],
    /// Sends the kernel refused.
    pub send_errors: u64,
    /// Replies by who took their time, in the order of [`StampSource::ALL`].
    pub stamps: [u64; 3],
    /// Kernel stamps that could not be used because the wall clock stepped.
    pub clock_steps: u64,
    /// How late the engine woke for what was due, by the buckets of [`LAG_BUCKETS`] (not cumulated).
    pub lag: [u64; LAG_BUCKETS.len() + 1],
    /// The sum of the above lags.
    pub lag_sum: Duration,
    /// Datagrams the kernel dropped because the engine's buffers were full. Its probes are inconclusive.
    pub receive_drops: u64,
    /// Replies and error reports that matched no probe: of other programs, too old, or forged; and second or damaged
    /// answers to one probe, beyond those few that are told.
    pub unmatched: u64,
    /// Sockets opened anew after a sudden total loss.
    pub reopened: u64,
    /// TCP connections closed by a reset instead of a FIN (see the TCP method).
    pub tcp_resets: u64,
}

/// The same, as they are counted: by the engine's thread alone, read by any.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) lanes: AtomicU64,
    pub(super) sent: AtomicU64,
    skipped: [AtomicU64; SkipReason::ALL.len()],
    pub(super) send_errors: AtomicU64,
    stamps: [AtomicU64; 3],
    pub(super) clock_steps: AtomicU64,
    lag: [AtomicU64; LAG_BUCKETS.len() + 1],
    lag_sum: AtomicU64,
    pub(super) receive_drops: AtomicU64,
    pub(super) unmatched: AtomicU64,
    pub(super) reopened: AtomicU64,
    pub(super) tcp_resets: AtomicU64,
    /// When the engine's thread last began a turn, [`Mono`] nanoseconds.
    pub(super) turned: AtomicU64,
}

/// There is one writer, so no locked instruction is needed.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl Counters {
    pub(super) fn skipped(&self, reason: SkipReason, n: u64) {
        add(&self.skipped[reason as usize], n);
    }

    pub(super) fn stamped(&self, source: StampSource) {
        add(&self.stamps[source as usize], 1);
    }

    pub(super) fn lagged(&self, lag: Duration) {
        let bucket = LAG_BUCKETS.iter().position(|b| lag.as_secs_f64() <= *b).unwrap_or(LAG_BUCKETS.len());
        add(&self.lag[bucket], 1);
        add(&self.lag_sum, lag.as_nanos() as u64);
    }

    pub(super) fn turned(&self, now: Mono) {
        self.turned.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stats {
            lanes: get(&self.lanes),
            sent: get(&self.sent),
            skipped: self.skipped.each_ref().map(get),
            send_errors: get(&self.send_errors),
            stamps: self.stamps.each_ref().map(get),
            clock_steps: get(&self.clock_steps),
            lag: self.lag.each_ref().map(get),
            lag_sum: Duration::from_nanos(get(&self.lag_sum)),
            receive_drops: get(&self.receive_drops),
            unmatched: get(&self.unmatched),
            reopened: get(&self.reopened),
            tcp_resets: get(&self.tcp_resets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_falls_in_the_first_bucket_that_holds_it() {
        let counters = Counters::default();
        for ms in [0, 1, 100, 101, 5_000] {
            counters.lagged(Duration::from_millis(ms));
        }
        let stats = counters.read();
        assert_eq!(stats.lag, [1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1]);
        assert_eq!(stats.lag_sum, Duration::from_millis(5_202));
    }

    #[test]
    fn every_reason_and_source_has_its_own_counter() {
        let counters = Counters::default();
        for reason in SkipReason::ALL {
            counters.skipped(reason, reason as u64 + 1);
        }
        for source in StampSource::ALL {
            counters.stamped(source);
        }
        assert_eq!((counters.read().skipped, counters.read().stamps), ([1, 2, 3, 4, 5], [1, 1, 1]));
    }
}
