//! One host under probe.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use super::summary::Summary;
use crate::{
    cli::text::printable,
    observation::{FailureReason, Method, ProbeDetail, ProbeOutcome},
    time::Mono,
};

/// As many of the last probes are remembered one by one as a line has room for.
pub(super) const RECENT: usize = 60;

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered(Duration),
    Failed(FailureReason),
    Inconclusive,
}

impl Fate {
    fn of(outcome: &ProbeOutcome) -> Option<Self> {
        match outcome {
            ProbeOutcome::Reply { rtt, .. } => Some(Self::Answered(*rtt)),
            ProbeOutcome::Failed { reason, .. } => Some(Self::Failed(*reason)),
            ProbeOutcome::Inconclusive { .. } => Some(Self::Inconclusive),
            _ => None,
        }
    }
}

/// What is known of a probe when something becomes of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// When it left; `None` if it did not.
    pub(super) sent: Option<Mono>,
    pub(super) detail: ProbeDetail,
}

/// One host under probe.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) address: IpAddr,
    /// How it is probed, in a person's words.
    pub(super) how: String,
    /// Whether its answers' status is DNS's.
    pub(super) is_dns: bool,
    count: Option<u64>,
    pub(super) summary: Summary,
    /// What the last probes came to, the latest last.
    pub(super) recent: VecDeque<Fate>,
    /// Of probes of which it is not yet known what became.
    under_way: HashMap<u64, Known>,
}

impl Host {
    /// `digits`: see [`Summary::new`].
    pub(super) fn new(
        name: &str,
        address: IpAddr,
        (method, how): (&Method, String),
        count: Option<u64>,
        digits: u8,
    ) -> Self {
        Self {
            name: printable(name),
            address,
            how,
            is_dns: matches!(method, Method::Dns(_)),
            count,
            summary: Summary::new(digits),
            recent: VecDeque::new(),
            under_way: HashMap::new(),
        }
    }

    /// Takes a step of the probe with this number; what is known of it where that settles it.
    pub(super) fn take(&mut self, seq: u64, at: Mono, outcome: &ProbeOutcome) -> Option<Known> {
        self.summary.take(seq, outcome);
        match outcome {
            ProbeOutcome::Sent => {
                self.under_way.entry(seq).or_default().sent = Some(at);
                None
            }
            ProbeOutcome::Detail(detail) => {
                self.under_way.entry(seq).or_default().detail = (**detail).clone();
                None
            }
            other => {
                let fate = Fate::of(other)?;
                if self.recent.len() == RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back(fate);
                Some(self.under_way.remove(&seq).unwrap_or_default())
            }
        }
    }

    /// Whether it has had the probes asked for.
    pub(super) fn is_complete(&self) -> bool {
        self.count.is_some_and(|count| self.summary.settled() >= count)
    }

    /// Name and address.
    pub(super) fn title(&self) -> String {
        let address = self.address.to_string();
        if self.name == address { address } else { format!("{} ({address})", self.name) }
    }

    /// Whether the last probe that proved something failed.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self.last(), Some(Fate::Failed(_)))
    }

    /// What the last probe came to that proved something.
    pub(super) fn last(&self) -> Option<Fate> {
        self.recent.iter().rev().find(|fate| **fate != Fate::Inconclusive).copied()
    }
}
