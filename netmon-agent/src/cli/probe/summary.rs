//! What the probes of one host add up to.

use std::{collections::BTreeMap, time::Duration};

use super::{
    bursts::{Bursts, Jitter},
    quantiles::Quantiles,
};
use crate::{
    observation::{FailureReason, ProbeDetail, ProbeOutcome, StampSource},
    time::Wall,
};

/// The sums of one host's probes.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) inconclusive: u64,
    pub(super) send_errors: u64,
    pub(super) late: u64,
    pub(super) duplicates: u64,
    pub(super) reordered: u64,
    pub(super) corrupted: u64,
    /// How often it failed for each reason.
    pub(super) failures: BTreeMap<FailureReason, u64>,
    /// By [`StampSource`], in its order.
    pub(super) stamps: [u64; 3],
    pub(super) ttl: Ttl,
    pub(super) bursts: Bursts,
    pub(super) phases: Phases,
    /// How many answers had each status.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// As the last answer had it.
    pub(super) certificate_expires: Option<Wall>,
    rtt: Quantiles,
    jitter: Jitter,
}

/// Received times to live.
#[derive(Debug, Default)]
pub(super) struct Ttl {
    /// How many replies had each.
    pub(super) seen: BTreeMap<u8, u64>,
    /// How often it was another than the reply's before: the way has changed, or there are several.
    pub(super) changes: u64,
    last: Option<u8>,
}

/// How long the parts of probes by TCP, DNS and HTTP took.
#[derive(Debug)]
pub(super) struct Phases {
    connect: Quantiles,
    tls: Quantiles,
    request: Quantiles,
}

impl Phases {
    /// The median of each that there was, with its name.
    pub(super) fn medians(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        [("connect", &self.connect), ("tls", &self.tls), ("request", &self.request)]
            .into_iter()
            .filter_map(|(name, phase)| phase.at([0.5]).map(|[median]| (name, median)))
    }
}

impl Summary {
    /// `digits` of round trips are exact once there are hundreds of them.
    pub(super) fn new(digits: u8) -> Self {
        let quantiles = || Quantiles::new(digits);
        Self {
            sent: 0,
            received: 0,
            lost: 0,
            inconclusive: 0,
            send_errors: 0,
            late: 0,
            duplicates: 0,
            reordered: 0,
            corrupted: 0,
            failures: BTreeMap::new(),
            stamps: [0; 3],
            ttl: Ttl::default(),
            bursts: Bursts::default(),
            phases: Phases { connect: quantiles(), tls: quantiles(), request: quantiles() },
            statuses: BTreeMap::new(),
            certificate_expires: None,
            rtt: quantiles(),
            jitter: Jitter::default(),
        }
    }

    /// Counts a step of the probe with this number.
    pub(super) fn take(&mut self, seq: u64, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Sent => self.sent += 1,
            ProbeOutcome::Reply { rtt, stamp, reordered, ttl } => {
                self.received += 1;
                self.reordered += u64::from(*reordered);
                self.stamps[*stamp as usize] += 1;
                self.rtt.take(*rtt);
                self.jitter.take(*rtt);
                self.bursts.take(seq, Some(false));
                if let Some(ttl) = ttl {
                    self.ttl.take(*ttl);
                }
            }
            ProbeOutcome::Failed { reason, .. } => self.fail(seq, *reason),
            ProbeOutcome::Inconclusive { .. } => {
                self.inconclusive += 1;
                self.bursts.take(seq, None);
            }
            ProbeOutcome::Late { .. } => self.late += 1,
            ProbeOutcome::Duplicate => self.duplicates += 1,
            ProbeOutcome::Corrupted => self.corrupted += 1,
            ProbeOutcome::Detail(detail) => self.detail(detail),
        }
    }

    /// What could not be sent is no loss.
    fn fail(&mut self, seq: u64, reason: FailureReason) {
        *self.failures.entry(reason).or_default() += 1;
        let lost = reason != FailureReason::SendError;
        if lost {
            self.lost += 1;
        } else {
            self.send_errors += 1;
        }
        self.bursts.take(seq, lost.then_some(true));
    }

    fn detail(&mut self, detail: &ProbeDetail) {
        let Phases { connect, tls, request } = &mut self.phases;
        for (phase, took) in [(connect, detail.connect), (tls, detail.tls), (request, detail.request)] {
            if let Some(took) = took {
                phase.take(took);
            }
        }
        if let Some(status) = detail.status {
            *self.statuses.entry(status).or_default() += 1;
        }
        self.certificate_expires = detail.certificate_expires.or(self.certificate_expires);
    }

    /// Probes of which it is known what became of them.
    pub(super) fn settled(&self) -> u64 {
        self.received + self.lost + self.inconclusive + self.send_errors
    }

    /// The share lost of those that proved something, 0 to 1.
    pub(super) fn loss(&self) -> f64 {
        match self.received + self.lost {
            0 => 0.0,
            known => self.lost as f64 / known as f64,
        }
    }

    /// Minimum, median, 90th, 99th percentile, maximum; `None` without a reply.
    pub(super) fn quantiles(&self) -> Option<[Duration; 5]> {
        self.rtt.at([0.0, 0.5, 0.9, 0.99, 1.0])
    }

    /// `None` without two replies.
    pub(super) fn jitter(&self) -> Option<Duration> {
        (self.received > 1).then(|| self.jitter.value())
    }

    /// Who took the times, with how many each, best first.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (StampSource, u64)> {
        StampSource::ALL.into_iter().zip(self.stamps).filter(|(_, n)| *n > 0)
    }
}

