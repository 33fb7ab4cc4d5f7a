//! What is known of one address: counters, the last minute's samples, smoothed RTT, jitter, loss bursts.

use std::{collections::VecDeque, time::Duration};

use crate::{
    observation::{FailureReason, ProbeOutcome},
    time::Mono,
};

/// Upper bounds of the RTT histogram's buckets, seconds: 50 µs to 10 s. The last bucket is +Inf.
pub const RTT_BUCKETS: [f64; 18] = [
    50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// Upper bounds of the loss-burst histogram's buckets, probes in a row. The last bucket is +Inf.
pub const BURST_BUCKETS: [u64; 8] = [1, 2, 3, 5, 10, 20, 50, 100];

/// The window of loss and percentiles.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Samples kept of a window at most: a minute of bursts at the recovery pace.
const WINDOW_SAMPLES: usize = 256;

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
    /// Replies by RTT, not cumulative: one per [`RTT_BUCKETS`] and +Inf.
    pub rtt_buckets: [u64; RTT_BUCKETS.len() + 1],
    /// Sum of RTTs.
    pub rtt_sum: Duration,
    /// Completed loss bursts by length, not cumulative: one per [`BURST_BUCKETS`] and +Inf.
    pub burst_buckets: [u64; BURST_BUCKETS.len() + 1],
    /// Sum of their lengths.
    pub burst_sum: u64,
}

/// Index of the bucket that holds `seconds`.
pub fn rtt_bucket(seconds: f64) -> usize {
    RTT_BUCKETS.partition_point(|bound| *bound < seconds)
}

/// Statistics of one address.
#[derive(Clone, Debug, Default)]
pub struct AddressStats {
    /// Counters since the target was made.
    pub counters: ProbeCounters,
    /// The last minute: time of conclusion and RTT, or none for a lost one.
    window: VecDeque<(Mono, Option<Duration>)>,
    last_rtt: Option<Duration>,
    /// RFC 6298 smoothed RTT and variation.
    srtt: Option<(Duration, Duration)>,
    /// RFC 3550 section 6.4.1 interarrival jitter, as the estimator's running value in nanoseconds.
    jitter: Option<f64>,
    burst: u64,
}

impl AddressStats {
    /// Takes one outcome.
    pub fn record(&mut self, at: Mono, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Sent => {}
            ProbeOutcome::Reply { rtt, reordered, .. } => {
                self.counters.concluded += 1;
                self.counters.replies += 1;
                self.counters.reordered += u64::from(*reordered);
                self.reply(at, *rtt);
            }
            ProbeOutcome::Failed { reason, .. } => {
                self.counters.concluded += 1;
                self.counters.failures[*reason as usize] += 1;
                // A local send that failed is no loss of the path's, and says nothing of a burst.
                if *reason != FailureReason::SendError {
                    self.push(at, None);
                    self.burst += 1;
                }
            }
            ProbeOutcome::Inconclusive { .. } => {
                self.counters.concluded += 1;
                self.counters.inconclusive += 1;
            }
            ProbeOutcome::Late { .. } => self.counters.late += 1,
            ProbeOutcome::Duplicate => self.counters.duplicates += 1,
            ProbeOutcome::Corrupted | ProbeOutcome::Detail(_) => {}
        }
    }

    /// RTT of the last reply.
    pub fn last_rtt(&self) -> Option<Duration> {
        self.last_rtt
    }

    /// RFC 3550 jitter; none before the second reply.
    pub fn jitter(&self) -> Option<Duration> {
        self.jitter.map(|j| Duration::from_nanos(j as u64))
    }

    /// How long a reply may take before it is suspect by its own history: SRTT + 4·RTTVAR (R4).
    pub fn expected_within(&self) -> Option<Duration> {
        self.srtt.map(|(srtt, var)| srtt + var * 4)
    }

    /// Lost and concluded probes of the last [`WINDOW`].
    pub fn loss(&self, now: Mono) -> (usize, usize) {
        self.recent(now).fold((0, 0), |(lost, all), (_, rtt)| (lost + usize::from(rtt.is_none()), all + 1))
    }

    /// RTTs of the last [`WINDOW`].
    pub fn rtts(&self, now: Mono) -> impl Iterator<Item = Duration> {
        self.recent(now).filter_map(|(_, rtt)| *rtt)
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.window.capacity() * size_of::<(Mono, Option<Duration>)>()
    }

    fn recent(&self, now: Mono) -> impl Iterator<Item = &(Mono, Option<Duration>)> {
        self.window.iter().filter(move |(at, _)| now.since(*at) <= WINDOW)
    }

    fn reply(&mut self, at: Mono, rtt: Duration) {
        self.counters.rtt_buckets[rtt_bucket(rtt.as_secs_f64())] += 1;
        self.counters.rtt_sum += rtt;
        if self.burst > 0 {
            self.counters.burst_buckets[BURST_BUCKETS.partition_point(|b| *b < self.burst)] += 1;
            self.counters.burst_sum += self.burst;
            self.burst = 0;
        }
        if let Some(last) = self.last_rtt {
            // Probes are echoed at once, so the difference of transit times is the difference of RTTs.
            let d = rtt.abs_diff(last).as_nanos() as f64;
            let j = self.jitter.get_or_insert(0.0);
            *j += (d - *j) / 16.0;
        }
        self.srtt = Some(match self.srtt {
            None => (rtt, rtt / 2),
            Some((srtt, var)) => ((srtt * 7 + rtt) / 8, (var * 3 + srtt.abs_diff(rtt)) / 4),
        });
        self.last_rtt = Some(rtt);
        self.push(at, Some(rtt));
    }

    fn push(&mut self, at: Mono, rtt: Option<Duration>) {
        while self.window.len() >= WINDOW_SAMPLES
            || self.window.front().is_some_and(|(old, _)| at.since(*old) > WINDOW)
        {
            self.window.pop_front();
        }
        self.window.push_back((at, rtt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::StampSource;

    fn reply(ms: u64) -> ProbeOutcome {
        let rtt = Duration::from_millis(ms);
        ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: None, reordered: false }
    }

    fn lost() -> ProbeOutcome {
        ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None }
    }

    fn s(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000_000)
    }

    #[test]
    fn loss_is_of_the_last_minute() {
        let mut stats = AddressStats::default();
        for t in 0..100 {
            stats.record(s(t), &if t < 50 { lost() } else { reply(1) });
        }
        assert_eq!(stats.loss(s(100)), (10, 60));
        assert_eq!(stats.loss(s(1000)), (0, 0));
        assert_eq!(stats.counters.failures[FailureReason::Timeout as usize], 50);
        assert_eq!((stats.counters.burst_buckets[6], stats.counters.burst_sum), (1, 50));
    }

    #[test]
    fn a_failed_local_send_is_no_loss() {
        let mut stats = AddressStats::default();
        stats.record(s(1), &ProbeOutcome::Failed { reason: FailureReason::SendError, reporter: None });
        assert_eq!(stats.loss(s(1)), (0, 0));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut stats = AddressStats::default();
        for (t, ms) in [(1, 10), (2, 26), (3, 10)] {
            stats.record(s(t), &reply(ms));
        }
        // J1 = 16/16 = 1 ms; J2 = 1 + (16 − 1)/16 = 1.9375 ms.
        assert_eq!(stats.jitter(), Some(Duration::from_nanos(1_937_500)));
    }

    #[test]
    fn buckets_take_their_upper_bound() {
        assert_eq!(rtt_bucket(50e-6), 0);
        assert_eq!(rtt_bucket(51e-6), 1);
        assert_eq!(rtt_bucket(11.0), RTT_BUCKETS.len());
    }
}
