//! Client of the netmon agent: read this machine's network state and wait for it.
//!
//! Blocking, light (no async runtime), without unsafe code. A program that asks now and then uses [`Client`]; one that
//! looks at the state before each piece of work holds a [`Monitor`], whose reads cost one atomic load.
//!
//! ```no_run
//! use netmon_client::{Client, WaitOptions};
//!
//! let agent = Client::new(Client::default_socket());
//! println!("{}", agent.status()?.state.as_str());
//! agent.wait(&WaitOptions::usable())?;
//! # Ok::<(), netmon_client::Error>(())
//! ```

mod client;
mod clock;
mod error;
mod events;
#[cfg(test)]
mod fake;
mod http;
mod monitor;
pub mod retry;
pub mod supervise;
pub mod wire;

pub use client::{Client, Condition, WaitOptions};
pub use error::Error;
pub use events::{Event, EventOptions, EventStream, Events};
pub use monitor::Monitor;
pub use wire::State;
