//! The places where a fault can be, and what is said of one.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use crate::time::Boot;

/// Where a fault is, from the nearest to the farthest: a near one explains those beyond it. Scripts hold on to the words:
/// add, never rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A network device: down, without carrier, gone.
    Link,
    /// A device has no usable address.
    Address,
    /// There is no route.
    Route,
    /// The gateway, or a host on the link, does not answer for its address (ARP, neighbour discovery).
    Neighbour,
    /// The gateway answers for its address, if at all, and to nothing else.
    Gateway,
    /// This machine: the agent stood still, the machine slept, its own firewall or policy forbids to send.
    Local,
    /// The way beyond the gateway.
    Path,
    /// Packets of a size are lost on the way, smaller ones are not.
    PathMtu,
    /// A resolver, or the name.
    Dns,
    /// The target's own port or service: the host is there.
    Port,
}

impl Place {
    /// Every place, from the nearest to the farthest.
    pub const ALL: [Self; 10] = [
        Self::Link,
        Self::Address,
        Self::Route,
        Self::Neighbour,
        Self::Gateway,
        Self::Local,
        Self::Path,
        Self::PathMtu,
        Self::Dns,
        Self::Port,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Route => "route",
            Self::Neighbour => "neighbour",
            Self::Gateway => "gateway",
            Self::Local => "local",
            Self::Path => "path",
            Self::PathMtu => "path_mtu",
            Self::Dns => "dns",
            Self::Port => "port",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is said of a fault's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// One line for a person. Printable.
    pub detail: String,
    /// How long it took to find; zero where the evidence was in hand.
    pub took: Duration,
    /// The target that showed it, where it is the place of the whole.
    pub target: Option<Arc<str>>,
    /// What a look saw of the way; none where the evidence was in hand.
    pub trace: Option<Trace>,
}

impl Finding {
    /// From the evidence in hand.
    pub fn in_hand(place: Place, detail: impl Into<String>) -> Self {
        Self { place, detail: detail.into(), took: Duration::ZERO, target: None, trace: None }
    }
}

/// The way to an address, as far as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Where it was to lead.
    pub address: IpAddr,
    /// The source address that the kernel gives packets to it, where it has a route.
    pub source: Option<IpAddr>,
    /// How hops were asked: `icmp`, `udp`, `tcp port 443`.
    pub method: String,
    /// Hops from the first to the last that answered.
    pub hops: Vec<SeenHop>,
    /// Whether the address itself answered.
    pub reached: bool,
    /// The largest packet that passes, bytes with the IP header; none where that is not known.
    pub path_mtu: Option<u32>,
}

impl Trace {
    /// The last hop that answered.
    pub fn last_hop(&self) -> Option<&SeenHop> {
        self.hops.iter().rfind(|hop| !hop.addresses.is_empty())
    }
}

/// One distance from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenHop {
    /// 1 is the first router.
    pub hop: u8,
    /// Who answered there; none where nobody did.
    pub addresses: Vec<IpAddr>,
    /// The shortest round trip.
    pub rtt: Option<Duration>,
}

/// A finding and when it was made. Many targets share one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// When.
    pub at: Boot,
    /// What was found.
    pub finding: Arc<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_places_come_first_and_words_are_distinct() {
        assert!(Place::ALL.is_sorted());
        let words: std::collections::BTreeSet<&str> = Place::ALL.iter().map(|p| p.as_str()).collect();
        assert_eq!(words.len(), Place::ALL.len());
    }
}
