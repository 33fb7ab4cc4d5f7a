//! Control messages, decoded from the bytes the kernel wrote, without a pointer.
//!
//! The layout is the kernel's `struct cmsghdr`: a `size_t` length that includes the header, two `int`s, the data,
//! padded to the size of a `size_t` (include/linux/socket.h). A message that does not fit ends the parse.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::time::{DeviceTime, Wall};

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;
/// Where the third of three `struct timespec` begins.
const DEVICE_STAMP: usize = 32;

/// What came with a datagram beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// When the kernel took the datagram from its device (`SCM_TIMESTAMPING[0]`, `SCM_TIMESTAMPNS`); on the error queue
    /// see [`Ancillary::sent_stamp`].
    pub received: Option<Wall>,
    /// The same by the network card's clock (`SCM_TIMESTAMPING[2]`), where it stamps.
    pub device: Option<DeviceTime>,
    /// Time to live (`IP_TTL`) or hop limit (`IPV6_HOPLIMIT`) it arrived with.
    pub ttl: Option<u8>,
    /// The error it reports, on the error queue.
    pub error: Option<ExtendedError>,
}

impl Ancillary {
    /// The stamp of a datagram's departure, where that is what came by the error queue.
    pub fn sent_stamp(&self) -> Option<Wall> {
        let departure = self.error?.origin == ErrorOrigin::Other(libc::SO_EE_ORIGIN_TIMESTAMPING);
        self.received.filter(|_| departure)
    }

    /// The network card's stamp of a datagram's departure.
    pub fn device_sent_stamp(&self) -> Option<DeviceTime> {
        let departure = self.error?.origin == ErrorOrigin::Other(libc::SO_EE_ORIGIN_TIMESTAMPING);
        self.device.filter(|_| departure)
    }
}

/// `struct sock_extended_err` and the address of whoever reported it (ip(7), `IP_RECVERR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The errno a plain call would have failed with.
    pub errno: i32,
    /// Where the error arose.
    pub origin: ErrorOrigin,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The MTU, for "packet too big".
    pub info: u32,
    /// Who sent the ICMP error.
    pub offender: Option<IpAddr>,
}

/// Where an error on the queue arose (linux/errqueue.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorOrigin {
    /// This host, before anything was sent.
    Local,
    /// An ICMP message.
    Icmp4,
    /// An ICMPv6 message.
    Icmp6,
    /// Not an error of the network: a transmit stamp, a zero-copy notice, or a kind unknown here.
    Other(u8),
}

/// Decodes a control buffer as `recvmsg` left it. Never fails: what is not understood is passed over.
pub fn parse(mut control: &[u8]) -> Ancillary {
    let mut out = Ancillary::default();
    while control.len() >= HEADER {
        let Some(length) = word(control) else { break };
        if length < HEADER || length > control.len() {
            break;
        }
        let (Some(level), Some(kind)) = (int(control, WORD), int(control, WORD + 4)) else { break };
        take(&mut out, level, kind, &control[HEADER..length]);
        let next = length.next_multiple_of(WORD);
        if next >= control.len() {
            break;
        }
        control = &control[next..];
    }
    out
}

fn take(out: &mut Ancillary, level: i32, kind: i32, data: &[u8]) {
    match (level, kind) {
        // SCM_TIMESTAMPING carries three timespecs; the first is the software stamp. The third, the device's own
        // clock, is no CLOCK_REALTIME and must not meet one.
        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING | libc::SCM_TIMESTAMPNS) => {
            out.received = timespec(data).map(Wall::from_nanos);
            out.device = data.get(DEVICE_STAMP..).and_then(timespec).map(DeviceTime::from_nanos);
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
            out.ttl = int(data, 0).and_then(|v| u8::try_from(v).ok());
        }
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            out.error = extended_error(data);
        }
        _ => {}
    }
}

fn timespec(data: &[u8]) -> Option<u64> {
    let seconds = i64::from_ne_bytes(data.get(..8)?.try_into().ok()?);
    let nanos = i64::from_ne_bytes(data.get(8..16)?.try_into().ok()?);
    if seconds <= 0 || !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    (seconds as u64).checked_mul(1_000_000_000)?.checked_add(nanos as u64)
}

fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let offender = data.get(16..).and_then(socket_address).map(|a| a.ip());
    Some(ExtendedError {
        errno: int(data, 0)?,
        origin: match *data.get(4)? {
            libc::SO_EE_ORIGIN_LOCAL => ErrorOrigin::Local,
            libc::SO_EE_ORIGIN_ICMP => ErrorOrigin::Icmp4,
            libc::SO_EE_ORIGIN_ICMP6 => ErrorOrigin::Icmp6,
            other => ErrorOrigin::Other(other),
        },
        kind: *data.get(5)?,
        code: *data.get(6)?,
        info: int(data, 8)? as u32,
        offender,
    })
}

/// Decodes a `sockaddr_in` or `sockaddr_in6`.
pub(super) fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?)) {
        libc::AF_INET => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(address), port).into())
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(address), port, 0, scope).into())
        }
        _ => None,
    }
}

