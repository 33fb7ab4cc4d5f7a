//! TCP counters from the kernel: loads the programs, attaches them, reads their maps.
//!
//! Needs privilege once, in [`Kernel::load`]. What they count lies in memory that was mapped then, so every
//! capability can be dropped in between, and bpf(2) itself, on every kernel.

mod abi;
mod addresses;
pub mod btf;
mod error;
mod fields;
mod format;
#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/bpf.rs"]
pub(crate) mod fuzzing;
mod gone;
mod hooks;
mod kernel;
mod ledger;
mod load;
mod maps;
pub mod mib;
mod namespaces;
mod offsets;
mod reader;
mod table;

pub use error::LoadError;
pub use kernel::{Kernel, Options};
pub use netmon_ebpf::program::SET_STATE;
