//! The kernel's TCP counters per device.

use std::collections::BTreeMap;

use super::IfIndex;

/// What made the kernel send a segment again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetransmitKind {
    /// Retransmission time-out (`TCP_CA_Loss`).
    Rto,
    /// Fast retransmit (`TCP_CA_Recovery`).
    Fast,
    /// Tail-loss probe (RFC 8985); no sign of a bad link by itself.
    Tlp,
    /// SYN again: the peer has not answered the connect.
    Syn,
    /// SYN-ACK again.
    SynAck,
}

impl RetransmitKind {
    /// Every kind, in the order of [`TcpCounters`]' arrays.
    pub const ALL: [Self; 5] = [Self::Rto, Self::Fast, Self::Tlp, Self::Syn, Self::SynAck];

    /// The word for it in labels and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rto => "rto",
            Self::Fast => "fast",
            Self::Tlp => "tlp",
            Self::Syn => "syn",
            Self::SynAck => "synack",
        }
    }
}

/// Counters of one device since the programs were attached. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Segments sent again, by [`RetransmitKind::ALL`].
    pub retransmitted_segments: [u64; 5],
    /// Retransmissions (one may be of many segments), by [`RetransmitKind::ALL`].
    pub retransmits: [u64; 5],
    /// RST segments sent.
    pub resets_sent: u64,
    /// Connections that a peer's RST ended.
    pub resets_received: u64,
}

/// One reading of the kernel's TCP counters, for one network namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpReading {
    /// By interface; index 0 is what could not be laid to an interface.
    pub devices: BTreeMap<IfIndex, TcpCounters>,
    /// Events lost per map because it was full.
    pub dropped: BTreeMap<&'static str, u64>,
}
