//! The agent shuts itself in: once what takes privilege is done, and before a byte from outside is parsed, it gives up
//! every capability, any way to new ones, the files that it is not to reach, and the system calls that it does not need.
//!
//! Capabilities and Landlock are a thread's own and go on to the threads that it starts: [`enter`] is called on the only
//! thread there is. There is no way back; what would need privilege later is a restart.
//!
//! | file | what |
//! |---|---|
//! | `privileges` | the capability sets, and what still works without them |
//! | `reach` | which files the configuration leads to (pure) |
//! | `files` | Landlock: those files, no other processes, no other ports |
//! | `calls` | the system calls by purpose (pure) |
//! | `filter` | seccomp: the table of calls as filters |
//! | `threads` | what `/proc` says of a running agent, for `netmon doctor` |

mod calls;
mod files;
mod filter;
mod privileges;
mod reach;
mod threads;

use serde::{Deserialize, Serialize};

pub use self::{
    files::{Files, supported as landlock_supported},
    privileges::{Kept, works_with},
    reach::Reach,
    threads::{Held, Thread, of_process},
};
use crate::capability::Capability;

/// What the capabilities here are called: giving up the kernel's, no way to new ones, the filter, the files.
pub const NAMES: [&str; 4] = ["privileges", "no_new_privs", "seccomp", "landlock"];
/// What mends a sandbox that is off.
const REMEDY: &str = "set sandbox = \"enforce\" in [agent], and restart the agent";

/// How far the agent shuts itself in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As far as the kernel lets it.
    #[default]
    Enforce,
    /// The same, but a system call that is in no table is only logged, by the kernel (`SECCOMP_RET_LOG`).
    Log,
    /// Not at all.
    Off,
}

/// How to enter.
#[derive(Debug)]
pub struct Plan {
    /// How far.
    pub mode: Mode,
    /// Capabilities that can't be done without, each with its reason.
    pub kept: Vec<Kept>,
    /// Which files stay within reach.
    pub reach: Reach,
}

/// Enters, and tells how far that went. What this kernel lacks is told and takes nothing else along.
pub fn enter(plan: &Plan) -> Vec<Capability> {
    if plan.mode == Mode::Off {
        let off = |name| Capability::missing(name, "off, as the configuration has it", REMEDY);
        return NAMES.map(off).to_vec();
    }
    // The order is that of what each needs: emptying the bounding set needs a capability, Landlock and seccomp need either
    // one or no_new_privs, and the filter refuses what the others do.
    let privileges = privileges::give_up(&plan.kept);
    let no_new_privs = privileges::forbid_new();
    let landlock = files::restrict(&plan.reach);
    let seccomp = filter::install(plan.mode);
    vec![privileges, no_new_privs, seccomp, landlock]
}
