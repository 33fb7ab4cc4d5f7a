//! What a trace found.

use std::{fmt, net::IpAddr, time::Duration};

use crate::observation::{FailureReason, StampSource};

/// How hops are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// ICMP echo.
    Icmp,
    /// UDP to ports nobody listens on, from 33434 on as traceroute has them.
    Udp,
    /// TCP connect.
    Tcp {
        /// Destination port.
        port: u16,
    },
}

impl Method {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Udp => "udp",
            Self::Tcp { .. } => "tcp",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { port } => write!(f, "tcp port {port}"),
            _ => f.write_str(self.as_str()),
        }
    }
}

/// An answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who answered.
    pub from: IpAddr,
    /// From the probe's departure to the answer; `None` where TCP had sent its SYN again by then, so that nobody can
    /// tell which of them was answered.
    pub rtt: Option<Duration>,
    /// Who took the time.
    pub stamp: StampSource,
    /// What the answer says beyond "I am here": why the probe went no further. `None` for a router that let the time
    /// to live run out, and for an ordinary answer of the destination.
    pub reason: Option<FailureReason>,
    /// The destination answered.
    pub(super) arrived: bool,
}

impl Reply {
    /// An answer of somebody on the way.
    pub fn new(
        from: IpAddr,
        rtt: Option<Duration>,
        stamp: StampSource,
        reason: Option<FailureReason>,
    ) -> Self {
        Self { from, rtt, stamp, reason, arrived: false }
    }
}

/// Everything known of one distance from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Time to live of the probes that ended here; 1 is the first router.
    pub ttl: u8,
    /// Probes sent.
    pub sent: u8,
    /// Their answers, in the order they came. Routers limit how many they give, so fewer than were asked for is no
    /// loss, and none at all says nothing of what lies beyond.
    pub replies: Vec<Reply>,
}

impl Hop {
    /// Those who answered, each once; several where routers share the load.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut out = Vec::new();
        for reply in &self.replies {
            if !out.contains(&reply.from) {
                out.push(reply.from);
            }
        }
        out
    }

    /// The first thing unusual that an answer said.
    pub fn reason(&self) -> Option<FailureReason> {
        self.replies.iter().find_map(|reply| reply.reason)
    }
}

/// How a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the destination.
    Reached {
        /// Its distance.
        hop: u8,
    },
    /// Somebody said that it goes no further.
    Unreachable {
        /// The distance at which that was said.
        hop: u8,
        /// By whom.
        from: IpAddr,
        /// Why.
        reason: FailureReason,
    },
    /// Probes go round in a circle.
    Loop {
        /// Where the circle begins.
        hop: u8,
        /// Where the same router was met again.
        again: u8,
        /// That router.
        from: IpAddr,
    },
    /// Nobody answered any more.
    Silent {
        /// The last hop that did; `None` when there was none.
        last: Option<u8>,
        /// The farthest hop asked.
        asked: u8,
    },
}

/// Who said that a size is too big.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A router, by "fragmentation needed" or "packet too big".
    Told {
        /// Its address.
        by: IpAddr,
        /// Its distance, where it is one of the hops.
        hop: Option<u8>,
        /// The largest packet that it lets pass, in bytes with the IP header.
        bytes: u32,
    },
    /// Nobody: larger packets vanish.
    BlackHole {
        /// The farthest hop that larger packets still reach; `None` when not even the first, or none of them answers.
        after: Option<u8>,
        /// The largest packet that passes.
        bytes: u32,
    },
}

/// The largest packet that passes whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// Bytes with the IP header. 65535 is the largest there is, on loopback say.
    pub bytes: u32,
    /// As far as this hop only, since the destination answers no such probes; `None`: all the way.
    pub as_far_as: Option<u8>,
    /// What the first device takes; `None` if it takes everything.
    pub device: Option<u32>,
    /// What narrows it on the way, from the widest to the narrowest.
    pub limits: Vec<Limit>,
}

impl PathMtu {
    /// Whether packets that are too big vanish without a word.
    pub fn is_black_hole(&self) -> bool {
        self.limits.iter().any(|limit| matches!(limit, Limit::BlackHole { .. }))
    }
}

/// The way to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where it was to lead.
    pub destination: IpAddr,
    /// How hops were asked.
    pub method: Method,
    /// Hops from the first to the last that answered.
    pub hops: Vec<Hop>,
    /// How it ends.
    pub end: End,
    /// The largest packet that passes; `None` when it was not asked for, or nobody answers large packets or small.
    pub mtu: Option<PathMtu>,
    /// Answers that belong to no probe of this trace, as forged ones do not.
    pub unmatched: u64,
}

impl Path {
    /// Whether the destination answered.
    pub fn reached(&self) -> bool {
        matches!(self.end, End::Reached { .. })
    }

    /// The hop at this distance.
    pub fn hop(&self, ttl: u8) -> Option<&Hop> {
        self.hops.get(usize::from(ttl).checked_sub(1)?)
    }
}
