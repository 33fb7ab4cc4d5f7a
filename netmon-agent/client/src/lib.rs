//! Client of the netmon agent: read this machine's network state and wait for it.

pub mod wire;

pub use wire::State;
