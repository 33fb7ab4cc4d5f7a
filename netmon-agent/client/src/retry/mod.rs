//! Trying again, with an eye on the network: an outage pauses, costs no attempt, and its end resumes the work.
//!
//! [`Policy`] says how often and how far apart, and [`Engine`] decides; it is pure, and drives every form of retry there
//! is here.
//!
//! - **An outage pauses.** While the network is down no attempt begins, the first included, and the backoff is forgotten.
//! - **What it cuts is refunded.** An attempt within which the network went down, or which failed shortly before that was
//!   known, is not counted; ten times at most.
//! - **Its end resumes.** Once the network has been usable for five seconds, at a random moment of the time that follows,
//!   so that a thousand clients do not come back as one.
//! - **Without an agent** there are attempts, delays and limits as everywhere. [`Statistics::blind_attempts`] says so.

mod engine;
#[cfg(test)]
mod engine_tests;
mod policy;
mod statistics;

pub use engine::{Engine, GaveUp, Network, Outcome, Pause, Step};
pub use policy::{Jitter, Policy, PolicyError};
pub use statistics::Statistics;
