//! The way a target's packets go, as socket options.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
};

use socket2::Socket;

use crate::{observation::PathOptions, sys};

/// Sets all but the source, which [`source`] is for. To be called before the socket is bound.
///
/// # Errors
/// The system call's: no such device, no privilege for the mark.
pub(in crate::source) fn apply(path: &PathOptions, socket: &Socket, v6: bool) -> io::Result<()> {
    if let Some(device) = &path.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if path.mark != 0 {
        socket.set_mark(path.mark)?;
    }
    let class = u32::from(path.dscp) << 2;
    match (v6, path.ttl) {
        (false, Some(ttl)) => socket.set_ttl_v4(ttl.into())?,
        (true, Some(ttl)) => socket.set_unicast_hops_v6(ttl.into())?,
        (_, None) => {}
    }
    match v6 {
        _ if class == 0 => {}
        false => socket.set_tos_v4(class)?,
        true => socket.set_tclass_v6(class)?,
    }
    if path.dont_fragment {
        sys::never_fragment(socket.as_fd(), v6)?;
    }
    Ok(())
}

/// Where to bind a socket to: the source asked for, or any; no port.
///
/// # Errors
/// The source is of the other family.
pub(in crate::source) fn source(path: &PathOptions, v6: bool) -> io::Result<SocketAddr> {
    let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let source = path.source.unwrap_or(any);
    if source.is_ipv6() != v6 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the source {source} is of the other family"),
        ));
    }
    Ok((source, 0).into())
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Protocol, Type};

    use super::*;

    fn socket(v6: bool) -> Socket {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap()
    }

    #[test]
    fn options_are_what_the_kernel_has() {
        let path = PathOptions { ttl: Some(7), dscp: 46, dont_fragment: true, ..PathOptions::default() };
        let v4 = socket(false);
        apply(&path, &v4, false).unwrap();
        assert_eq!((v4.ttl_v4().unwrap(), v4.tos_v4().unwrap()), (7, 46 << 2));
        let v6 = socket(true);
        apply(&path, &v6, true).unwrap();
        assert_eq!((v6.unicast_hops_v6().unwrap(), v6.tclass_v6().unwrap()), (7, 46 << 2));
    }

    #[test]
    fn no_such_device_and_a_source_of_the_other_family_are_refused() {
        let path = PathOptions { device: Some("none-such0".to_owned()), ..PathOptions::default() };
        assert!(apply(&path, &socket(false), false).is_err());
        let path = PathOptions { source: Some(Ipv4Addr::LOCALHOST.into()), ..PathOptions::default() };
        assert_eq!(source(&path, false).unwrap(), "127.0.0.1:0".parse().unwrap());
        assert!(source(&path, true).is_err());
    }
}
