//! netmon: one data flow from evidence to a published verdict.
//!
//! ```text
//! source/bpf      ─┐                                            ┌─ output/metrics
//! source/netlink  ─┼─ Observation ─> health ─> Snapshot ─────── ┼─ output/api
//! source/probe    ─┘   (a value)     (pure)    (published)      ├─ output/log, notify
//!                                                               └─ history
//! ```
//!
//! A source turns the outside world into [`observation::Observation`]s and decides nothing. [`health`] decides and
//! touches nothing; [`diagnosis`] says where a fault is. A [`state::Snapshot`] is all that an output sees. [`agent`] is the only place that knows all parts.

pub mod added;
pub mod agent;
pub mod budget;
pub mod capability;
pub mod cli;
pub mod config;
pub mod diagnosis;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod history;
pub mod http;
pub mod observation;
pub mod output;
pub mod packet;
pub mod plan;
pub mod sandbox;
pub mod source;
pub mod state;
mod sync;
#[expect(unsafe_code, reason = "the seam to the kernel's socket interface; every block says why it is sound")]
pub mod sys;
pub mod time;
