//! What maps, globals and programs are called, and how much the maps hold.

/// The maps of a [table](crate::Row).
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Array of [`Row`](crate::Row) that can be mapped; the table is called as it is.
    pub rows: &'static str,
    /// Hash map of keys to numbers of rows.
    pub index: &'static str,
    /// Array of one [`Book`](crate::Book) that can be mapped.
    pub book: &'static str,
    /// Stack of the numbers of rows that are free.
    pub free: &'static str,
    /// Rows unless the loader asks for fewer, and places in the book.
    pub most: u32,
}

/// A table whose other maps are called after its own.
macro_rules! table {
    ($name:literal, $most:expr) => {
        Table {
            rows: $name,
            index: concat!($name, "_INDEX"),
            book: concat!($name, "_BOOK"),
            free: concat!($name, "_FREE"),
            most: $most,
        }
    };
}

/// Counters of the agent's own network namespace by interface: [table](crate::Row) of [`Key`](crate::Key) and
/// [`Counters`](crate::Counters).
pub const COUNTERS: Table = table!("COUNTERS", MAX_COUNTERS);
/// The same of every other network namespace, with the name of the interface: table of [`Key`](crate::Key) and
/// [`Other`](crate::Other). A table apart, so that however many come and go, the agent's own keeps its rows.
pub const OTHERS: Table = table!("OTHERS", MAX_OTHERS);
/// What is counted by local address, in the agent's own network namespace or in one that is not known: table of
/// [`LocalAddress`](crate::LocalAddress) and [`AddressCounters`](crate::AddressCounters).
pub const ADDRESSES: Table = table!("ADDRESSES", MAX_ADDRESSES);
/// Round-trip times in the agent's own network namespace: table of [`Key`](crate::Key) and [`Rtt`](crate::Rtt).
pub const RTT: Table = table!("RTT", MAX_RTT);
/// How retransmissions spread over remote ends: table of [`Key`](crate::Key) and [`Spread`](crate::Spread).
pub const SPREAD: Table = table!("SPREAD", MAX_SPREAD);
/// Packets dropped in the agent's own network namespace: table of [`Drop`](crate::Drop) and `u64`.
pub const DROPS: Table = table!("DROPS", MAX_DROPS);
/// What could not be counted: array of `u64` that can be mapped, indexed by [`lost`](crate::lost).
pub const LOST_MAP: &str = "LOST";
/// Retransmission time-outs as they happen: ring buffer of [`Timeout`](crate::Timeout).
pub const TIMEOUTS_MAP: &str = "TIMEOUTS";

/// The global variable that holds the running kernel's [`Offsets`](crate::Offsets).
pub const OFFSETS_GLOBAL: &str = "OFFSETS";
/// The global variable that holds the classic tracepoints' [`Format`](crate::Format).
pub const FORMAT_GLOBAL: &str = "FORMAT";
/// The global variable that holds the [`Settings`](crate::Settings).
pub const SETTINGS_GLOBAL: &str = "SETTINGS";

/// Rows of [`COUNTERS`] unless the loader asks for fewer.
pub const MAX_COUNTERS: u32 = 1024;
/// Rows of [`OTHERS`] unless the loader asks for fewer.
pub const MAX_OTHERS: u32 = 4096;
/// Rows of [`ADDRESSES`] unless the loader asks for fewer.
pub const MAX_ADDRESSES: u32 = 1024;
/// Rows of [`RTT`] unless the loader asks for fewer.
pub const MAX_RTT: u32 = 1024;
/// Rows of [`SPREAD`], which holds interfaces of the agent's own namespace alone.
pub const MAX_SPREAD: u32 = 128;
/// Rows of [`DROPS`] unless the loader asks for fewer.
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
