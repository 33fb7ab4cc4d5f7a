//! What is known of one address: counters, the last minute's samples, an hour's history, smoothed RTT, jitter, loss
//! bursts.
//!
//! A probe counts when it was answered or given up, not when it was sent.

mod buckets;
mod counters;
mod departed;
mod figures;
mod history;
mod native;
mod packed;
mod recent;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use counters::{BURST_BUCKETS, ProbeCounters, RTT_BUCKETS, rtt_bucket};
pub use departed::Departed;
pub use figures::{Figures, Quantiles, Span};
pub use native::NativeHistogram;

use crate::{
    observation::{FailureReason, ProbeOutcome},
    time::Mono,
};
use figures::OneSlot;
use history::History;
use recent::Recent;

/// The window of loss and percentiles.
pub const WINDOW: Duration = Duration::from_secs(60);

/// What a piece of the last hour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its begin.
    pub from: Mono,
    /// Its end; of the running minute one that is still to come.
    pub to: Mono,
    /// What became of its probes.
    pub figures: Figures,
}

/// Statistics of one address.
#[derive(Clone, Debug, Default)]
pub struct AddressStats {
    /// Counters since the target was made.
    pub counters: ProbeCounters,
    recent: Recent,
    history: History,
    last_rtt: Option<Duration>,
    /// RFC 6298 smoothed RTT and variation.
    srtt: Option<(Duration, Duration)>,
    /// RFC 3550 section 6.4.1 interarrival jitter, as the estimator's running value in nanoseconds.
    jitter: Option<f64>,
    burst: u64,
    /// Of the last reply that told it.
    ttl: Option<u8>,
    native: Option<NativeHistogram>,
}

impl AddressStats {
    /// None yet; with `native`, a native histogram is kept too.
    pub fn new(native: bool) -> Self {
        Self { native: native.then(NativeHistogram::default), ..Self::default() }
    }

    /// Takes one outcome.
    pub fn record(&mut self, at: Mono, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Sent => {}
            ProbeOutcome::Reply { rtt, ttl, reordered, .. } => {
                self.counters.concluded += 1;
                self.counters.replies += 1;
                self.counters.reordered += u64::from(*reordered);
                self.arrived_with(*ttl);
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
            ProbeOutcome::Corrupted => self.counters.corrupted += 1,
            ProbeOutcome::Detail(_) => {}
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

    /// Received time to live or hop limit of the last reply that told it.
    pub fn ttl(&self) -> Option<u8> {
        self.ttl
    }

    /// Lost and concluded probes of the last [`WINDOW`].
    pub fn loss(&self, now: Mono) -> (usize, usize) {
        self.recent.samples(now).fold((0, 0), |(lost, all), rtt| (lost + usize::from(rtt.is_none()), all + 1))
    }

    /// RTTs of the last [`WINDOW`].
    pub fn rtts(&self, now: Mono) -> impl Iterator<Item = Duration> {
        self.recent.samples(now).flatten()
    }

    /// All RTTs since the target was made, where a native histogram is kept.
    pub fn native(&self) -> Option<&NativeHistogram> {
        self.native.as_ref()
    }

    /// What a window says at `now`. Takes microseconds: for whoever shows it.
    pub fn figures(&self, span: Span, now: Mono, quantiles: &mut Quantiles) -> Figures {
        match span {
            Span::Minute => quantiles.of_samples(self.recent.samples(now)),
            Span::FiveMinutes => quantiles.of_slots(|to| self.history.visit_five_minutes(now, to)),
            Span::Hour => quantiles.of_slots(|to| self.history.visit_hour(now, to)),
        }
    }

    /// The samples of the last [`WINDOW`] as they were, oldest first: how long ago, and the RTT, none of a lost one. 256 at
    /// most.
    pub fn samples(&self, now: Mono) -> impl Iterator<Item = (Duration, Option<Duration>)> {
        self.recent.aged(now)
    }

    /// [`Span::Hour`] in pieces, oldest first: five minutes each, and one minute each of the running five. Those without a
    /// probe are left out.
    pub fn pieces(&self, now: Mono) -> Vec<Piece> {
        let (mut pieces, mut slot) = (Vec::new(), OneSlot::default());
        self.history.each_slot(now, |from, to, show| {
            pieces.push(Piece { from, to, figures: slot.figures(|one| show(one)) });
        });
        pieces
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let native = self.native.as_ref().map_or(0, NativeHistogram::heap);
        self.recent.heap() + self.history.heap() + native
    }

    fn arrived_with(&mut self, ttl: Option<u8>) {
        if let Some(ttl) = ttl {
            let before = self.ttl.replace(ttl);
            self.counters.ttl_changes += u64::from(before.is_some_and(|before| before != ttl));
        }
    }

    fn reply(&mut self, at: Mono, rtt: Duration) {
        self.counters.rtt_buckets[rtt_bucket(rtt.as_secs_f64())] += 1;
        self.counters.rtt_sum += rtt;
        if let Some(native) = &mut self.native {
            native.record(rtt);
        }
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
        let ns = rtt.map(|rtt| u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
        self.recent.record(at, ns);
        self.history.record(at, ns);
    }
}
