//! Socket options without a safe wrapper elsewhere, each as a plain function.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};

/// linux/icmp.h.
const ICMP_FILTER: i32 = 1;
/// linux/icmpv6.h.
const ICMPV6_FILTER: i32 = 1;
/// asm-generic/socket.h.
const SO_MEMINFO: i32 = 55;
/// Bytes of `struct tcp_info` up to and with `tcpi_total_retrans` (linux/tcp.h).
const TCP_INFO_BYTES: usize = 104;

/// Asks for the kernel's receive stamps (`SO_TIMESTAMPING` with software stamps only: a datagram that arrived before
/// the kernel had begun to stamp comes without one, where `SO_TIMESTAMPNS` would invent one when it is read).
///
/// # Errors
/// The system call's.
pub fn enable_receive_stamps(socket: BorrowedFd<'_>) -> io::Result<()> {
    stamp_sends(socket, false)
}

/// Asks for receive stamps as [`enable_receive_stamps`] does and, if `sends`, for a stamp of each datagram sent as it
/// is given to the device. These come by the error queue with the datagram's own bytes (`Ancillary::sent_stamp`). A network
/// card that was told to stamp (`SIOCSHWTSTAMP`, by ptp4l or hwstamp_ctl) adds its own stamps.
///
/// # Errors
/// The system call's.
pub fn stamp_sends(socket: BorrowedFd<'_>, sends: bool) -> io::Result<()> {
    let mut flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE;
    flags.set(TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE, sends);
    flags.set(TimestampingFlag::SOF_TIMESTAMPING_TX_HARDWARE, sends);
    Ok(setsockopt(&socket, sockopt::Timestamping, &flags)?)
}

/// Asks for the time to live (v4) or hop limit (v6) of what arrives.
///
/// # Errors
/// The system call's.
pub fn enable_receive_ttl(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
    }
    Ok(())
}

/// Asks for buffers of this many bytes each way. With CAP_NET_ADMIN they are granted; else `rmem_max` and `wmem_max`
/// bound them, and what is granted is what there is.
pub fn ask_for_buffers(socket: BorrowedFd<'_>, bytes: usize) {
    if setsockopt(&socket, sockopt::RcvBufForce, &bytes).is_err() {
        let _ = setsockopt(&socket, sockopt::RcvBuf, &bytes);
    }
    if setsockopt(&socket, sockopt::SndBufForce, &bytes).is_err() {
        let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
    }
}

/// Sends datagrams whole or not at all, whatever path MTU is known: IPv4 with DF set (`IP_MTU_DISCOVER` with
/// `IP_PMTUDISC_PROBE`, ip(7)), IPv6 without a fragment header (`IPV6_DONTFRAG`, RFC 3542). What is larger than the
/// device's MTU is refused with `EMSGSIZE`.
///
/// With DF the kernel need not find each datagram an identification of its own, a shared counter by destination that
/// misses the cache (net/ipv4/route.c `__ip_select_ident`; RFC 6864 wants none where DF is set).
///
/// # Errors
/// The system call's.
pub fn never_fragment(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_PROBE.to_ne_bytes())?;
        return set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &1i32.to_ne_bytes());
    }
    set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE.to_ne_bytes())
}

/// Leaves the choice of a port to `connect`, which knows the peer: a bound source then takes no port from all other
/// connections (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2).
///
/// # Errors
/// The system call's.
pub fn bind_without_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1i32.to_ne_bytes())
}

/// Asks for ICMP errors on the error queue (`IP_RECVERR`, `IPV6_RECVERR`).
///
/// # Errors
/// The system call's.
pub fn enable_error_queue(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    }
    Ok(())
}

/// Lets only messages of ICMP type `wanted` reach a raw socket (raw(7), `ICMP_FILTER`). Errors come by the error
/// queue all the same.
///
/// # Errors
/// The system call's.
pub fn filter_icmp4(socket: BorrowedFd<'_>, wanted: u8) -> io::Result<()> {
    let blocked = !(1u32 << (wanted & 31));
    set(socket, libc::SOL_RAW, ICMP_FILTER, &blocked.to_ne_bytes())
}

/// Lets only messages of ICMPv6 type `wanted` reach a raw socket (RFC 3542, section 3.2).
///
/// # Errors
/// The system call's.
pub fn filter_icmp6(socket: BorrowedFd<'_>, wanted: u8) -> io::Result<()> {
    let mut blocked = [u32::MAX; 8];
    blocked[usize::from(wanted >> 5)] &= !(1 << (wanted & 31));
    let bytes: Vec<u8> = blocked.iter().flat_map(|word| word.to_ne_bytes()).collect();
    set(socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &bytes)
}

