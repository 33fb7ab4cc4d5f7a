//! What is written down: only what happened, one row a happening, never changed afterwards. Everything else is worked out
//! of it when somebody asks.

use std::time::Duration;

use crate::{
    health::{State, Subject},
    time::{Boot, Wall},
};

/// Number of a run of the agent.
pub type RunId = i64;

/// One run of the agent, from its start to the last sign of life that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number; a later run has a greater one.
    pub id: RunId,
    /// Which boot of the machine it was in (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Its start.
    pub started: Boot,
    /// The last moment at which it looked at its evidence, as far as was written.
    pub seen: Boot,
    /// Wall-clock time less boot time at that moment, nanoseconds.
    pub offset: i64,
    /// Whether it was ended by a signal, and not by `SIGKILL` or a loss of power.
    pub clean: bool,
}

/// One change of a subject's state, or one more word on it: then `previous` is `state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// In which run.
    pub run: RunId,
    /// The number by which the agent told of it.
    pub seq: u64,
    /// When. Within a run no change is earlier than the one before it.
    pub at: Boot,
    /// What the wall clock showed then. It may step; `at` does not.
    pub told: Wall,
    /// Whose state.
    pub subject: Subject,
    /// Before.
    pub previous: State,
    /// After.
    pub state: State,
    /// Why: a list of [`netmon_client::wire::Reason`] in JSON; empty for none.
    pub reasons: String,
    /// Where the fault is: a [`netmon_client::wire::Diagnosis`] in JSON.
    pub diagnosis: Option<String>,
}

/// A time in which nobody looked at the evidence, though the agent ran: it or the machine stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// In which run.
    pub run: RunId,
    /// Its last look before.
    pub from: Boot,
    /// Its first look after.
    pub to: Boot,
}

/// Programs of one name and user that waited for one subject and whose waits ended at about the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// In which run.
    pub run: RunId,
    /// What they waited for.
    pub subject: Subject,
    /// Their name, printable.
    pub job: String,
    /// Their user.
    pub uid: u32,
    /// How many.
    pub count: u64,
    /// When the first began.
    pub from: Boot,
    /// When the last ended.
    pub to: Boot,
    /// Waited by all of them together.
    pub total: Duration,
    /// The longest wait of them.
    pub longest: Duration,
}

/// What is written down about a period, in the order in which it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Runs, by number.
    pub runs: Vec<Run>,
    /// Changes.
    pub changes: Vec<Change>,
    /// Gaps.
    pub gaps: Vec<Gap>,
    /// Who waited.
    pub waits: Vec<Waits>,
}
