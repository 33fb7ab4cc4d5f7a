//! The outage ledger: `GET /v1/history`.

use serde::{Deserialize, Serialize};

use super::{Diagnosis, Reason, State};

/// What is known of a period: outages of every subject that was asked for, and the availability of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Begin of the period, RFC 3339, UTC, like all times here.
    pub since: String,
    /// Its end: now, or earlier.
    pub until: String,
    /// Times in which a subject was `down` or `degraded`, the earliest first.
    pub outages: Vec<Outage>,
    /// How many more there were in the period, all earlier than these.
    pub omitted: u64,
    /// Figures of one subject over the period: the one that was asked for, else the network.
    pub summary: Summary,
    /// The same by day, of the time zone that was asked for, else of the agent's.
    pub days: Vec<Day>,
}

/// A time in which a subject was `down` or `degraded`, without a break.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// `state` (the whole network), `device` or `target`.
    pub kind: String,
    /// Name of the device or target; `network` for the whole.
    pub subject: String,
    /// `down` or `degraded`.
    pub state: State,
    /// When it was first seen.
    pub start: String,
    /// Whether it was seen to begin. If not, it was so already when the agent first looked.
    pub start_seen: bool,
    /// What the wall clock showed at `start`, where it has been stepped since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_told: Option<String>,
    /// When it ended; absent while it lasts. Where it was not seen to end: when it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Whether it was seen to end. If not, nobody looked any more, or it lasts.
    pub end_seen: bool,
    /// How long it was, or has been so far.
    pub seconds: f64,
    /// Of that, how long nobody looked: the agent, or the machine, stood still or was started anew.
    pub unobserved_seconds: f64,
    /// Why, as told when it began.
    pub reasons: Vec<Reason>,
    /// Where the fault was, as last told; absent where that was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// Programs that waited for this subject meanwhile and wait no longer, those that waited most first.
    pub waited: Vec<Job>,
    /// All others, where there were too many to name each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_others: Option<Others>,
}

/// Programs of one name and user that waited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What they call themselves (`Netmon-Job`), else the name of the process; printable.
    pub job: String,
    /// Their user.
    pub uid: u32,
    /// How many waits.
    pub count: u64,
    /// Waited by all of them together.
    pub seconds: f64,
    /// The longest of these waits.
    pub longest_seconds: f64,
}

/// Programs that waited, without their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Others {
    /// How many waits.
    pub count: u64,
    /// Waited by all of them together.
    pub seconds: f64,
    /// The longest of these waits.
    pub longest_seconds: f64,
}

/// How long a subject was in each state. They add up to the period's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Seconds `up`.
    pub up_seconds: f64,
    /// Seconds `degraded`.
    pub degraded_seconds: f64,
    /// Seconds `down`.
    pub down_seconds: f64,
    /// Seconds in which nobody looked, or the state was `unknown`. Never counted as `up`.
    pub unobserved_seconds: f64,
    /// Part of the observed time in which it was not `down`, 0–1; null where nothing was observed.
    pub availability: Option<f64>,
}

/// Figures of a period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// `state`, `device` or `target`.
    pub kind: String,
    /// Whose.
    pub subject: String,
    /// Time in each state.
    #[serde(flatten)]
    pub times: Times,
    /// How often it was `down`.
    pub outages: u64,
    /// The longest time that it was; 0 where it was not.
    pub longest_seconds: f64,
    /// Mean length of those times that were seen to end; null where there were none.
    pub mean_time_to_recover_seconds: Option<f64>,
    /// Time observed not `down` for each time that it went `down`; null where it did not.
    pub mean_time_between_failures_seconds: Option<f64>,
}

/// Figures of one day, as far as it is in the period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// The day in its time zone, `2026-01-31`.
    pub date: String,
    /// Its begin, or the period's.
    pub since: String,
    /// Its end, or the period's.
    pub until: String,
    /// Time in each state.
    #[serde(flatten)]
    pub times: Times,
    /// How often it went `down` on that day.
    pub outages: u64,
}
