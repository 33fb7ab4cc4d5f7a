//! The kernel's TCP counters per device.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

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
    /// Those of them that answered a segment which fits no connection; the others ended a socket of this host.
    pub resets_sent_in_reply: u64,
    /// Connections that a peer's RST ended, refused connects included.
    pub resets_received: u64,
    /// Those of them that were refused connects.
    pub refused_connects: u64,
    /// Segments sent, those sent again included: of sockets that closed, and of those that live as of the last look at
    /// them.
    pub segments_sent: u64,
    /// Connects that came to an end: established or failed.
    pub active_opens: u64,
    /// Connections accepted.
    pub passive_opens: u64,
    /// Connects that failed, and half-open connections that were given up.
    pub failed_connects: u64,
}

impl TcpCounters {
    /// Adds another's counters to these.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.retransmitted_segments, &other.retransmitted_segments),
            (&mut self.retransmits, &other.retransmits),
        ];
        for (mine, theirs) in pairs {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
        self.resets_sent += other.resets_sent;
        self.resets_sent_in_reply += other.resets_sent_in_reply;
        self.resets_received += other.resets_received;
        self.refused_connects += other.refused_connects;
        self.segments_sent += other.segments_sent;
        self.active_opens += other.active_opens;
        self.passive_opens += other.passive_opens;
        self.failed_connects += other.failed_connects;
    }
}

/// How a device's retransmissions spread over remote prefixes and connections, as cells of two hashes that only grow.
///
/// Two of a kind may share a cell, never one have two: so cells that grew are *at most* the prefixes there were, and a
/// cell's growth is *at least* its heaviest connection's. Only time-outs and fast retransmits are in it, for tail-loss
/// probes and SYNs are no sign of a bad link by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSpread {
    /// Segments sent again, by remote prefix (IPv4 /24, IPv6 /48).
    pub prefixes: [u32; 64],
    /// Segments sent again, by connection.
    pub flows: [u32; 256],
}

impl Default for TcpSpread {
    fn default() -> Self {
        Self { prefixes: [0; 64], flows: [0; 256] }
    }
}

/// A retransmission time-out, told the moment it happens: of a segment or of a SYN. The kernel side thins them out to
/// a few per prefix and second, which is all that rule R5 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTimeout {
    /// The device the segment left by; index 0 when unknown.
    pub device: IfIndex,
    /// A hash of the remote prefix (IPv4 /24, IPv6 /48).
    pub prefix: u32,
}

/// Which remote prefixes acknowledged bytes of this host's TCP connections since the observation before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpProgress {
    /// The time looked at, up to the observation's own.
    pub over: Duration,
    /// Hashes of remote prefixes (IPv4 /24, IPv6 /48) that acknowledged bytes, by the device that has the local
    /// address. Loopback is left out, and so is what is on the link itself ([`super::Network::is_on_link`]): it proves
    /// nothing of the path beyond, and a hash can't be told from another.
    pub prefixes: BTreeMap<IfIndex, BTreeSet<u32>>,
}

/// The kernel's own TCP totals of a network namespace since it was made: `/proc/net/snmp`, `/proc/net/netstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpTotals {
    /// `Tcp.OutSegs`: segments sent, without those sent again.
    pub segments_sent: u64,
    /// `Tcp.RetransSegs`: segments sent again.
    pub retransmitted_segments: u64,
    /// `Tcp.OutRsts`: RST segments sent.
    pub resets_sent: u64,
    /// `Tcp.AttemptFails`: connects that failed, and half-open connections that were given up.
    pub failed_connects: u64,
    /// `Tcp.EstabResets`: established connections that were reset, by either side.
    pub reset_connections: u64,
    /// `TcpExt.TCPRetransFail`: retransmissions that never left the host.
    pub failed_retransmits: u64,
}

/// How one kernel program does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpProgram {
    /// Whether it is attached.
    pub attached: bool,
    /// Events the kernel kept from it because it was already running on that CPU.
    pub recursion_misses: u64,
    /// How long it has run; 0 unless `kernel.bpf_stats_enabled` is set.
    pub run_time: Duration,
}

/// One reading of the kernel's TCP counters, for one network namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpReading {
    /// By interface; index 0 is what could not be laid to an interface.
    pub devices: BTreeMap<IfIndex, TcpCounters>,
    /// How the retransmissions spread, by interface. Empty when the kernel side can't tell.
    pub spread: BTreeMap<IfIndex, Arc<TcpSpread>>,
    /// The kernel's own totals, whatever the programs saw. `None` when `/proc` does not show them.
    pub totals: Option<TcpTotals>,
    /// Segments sent again that the kernel's totals have, since the programs were loaded, and no interface has.
    pub unattributed_segments: u64,
    /// RST segments sent, likewise.
    pub unattributed_resets: u64,
    /// Events lost per map because it was full, in every network namespace together.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Every program by the name of its tracepoint, attached or not.
    pub programs: BTreeMap<&'static str, TcpProgram>,
}
