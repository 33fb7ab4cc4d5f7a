//! What the guest tells, a line of JSON each; `xtask/src/kernels/report.rs` reads it.

use std::collections::BTreeMap;

use serde::Serialize;

/// One line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The programs are attached as far as they can be.
    Attached {
        /// `uname -r`.
        release: String,
        /// Seconds from the kernel's first instant to this line.
        uptime: f64,
        /// Seconds of it that loading and attaching took.
        load: f64,
    },
    /// One capability of `netmon_agent::source::bpf::Kernel`.
    Capability {
        name: String,
        ok: bool,
        /// How it works, or why not.
        detail: String,
    },
    /// One comparison.
    Case(Case),
    /// The figure of a promise, as `netmon_tests::promise` tells it.
    Promise { id: &'static str, figure: String },
    /// A suite, or all of them, could not go on.
    Failed { why: String },
    /// The last line of a guest that ran to its end.
    Done,
}

/// One figure of one case, the kernel's beside ours.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Case {
    pub suite: &'static str,
    pub case: String,
    /// What is counted, and by which of the kernel's own counters.
    pub figure: &'static str,
    /// By how much the kernel's counter grew.
    pub kernel: u64,
    /// By how much ours grew, all devices together.
    pub ours: u64,
    /// How much the reading itself reports as missing.
    pub unattributed: u64,
    /// By how much ours may be less, for the reason in `because`.
    pub allowed: u64,
    pub because: String,
    /// Ours by device.
    pub devices: BTreeMap<String, u64>,
    /// Where all of it has to be; empty when that is not judged.
    pub expected: Vec<String>,
    /// What is wrong; empty when nothing is.
    pub wrong: String,
}

/// Tells it.
pub fn say(line: &Line) {
    // Every field is a plain value: nothing that JSON could refuse.
    println!("{}", serde_json::to_string(line).unwrap_or_default());
}
