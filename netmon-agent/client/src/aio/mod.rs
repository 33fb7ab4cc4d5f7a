//! The same for async programs, on tokio: needs the feature `tokio`.
//!
//! Nothing here blocks, and every future may be dropped at any time: a question that is dropped closes its connection,
//! so that the agent frees the place; what was not taken yet is there for the next call. A [`Supervisor`] keeps connections,
//! as [`crate::supervise`] does.
//!
//! ```no_run
//! use netmon_client::{Condition, WaitOptions, aio};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), netmon_client::Error> {
//! let agent = aio::Client::new(aio::Client::default_socket());
//! agent.wait(&WaitOptions::usable()).await?;
//!
//! let network = aio::Monitor::connect(aio::Client::default_socket()).await;
//! network.wait_for(Condition::Up, Duration::from_secs(5), None).await;
//! # Ok(())
//! # }
//! ```

mod client;
mod events;
mod monitor;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use client::Client;
pub use events::{EventStream, Events};
pub use monitor::{Monitor, Subscription};

pub use crate::supervise::aio::{ConnectionChanges, Supervise, Supervised, Supervisor};
