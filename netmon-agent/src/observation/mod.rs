//! Evidence: what a source saw, when, and how good it is. Values only; a source never decides.

mod method;
mod network;
mod probe;
mod tcp;

pub use method::{
    DnsQuery, Family, HttpRequest, Method, PathOptions, SMALLEST_UDP_PAYLOAD, UdpExpect, UrlError,
    is_of_a_host,
};
pub use network::{
    Address, IfIndex, IfName, Link, LinkStats, Neighbour, NeighbourState, Network, NetworkChange, OperState,
    Route, disguises, escape_bytes,
};
pub use probe::{FailureReason, ProbeDetail, ProbeEvent, ProbeOutcome, StampSource, TargetId};
pub use tcp::{
    RetransmitKind, TCP_RTT_BUCKETS, TcpCounters, TcpNamespace, TcpProgram, TcpProgress, TcpReading, TcpRtt,
    TcpRttHistogram, TcpRung, TcpSpread, TcpTimeout, TcpTotals, TcpUnattributed,
};

use crate::time::Mono;

/// One thing a source saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When it was seen, on the monotonic clock.
    pub at: Mono,
    /// What was seen.
    pub evidence: Evidence,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// A link, address, route or neighbour changed, or all of them were read anew.
    Network(NetworkChange),
    /// A probe was sent, answered, or given up.
    Probe(ProbeEvent),
    /// The kernel's TCP counters were read.
    Tcp(Box<TcpReading>),
    /// TCP sent something again because its timer ran out.
    TcpTimeout(TcpTimeout),
    /// The kernel's TCP sockets were looked at twice.
    TcpProgress(TcpProgress),
    /// Evidence of this source was lost. What it said before is unknown until it says it again.
    Gap(SourceKind),
    /// A target's name was resolved; its addresses are now these.
    Resolved {
        /// Whose name.
        target: TargetId,
        /// Every address of every family, IPv4 first, in the order of their numbers, without repeats.
        addresses: Vec<std::net::IpAddr>,
    },
    /// A look-up of a target's name has ended, well or not. Names that no resolver is asked for have none.
    LookedUp {
        /// Whose name.
        target: TargetId,
        /// How long the resolvers took.
        took: std::time::Duration,
    },
    /// A target's name could not be resolved. Its last addresses stay in use.
    ResolveFailed {
        /// Whose name.
        target: TargetId,
        /// The resolver's words.
        error: String,
    },
}

/// Where evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Kernel counters.
    Bpf,
    /// Links, addresses, routes, neighbours.
    Netlink,
    /// Probes.
    Probe,
}
