//! What becomes of a probe.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use netmon_agent::{
    health::TargetSpec,
    observation::{FailureReason, IfIndex},
};

/// A probe that is about to leave.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// Since the start of the simulation, time spent suspended included.
    pub at: Duration,
    /// Whose.
    pub target: &'a TargetSpec,
    /// To which of its addresses.
    pub address: IpAddr,
    /// How long a reply may take.
    pub timeout: Duration,
    /// It is one of its schedule, not one that the core asked for beside.
    pub regular: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An answer comes; after the time-out it is a late one.
    Answered {
        /// Round-trip time.
        rtt: Duration,
    },
    /// An error comes back: an ICMP message, a reset, an answer that is none.
    Failed {
        /// How long after it left.
        after: Duration,
        /// What it says.
        reason: FailureReason,
        /// Who says so, where it is an ICMP message.
        reporter: Option<IpAddr>,
    },
    /// It does not leave.
    Unsent {
        /// Why.
        reason: Unsent,
    },
    /// Nothing is ever heard of it.
    Silent,
}

/// Why a probe can't be sent from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// No route, device or source address (`ENETUNREACH`, `ENODEV`, `EADDRNOTAVAIL`): its lane waits longer each time.
    NoRoute,
    /// A packet filter here forbids it (`EPERM`).
    Forbidden,
    /// It is larger than the path takes, and must not be fragmented (`EMSGSIZE`).
    TooLarge,
    /// No room in the socket's buffer or the device's queue (`EAGAIN`, `ENOBUFS`): proves nothing.
    NoBuffer,
}

/// The network, as far as probes and sockets see it.
pub trait Wire {
    /// What becomes of this probe. Called once for each, in the order in which they leave.
    fn probe(&mut self, probe: &Probe<'_>) -> Fate;

    /// R7: remote prefixes that acknowledged TCP's bytes in the last `over` before `at`, by device; asked a second
    /// apart while the core wants to know. None where nobody looks at sockets.
    fn progress(&mut self, at: Duration, over: Duration) -> Option<BTreeMap<IfIndex, BTreeSet<u32>>> {
        let _ = (at, over);
        None
    }
}

impl<F: FnMut(&Probe<'_>) -> Fate> Wire for F {
    fn probe(&mut self, probe: &Probe<'_>) -> Fate {
        self(probe)
    }
}
