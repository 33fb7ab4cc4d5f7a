//! Client of the netmon agent: read this machine's network state and wait for it.
//!
//! Light (blocking, no async runtime), without unsafe code. A program that asks now and then uses [`Client`]; one that
//! looks at the state before each piece of work holds a [`Monitor`], whose reads cost nanoseconds. With the feature
//! `tokio` the module `aio` has the same for async programs. [`retry`] runs what may fail until it succeeds, through
//! outages; [`supervise`] keeps the connections of a daemon.
//!
//! ```no_run
//! use netmon_client::{Client, WaitOptions};
//!
//! let agent = Client::new(Client::default_socket());
//! println!("{}", agent.status()?.state.as_str());
//! agent.wait(&WaitOptions::usable())?;
//! # Ok::<(), netmon_client::Error>(())
//! ```

#[cfg(feature = "tokio")]
pub mod aio;
mod budget;
mod client;
mod clock;
mod error;
mod events;
#[cfg(test)]
mod fake;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod monitor;
mod patient;
mod proto;
pub mod retry;
pub mod supervise;
mod sync;
mod targets;
pub mod wire;

pub use budget::Spending;
pub use client::{Client, Condition, HistoryOptions, WaitOptions};
pub use error::Error;
pub use events::{Event, EventOptions, EventStream, Events};
pub use monitor::{Connection, Monitor, Subscription, Update};
pub use wire::State;
