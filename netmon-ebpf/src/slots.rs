//! Places in the values of the maps of counters.

/// One [`slot`] a counter.
pub type Counters = [u64; slot::COUNT];

/// One [`address_slot`] a counter.
pub type AddressCounters = [u64; address_slot::COUNT];

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
    /// Connects that were established.
    pub const ACTIVE_OPENS: usize = REFUSED + 1;
    /// Connects that failed with an error.
    pub const ACTIVE_FAILS: usize = ACTIVE_OPENS + 1;
    /// Connects that this host gave up before they came to an end.
    pub const ABANDONED: usize = ACTIVE_FAILS + 1;
    /// Connections accepted.
    pub const PASSIVE_OPENS: usize = ABANDONED + 1;
    /// Connections that ended between the handshake's last segment and their being established.
    pub const PASSIVE_FAILS: usize = PASSIVE_OPENS + 1;
    /// Segments that sockets had sent when they closed, those sent again included, over loopback and in other network
    /// namespaces; everywhere those that are on no socket's account: resets and SYN-ACKs.
    pub const SEGMENTS_SENT: usize = PASSIVE_FAILS + 1;
    /// How many slots there are.
    pub const COUNT: usize = SEGMENTS_SENT + 1;
}

/// Places in [`AddressCounters`].
pub mod address_slot {
    /// SYN-ACKs sent again.
    pub const SYNACKS: usize = 0;
    /// Retransmissions, of unknown kind and length.
    pub const RETRANSMITS: usize = 1;
    /// SYNs sent again.
    pub const SYNS: usize = 2;
    /// RSTs sent.
    pub const RESETS_SENT: usize = 3;
    /// Connections that a peer's RST ended.
    pub const RESETS_RECEIVED: usize = 4;
    /// Connects that were established.
    pub const ACTIVE_OPENS: usize = 5;
    /// Connects that failed or were given up.
    pub const ACTIVE_FAILS: usize = 6;
    /// Connections accepted.
    pub const PASSIVE_OPENS: usize = 7;
    /// Segments that sockets had sent when they closed, those sent again included; those over loopback left out.
    ///
    /// By address and not by route, for so the agent lays sockets that still live to interfaces, and none may be on one
    /// interface while it lives and on another once it is closed.
    pub const SEGMENTS_SENT: usize = 8;
    /// How many places there are.
    pub const COUNT: usize = 9;
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

/// Places in [`LOST_MAP`](crate::LOST_MAP).
pub mod lost {
    /// Events lost because [`COUNTERS`](crate::COUNTERS) was full.
    pub const COUNTERS: u32 = 0;
    /// Events lost because [`ADDRESSES`](crate::ADDRESSES) was full.
    pub const ADDRESSES: u32 = 1;
    /// Events counted under interface 0 because no structure named the interface.
    pub const UNRESOLVED: u32 = 2;
    /// Round-trip times lost because [`RTT`](crate::RTT) was full.
    pub const RTT: u32 = 3;
    /// Retransmissions that [`SPREAD`](crate::SPREAD) had no room for.
    pub const SPREAD: u32 = 4;
    /// Time-outs that [`TIMEOUTS_MAP`](crate::TIMEOUTS_MAP) had no room for.
    pub const TIMEOUTS: u32 = 5;
    /// Drops lost because [`DROPS`](crate::DROPS) was full.
    pub const DROPS: u32 = 6;
    /// No loss: retransmissions that the kernel kept from one program and the other counted.
    pub const RECOVERED: u32 = 7;
    /// Events lost because [`OTHERS`](crate::OTHERS) was full.
    pub const OTHERS: u32 = 8;
    /// How many places there are.
    pub const COUNT: u32 = 9;
}
