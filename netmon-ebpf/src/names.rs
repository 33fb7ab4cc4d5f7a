//! What maps, globals and programs are called, and how much the maps hold.

/// Counters of the agent's own network namespace by interface: per-CPU hash map of [`Key`](crate::Key) to
/// [`Counters`](crate::Counters).
pub const COUNTERS_MAP: &str = "COUNTERS";
/// The same of every other network namespace: a map apart, so that however many come and go, the agent's own keeps its
/// rows.
pub const OTHERS_MAP: &str = "OTHERS";
/// What is counted by local address, in the agent's own network namespace or in one that is not known: per-CPU hash map
/// of [`LocalAddress`](crate::LocalAddress) to [`AddressCounters`](crate::AddressCounters).
pub const ADDRESSES_MAP: &str = "ADDRESSES";
/// Names of interfaces outside the agent's own namespace: hash map of [`Key`](crate::Key) to
/// [`DeviceName`](crate::DeviceName).
pub const NAMES_MAP: &str = "NAMES";
/// What could not be counted: per-CPU array of `u64`, indexed by [`lost`](crate::lost).
pub const LOST_MAP: &str = "LOST";
/// Round-trip times in the agent's own network namespace: hash map of [`Key`](crate::Key) to [`Rtt`](crate::Rtt).
pub const RTT_MAP: &str = "RTT";
/// How retransmissions spread over remote ends: hash map of [`Key`](crate::Key) to [`Spread`](crate::Spread).
pub const SPREAD_MAP: &str = "SPREAD";
/// Retransmission time-outs as they happen: ring buffer of [`Timeout`](crate::Timeout).
pub const TIMEOUTS_MAP: &str = "TIMEOUTS";
/// Packets dropped in the agent's own network namespace: hash map of [`Drop`](crate::Drop) to `u64`.
pub const DROPS_MAP: &str = "DROPS";

/// The global variable that holds the running kernel's [`Offsets`](crate::Offsets).
pub const OFFSETS_GLOBAL: &str = "OFFSETS";
/// The global variable that holds the classic tracepoints' [`Format`](crate::Format).
pub const FORMAT_GLOBAL: &str = "FORMAT";
/// The global variable that holds the [`Settings`](crate::Settings).
pub const SETTINGS_GLOBAL: &str = "SETTINGS";

/// Entries of [`COUNTERS_MAP`] unless the loader asks for fewer.
pub const MAX_COUNTERS: u32 = 1024;
/// Entries of [`OTHERS_MAP`] unless the loader asks for fewer.
pub const MAX_OTHERS: u32 = 4096;
/// Entries of [`ADDRESSES_MAP`] unless the loader asks for fewer.
pub const MAX_ADDRESSES: u32 = 1024;
/// Entries of [`NAMES_MAP`] unless the loader asks for fewer.
pub const MAX_NAMES: u32 = 4096;
/// Entries of [`RTT_MAP`] unless the loader asks for fewer.
pub const MAX_RTT: u32 = 1024;
/// Entries of [`SPREAD_MAP`], which holds interfaces of the agent's own namespace alone.
pub const MAX_SPREAD: u32 = 128;
/// Entries of [`DROPS_MAP`] unless the loader asks for fewer.
pub const MAX_DROPS: u32 = 2048;
/// Bytes of [`TIMEOUTS_MAP`]: sixteen to a time-out, the kernel's header included.
pub const TIMEOUTS_BYTES: u32 = 16 * 1024;

/// Names of the programs in the object. Those of raw tracepoints are called as their tracepoint is.
pub mod program {
    /// A segment was sent again.
    pub const RETRANSMIT: &str = "tcp_retransmit_skb";
    /// A segment was sent again, and the program before was kept from it.
    pub const RETRANSMIT_TWIN: &str = "tcp_retransmit_skb_twin";
    /// A SYN-ACK was sent again.
    pub const SYNACK: &str = "tcp_retransmit_synack";
    /// A RST was sent.
    pub const SEND_RESET: &str = "tcp_send_reset";
    /// A RST ended a socket.
    pub const RECEIVE_RESET: &str = "tcp_receive_reset";
    /// A socket changed its state.
    pub const SET_STATE: &str = "inet_sock_set_state";
    /// A segment came in on an established connection.
    pub const PROBE: &str = "tcp_probe";
    /// A packet was dropped.
    pub const DROP: &str = "kfree_skb";

    /// On the classic tracepoint `tcp:tcp_retransmit_skb`.
    pub const CLASSIC_RETRANSMIT: &str = "classic_retransmit";
    /// On the classic tracepoint `tcp:tcp_retransmit_synack`.
    pub const CLASSIC_SYNACK: &str = "classic_synack";
    /// On the classic tracepoint `tcp:tcp_send_reset`.
    pub const CLASSIC_SEND_RESET: &str = "classic_send_reset";
    /// On the classic tracepoint `tcp:tcp_receive_reset`.
    pub const CLASSIC_RECEIVE_RESET: &str = "classic_receive_reset";
    /// On the classic tracepoint `sock:inet_sock_set_state`.
    pub const CLASSIC_SET_STATE: &str = "classic_set_state";
}