impl Ttl {
    fn take(&mut self, ttl: u8) {
        *self.seen.entry(ttl).or_default() += 1;
        self.changes += u64::from(self.last.replace(ttl).is_some_and(|last| last != ttl));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn reply(ms: u64) -> ProbeOutcome {
        ProbeOutcome::Reply {
            rtt: Duration::from_millis(ms),
            stamp: StampSource::Kernel,
            ttl: Some(64),
            reordered: false,
        }
    }

    pub(in super::super) fn failed(reason: FailureReason) -> ProbeOutcome {
        ProbeOutcome::Failed { reason, reporter: None }
    }

    pub(in super::super) fn of(outcomes: &[ProbeOutcome]) -> Summary {
        let mut summary = Summary::new(3);
        for (i, outcome) in outcomes.iter().enumerate() {
            summary.take(i as u64 + 1, &ProbeOutcome::Sent);
            summary.take(i as u64 + 1, outcome);
        }
        summary
    }

    #[test]
    fn loss_is_of_what_proved_something() {
        let timeout = failed(FailureReason::Timeout);
        let inconclusive = ProbeOutcome::Inconclusive { lag: Duration::from_secs(1) };
        let summary = of(&[reply(1), timeout, inconclusive, failed(FailureReason::SendError)]);
        assert_eq!(summary.loss(), 0.5);
        assert_eq!(summary.settled(), 4);
        assert_eq!(summary.failures.values().sum::<u64>(), 2);
    }

    #[test]
    fn nothing_received_has_no_round_trip() {
        let summary = of(&[failed(FailureReason::Timeout)]);
        assert_eq!((summary.quantiles(), summary.jitter()), (None, None));
    }

    #[test]
    fn a_way_that_changes_is_seen() {
        let ttl = |ttl| ProbeOutcome::Reply {
            rtt: Duration::from_millis(1),
            stamp: StampSource::User,
            ttl,
            reordered: false,
        };
        let summary = of(&[ttl(Some(64)), ttl(None), ttl(Some(64)), ttl(Some(57)), ttl(Some(64))]);
        assert_eq!((summary.ttl.changes, summary.ttl.seen), (2, [(57, 1), (64, 3)].into()));
    }

    #[test]
    fn phases_are_told_of_what_had_them() {
        let mut summary = Summary::new(3);
        for (ms, status) in [(1, 200), (3, 503), (5, 200)] {
            let took = Some(Duration::from_millis(ms));
            let expires = Some(Wall::from_nanos(ms));
            let detail = ProbeDetail {
                connect: took,
                status: Some(status),
                certificate_expires: expires,
                ..ProbeDetail::default()
            };
            summary.take(ms, &ProbeOutcome::Detail(Box::new(detail)));
        }
        let medians: Vec<_> = summary.phases.medians().collect();
        assert_eq!(medians, [("connect", Duration::from_millis(3))]);
        assert_eq!(summary.statuses, [(200, 2), (503, 1)].into());
        assert_eq!(summary.certificate_expires, Some(Wall::from_nanos(5)));
    }
}