/// Datagrams the kernel threw away because the socket's buffer was full, since it was opened (`SO_MEMINFO[8]`). Ping
/// sockets never deliver `SO_RXQ_OVFL`; this counts on every kind.
///
/// # Errors
/// The system call's.
pub fn receive_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    const AT: usize = 4 * libc::SK_MEMINFO_DROPS as usize;
    let mut info = [0u8; AT + 4];
    let length = get(socket, libc::SOL_SOCKET, SO_MEMINFO, &mut info)?;
    // Kernels before 4.12 have no ninth field.
    let drops = info.get(AT..length.min(info.len())).and_then(|b| b.try_into().ok());
    drops.map(u32::from_ne_bytes).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// What the kernel knows of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Whether the handshake is still under way (`TCP_SYN_SENT`).
    pub connecting: bool,
    /// Smoothed round-trip time; right after the handshake, that of SYN to SYN-ACK. Microsecond resolution.
    pub rtt: Option<Duration>,
    /// Segments sent again.
    pub retransmits: u32,
}

/// Reads `TCP_INFO`.
///
/// # Errors
/// The system call's.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = [0u8; TCP_INFO_BYTES];
    get(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    let field = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let rtt = Duration::from_micros(field(68).into());
    // include/net/tcp_states.h
    const SYN_SENT: u8 = 2;
    let connecting = info[0] == SYN_SENT;
    Ok(TcpInfo { connecting, rtt: (!rtt.is_zero()).then_some(rtt), retransmits: field(100) })
}

/// The supplementary groups of the process at the other end of a Unix socket, as they were when it connected
/// (`SO_PEERGROUPS`, Linux 4.13).
///
/// # Errors
/// The system call's; `ENODATA` where the peer's are not known.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // The kernel refuses what is too small for all of them; NGROUPS_MAX is 65536.
    let few = peer_groups_of(socket, 64);
    match few {
        Err(e) if e.raw_os_error() == Some(libc::ERANGE) => peer_groups_of(socket, 1 << 16),
        few => few,
    }
}

fn peer_groups_of(socket: BorrowedFd<'_>, most: usize) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0; most * size_of::<libc::gid_t>()];
    let length = get(socket, libc::SOL_SOCKET, libc::SO_PEERGROUPS, &mut bytes)?;
    let (groups, _) = bytes[..length].as_chunks();
    Ok(groups.iter().map(|group| u32::from_ne_bytes(*group)).collect())
}

fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `value.len()` bytes from `value`, which outlives the call.
    let r = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value` and the number written to `length`; both outlive
    // the call.
    let r = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    };
    if r == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn a_full_buffer_counts_its_drops() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&receiver).set_recv_buffer_size(2304).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(receive_drops(receiver.as_fd()).unwrap(), 0);
        for _ in 0..50 {
            sender.send_to(&[0; 100], receiver.local_addr().unwrap()).unwrap();
        }
        receiver.set_nonblocking(true).unwrap();
        let kept = std::iter::from_fn(|| receiver.recv(&mut [0; 100]).ok()).count() as u32;
        assert!(kept < 50);
        assert_eq!(receive_drops(receiver.as_fd()).unwrap(), 50 - kept);
    }

    #[test]
    fn a_handshake_has_a_round_trip_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let info = tcp_info(stream.as_fd()).unwrap();
        assert!(info.rtt.unwrap() < Duration::from_millis(500));
        assert_eq!((info.retransmits, info.connecting), (0, false));
    }

    #[test]
    fn the_groups_of_a_peer_are_its_own() {
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut told = peer_groups(here.as_fd()).unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|g| g.as_raw()).collect();
        told.sort_unstable();
        own.sort_unstable();
        assert_eq!(told, own);
    }

    #[test]
    fn a_handshake_under_way_is_told_from_one_that_is_over() {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let to = listener.local_addr().unwrap();
        // Nobody accepts, and the queue has room for one.
        let sockets: Vec<Socket> = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&to);
                socket
            })
            .collect();
        let connecting = |socket: &Socket| tcp_info(socket.as_fd()).unwrap().connecting;
        assert!(connecting(&sockets[3]) && !connecting(&sockets[0]));
    }
}
