//! Sources: each turns a part of the outside world into evidence and decides nothing.

pub mod bpf;
