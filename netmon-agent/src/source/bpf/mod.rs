//! TCP counters from the kernel: loads the programs, attaches them, reads their maps.
//!
//! Needs privilege once, in [`Kernel::load`]. Reading goes through descriptors already held, so every capability can
//! be dropped in between; from Linux 5.19 that holds under `kernel.unprivileged_bpf_disabled` as well.

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

pub use error::{LoadError, ReadError};
pub use kernel::{Kernel, Options};
pub use netmon_ebpf::program::SET_STATE;
