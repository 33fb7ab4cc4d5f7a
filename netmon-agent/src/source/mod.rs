//! Sources: each turns a part of the outside world into observations, and decides nothing.

pub mod netlink;
