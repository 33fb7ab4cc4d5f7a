//! One message about a socket becomes a [`Socket`].
//!
//! Layouts: `struct inet_diag_msg` of `include/uapi/linux/inet_diag.h`, `struct tcp_info` of `linux/tcp.h`, whose end
//! moves with the kernel's version while its beginning stays.

use std::{net::IpAddr, time::Duration};

use crate::{
    observation::IfIndex,
    source::netlink::wire::{AF_INET, AF_INET6, Attributes, Malformed, address, u8_at, u32_at, u64_at},
};

/// Bytes of `struct inet_diag_msg`; attributes follow.
const INET_DIAG_MSG: usize = 72;
/// The attribute that holds `struct tcp_info`; its bit in a request is `1 << (n - 1)`.
pub(super) const INET_DIAG_INFO: u16 = 2;

/// `tcpi_rtt`, microseconds.
const RTT: usize = 68;
/// `tcpi_total_retrans`.
const TOTAL_RETRANS: usize = 100;
/// `tcpi_bytes_acked`, since Linux 4.1.
const BYTES_ACKED: usize = 120;
/// `tcpi_segs_out`, since Linux 4.2.
const SEGS_OUT: usize = 136;

/// Where a connection is in its life (RFC 9293, section 3.3.2), without the states that a dump leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Both sides may send.
    Established = 1,
    /// A connect waits for its answer.
    SynSent = 2,
    /// This side closed, and waits for the acknowledgement.
    FinWait1 = 4,
    /// This side closed; the other may still send.
    FinWait2 = 5,
    /// The other side closed.
    CloseWait = 8,
    /// Both closed, the other first; this side waits for the acknowledgement.
    LastAck = 9,
    /// Both closed at the same time; this side waits for the acknowledgement.
    Closing = 11,
}

impl State {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Established,
        Self::SynSent,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::LastAck,
        Self::Closing,
    ];

    /// By the kernel's number (`include/net/tcp_states.h`).
    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }
}

/// A TCP socket as of the moment the kernel looked at it. `None` is what this kernel does not tell, or does not keep:
/// of a connection that waits in FIN-WAIT-2 without an owner it has the addresses alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Names the socket as long as the machine runs; never used twice.
    pub cookie: u64,
    /// Its state.
    pub state: State,
    /// Its own address; an IPv4-mapped one is given as IPv4.
    pub local: IpAddr,
    /// The peer's, likewise.
    pub remote: IpAddr,
    /// The interface it is bound to (`SO_BINDTODEVICE`); index 0 when it is not.
    pub bound: IfIndex,
    /// Segments sent, those sent again included, SYN-ACKs left out. The kernel counts modulo 2^32.
    pub segments_sent: Option<u32>,
    /// Segments sent again, modulo 2^32.
    pub segments_sent_again: Option<u32>,
    /// Bytes the peer acknowledged; its SYN counts as one.
    pub bytes_acked: Option<u64>,
    /// Smoothed round-trip time, microsecond resolution; none before there was a sample.
    pub rtt: Option<Duration>,
}

