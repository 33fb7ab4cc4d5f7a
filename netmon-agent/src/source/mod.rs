//! Sources: each turns one part of the outside world into observations, and decides nothing.

pub mod bpf;
pub mod discovery;
pub mod netlink;
pub mod probe;
pub mod resolve;
pub mod sockdiag;
pub mod trace;
