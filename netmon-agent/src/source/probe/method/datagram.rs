//! A UDP socket for one probe.

use std::{io, net::SocketAddr, os::fd::AsFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::super::path;
use crate::{observation::PathOptions, sys};

/// A socket that sends to this peer and hears it alone, its answers stamped by the kernel.
///
/// # Errors
/// The system calls': no descriptor, no route.
pub(super) fn connected(to: SocketAddr, way: &PathOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Without these an answer is less exact, or a failure less explained.
    let _ = sys::enable_receive_stamps(socket.as_fd());
    let _ = sys::enable_receive_ttl(socket.as_fd(), to.is_ipv6());
    let _ = sys::enable_error_queue(socket.as_fd(), to.is_ipv6());
    path::apply(way, &socket, to.is_ipv6())?;
    socket.bind(&path::source(way, to.is_ipv6())?.into())?;
    socket.connect(&to.into())?;
    Ok(socket)
}

/// The kernel stamps arrivals only while some socket asks for it; one that asks all the time has the first answer to a
/// fresh socket stamped too.
///
/// # Errors
/// The system calls'.
pub(super) fn stamping_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    sys::enable_receive_stamps(socket.as_fd())?;
    Ok(socket)
}
