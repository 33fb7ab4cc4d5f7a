//! How much slower to probe while the agent takes more than it may. Pure: readings in, a factor out.
//!
//! What the agent takes is a part that no pace changes and one that goes with the probes: `base + k / factor`. Neither
//! is known, so the factor is raised by what is measured and lowered by the worst that can be: that all of it goes with
//! the probes. A factor that was lowered is then never too low, and there is no way back and forth.

use std::{collections::VecDeque, time::Duration};

use crate::{config::Limits, time::Mono};

/// Highest factor: a target of 2 s is then probed every 32 s.
pub(super) const HIGHEST: f64 = 16.0;

/// Highest factor on account of memory. Of what the engine remembers of probes three quarters are gone then; the rest
/// of the memory is that of the targets, which no pace changes.
const HIGHEST_FOR_MEMORY: f64 = 4.0;

/// Use above the limit for this long is too much: its average for CPU, its least for memory.
const WINDOW: Duration = Duration::from_secs(30);

/// Shortest time that an average to lower the factor by is of.
const BRIEF: Duration = Duration::from_secs(10);

/// Use below [`ENOUGH`] for this long lowers the factor for the first time, and twice as long each time that it turned
/// out to be too early.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_PATIENCE: Duration = Duration::from_secs(3600);

/// A factor that has to be raised so soon after it was lowered was lowered too early.
const TOO_EARLY: Duration = Duration::from_secs(600);

/// Part of the limit up to which the factor is lowered.
const ENOUGH: f64 = 0.9;

/// Bounds of one step up, and the most of one down.
const UP: (f64, f64) = (1.25, 4.0);
const DOWN: f64 = 0.7;

/// What the process has taken so far, and holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) at: Mono,
    /// CPU time since the process began.
    pub(super) cpu: Duration,
    /// Resident bytes.
    pub(super) memory: u64,
}

/// Use as parts of the limits; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Load {
    over: Duration,
    cpu: f64,
    memory: f64,
}

/// The controller.
#[derive(Debug)]
pub(super) struct Throttle {
    limits: Limits,
    factor: f64,
    /// Readings at the present factor, the last [`WINDOW`] of them.
    readings: VecDeque<Usage>,
    /// The last average of CPU, as a part of one core.
    measured: f64,
    enough_since: Option<Mono>,
    lowered: Option<Mono>,
    patience: Duration,
}

impl Throttle {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            factor: 1.0,
            readings: VecDeque::new(),
            measured: 0.0,
            enough_since: None,
            lowered: None,
            patience: PATIENCE,
        }
    }

    /// By how much intervals are to be stretched: 1 to [`HIGHEST`].
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether they are at all.
    pub(super) fn is_on(&self) -> bool {
        self.factor > 1.0
    }

    /// Other limits. Where what is taken now would be within them at full pace, it is full pace at once. True when the
    /// factor changed.
    pub(super) fn set_limits(&mut self, limits: Limits) -> bool {
        if std::mem::replace(&mut self.limits, limits) == limits || !self.is_on() {
            return false;
        }
        let load = self.load();
        let fits = load.cpu * self.factor <= ENOUGH && load.memory <= ENOUGH;
        let known = load.over >= BRIEF || limits == Limits::default();
        if fits && known {
            self.set(1.0);
            self.enough_since = None;
        }
        fits && known
    }

    /// Takes a reading. True when the factor changed.
    pub(super) fn read(&mut self, usage: Usage) -> bool {
        self.readings.push_back(usage);
        while self.readings.get(1).is_some_and(|second| usage.at.since(second.at) >= WINDOW) {
            self.readings.pop_front();
        }
        let load = self.load();
        if load.over < BRIEF {
            return false;
        }
        self.measured = self.cpu();
        if load.cpu > ENOUGH || load.memory > ENOUGH {
            self.enough_since = None;
            return load.over >= WINDOW && self.raise(usage.at, load);
        }
        let since = *self.enough_since.get_or_insert(usage.at);
        self.is_on() && usage.at.since(since) >= self.patience && self.lower(usage.at, load)
    }

    /// What was taken when it was last judged, in numbers for a person.
    pub(super) fn account(&self) -> String {
        let of = |value: String, limit: Option<String>| match limit {
            Some(limit) => format!("{value} of {limit}"),
            None => value,
        };
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
        let memory = self.readings.back().map_or(0, |last| last.memory);
        format!(
            "CPU {} of a core, memory {}",
            of(percent(self.measured), self.limits.cpu.map(percent)),
            of(megabytes(memory), self.limits.memory.map(megabytes)),
        )
    }

    fn raise(&mut self, now: Mono, load: Load) -> bool {
        let up = |part: f64, highest: f64| match part > 1.0 {
            true => (self.factor * part.clamp(UP.0, UP.1)).min(highest),
            false => 1.0,
        };
        let factor = up(load.cpu, HIGHEST).max(up(load.memory, HIGHEST_FOR_MEMORY));
        if factor <= self.factor {
            return false;
        }
        let too_early = self.lowered.is_some_and(|at| now.since(at) < TOO_EARLY);
        self.patience = if too_early { (self.patience * 2).min(MOST_PATIENCE) } else { PATIENCE };
        self.set(factor);
        true
    }

    fn lower(&mut self, now: Mono, load: Load) -> bool {
        let needed = self.factor * load.cpu / ENOUGH;
        let factor = needed.max(self.factor * DOWN).max(1.0);
        if factor > 1.0 && factor > self.factor * 0.98 || !self.is_on() {
            return false;
        }
        self.lowered = Some(now);
        self.set(factor);
        true
    }

    /// What was read before was at another pace; the last reading is where the next average begins.
    fn set(&mut self, factor: f64) {
        self.factor = factor;
        let last = self.readings.len().saturating_sub(1);
        self.readings.drain(..last);
    }

    fn load(&self) -> Load {
        let (Some(first), Some(last)) = (self.readings.front(), self.readings.back()) else {
            return Load::default();
        };
        let least = self.readings.iter().map(|reading| reading.memory).min().unwrap_or_default();
        Load {
            over: last.at.since(first.at),
            cpu: self.limits.cpu.map_or(0.0, |limit| self.cpu() / limit),
            memory: self.limits.memory.map_or(0.0, |limit| least as f64 / limit as f64),
        }
    }

    /// Part of a core, on average over the readings.
    fn cpu(&self) -> f64 {
        let (Some(first), Some(last)) = (self.readings.front(), self.readings.back()) else { return 0.0 };
        let time = last.at.since(first.at).as_secs_f64();
        if time > 0.0 { last.cpu.saturating_sub(first.cpu).as_secs_f64() / time } else { 0.0 }
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
