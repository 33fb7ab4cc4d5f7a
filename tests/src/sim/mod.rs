//! The real health core in virtual time: no clock, no socket, no root, years in minutes.
//!
//! | module | what |
//! |---|---|
//! | [`Agent`] | what the agent's core loop does with [`netmon_agent::health::Health`]: order, time-outs, looks, lateness |
//! | `engine` | what the probe engine does with lanes: jitter, time-outs, extra probes, proofs that are none |
//! | [`Wire`] | what becomes of a probe: the one thing that whoever simulates has to say |
//! | [`world`] | a small world to start from: one uplink, its gateway, some hosts |
//! | [`channel`] | loss that comes in bursts |
//! | [`rivals`] | how others decide, from the same probes |
//! | [`poisson`], [`spread`] | how sure a count is, and how values are spread |
//!
//! The same seed and the same calls give the same history.

mod agent;
pub mod channel;
mod engine;
pub mod poisson;
pub mod rivals;
pub mod spread;
mod wire;
pub mod world;

#[cfg(test)]
mod tests;

pub use agent::Agent;
pub use wire::{Fate, Probe, Unsent, Wire};
