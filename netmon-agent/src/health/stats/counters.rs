//! What became of the probes to one address, counted.

use std::time::Duration;

use crate::observation::FailureReason;

/// Upper bounds of the RTT histogram's buckets, seconds: 50 µs to 10 s. The last bucket is +Inf.
pub const RTT_BUCKETS: [f64; 18] = [
    50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// Upper bounds of the loss-burst histogram's buckets, probes in a row. The last bucket is +Inf.
pub const BURST_BUCKETS: [u64; 8] = [1, 2, 3, 5, 10, 20, 50, 100];

/// What became of the probes to one address, since the target was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeCounters {
    /// Probes that were concluded: answered, failed or inconclusive.
    pub concluded: u64,
    /// Answered in time.
    pub replies: u64,
    /// Failed, in the order of [`FailureReason::ALL`].
    pub failures: [u64; FailureReason::ALL.len()],
    /// Concluded without proof either way (R13).
    pub inconclusive: u64,
    /// Answered after they were given up.
    pub late: u64,
    /// Second answers.
    pub duplicates: u64,
    /// Answers out of order.
    pub reordered: u64,
    /// Answers whose payload was another than was sent. None of them counts as a reply.
    pub corrupted: u64,
    /// Replies whose TTL or hop limit was another than that of the reply before: the way back has changed.
    pub ttl_changes: u64,
    /// Replies by RTT, not cumulative: one per [`RTT_BUCKETS`] and +Inf.
    pub rtt_buckets: [u64; RTT_BUCKETS.len() + 1],
    /// Sum of RTTs.
    pub rtt_sum: Duration,
    /// Completed loss bursts by length, not cumulative: one per [`BURST_BUCKETS`] and +Inf.
    pub burst_buckets: [u64; BURST_BUCKETS.len() + 1],
    /// Sum of their lengths.
    pub burst_sum: u64,
}

impl ProbeCounters {
    /// Probes lost on the way or at the target. One that could not be sent from here is none of them.
    pub fn lost(&self) -> u64 {
        self.failures.iter().sum::<u64>() - self.failures[FailureReason::SendError as usize]
    }

    /// Counts all that `more` has.
    pub fn add(&mut self, more: &Self) {
        // Taken apart by name, so that a new counter can't be forgotten here.
        let Self {
            concluded,
            replies,
            failures,
            inconclusive,
            late,
            duplicates,
            reordered,
            corrupted,
            ttl_changes,
            rtt_buckets,
            rtt_sum,
            burst_buckets,
            burst_sum,
        } = more;
        let all = |sum: &mut [u64], more: &[u64]| sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
        self.concluded += concluded;
        self.replies += replies;
        all(&mut self.failures, failures);
        self.inconclusive += inconclusive;
        self.late += late;
        self.duplicates += duplicates;
        self.reordered += reordered;
        self.corrupted += corrupted;
        self.ttl_changes += ttl_changes;
        all(&mut self.rtt_buckets, rtt_buckets);
        self.rtt_sum += *rtt_sum;
        all(&mut self.burst_buckets, burst_buckets);
        self.burst_sum += burst_sum;
    }
}

/// Index of the bucket that holds `seconds`.
pub fn rtt_bucket(seconds: f64) -> usize {
    RTT_BUCKETS.partition_point(|bound| *bound < seconds)
}
