//! R5, R7 and R10 from all readings and reports there were.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{net::Way, wilson};
use crate::{
    health::Settings,
    observation::{IfIndex, TcpProgress, TcpSpread, TcpTimeout},
    time::Mono,
};

/// One reading of one device: segments sent, and sent again by time-outs and fast retransmits.
#[derive(Clone, Debug)]
pub struct Reading {
    pub at: Mono,
    pub sent: u64,
    pub again: u64,
    pub spread: Arc<TcpSpread>,
}

/// R10: since when a device sends too much again, and when it was last found to; if it does.
pub type Resends = Option<(Mono, Mono)>;

/// R10: a finding that is not made anew is held on to for a while.
pub fn still(resends: Resends, now: Mono, settings: &Settings) -> bool {
    resends.is_some_and(|(since, found)| {
        now.since(found) < settings.retransmit_memory || now.since(since) < settings.degraded_dwell
    })
}

/// R10: what these readings say. They are further apart than the fourteenth part of the window, or the core would leave
/// some out.
pub fn resends(readings: &[Reading], settings: &Settings) -> Resends {
    let window = settings.retransmit_window;
    let mut degraded: Resends = None;
    let mut held: Vec<&Reading> = Vec::new();
    for r in readings {
        degraded = degraded.filter(|_| still(degraded, r.at, settings));
        if held.last().is_some_and(|last| r.at.since(last.at) > window * 2) {
            held.clear();
        }
        // From the newest that is a whole window old, or the oldest there is.
        while held.len() > 1 && r.at.since(held[1].at) >= window {
            held.remove(0);
        }
        if held.first().is_some_and(|first| fell(first, r)) {
            held.clear();
        }
        held.push(r);
        let first = held[0];
        let sent = r.sent - first.sent;
        if sent < u64::from(settings.retransmit_segments) {
            continue;
        }
        let grown = |a: &[u32], b: &[u32]| -> Vec<f64> {
            a.iter().zip(b).map(|(a, b)| f64::from(b - a)).filter(|g| *g > 0.0).collect()
        };
        let flows = grown(&first.spread.flows, &r.spread.flows);
        let share = flows.iter().sum::<f64>() * settings.retransmit_flow_share;
        let again = flows.iter().map(|g| g.min(share)).sum::<f64>().min((r.again - first.again) as f64);
        let prefixes = grown(&first.spread.prefixes, &r.spread.prefixes).len();
        let (hits, n) = (again.min(sent as f64) / 4.0, sent as f64 / 4.0);
        if prefixes >= usize::from(settings.retransmit_prefixes)
            && wilson::lower(hits, n) > settings.retransmit_ratio
        {
            degraded = Some((degraded.map_or(r.at, |(since, _)| since), r.at));
        } else if wilson::upper(hits, n) < settings.retransmit_ratio {
            degraded = degraded.filter(|(since, _)| r.at.since(*since) < settings.degraded_dwell);
        }
    }
    degraded
}

/// Whether a counter is lower than it was.
fn fell(a: &Reading, b: &Reading) -> bool {
    let lower = |a: &[u32], b: &[u32]| a.iter().zip(b).any(|(a, b)| b < a);
    b.sent < a.sent
        || b.again < a.again
        || lower(&a.spread.flows, &b.spread.flows)
        || lower(&a.spread.prefixes, &b.spread.prefixes)
}

/// R7: the reports.
#[derive(Debug, Default)]
pub struct Reports(Vec<(Mono, BTreeMap<IfIndex, BTreeSet<u32>>)>);

impl Reports {
    /// Takes one, unless it tells of too long a time or is older than the last; whether it did.
    pub fn take(&mut self, at: Mono, report: &TcpProgress, settings: &Settings) -> bool {
        let older = self.0.last().is_some_and(|(last, _)| at < *last);
        let taken = report.over <= settings.progress_stale && !older;
        if taken {
            self.0.push((at, report.prefixes.clone()));
        }
        taken
    }

    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether enough remote prefixes acknowledge what leaves this way, whichever of its links it takes.
    pub fn speak_for(&self, now: Mono, way: &Way, settings: &Settings) -> bool {
        let Some((last, _)) = self.0.last() else { return false };
        let enough = |link: &IfIndex| {
            let within = self.0.iter().filter(|(at, _)| last.since(*at) < settings.progress_window);
            let prefixes: BTreeSet<u32> =
                within.filter_map(|(_, r)| r.get(link)).flatten().copied().collect();
            link.0 != 0 && prefixes.len() >= usize::from(settings.progress_prefixes)
        };
        now.since(*last) < settings.progress_stale && way.links.iter().all(enough)
    }
}

/// R5: the time-outs.
#[derive(Debug, Default)]
pub struct TimeOuts {
    all: Vec<(Mono, TcpTimeout)>,
    burst: Option<Mono>,
}

impl TimeOuts {
    /// Takes one; whether a burst starts: two or more each towards three prefixes or more of one device within a second.
    pub fn take(&mut self, now: Mono, at: Mono, timeout: TcpTimeout, settings: &Settings) -> bool {
        if now.since(at) > settings.rto_window {
            return false;
        }
        self.all.push((at, timeout));
        if self.burst.is_some_and(|last| at.since(last) < settings.rto_pause) {
            return false;
        }
        let mut by_prefix: BTreeMap<u32, u8> = BTreeMap::new();
        let recent = self.all.iter().filter(|(t, _)| at.since(*t) <= Duration::from_secs(1));
        for (_, t) in recent.filter(|(_, t)| t.device == timeout.device) {
            *by_prefix.entry(t.prefix).or_default() += 1;
        }
        let concerned = by_prefix.values().filter(|n| **n >= settings.rto_per_prefix).count();
        let starts = concerned >= usize::from(settings.rto_prefixes);
        if starts {
            self.burst = Some(at);
        }
        starts
    }

    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
