//! The binary interface between the kernel side and the agent: names, keys, values, settings and kernel offsets.
//!
//! Every type is `#[repr(C)]` and free of padding: the kernel compares map keys byte by byte, and the verifier
//! refuses a program that passes it bytes it never wrote.
#![no_std]

mod names;
mod offsets;
mod prefix;
mod remote;
mod rows;
mod rtt;
mod slots;

pub use names::*;
pub use offsets::{ABSENT, Format, Offsets};
pub use prefix::prefix_hash;
pub use remote::{FLOW_CELLS, PREFIX_CELLS, Spread, Timeout, flow_hash};
pub use rows::{Aligned, Book, Row, state};
pub use rtt::{RTT_BUCKETS, Rtt, RttHistogram, rtt_bucket, rtt_kind};
pub use slots::{AddressCounters, Counters, address_slot, kind, lost, slot};

/// Whose counters.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Inode number of the network namespace, as `stat -L /proc/self/ns/net` prints it; 0 when unknown.
    pub netns: u32,
    /// Index of the interface in that namespace; 0 when unknown.
    pub ifindex: u32,
}

/// A local address within a network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalAddress {
    /// Inode number of the network namespace; 0 when the source can't tell, as classic tracepoints can't.
    pub netns: u32,
    /// The address in network byte order; IPv4 as an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2).
    pub octets: [u8; 16],
}

/// Packets dropped on an interface for one reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Drop {
    /// Inode number of the network namespace; 0 when unknown.
    pub netns: u32,
    /// Index of the interface in that namespace; 0 when unknown.
    pub ifindex: u32,
    /// The kernel's `enum skb_drop_reason`.
    pub reason: u32,
}

/// The name of an interface as the kernel has it: bytes, padded with zeroes (`IFNAMSIZ`).
pub type DeviceName = [u8; 16];

/// The value of a row of [`OTHERS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// As of the agent's own namespace.
    pub counters: Counters,
    /// What the interface was called when the row was handed out; zeroes when that was not to be known.
    pub name: DeviceName,
}

/// The index of loopback, the same in every network namespace (`LOOPBACK_IFINDEX` of the kernel's
/// `include/net/flow.h`).
pub const LOOPBACK: u32 = 1;

/// Drop reasons that can be asked for: those below this number.
pub const MAX_DROP_REASON: u32 = 256;

/// What the agent wants of the programs. Set once, before they are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Inode number of the agent's own network namespace.
    pub own_netns: u32,
    /// 1 to count in every network namespace, 0 in the agent's own alone.
    pub all_namespaces: u32,
    /// One bit for each `enum skb_drop_reason` to count.
    pub drop_reasons: [u64; MAX_DROP_REASON as usize / 64],
}

impl Settings {
    /// Every namespace, and no drop reasons: what the programs do when nobody sets anything.
    pub const DEFAULT: Self =
        Self { own_netns: 0, all_namespaces: 1, drop_reasons: [0; MAX_DROP_REASON as usize / 64] };
}

// A field that brought padding with it would be read by the kernel before anybody wrote it.
const _: () = {
    assert!(size_of::<Key>() == 2 * 4);
    assert!(size_of::<LocalAddress>() == 4 + 16);
    assert!(size_of::<Drop>() == 3 * 4);
    assert!(size_of::<Counters>() == slot::COUNT * 8);
    assert!(size_of::<AddressCounters>() == address_slot::COUNT * 8);
    assert!(size_of::<Settings>() == 2 * 4 + 4 * 8);
    assert!(size_of::<Spread>() == (PREFIX_CELLS + FLOW_CELLS) * 4);
    assert!(size_of::<Timeout>() == 2 * 4);
    assert!(size_of::<Rtt>() == rtt_kind::COUNT * (RTT_BUCKETS + 1) * 8);
    assert!(size_of::<Other>() == size_of::<Counters>() + 16);
    assert!(size_of::<Offsets>() == 27 * 4);
    assert!(size_of::<Format>() == 11 * 4);
};
