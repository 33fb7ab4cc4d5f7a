//! Netlink framing: messages in a datagram, attributes in a message, requests out.
//!
//! Every read is checked against the buffer; what does not fit is [`Malformed`], never a panic and never a guess.
//! Layouts: `include/uapi/linux/netlink.h`, `rtnetlink.h`. All integers are host-endian unless they are addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(in crate::source) const NLMSG_ERROR: u16 = 2;
pub(in crate::source) const NLMSG_DONE: u16 = 3;
pub(in crate::source) const NLMSG_OVERRUN: u16 = 4;
pub(in crate::source) const RTM_NEWLINK: u16 = 16;
pub(in crate::source) const RTM_DELLINK: u16 = 17;
pub(in crate::source) const RTM_GETLINK: u16 = 18;
pub(in crate::source) const RTM_NEWADDR: u16 = 20;
pub(in crate::source) const RTM_DELADDR: u16 = 21;
pub(in crate::source) const RTM_GETADDR: u16 = 22;
pub(in crate::source) const RTM_NEWROUTE: u16 = 24;
pub(in crate::source) const RTM_DELROUTE: u16 = 25;
pub(in crate::source) const RTM_GETROUTE: u16 = 26;
pub(in crate::source) const RTM_NEWNEIGH: u16 = 28;
pub(in crate::source) const RTM_DELNEIGH: u16 = 29;
pub(in crate::source) const RTM_NEWSTATS: u16 = 92;
pub(in crate::source) const RTM_GETSTATS: u16 = 94;
pub(in crate::source) const RTM_NEWNEXTHOP: u16 = 104;
pub(in crate::source) const RTM_DELNEXTHOP: u16 = 105;
pub(in crate::source) const RTM_GETNEXTHOP: u16 = 106;
pub(in crate::source) const NLM_F_REQUEST: u16 = 1;
pub(in crate::source) const NLM_F_DUMP: u16 = 0x300;
/// The table changed while it was read: entries may be missing or doubled.
pub(in crate::source) const NLM_F_DUMP_INTR: u16 = 0x10;

pub(in crate::source) const AF_UNSPEC: u8 = 0;
pub(in crate::source) const AF_INET: u8 = 2;
pub(in crate::source) const AF_INET6: u8 = 10;

const HEADER: usize = 16;
/// `NLA_F_NESTED | NLA_F_NET_BYTEORDER`: flags in an attribute's type.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// A message that does not have the form its lengths promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Malformed;

/// One netlink message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Message<'a> {
    pub(in crate::source) kind: u16,
    pub(in crate::source) flags: u16,
    pub(in crate::source) sequence: u32,
    pub(in crate::source) payload: &'a [u8],
}

/// The messages of a datagram. After a malformed one there are no more: its length can't be trusted to skip it.
#[derive(Clone, Debug)]
pub(in crate::source) struct Messages<'a>(pub(in crate::source) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let all = std::mem::take(&mut self.0);
        if all.is_empty() {
            return None;
        }
        let parsed = (|| {
            let length = u32_at(all, 0)? as usize;
            if length < HEADER || length > all.len() {
                return Err(Malformed);
            }
            self.0 = all.get(align(length)..).unwrap_or_default();
            Ok(Message {
                kind: u16_at(all, 4)?,
                flags: u16_at(all, 6)?,
                sequence: u32_at(all, 8)?,
                payload: &all[HEADER..length],
            })
        })();
        Some(parsed)
    }
}

/// The attributes of a message or of a nested attribute, as type without flags and value.
#[derive(Clone, Debug)]
pub(in crate::source) struct Attributes<'a>(pub(in crate::source) &'a [u8]);

impl<'a> Attributes<'a> {
    /// Those that follow a fixed part of `header` bytes.
    pub(in crate::source) fn after(payload: &'a [u8], header: usize) -> Result<Self, Malformed> {
        payload.get(header..).map(Self).ok_or(Malformed)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let all = std::mem::take(&mut self.0);
        if all.is_empty() {
            return None;
        }
        let parsed = (|| {
            let length = usize::from(u16_at(all, 0)?);
            let value = all.get(4..length).ok_or(Malformed)?;
            self.0 = all.get(align(length)..).unwrap_or_default();
            Ok((u16_at(all, 2)? & ATTRIBUTE_TYPE, value))
        })();
        Some(parsed)
    }
}

/// Messages, attributes and headers start at multiples of four.
pub(in crate::source) fn align(n: usize) -> usize {
    n.saturating_add(3) & !3
}

pub(in crate::source) fn u8_at(bytes: &[u8], at: usize) -> Result<u8, Malformed> {
    bytes.get(at).copied().ok_or(Malformed)
}

pub(in crate::source) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

pub(in crate::source) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

pub(in crate::source) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Malformed> {
    array_at(bytes, at).map(u64::from_ne_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    let end = at.checked_add(N).ok_or(Malformed)?;
    bytes.get(at..end).and_then(|b| b.try_into().ok()).ok_or(Malformed)
}

/// An address of `family`, whose attribute is exactly as long as the family's addresses.
pub(in crate::source) fn address(family: u8, value: &[u8]) -> Result<IpAddr, Malformed> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).map(|b| Ipv4Addr::from(b).into()).map_err(|_| Malformed),
        AF_INET6 => <[u8; 16]>::try_from(value).map(|b| Ipv6Addr::from(b).into()).map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

/// A C string's bytes, without the NUL and what follows it.
pub(in crate::source) fn c_bytes(value: &[u8]) -> &[u8] {
    value.split(|&b| b == 0).next().unwrap_or_default()
}

/// A message out of its parts, with its length filled in.
pub(in crate::source) fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(align(HEADER + payload.len()));
    out.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.extend_from_slice(payload);
    out.resize(align(out.len()), 0);
    out
}

/// An attribute, padded.
#[cfg(test)]
pub(in crate::source) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(align(out.len()), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_of_two_messages_with_padding_between() {
        let mut datagram = message(16, 2, 7, b"abcde");
        assert_eq!(datagram.len(), 24);
        datagram.extend(message(17, 0, 8, b""));
        let all: Vec<_> = Messages(&datagram).collect::<Result<_, _>>().unwrap();
        assert_eq!(all[0], Message { kind: 16, flags: 2, sequence: 7, payload: b"abcde" });
        assert_eq!(all[1], Message { kind: 17, flags: 0, sequence: 8, payload: b"" });
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        let mut datagram = message(16, 0, 0, b"abcd");
        datagram[0] = 200;
        assert_eq!(Messages(&datagram).collect::<Vec<_>>(), [Err(Malformed)]);
        datagram[0] = 3;
        assert_eq!(Messages(&datagram).collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(Attributes(&[3, 0, 1, 0]).collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(Attributes(&[9, 0, 1, 0, 0]).collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(Attributes(&[4]).collect::<Vec<_>>(), [Err(Malformed)]);
    }

    #[test]
    fn attributes_lose_their_flags_and_need_no_padding_at_the_end() {
        let bytes = [4, 0, 3, 0x80, 5, 0, 1, 0, 0xff];
        let all: Vec<_> = Attributes(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(all, [(3, &[][..]), (1, &[0xff][..])]);
    }

    #[test]
    fn addresses_must_have_their_familys_length() {
        assert_eq!(address(AF_INET, &[10, 0, 0, 1]), Ok("10.0.0.1".parse().unwrap()));
        assert_eq!(address(AF_INET, &[10, 0, 0]), Err(Malformed));
        assert_eq!(address(AF_INET6, &[0; 4]), Err(Malformed));
        assert_eq!(address(7, &[0; 4]), Err(Malformed));
    }
}
