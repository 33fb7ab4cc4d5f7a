//! What the histories come by.

use std::{collections::BTreeMap, fmt};

use super::{super::*, model::codes::Codes};

/// Codes that nothing gives: R2b tells of a device that is down by that device's own reasons.
pub const NEVER: [ReasonCode; 1] = [ReasonCode::DeviceDown];

/// Counts.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    pub histories: u64,
    pub steps: u64,
    pub observations: u64,
    /// Looks at the whole.
    pub looks: u64,
    /// Verdicts looked at, by subject and state.
    states: BTreeMap<(&'static str, &'static str), u64>,
    /// Looks at which some verdict had the reason; histories of which some look had.
    codes: BTreeMap<&'static str, (u64, u64)>,
    /// Changes of the verdict over all.
    changes: BTreeMap<(&'static str, &'static str), u64>,
    last: State,
    seen: Codes,
}

impl Coverage {
    /// Looks at all verdicts.
    pub fn note(&mut self, health: &Health) {
        self.looks += 1;
        let mut here = Codes::default();
        let mut one = |kind, verdict: &Verdict| {
            *self.states.entry((kind, verdict.state.as_str())).or_default() += 1;
            here = here.and(Codes::said(verdict));
        };
        one("network", health.verdict());
        health.devices().for_each(|d| one("device", &d.verdict));
        health.targets().for_each(|t| one("target", &t.verdict));
        for code in ReasonCode::ALL.iter().filter(|c| here.has(**c)) {
            self.codes.entry(code.as_str()).or_default().0 += 1;
        }
        self.seen = self.seen.and(here);
        let state = health.verdict().state;
        let last = std::mem::replace(&mut self.last, state);
        if last != state {
            *self.changes.entry((last.as_str(), state.as_str())).or_default() += 1;
        }
    }

    /// Adds those of one history.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories.max(1);
        self.steps += other.steps;
        self.observations += other.observations;
        self.looks += other.looks;
        other.states.iter().for_each(|(k, n)| *self.states.entry(*k).or_default() += n);
        other.changes.iter().for_each(|(k, n)| *self.changes.entry(*k).or_default() += n);
        for (code, (looks, histories)) in &other.codes {
            let mine = self.codes.entry(code).or_default();
            mine.0 += looks;
            mine.1 += if other.histories == 0 { 1 } else { *histories };
        }
        self.seen = self.seen.and(other.seen);
    }

    /// Codes that none came by.
    pub fn missed(&self) -> Vec<ReasonCode> {
        ReasonCode::ALL.into_iter().filter(|c| !self.seen.has(*c) && !NEVER.contains(c)).collect()
    }

    /// Whether one came by a code that there can't be.
    pub fn impossible(&self) -> Vec<ReasonCode> {
        NEVER.into_iter().filter(|c| self.seen.has(*c)).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, s, o, l) = (self.histories, self.steps, self.observations, self.looks);
        writeln!(f, "{h} histories, {s} steps, {o} observations, {l} times compared")?;
        for ((kind, state), n) in &self.states {
            writeln!(f, "  {kind:8} {state:9} {n:12}")?;
        }
        for ((from, to), n) in &self.changes {
            writeln!(f, "  network  {from} to {to}: {n}")?;
        }
        writeln!(f, "  {:22} {:>12} {:>10}", "reason", "times", "histories")?;
        for code in ReasonCode::ALL {
            let (looks, histories) = self.codes.get(code.as_str()).copied().unwrap_or_default();
            writeln!(f, "  {:22} {looks:12} {histories:10}", code.as_str())?;
        }
        Ok(())
    }
}
