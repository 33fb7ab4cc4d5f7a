//! The ICMP sockets, opened once while privileges last, and what could be had.

use std::{fmt, io, os::fd::AsFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::path;
use crate::{observation::PathOptions, packet::icmp::Family, sys};

/// What each buffer is asked to hold: 10,000 replies, as the kernel counts them and doubles what it grants.
const BUFFER: usize = 4 << 20;
/// Payload that fits any link with its headers: every one takes 68 bytes (RFC 791).
const SMALL: u16 = 40;

/// How echo requests of one family can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the unprivileged datagram socket.
    Datagram,
    /// By a raw socket, with CAP_NET_RAW.
    Raw,
    /// Not at all.
    None {
        /// Why not, and what would mend it.
        remedy: String,
    },
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram => f.write_str("dgram"),
            Self::Raw => f.write_str("raw"),
            Self::None { .. } => f.write_str("none"),
        }
    }
}

/// What could be had of each family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// ICMP over IPv4.
    pub icmp4: Access,
    /// ICMPv6.
    pub icmp6: Access,
}

/// One ICMP socket.
#[derive(Debug)]
pub(in crate::source) struct IcmpSocket {
    pub(in crate::source) socket: Socket,
    pub(in crate::source) family: Family,
    /// Raw: the kernel neither writes nor checks the identifier, and IPv4 comes with its header.
    pub(in crate::source) raw: bool,
    pub(in crate::source) ident: u16,
}

/// The ICMP sockets of both families: one for what lies beyond a router, one for neighbours.
#[derive(Debug)]
pub struct Sockets {
    /// v4 routed, v4 on-link, v6 routed, v6 on-link.
    pub(super) icmp: [Option<IcmpSocket>; 4],
    /// Raw ones for ways that are known now, as later none can be opened.
    pub(super) reserve: Reserve,
    capabilities: Capabilities,
}

/// Sockets that wait to be needed, by whether they are for neighbours and the way that they take.
pub(super) type Reserve = Vec<(bool, PathOptions, IcmpSocket)>;

impl Sockets {
    /// Opens what can be opened, unprivileged before privileged, and remembers what could not. Call it before
    /// privileges are dropped.
    pub fn open() -> Self {
        let (v4, v4_on_link, icmp4) = open_family(Family::V4);
        let (v6, v6_on_link, icmp6) = open_family(Family::V6);
        Self {
            icmp: [v4, v4_on_link, v6, v6_on_link],
            reserve: Vec::new(),
            capabilities: Capabilities { icmp4, icmp6 },
        }
    }

    /// With raw sockets for these ways too, in families that have no others: an unprivileged one can be opened at any
    /// time. What can't be opened is told when it is needed.
    pub fn with_ways(mut self, ways: &[PathOptions]) -> Self {
        let Capabilities { icmp4, icmp6 } = &self.capabilities;
        for (family, access) in [(Family::V4, icmp4), (Family::V6, icmp6)] {
            let ways = ways.iter().filter(|_| *access == Access::Raw);
            for (way, on_link) in ways.flat_map(|way| [(way, false), (way, true)]) {
                if let Ok(socket) = IcmpSocket::open(family, way) {
                    self.reserve.push((on_link, way.clone(), socket));
                }
            }
        }
        self
    }

    /// What could be had.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

fn open_family(family: Family) -> (Option<IcmpSocket>, Option<IcmpSocket>, Access) {
    let path = PathOptions::default();
    match IcmpSocket::open(family, &path) {
        Ok(first) => {
            let access = if first.raw { Access::Raw } else { Access::Datagram };
            // Should the second not open, the first serves for both.
            (Some(first), IcmpSocket::open(family, &path).ok(), access)
        }
        Err(e) => (None, None, Access::None { remedy: remedy(family, &e) }),
    }
}

pub(in crate::source) fn remedy(family: Family, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) if family == Family::V6 => {
            "this kernel has no IPv6; boot without ipv6.disable=1".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => "no permission; open ping sockets with \
             sysctl -w net.ipv4.ping_group_range='0 2147483647', or give the binary CAP_NET_RAW \
             (setcap cap_net_raw+ep)"
            .to_owned(),
        _ => error.to_string(),
    }
}

impl IcmpSocket {
    /// Opens a datagram socket, or else a raw one.
    pub(in crate::source) fn open(family: Family, path: &PathOptions) -> io::Result<Self> {
        Self::datagram(family, path).or_else(|first| Self::raw(family, path).map_err(|_| first))
    }

    fn datagram(family: Family, way: &PathOptions) -> io::Result<Self> {
        let socket = new_socket(family, Type::DGRAM)?;
        path::apply(way, &socket, family == Family::V6)?;
        // Bound to port 0 it is given its identifier now, so that a quotation can be checked against it.
        socket.bind(&path::source(way, family == Family::V6)?.into())?;
        let ident = socket.local_addr()?.as_socket().map_or(0, |a| a.port());
        Self { socket, family, raw: false, ident }.prepared(way)
    }

    fn raw(family: Family, way: &PathOptions) -> io::Result<Self> {
        let socket = new_socket(family, Type::RAW)?;
        path::apply(way, &socket, family == Family::V6)?;
        if way.source.is_some() {
            socket.bind(&path::source(way, family == Family::V6)?.into())?;
        }
        match family {
            Family::V4 => sys::filter_icmp4(socket.as_fd(), family.reply())?,
            Family::V6 => sys::filter_icmp6(socket.as_fd(), family.reply())?,
        }
        Self { socket, family, raw: true, ident: rand::random() }.prepared(way)
    }

    fn prepared(self, path: &PathOptions) -> io::Result<Self> {
        let v6 = self.family == Family::V6;
        self.socket.set_nonblocking(true)?;
        sys::enable_error_queue(self.socket.as_fd(), v6)?;
        // Without these a round trip is less exact, or has no TTL; it is one all the same.
        let _ = sys::enable_receive_stamps(self.socket.as_fd());
        let _ = sys::enable_receive_ttl(self.socket.as_fd(), v6);
        // What is smaller than any link's MTU is never fragmented; said so, it spares the kernel an identification.
        if !v6 && path.size.is_none_or(|size| size <= SMALL) {
            let _ = sys::never_fragment(self.socket.as_fd(), v6);
        }
        sys::ask_for_buffers(self.socket.as_fd(), BUFFER);
        Ok(self)
    }
}

fn new_socket(family: Family, kind: Type) -> io::Result<Socket> {
    match family {
        Family::V4 => Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4)),
        Family::V6 => Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        let text = |family, errno| remedy(family, &io::Error::from_raw_os_error(errno));
        assert!(text(Family::V4, libc::EACCES).contains("ping_group_range"));
        assert!(text(Family::V6, libc::EPERM).contains("cap_net_raw"));
        assert!(text(Family::V6, libc::EAFNOSUPPORT).contains("IPv6"));
        assert!(!text(Family::V4, libc::EMFILE).is_empty());
    }
}
