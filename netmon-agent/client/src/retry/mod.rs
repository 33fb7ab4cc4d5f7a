//! Trying again, with an eye on the network: an outage pauses, costs no attempt, and its end resumes the work.
//!
//! [`Retryer`] runs an operation, blocking or asynchronous on any runtime, by a [`Policy`]; [`classify`] tells which
//! failures pass. Below it, [`Engine`] decides; it is pure, and drives every form of retry there is here.
//!
//! - **An outage pauses.** While the network is down no attempt begins, the first included, and the backoff is forgotten.
//! - **What it cuts is refunded.** An attempt within which the network went down, or which failed shortly before that was
//!   known, is not counted; ten times at most.
//! - **Its end resumes.** Once the network has been usable for five seconds, at a random moment of the time that follows,
//!   so that a thousand clients do not come back as one.
//! - **Without an agent** there are attempts, delays and limits as everywhere. [`Statistics::blind_attempts`] says so.
//!
//! ```
//! use std::{fs, io, sync::Arc};
//! use netmon_client::{Client, Monitor, retry::{Metrics, Policy, Retryer, permanent}};
//!
//! # fn upload(_: &[u8]) -> io::Result<()> { Ok(()) }
//! let metrics = Arc::new(Metrics::new());
//! let retryer = Retryer::new(Policy::default())?
//!     .name("upload")
//!     .monitor(Monitor::connect(Client::default_socket())?)
//!     .observe(metrics.clone());
//! retryer.run(|_| {
//!     let export = fs::read("/proc/self/comm").map_err(|e| io::Error::other(permanent(e)))?;
//!     upload(&export)
//! })?;
//! print!("{}", metrics.render());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bell;
mod cancel;
pub mod classify;
mod clock;
mod engine;
#[cfg(test)]
mod engine_tests;
mod failure;
mod future;
mod judge;
mod mark;
mod metrics;
mod network;
mod observer;
mod policy;
mod random;
mod retryer;
#[cfg(test)]
mod retryer_tests;
mod run;
mod statistics;
pub mod testing;

pub use bell::{Bell, Bells};
pub use cancel::CancelToken;
pub use classify::{Classify, Standard, Verdict};
#[cfg(feature = "tokio")]
pub use clock::TokioTimer;
pub use clock::{Clock, SystemClock, Timer};
pub use engine::{Engine, GaveUp, Network, Outcome, Pause, Step};
pub use failure::Failure;
pub use judge::{Errors, Judge, Values};
pub use mark::{Marked, permanent, retryable};
pub use metrics::Metrics;
pub use network::{Detail, Glance, NetworkView, Pulse};
pub use observer::{Failed, Observer, Report};
pub use policy::{Jitter, Policy, PolicyError};
pub(crate) use random::uniform;
pub use retryer::{Attempt, Retryer};
pub use statistics::Statistics;
