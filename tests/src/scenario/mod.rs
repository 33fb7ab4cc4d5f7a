//! Scenarios: what a file tells of a world, its faults and the verdicts that are due, run twice.
//!
//! | module | what |
//! |---|---|
//! | [`format`](mod@format) | the files in `tests/scenarios`, read strictly |
//! | [`virtual_run`] | the core in virtual time, over a model of the lab's world: `model`, `wire` |
//! | [`lab_run`] | the real agent in the lab's world |
//! | [`judge`] | the kernel against that model |
//! | [`repeat`] | every scenario many times, with the times to each verdict |

pub mod format;
pub mod judge;
pub mod lab_run;
mod model;
pub mod repeat;
pub mod virtual_run;
mod wire;

use std::{fmt, time::Duration};

/// How long an expected verdict took.
#[derive(Clone, Debug)]
pub struct Took {
    /// The step's place, counted from 1; 0 is the start.
    pub step: usize,
    /// What happened, and what was said then.
    pub what: String,
    /// How long it took.
    pub time: Duration,
    /// How long it may take.
    pub bound: Duration,
}

/// A verdict that was wrong, late or missing.
#[derive(Debug)]
pub struct Wrong {
    /// The step's place, counted from 1; 0 is the start.
    pub step: usize,
    /// What happened.
    pub title: String,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} ({}): {}", self.step, self.title, self.why)
    }
}

impl std::error::Error for Wrong {}
