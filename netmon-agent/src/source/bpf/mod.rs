//! TCP counters from the kernel: loads the programs, attaches them, reads their maps.
//!
//! Needs privilege once, in [`Kernel::load`]. Reading goes through descriptors already held, so every capability can
//! be dropped in between; from Linux 5.19 that holds under `kernel.unprivileged_bpf_disabled` as well.

mod abi;
pub mod btf;
mod error;
mod loader;
pub mod mib;
mod offsets;
mod reader;

pub use error::{LoadError, ReadError};
pub use loader::{Kernel, Options};
