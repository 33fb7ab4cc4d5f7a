//! One address of one target: all that its probes tell, brought together (R4, R8, R9, R11).

use std::{net::IpAddr, sync::Arc};

use super::{
    details::LastDetail,
    fsm::AddressFsm,
    latency::Latency,
    loss::Loss,
    progress::Echoes,
    reach::{Reach, Way},
    sampling::Sampler,
    settings::Settings,
    stats::AddressStats,
    verdict::{Reason, State},
};
use crate::{
    observation::{ProbeEvent, ProbeOutcome},
    time::Mono,
};

/// Evidence of one address.
#[derive(Clone, Debug)]
pub struct AddressEvidence {
    /// The address.
    pub address: IpAddr,
    /// Its state machine.
    pub fsm: AddressFsm,
    /// Its statistics, shared with the snapshots that were made since they last changed.
    pub stats: Arc<AddressStats>,
    /// What its last probe told beside.
    pub detail: LastDetail,
    /// Whether a route to it stands.
    pub reach: Reach,
    /// Which way packets to it leave.
    pub way: Option<Way>,
    pub(super) echoes: Echoes,
    pub(super) sampler: Sampler,
    pub(super) loss: Loss,
    pub(super) latency: Latency,
}

impl AddressEvidence {
    pub(super) fn new(
        address: IpAddr,
        reach: Reach,
        way: Option<Way>,
        links_known: bool,
        native: bool,
    ) -> Self {
        let mut fsm = AddressFsm::default();
        if links_known && !reach.stands() {
            fsm.force_down();
        }
        Self {
            address,
            fsm,
            stats: Arc::new(AddressStats::new(native)),
            detail: LastDetail::default(),
            reach,
            way,
            echoes: Echoes::default(),
            sampler: Sampler::default(),
            loss: Loss::default(),
            latency: Latency::default(),
        }
    }

    /// Takes what became of a probe. Whether the judgement of its target may be another now.
    pub(super) fn probed(&mut self, at: Mono, event: &ProbeEvent, settings: &Settings) -> bool {
        Arc::make_mut(&mut self.stats).record(at, &event.outcome);
        self.detail.record(event.seq, &event.outcome);
        let before = (self.fsm.state(), self.fsm.last_failure(), self.is_impaired());
        match event.outcome {
            ProbeOutcome::Sent => {
                let late_after = self.stats.expected_within().unwrap_or_default().max(settings.suspect_min);
                self.fsm.sent(at, event.seq, late_after);
                if self.fsm.state() != State::Down {
                    self.sampler.sent(at, event.seq);
                }
            }
            ProbeOutcome::Reply { .. } => {
                self.fsm.replied(at, event.seq, settings);
                self.loss.replied();
            }
            ProbeOutcome::Failed { reason, .. } => self.fsm.failed(at, event.seq, reason, settings),
            ProbeOutcome::Inconclusive { .. } => self.fsm.inconclusive(at, event.seq),
            ProbeOutcome::Late { .. }
            | ProbeOutcome::Duplicate
            | ProbeOutcome::Corrupted
            | ProbeOutcome::Detail(_) => return false,
        }
        if before.0 != State::Down && self.fsm.state() == State::Down {
            self.outage(at);
        }
        let sampled = event.outcome != ProbeOutcome::Sent && self.sampler.concluded(event.seq);
        if sampled {
            self.sample(at, &event.outcome, settings);
        }
        // While it is impaired, each sample changes the numbers in the reason.
        (sampled && self.is_impaired())
            || before != (self.fsm.state(), self.fsm.last_failure(), self.is_impaired())
    }

    fn sample(&mut self, at: Mono, outcome: &ProbeOutcome, settings: &Settings) {
        match outcome {
            ProbeOutcome::Reply { rtt, .. } => {
                self.loss.record(at, false, settings);
                let steady = self.fsm.state() == State::Up && !self.loss.is_degraded();
                self.latency.record(at, *rtt, steady, settings);
            }
            ProbeOutcome::Failed { .. } => self.loss.record(at, true, settings),
            _ => {}
        }
    }

    /// It is down: what R9 and R11 see of the outage is no evidence for them.
    fn outage(&mut self, at: Mono) {
        self.sampler.forget();
        self.loss.outage(at);
        self.latency.outage();
    }

    /// R3: its link is lost.
    pub(super) fn lose_link(&mut self, now: Mono) {
        if self.fsm.state() != State::Down {
            self.outage(now);
        }
        self.fsm.force_down();
    }

    /// R14: nothing is known any more. What R11 has learnt stays.
    pub(super) fn forget(&mut self) {
        self.fsm.forget();
        self.echoes = Echoes::default();
        self.sampler.forget();
        self.loss = Loss::default();
        self.latency.outage();
    }

    /// R9, R11: it answers, but not well.
    pub(super) fn is_impaired(&self) -> bool {
        self.fsm.state() == State::Up && (self.loss.is_degraded() || self.latency.is_degraded())
    }

    pub(super) fn impairments(&self, subject: &str, settings: &Settings) -> impl Iterator<Item = Reason> {
        let what = self.address.to_string();
        let up = self.fsm.state() == State::Up;
        let all =
            up.then(|| [self.loss.reason(subject, &what, settings), self.latency.reason(subject, &what)]);
        all.into_iter().flatten().flatten()
    }

    /// Bytes beside its own.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let stats = size_of::<AddressStats>() + self.stats.heap();
        stats + self.detail.heap() + self.fsm.heap() + self.sampler.heap()
    }
}
