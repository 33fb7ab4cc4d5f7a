//! Whom the verdicts release: never anybody on what is unknown or stale (R1, R14, R15).

use std::sync::Arc;

use netmon_client::Condition as Wanted;

use super::super::*;
use crate::{
    diagnosis::Known,
    output::api::{Condition, Memory, Outcome},
    state::{self, Board, Snapshot},
};

/// R15: three intervals.
const STALE: Duration = Duration::from_secs(6);

/// How long it has to hold, for those who want that.
const STABLE: Duration = Duration::from_secs(5);

/// A board, and some who wait.
#[derive(Debug)]
pub struct Releases {
    board: Board,
    waiters: Vec<(Condition, Memory)>,
    /// Since when the whole has been usable without a break.
    usable: Option<Boot>,
    /// Changes to states that are not usable, as of the last look.
    breaks: u64,
}

impl Releases {
    pub fn new() -> Self {
        let mut waiters = Vec::new();
        for wanted in Wanted::ALL {
            for stable in [Duration::ZERO, STABLE] {
                let whole = Condition { wanted, stable, ..Condition::default() };
                let of_target = Condition { target: Some("a".to_owned()), ..whole.clone() };
                let of_device = Condition { device: Some("eth0".to_owned()), ..whole.clone() };
                waiters.extend([whole, of_target, of_device].map(|c| (c, Memory::default())));
            }
        }
        Self { board: Board::new(Snapshot::default(), STALE), waiters, usable: None, breaks: 0 }
    }

    /// The core stands still from `now` on.
    pub fn frozen(&mut self, now: Moment, ms: u64) -> Result<(), String> {
        self.board.evaluated(now.boot);
        let last = now.after(Duration::from_millis(ms)).boot;
        if ms > 2500 && self.board.may_release(last) || self.board.is_stale(last) != (ms > 6000) {
            return Err(format!("R15: {ms} ms after the last look"));
        }
        self.ask(last, ms > 2500)
    }

    /// The core has said what it had to say.
    pub fn check(&mut self, now: Moment, health: &Health) -> Result<(), String> {
        let snapshot = Snapshot {
            at: now,
            verdict: health.verdict().clone(),
            devices: state::devices(health, now.mono),
            targets: state::targets(health, &Known::default()),
            ..Snapshot::default()
        };
        let verdict = &snapshot.verdict;
        let breaks = verdict.transitions[State::Unknown as usize] + verdict.transitions[State::Down as usize];
        if std::mem::replace(&mut self.breaks, breaks) != breaks {
            self.usable = None;
        }
        match verdict.state {
            State::Up | State::Degraded => {
                self.usable.get_or_insert(verdict.since.boot);
            }
            _ => self.usable = None,
        }
        self.board.publish(snapshot, []);
        self.ask(now.boot, false)?;
        // If nothing more is heard of the core: too old to release on, and then stale.
        self.ask(now.boot + Duration::from_millis(2501), true)?;
        self.ask(now.boot + STALE + Duration::from_millis(1), true)
    }

    fn ask(&mut self, now: Boot, too_old: bool) -> Result<(), String> {
        let snapshot: Arc<Snapshot> = self.board.snapshot();
        let stale = !self.board.may_release(now);
        if too_old && !stale {
            return Err("R15: what is too old may release".into());
        }
        for (condition, memory) in &mut self.waiters {
            let outcome = condition.check(&snapshot, now, stale, memory);
            let verdict = match (&condition.device, &condition.target) {
                (Some(name), _) => snapshot.devices.iter().find(|d| d.name == *name).map(|d| &d.verdict),
                (_, Some(name)) => snapshot.targets.iter().find(|t| *t.name == **name).map(|t| &t.verdict),
                _ => Some(&snapshot.verdict),
            };
            let state = verdict.map_or(State::Unknown, |v| v.state);
            let wanted = match condition.wanted {
                Wanted::Up => state == State::Up,
                Wanted::Usable => matches!(state, State::Up | State::Degraded),
                Wanted::Down => state == State::Down,
                Wanted::Degraded => state == State::Degraded,
            };
            let released = matches!(outcome, Outcome::Satisfied { .. });
            let must = wanted && !stale && condition.stable.is_zero();
            if released && (!wanted || stale || state == State::Unknown) || must && !released {
                return Err(format!("released: {released} on {state}, stale: {stale}: {condition:?}"));
            }
            let whole = condition.device.is_none() && condition.target.is_none();
            let steady = self.usable.is_some_and(|since| now.since(since) >= condition.stable);
            if released && whole && condition.wanted == Wanted::Usable && !steady {
                return Err(format!(
                    "released though not usable for {:?}: {:?}",
                    condition.stable, self.usable
                ));
            }
        }
        Ok(())
    }
}
