//! What can break.

use std::net::IpAddr;

use serde::Deserialize;

use super::Span;

/// What can break.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The link has no carrier any more.
    Carrier {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
        /// Which wire: the node's own, or that behind its gateway.
        #[serde(default)]
        at: Wire,
    },
    /// The administrator sets the node's device down.
    Admin {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
    },
    /// The node's device is gone; mended, there is another of the same name.
    Device {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
    },
    /// The node's device has another name.
    Name {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
        /// The other name.
        to: String,
    },
    /// The node's address is removed.
    Address {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
        /// Of which family.
        family: FamilyWord,
    },
    /// The node's default route is removed.
    Route {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
        /// Of which family.
        family: FamilyWord,
    },
    /// The gateway answers neither ARP nor NDP, and the node has forgotten its link-layer address.
    Neighbour {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
    },
    /// Packets are lost without a word.
    Lose {
        /// Of which uplink; of all where none is said.
        uplink: Option<usize>,
        /// On which wire.
        #[serde(default)]
        at: Wire,
        /// In which direction.
        #[serde(default)]
        way: WayWord,
        /// Which packets.
        what: Lost,
    },
    /// The gateway refuses to forward, with an ICMP error.
    Refuse {
        /// Of which uplink.
        #[serde(default)]
        uplink: usize,
        /// Which error.
        code: Refusal,
        /// Towards whom; everybody where none is said.
        host: Option<IpAddr>,
    },
    /// The resolver on the first gateway misbehaves.
    Resolver {
        /// How.
        answers: Answers,
    },
    /// A TCP port of every host of the internet is closed.
    Port {
        /// Which.
        port: u16,
    },
    /// Every round trip beyond the gateway takes longer.
    Latency {
        /// By so much.
        added: Span,
    },
}

impl Fault {
    /// The word that mends it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Carrier { .. } => "carrier",
            Self::Admin { .. } => "admin",
            Self::Device { .. } => "device",
            Self::Name { .. } => "name",
            Self::Address { .. } => "address",
            Self::Route { .. } => "route",
            Self::Neighbour { .. } => "neighbour",
            Self::Lose { .. } => "lose",
            Self::Refuse { .. } => "refuse",
            Self::Resolver { .. } => "resolver",
            Self::Port { .. } => "port",
            Self::Latency { .. } => "latency",
        }
    }

    /// The uplink that it is about, where it is about one.
    pub(super) fn uplink(&self) -> Option<usize> {
        match self {
            Self::Carrier { uplink, .. }
            | Self::Admin { uplink }
            | Self::Device { uplink }
            | Self::Name { uplink, .. }
            | Self::Address { uplink, .. }
            | Self::Route { uplink, .. }
            | Self::Neighbour { uplink }
            | Self::Refuse { uplink, .. } => Some(*uplink),
            Self::Lose { uplink, .. } => *uplink,
            Self::Resolver { .. } | Self::Port { .. } | Self::Latency { .. } => None,
        }
    }
}

/// A wire of an uplink.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// Between node and gateway.
    #[default]
    Uplink,
    /// Behind the gateway, which itself still answers.
    Wan,
}

/// A direction.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum WayWord {
    /// Both.
    #[default]
    Both,
    /// What the node sends.
    FromNode,
    /// What the node should receive.
    ToNode,
}

/// What is lost.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// Every frame.
    Everything,
    /// Echo requests and replies.
    Echo,
    /// IPv6, neighbour discovery included.
    Ipv6,
    /// TCP.
    Tcp,
    /// Each frame independently, with this probability in percent.
    Percent(f64),
    /// All from and to one address.
    Host(IpAddr),
    /// Packets of more bytes than this, IP header included.
    LongerThan(u16),
}

/// An address family.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum FamilyWord {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An ICMP error.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No route to the network.
    NetUnreachable,
    /// No way to the host.
    HostUnreachable,
    /// Forbidden.
    Prohibited,
}

/// How a resolver answers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// SERVFAIL.
    Servfail,
    /// NXDOMAIN.
    Nxdomain,
    /// Nothing.
    Silence,
}
