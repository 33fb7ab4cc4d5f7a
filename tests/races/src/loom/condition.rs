//! In place of the product's: a condition that a snapshot fulfils by saying so.

use std::time::Duration;

use crate::health::State;
use crate::state::Snapshot;
use crate::time::Boot;

pub const STALE_RETRY: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub struct Condition;

#[derive(Clone, Debug, Default)]
pub struct Memory;

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Satisfied { state: State },
    Blocked { retry_at: Option<Boot> },
    NoSuch(String),
}

impl Memory {
    pub fn learn(&mut self, _: &Self) {}
}

impl Condition {
    pub fn check(&self, snapshot: &Snapshot, _: Boot, stale: bool, _: &mut Memory) -> Outcome {
        match snapshot.holds && !stale {
            true => Outcome::Satisfied { state: State::Up },
            false => Outcome::Blocked { retry_at: None },
        }
    }
}
