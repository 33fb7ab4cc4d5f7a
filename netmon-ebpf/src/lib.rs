//! The binary interface between the kernel side and the agent: map names, keys, values and kernel offsets.
//!
//! Every type is `#[repr(C)]` and free of padding: the kernel compares map keys byte by byte, and the verifier
//! refuses a program that passes it bytes it never wrote.
#![no_std]

mod prefix;

pub use prefix::prefix_hash;

/// Counters by network namespace and interface: per-CPU hash map of [`Key`] to [`Counters`].
pub const COUNTERS_MAP: &str = "COUNTERS";
/// SYN-ACKs sent again whose interface the kernel does not name: per-CPU hash map of [`LocalAddress`] to `u64`.
pub const SYNACKS_MAP: &str = "SYNACKS";
/// What could not be counted: per-CPU array of `u64`, indexed by [`lost`].
pub const LOST_MAP: &str = "LOST";
/// The global variable that holds the running kernel's [`Offsets`].
pub const OFFSETS_GLOBAL: &str = "OFFSETS";

/// Entries of [`COUNTERS_MAP`] unless the loader asks for fewer.
pub const MAX_COUNTERS: u32 = 4096;
/// Entries of [`SYNACKS_MAP`] unless the loader asks for fewer.
pub const MAX_SYNACKS: u32 = 1024;

/// Names of the programs in the object, which are also the names of the raw tracepoints they hang on.
pub mod program {
    /// A segment was sent again.
    pub const RETRANSMIT: &str = "tcp_retransmit_skb";
    /// A SYN-ACK was sent again.
    pub const SYNACK: &str = "tcp_retransmit_synack";
    /// A RST was sent.
    pub const SEND_RESET: &str = "tcp_send_reset";
    /// A RST ended a socket.
    pub const RECEIVE_RESET: &str = "tcp_receive_reset";
}

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
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The address in network byte order; IPv4 as an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2).
    pub octets: [u8; 16],
}

/// One [`slot`] a counter.
pub type Counters = [u64; slot::COUNT];

/// Places in [`Counters`].
pub mod slot {
    /// Segments sent again; the retransmit [kind](super::kind) is added.
    pub const SEGMENTS: usize = 0;
    /// Retransmissions, of one or many segments each; the retransmit [kind](super::kind) is added.
    pub const EVENTS: usize = SEGMENTS + super::kind::COUNT;
    /// RSTs sent for a socket's own reasons: closed with unread data, `SO_LINGER` 0, aborted.
    pub const RESETS_ACTIVE: usize = EVENTS + super::kind::COUNT;
    /// RSTs sent in answer to a segment that fits no connection.
    pub const RESETS_REPLY: usize = RESETS_ACTIVE + 1;
    /// Connections that a peer's RST ended.
    pub const RESETS_RECEIVED: usize = RESETS_REPLY + 1;
    /// Connects that a peer's RST refused.
    pub const REFUSED: usize = RESETS_RECEIVED + 1;
    /// How many slots there are.
    pub const COUNT: usize = REFUSED + 1;
}

/// What made the kernel send a segment again.
pub mod kind {
    /// Retransmission time-out.
    pub const RTO: usize = 0;
    /// Fast retransmit.
    pub const FAST: usize = 1;
    /// Tail-loss probe (RFC 8985).
    pub const TLP: usize = 2;
    /// SYN.
    pub const SYN: usize = 3;
    /// SYN-ACK.
    pub const SYNACK: usize = 4;
    /// How many kinds there are.
    pub const COUNT: usize = 5;
}

/// Places in [`LOST_MAP`].
pub mod lost {
    /// Events lost because [`COUNTERS_MAP`](super::COUNTERS_MAP) was full.
    pub const COUNTERS: u32 = 0;
    /// Events lost because [`SYNACKS_MAP`](super::SYNACKS_MAP) was full.
    pub const SYNACKS: u32 = 1;
    /// Events counted under interface 0 because no structure named the interface.
    pub const UNRESOLVED: u32 = 2;
    /// How many places there are.
    pub const COUNT: u32 = 3;
}

/// Stands for an offset that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Where the running kernel keeps what the programs read: byte offsets, [`ABSENT`] when there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// `sock` to its cached route, a `dst_entry *`.
    pub sock_dst: u32,
    /// `sock` to the interface its packets last came in on, an `int`.
    pub sock_rx_ifindex: u32,
    /// `sock_common.skc_state`, a `u8`.
    pub sock_state: u32,
    /// `sock_common.skc_bound_dev_if`, an `int`.
    pub sock_bound: u32,
    /// `sock_common` to its namespace, a `net *`.
    pub sock_net: u32,
    /// `sock_common.skc_rcv_saddr`: the local IPv4 address.
    pub sock_v4: u32,
    /// `sock_common.skc_v6_rcv_saddr`: the local IPv6 address, IPv4-mapped for an IPv4 socket.
    pub sock_v6: u32,
    /// `inet_connection_sock.icsk_ca_state`: the byte that holds the bit field.
    pub ca_state: u32,
    /// How far to shift that byte right.
    pub ca_shift: u32,
    /// What to mask it with after that.
    pub ca_mask: u32,
    /// `dst_entry` to its `net_device *`.
    pub dst_dev: u32,
    /// `net_device.ifindex`, an `int`.
    pub dev_ifindex: u32,
    /// `net_device` to its namespace, a `net *`.
    pub dev_net: u32,
    /// `net.ns.inum`, a `u32`.
    pub net_inum: u32,
    /// `sk_buff` to the number of its segments, `tcp_skb_cb.tcp_gso_segs`, a `u16`.
    pub skb_segments: u32,
    /// `sk_buff.skb_iif`: the interface a packet came in on, an `int`.
    pub skb_iif: u32,
    /// `sk_buff._skb_refdst`: its route, with a flag in the lowest bit.
    pub skb_dst: u32,
    /// 1 when the tracepoint `tcp_retransmit_skb` passes an error as its third argument (from 6.17), else 0.
    pub retransmit_has_err: u32,
}

impl Offsets {
    /// Nothing is known of the kernel.
    pub const ABSENT: Self = Self {
        sock_dst: ABSENT,
        sock_rx_ifindex: ABSENT,
        sock_state: ABSENT,
        sock_bound: ABSENT,
        sock_net: ABSENT,
        sock_v4: ABSENT,
        sock_v6: ABSENT,
        ca_state: ABSENT,
        ca_shift: 0,
        ca_mask: 0,
        dst_dev: ABSENT,
        dev_ifindex: ABSENT,
        dev_net: ABSENT,
        net_inum: ABSENT,
        skb_segments: ABSENT,
        skb_iif: ABSENT,
        skb_dst: ABSENT,
        retransmit_has_err: 0,
    };
}

// A field that brought padding with it would be read by the kernel before anybody wrote it.
const _: () = {
    assert!(size_of::<Key>() == 2 * 4);
    assert!(size_of::<LocalAddress>() == 4 + 16);
    assert!(size_of::<Counters>() == 14 * 8);
    assert!(size_of::<Offsets>() == 18 * 4);
};
