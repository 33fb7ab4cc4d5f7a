//! What a look is to ask, and what it saw.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use super::evidence::port_of;
use crate::{
    observation::{IfIndex, Method, NeighbourState, PathOptions, TargetId},
    source::trace::{self, Choice, Path},
};

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Task {
    /// Whose.
    pub target: TargetId,
    /// Host name or address, as configured.
    pub host: String,
    /// Which of its addresses.
    pub address: IpAddr,
    /// How it is probed.
    pub method: Method,
    /// Which way its packets go.
    pub path: Arc<PathOptions>,
    /// The link that the address is on, where no gateway is between, and its printable name.
    pub on_link: Option<(IfIndex, String)>,
    /// How long the look may take.
    pub timeout: Duration,
}

impl Task {
    /// How hops are asked: by TCP to the target's port, where it is probed by that.
    pub fn choice(&self) -> Choice {
        let tcp = match &self.method {
            Method::Tcp { .. } | Method::Http(_) => true,
            Method::Dns(query) => query.tcp,
            Method::Icmp | Method::Udp { .. } => false,
        };
        match port_of(&self.method).filter(|_| tcp) {
            Some(port) => Choice::Only(trace::Method::Tcp { port }),
            None if matches!(self.method, Method::Udp { .. }) => Choice::Only(trace::Method::Udp),
            None => Choice::Any,
        }
    }

    /// Bytes of the largest packet that its probes send, with the IP header; none where that is what the path lets
    /// through, as with TCP.
    pub fn largest_packet(&self) -> Option<u32> {
        let headers = if self.address.is_ipv6() { 40 + 8 } else { 20 + 8 };
        match &self.method {
            Method::Icmp | Method::Udp { .. } => Some(u32::from(self.path.size.unwrap_or(0)) + headers),
            Method::Dns(query) if !query.tcp => Some(headers + 512),
            // A connection alone takes small packets.
            Method::Tcp { .. } => Some(headers + 52),
            Method::Dns(_) | Method::Http(_) => None,
        }
    }
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How long it took.
    pub took: Duration,
    /// The source address by the kernel's route, or its refusal to give one.
    pub route: Result<IpAddr, Refusal>,
    /// Of an address on the link itself: whether it answers for its address.
    pub neighbour: Option<NeighbourState>,
    /// The trace by the target's own method.
    pub path: Result<Path, Refusal>,
    /// The trace was cut short: it may have seen more.
    pub cut: bool,
    /// Whether the host answers echo requests, where the trace by another method did not reach it.
    pub echo: Option<bool>,
}

/// Why this machine sends nothing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no route.
    NoRoute,
    /// A firewall or a routing rule of its own forbids it.
    Forbidden,
    /// Nobody on the link answers for the address of the next hop.
    NoNeighbour,
    /// There is no such source address or device here.
    NoSuchWay(String),
    /// Anything else, which says nothing of a place.
    Other(String),
}

impl Refusal {
    /// From the error of a look-up of the route: route types `unreachable`, `prohibit` and `blackhole` among them
    /// (net/ipv4/fib_semantics.c `fib_props`).
    pub fn of_route(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EHOSTUNREACH | libc::EINVAL) => Self::NoRoute,
            _ => Self::of(error),
        }
    }

    /// From a system call's error: connect(2), sendto(2), ip(7).
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENETUNREACH) => Self::NoRoute,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::EHOSTUNREACH) => Self::NoNeighbour,
            Some(libc::EADDRNOTAVAIL | libc::ENODEV) => Self::NoSuchWay(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_kernel_has_its_meaning() {
        let of = |errno| Refusal::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::ENETUNREACH), Refusal::NoRoute);
        assert_eq!((of(libc::EPERM), of(libc::EACCES)), (Refusal::Forbidden, Refusal::Forbidden));
        assert_eq!(of(libc::EHOSTUNREACH), Refusal::NoNeighbour);
        assert!(matches!(of(libc::ENODEV), Refusal::NoSuchWay(_)));
        assert!(matches!(of(libc::EMFILE), Refusal::Other(_)));
        let of_route = |errno| Refusal::of_route(&io::Error::from_raw_os_error(errno));
        assert_eq!(
            (of_route(libc::EHOSTUNREACH), of_route(libc::EINVAL)),
            (Refusal::NoRoute, Refusal::NoRoute)
        );
        assert_eq!(of_route(libc::EACCES), Refusal::Forbidden);
    }
}
