//! The kernel's own word on the route to an address, without a packet sent.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{observation::PathOptions, source::probe::path};

/// A port that nobody is sent anything to: discard (RFC 863).
const DISCARD: u16 = 9;

/// The source address of packets to `address` that go this way: what the kernel chooses when a UDP socket is connected,
/// which looks up the route by all its rules and sends nothing.
///
/// # Errors
/// The kernel's: no route, or a rule that forbids it; or that way can't be had.
pub fn source_to(way: &PathOptions, address: IpAddr) -> io::Result<IpAddr> {
    let peer = SocketAddr::new(address.to_canonical(), DISCARD);
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
    path::apply(way, &socket, peer.is_ipv6())?;
    if way.source.is_some() {
        socket.bind(&path::source(way, peer.is_ipv6())?.into())?;
    }
    socket.connect(&peer.into())?;
    let own = socket.local_addr()?.as_socket();
    own.map(|own| own.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_source_address() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(source_to(&PathOptions::default(), "127.0.0.9".parse().unwrap()).unwrap(), loopback);
        let from = PathOptions { source: Some("127.0.0.5".parse().unwrap()), ..PathOptions::default() };
        assert_eq!(source_to(&from, loopback).unwrap(), from.source.unwrap());
        let odd = PathOptions { device: Some("none-such0".to_owned()), ..PathOptions::default() };
        assert!(source_to(&odd, loopback).is_err());
    }
}
