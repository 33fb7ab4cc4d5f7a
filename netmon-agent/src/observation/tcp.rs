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
    /// Retransmissions of a kind that classic tracepoints can't tell; none where BTF is had.
    pub retransmits_of_unknown_kind: u64,
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
        self.retransmits_of_unknown_kind += other.retransmits_of_unknown_kind;
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

/// Buckets of a [`TcpRttHistogram`].
pub const TCP_RTT_BUCKETS: usize = 28;

/// Round-trip times as the kernel measured them, in powers of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpRttHistogram {
    /// Measurements: bucket 0 of 0 µs, bucket *n* from 2ⁿ⁻¹ µs up to but not including 2ⁿ µs, the last of all beyond.
    pub buckets: [u64; TCP_RTT_BUCKETS],
    /// Their sum.
    pub sum: Duration,
}

impl TcpRttHistogram {
    /// Adds another's measurements to these.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }

    /// How many measurements.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The round-trip times of one device's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpRtt {
    /// Of handshakes.
    pub handshake: TcpRttHistogram,
    /// Smoothed, as connections closed.
    pub close: TcpRttHistogram,
    /// Smoothed, of one in 64 segments received; empty unless asked for.
    pub sampled: TcpRttHistogram,
}

impl TcpRtt {
    /// Adds another's measurements to these.
    pub fn add(&mut self, other: &Self) {
        self.handshake.add(&other.handshake);
        self.close.add(&other.close);
        self.sampled.add(&other.sampled);
    }
}

/// What the kernel's own totals have, since the programs were loaded, and no device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpUnattributed {
    /// Segments sent again. It only grows.
    pub retransmitted_segments: u64,
    /// RST segments sent. It only grows. Before Linux 6.12 those that no full socket sent are among them.
    pub resets_sent: u64,
    /// Connects, those under way included.
    pub active_opens: u64,
    /// Connections accepted.
    pub passive_opens: u64,
    /// Connects that failed, half-open connections that were reset included.
    pub failed_connects: u64,
}

/// The TCP counters of another network namespace than the agent's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpNamespace {
    /// What it is called: a name of `ip netns`, a container, or its inode number.
    pub name: String,
    /// Counters by the name of the device, printable.
    pub devices: BTreeMap<String, TcpCounters>,
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
    /// `Tcp.ActiveOpens`: connects.
    pub active_opens: u64,
    /// `Tcp.PassiveOpens`: connections accepted.
    pub passive_opens: u64,
    /// `Tcp.OutRsts`: RST segments sent.
    pub resets_sent: u64,
    /// `Tcp.AttemptFails`: connects that failed, and half-open connections that were given up.
    pub failed_connects: u64,
    /// `Tcp.EstabResets`: established connections that were reset, by either side.
    pub reset_connections: u64,
    /// `TcpExt.TCPRetransFail`: retransmissions that never left the host.
    pub failed_retransmits: u64,
}

/// How the kernel tells of an event, from the best to none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpRung {
    /// Not at all: only the totals tell of it.
    #[default]
    Totals,
    /// A classic tracepoint: events by local address.
    Classic,
    /// A raw tracepoint, and the layout of the kernel's structures: everything.
    Raw,
}

impl TcpRung {
    /// The word for it in labels and text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Totals => "totals",
            Self::Classic => "classic",
            Self::Raw => "raw",
        }
    }
}

/// How one kernel program does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpProgram {
    /// Whether it is attached.
    pub attached: bool,
    /// How it is attached.
    pub rung: TcpRung,
    /// Events the kernel kept from it because it was already running on that CPU.
    pub recursion_misses: u64,
    /// How often it ran; 0 unless `kernel.bpf_stats_enabled` is set.
    pub runs: u64,
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
    /// What the totals have and no interface has.
    pub unattributed: TcpUnattributed,
    /// Round-trip times by interface.
    pub rtt: BTreeMap<IfIndex, Arc<TcpRtt>>,
    /// Packets dropped by interface and reason, for the reasons that were asked for.
    pub drops: BTreeMap<(IfIndex, Arc<str>), u64>,
    /// Whether the segments sent are of this reading's time, as all else is; otherwise they are of the last look at the
    /// sockets, and what was sent again since is not among them.
    pub sent_is_current: bool,
    /// Other network namespaces, as of the last reading that asked for them; empty unless they are counted.
    pub namespaces: Arc<[TcpNamespace]>,
    /// Events that no structure laid to an interface: they are under index 0.
    pub unresolved: u64,
    /// Retransmissions that the kernel kept from one program, as it does while that runs already on the same CPU, and
    /// the other counted.
    pub recovered: u64,
    /// Rows of other namespaces that gave way to busier ones.
    pub evicted: u64,
    /// Events lost per map because it was full, in every network namespace together.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Every program by the name of its tracepoint, attached or not.
    pub programs: BTreeMap<&'static str, TcpProgram>,
}