fn word(bytes: &[u8]) -> Option<usize> {
    Some(usize::from_ne_bytes(bytes.get(..WORD)?.try_into().ok()?))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One control message as the kernel lays it out.
    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut out = (HEADER + data.len()).to_ne_bytes().to_vec();
        out.extend(level.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(WORD), 0);
        out
    }

    fn timespecs(values: [(i64, i64); 3]) -> Vec<u8> {
        values.iter().flat_map(|(s, n)| [s.to_ne_bytes(), n.to_ne_bytes()].concat()).collect()
    }

    #[test]
    fn a_stamp_and_a_ttl_are_read_in_either_order() {
        let stamp = message(
            libc::SOL_SOCKET,
            libc::SCM_TIMESTAMPING,
            &timespecs([(1_700_000_000, 42), (0, 0), (7, 7)]),
        );
        let ttl = message(libc::IPPROTO_IP, libc::IP_TTL, &64i32.to_ne_bytes());
        let expected = Ancillary {
            received: Some(Wall::from_nanos(1_700_000_000_000_000_042)),
            device: Some(DeviceTime::from_nanos(7_000_000_007)),
            ttl: Some(64),
            error: None,
        };
        assert_eq!(parse(&[stamp.clone(), ttl.clone()].concat()), expected);
        assert_eq!(parse(&[ttl, stamp].concat()), expected);
    }

    #[test]
    fn an_empty_stamp_is_no_stamp() {
        let control = message(
            libc::SOL_SOCKET,
            libc::SCM_TIMESTAMPING,
            &timespecs([(0, 0), (0, 0), (1_700_000_000, 1)]),
        );
        assert_eq!(parse(&control).received, None);
        assert_eq!(parse(&control).device, Some(DeviceTime::from_nanos(1_700_000_000_000_000_001)));
    }

    #[test]
    fn an_icmp_error_names_its_reporter() {
        let mut data = libc::EHOSTUNREACH.to_ne_bytes().to_vec();
        data.extend([libc::SO_EE_ORIGIN_ICMP, 3, 1, 0]);
        data.extend(1500u32.to_ne_bytes());
        data.extend(0u32.to_ne_bytes());
        data.extend((libc::AF_INET as u16).to_ne_bytes());
        data.extend([0, 0, 192, 0, 2, 1]);
        data.extend([0; 8]);
        assert_eq!(
            parse(&message(libc::IPPROTO_IP, libc::IP_RECVERR, &data)).error,
            Some(ExtendedError {
                errno: libc::EHOSTUNREACH,
                origin: ErrorOrigin::Icmp4,
                kind: 3,
                code: 1,
                info: 1500,
                offender: Some(IpAddr::from([192, 0, 2, 1])),
            })
        );
    }

    #[test]
    fn an_icmp6_error_names_its_reporter() {
        let reporter = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let mut data = libc::EACCES.to_ne_bytes().to_vec();
        data.extend([libc::SO_EE_ORIGIN_ICMP6, 1, 1, 0]);
        data.extend([0; 8]);
        data.extend((libc::AF_INET6 as u16).to_ne_bytes());
        data.extend([0; 6]);
        data.extend(reporter.octets());
        data.extend(3u32.to_ne_bytes());
        let error = parse(&message(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &data)).error.unwrap();
        assert_eq!((error.origin, error.kind, error.code), (ErrorOrigin::Icmp6, 1, 1));
        assert_eq!(error.offender, Some(reporter.into()));
    }

    #[test]
    fn a_departure_is_told_from_an_arrival() {
        let stamp = message(
            libc::SOL_SOCKET,
            libc::SCM_TIMESTAMPING,
            &timespecs([(1_700_000_000, 1), (0, 0), (9, 0)]),
        );
        let mut data = libc::ENOMSG.to_ne_bytes().to_vec();
        data.extend([libc::SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 0]);
        data.extend([0; 8]);
        let notice = message(libc::IPPROTO_IP, libc::IP_RECVERR, &data);
        let expected = Some(Wall::from_nanos(1_700_000_000_000_000_001));
        let departure = parse(&[stamp.clone(), notice].concat());
        assert_eq!(departure.sent_stamp(), expected);
        assert_eq!(departure.device_sent_stamp(), Some(DeviceTime::from_nanos(9_000_000_000)));
        let arrival = parse(&stamp);
        assert_eq!((arrival.sent_stamp(), arrival.device_sent_stamp()), (None, None));
    }

    #[test]
    fn a_length_beyond_the_buffer_ends_the_parse() {
        let mut control = message(libc::IPPROTO_IP, libc::IP_TTL, &64i32.to_ne_bytes());
        control[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(parse(&control), Ancillary::default());
        control[..WORD].copy_from_slice(&0usize.to_ne_bytes());
        assert_eq!(parse(&control), Ancillary::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes);
            let _ = socket_address(&bytes);
        }

        #[test]
        fn no_payload_of_a_known_message_makes_it_panic(
            kind in prop::sample::select(vec![
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING),
                (libc::IPPROTO_IP, libc::IP_TTL),
                (libc::IPPROTO_IP, libc::IP_RECVERR),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
            ]),
            data in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = parse(&message(kind.0, kind.1, &data));
        }
    }
}