/// Reads a message's payload.
pub(super) fn socket(payload: &[u8]) -> Result<Socket, Malformed> {
    let family = u8_at(payload, 0)?;
    let length = match family {
        AF_INET => 4,
        AF_INET6 => 16,
        _ => return Err(Malformed),
    };
    let address_at = |at: usize| {
        let octets = payload.get(at..at + length).ok_or(Malformed)?;
        Ok(address(family, octets)?.to_canonical())
    };
    let mut socket = Socket {
        cookie: u64::from(u32_at(payload, 44)?) | u64::from(u32_at(payload, 48)?) << 32,
        state: State::of(u8_at(payload, 1)?).ok_or(Malformed)?,
        local: address_at(8)?,
        remote: address_at(24)?,
        bound: IfIndex(u32_at(payload, 40)?),
        segments_sent: None,
        segments_sent_again: None,
        bytes_acked: None,
        rtt: None,
    };
    for attribute in Attributes::after(payload, INET_DIAG_MSG)? {
        if let (INET_DIAG_INFO, info) = attribute? {
            socket.segments_sent = u32_at(info, SEGS_OUT).ok();
            socket.segments_sent_again = u32_at(info, TOTAL_RETRANS).ok();
            socket.bytes_acked = u64_at(info, BYTES_ACKED).ok();
            let rtt = u32_at(info, RTT).ok().map(|micros| Duration::from_micros(micros.into()));
            socket.rtt = rtt.filter(|rtt| !rtt.is_zero());
            break;
        }
    }
    Ok(socket)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::source::netlink::wire::attribute;

    /// A message as the kernel writes it, with the first `info` bytes of a `struct tcp_info`.
    pub(in crate::source::sockdiag) fn payload(socket: &Socket, info: usize) -> Vec<u8> {
        let mut out = vec![0; INET_DIAG_MSG];
        out[1] = socket.state as u8;
        for (at, address) in [(8, socket.local), (24, socket.remote)] {
            match address {
                IpAddr::V4(v4) => {
                    out[0] = AF_INET;
                    out[at..at + 4].copy_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    out[0] = AF_INET6;
                    out[at..at + 16].copy_from_slice(&v6.octets());
                }
            }
        }
        out[40..44].copy_from_slice(&socket.bound.0.to_ne_bytes());
        out[44..48].copy_from_slice(&(socket.cookie as u32).to_ne_bytes());
        out[48..52].copy_from_slice(&((socket.cookie >> 32) as u32).to_ne_bytes());
        let mut tcp_info = [0xee; 280];
        let rtt = socket.rtt.map_or(0, |rtt| rtt.as_micros() as u32);
        tcp_info[RTT..][..4].copy_from_slice(&rtt.to_ne_bytes());
        tcp_info[TOTAL_RETRANS..][..4]
            .copy_from_slice(&socket.segments_sent_again.unwrap_or(0).to_ne_bytes());
        tcp_info[BYTES_ACKED..][..8].copy_from_slice(&socket.bytes_acked.unwrap_or(0).to_ne_bytes());
        tcp_info[SEGS_OUT..][..4].copy_from_slice(&socket.segments_sent.unwrap_or(0).to_ne_bytes());
        // What the kernel adds unasked: INET_DIAG_SHUTDOWN before, INET_DIAG_CGROUP_ID after.
        out.extend(attribute(8, &[0]));
        out.extend(attribute(INET_DIAG_INFO, &tcp_info[..info]));
        out.extend(attribute(21, &[0; 8]));
        out
    }

    pub(in crate::source::sockdiag) fn sample(cookie: u64, local: &str, remote: &str) -> Socket {
        Socket {
            cookie,
            state: State::Established,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            bound: IfIndex(0),
            segments_sent: Some(0),
            segments_sent_again: Some(0),
            bytes_acked: Some(0),
            rtt: None,
        }
    }

    fn full() -> Socket {
        Socket {
            state: State::CloseWait,
            bound: IfIndex(3),
            segments_sent: Some(4_000_000_000),
            segments_sent_again: Some(17),
            bytes_acked: Some(1 << 40),
            rtt: Some(Duration::from_micros(1234)),
            ..sample(0x1_0000_0002, "2001:db8::1", "2001:db8::2")
        }
    }

    #[test]
    fn all_fields_of_both_families() {
        let v4 = Socket { cookie: 9, ..sample(9, "192.0.2.1", "192.0.2.2") };
        assert_eq!(socket(&payload(&full(), 280)), Ok(full()));
        assert_eq!(socket(&payload(&v4, 280)), Ok(v4));
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let mapped = sample(1, "::ffff:192.0.2.1", "::ffff:192.0.2.2");
        assert_eq!(socket(&payload(&mapped, 280)), Ok(sample(1, "192.0.2.1", "192.0.2.2")));
    }

    #[test]
    fn an_older_kernel_tells_less_and_nothing_wrong() {
        for length in 0..=280 {
            let told = socket(&payload(&full(), length)).unwrap();
            let known = |end: usize| length >= end;
            assert_eq!(told.rtt, full().rtt.filter(|_| known(72)));
            assert_eq!(told.segments_sent_again, full().segments_sent_again.filter(|_| known(104)));
            assert_eq!(told.bytes_acked, full().bytes_acked.filter(|_| known(128)));
            assert_eq!(told.segments_sent, full().segments_sent.filter(|_| known(140)));
        }
    }

    #[test]
    fn without_tcp_info_there_are_the_addresses() {
        let bare = &payload(&full(), 280)[..INET_DIAG_MSG];
        let told = socket(bare).unwrap();
        assert_eq!((told.cookie, told.local, told.remote), (full().cookie, full().local, full().remote));
        assert_eq!((told.segments_sent, told.bytes_acked, told.rtt), (None, None, None));
    }

    #[test]
    fn what_a_dump_never_asked_for_is_refused() {
        for (at, byte) in [(0, 1), (1, 0), (1, 3), (1, 6), (1, 7), (1, 10), (1, 12), (1, 255)] {
            let mut odd = payload(&full(), 280);
            odd[at] = byte;
            assert_eq!(socket(&odd), Err(Malformed));
        }
    }
}
