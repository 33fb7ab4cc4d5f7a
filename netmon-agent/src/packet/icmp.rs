//! ICMP echo for both families (RFC 792, RFC 4443): the header is the same but for the type numbers and the checksum.

use pnet_packet::{
    Packet,
    icmp::{IcmpType, echo_reply::EchoReplyPacket, echo_request::MutableEchoRequestPacket},
    ipv4::Ipv4Packet,
    util::checksum,
};

/// Random bytes that make a probe's reply unforgeable for whoever has not seen the probe.
pub type Nonce = [u8; 16];

/// Bytes of an echo request: header, nonce, and a mark for whoever captures it.
pub const REQUEST_BYTES: usize = HEADER + size_of::<Nonce>() + MARK.len();

const HEADER: usize = 8;
const MARK: &[u8; 8] = b"netmon/1";

/// Which ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// ICMP over IPv4.
    V4,
    /// ICMPv6.
    V6,
}

impl Family {
    /// The type number of an echo request.
    pub const fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    /// The type number of an echo reply.
    pub const fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

/// An echo request of ours, or the reply to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Identifier: the socket's.
    pub ident: u16,
    /// Sequence number.
    pub sequence: u16,
    /// What tells it from every other.
    pub nonce: Nonce,
}

/// What an ICMP error quotes of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Identifier.
    pub ident: u16,
    /// Sequence number.
    pub sequence: u16,
    /// Checksum as sent; over IPv4 it depends on the nonce.
    pub checksum: u16,
    /// The nonce. Reporters after RFC 792 quote only 8 bytes, which end before it.
    pub nonce: Option<Nonce>,
}

/// Why bytes are not what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("too short")]
    Short,
    /// They are another kind of ICMP message.
    #[error("another type of message")]
    Type,
    /// They hold no mark of ours.
    #[error("not one of ours")]
    Foreign,
}

/// Lays out an echo request. The checksum is right for IPv4; over IPv6 the kernel always writes its own.
pub fn encode_request(family: Family, echo: &Echo) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    bytes[HEADER..HEADER + 16].copy_from_slice(&echo.nonce);
    bytes[HEADER + 16..].copy_from_slice(MARK);
    if let Some(mut packet) = MutableEchoRequestPacket::new(&mut bytes) {
        packet.set_icmp_type(IcmpType(family.request()));
        packet.set_identifier(echo.ident);
        packet.set_sequence_number(echo.sequence);
        let sum = checksum(packet.packet(), 1);
        packet.set_checksum(sum);
    }
    bytes
}

/// Reads an echo reply to a request of ours.
///
/// # Errors
/// When it is something else.
pub fn decode_reply(family: Family, bytes: &[u8]) -> Result<Echo, DecodeError> {
    let packet = EchoReplyPacket::new(bytes).ok_or(DecodeError::Short)?;
    if packet.get_icmp_type().0 != family.reply() || packet.get_icmp_code().0 != 0 {
        return Err(DecodeError::Type);
    }
    let payload = &bytes[HEADER..];
    let nonce = payload.first_chunk().ok_or(DecodeError::Short)?;
    if &payload[16..] != MARK {
        return Err(DecodeError::Foreign);
    }
    Ok(Echo { ident: packet.get_identifier(), sequence: packet.get_sequence_number(), nonce: *nonce })
}

/// Reads the echo request that an ICMP error quotes.
///
/// # Errors
/// When it quotes something else.
pub fn decode_quote(family: Family, bytes: &[u8]) -> Result<Quote, DecodeError> {
    let packet = EchoReplyPacket::new(bytes).ok_or(DecodeError::Short)?;
    if packet.get_icmp_type().0 != family.request() || packet.get_icmp_code().0 != 0 {
        return Err(DecodeError::Type);
    }
    Ok(Quote {
        ident: packet.get_identifier(),
        sequence: packet.get_sequence_number(),
        checksum: packet.get_checksum(),
        nonce: bytes[HEADER..].first_chunk().copied(),
    })
}

/// Reads a request of ours at the end of a frame, whatever headers are before it.
///
/// # Errors
/// When it is something else.
pub fn decode_frame(family: Family, bytes: &[u8]) -> Result<Quote, DecodeError> {
    let start = bytes.len().checked_sub(REQUEST_BYTES).ok_or(DecodeError::Short)?;
    decode_quote(family, &bytes[start..])
}

/// Takes the IPv4 header off what a raw socket receives.
pub fn strip_ipv4(bytes: &[u8]) -> Option<&[u8]> {
    let packet = Ipv4Packet::new(bytes)?;
    let header = usize::from(packet.get_header_length()) * 4;
    if packet.get_version() != 4 || header < 20 { None } else { bytes.get(header..) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn family() -> impl Strategy<Value = Family> {
        prop::sample::select(vec![Family::V4, Family::V6])
    }

    prop_compose! {
        fn echo()(ident: u16, sequence: u16, nonce: Nonce) -> Echo {
            Echo { ident, sequence, nonce }
        }
    }

    #[test]
    fn a_request_has_the_bytes_of_rfc_792() {
        let echo = Echo { ident: 0x1234, sequence: 0x0102, nonce: [0; 16] };
        let bytes = encode_request(Family::V4, &echo);
        assert_eq!(bytes[..2], [8, 0]);
        assert_eq!(bytes[4..8], [0x12, 0x34, 1, 2]);
        assert_eq!(&bytes[24..], b"netmon/1");
        assert_eq!(encode_request(Family::V6, &echo)[0], 128);
        // A receiver sums everything, checksum included, to all ones (RFC 1071).
        let sum = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn an_old_routers_quotation_ends_before_the_nonce() {
        let echo = Echo { ident: 7, sequence: 9, nonce: [1; 16] };
        let bytes = encode_request(Family::V4, &echo);
        let quote = decode_quote(Family::V4, &bytes[..8]).unwrap();
        assert_eq!((quote.ident, quote.sequence, quote.nonce), (7, 9, None));
        assert_ne!(quote.checksum, 0);
    }

    proptest! {
        #[test]
        fn a_reply_gives_back_what_was_asked(family in family(), echo in echo()) {
            let mut bytes = encode_request(family, &echo);
            prop_assert_eq!(decode_reply(family, &bytes), Err(DecodeError::Type));
            prop_assert_eq!(decode_quote(family, &bytes).unwrap().nonce, Some(echo.nonce));
            bytes[0] = family.reply();
            prop_assert_eq!(decode_reply(family, &bytes), Ok(echo));
        }

        #[test]
        fn a_frame_ends_in_its_request(
            family in family(), echo in echo(), headers in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let frame = [&headers[..], &encode_request(family, &echo)].concat();
            prop_assert_eq!(decode_frame(family, &frame).unwrap().nonce, Some(echo.nonce));
        }

        #[test]
        fn a_cut_reply_is_refused(family in family(), echo in echo(), length in 0..REQUEST_BYTES) {
            let mut bytes = encode_request(family, &echo);
            bytes[0] = family.reply();
            prop_assert!(decode_reply(family, &bytes[..length]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(family in family(), mut bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            let _ = (decode_reply(family, &bytes), decode_frame(family, &bytes), strip_ipv4(&bytes));
            for kind in [family.reply(), family.request()] {
                if let Some(first) = bytes.first_mut() {
                    *first = kind;
                }
                let _ = (decode_reply(family, &bytes), decode_quote(family, &bytes));
            }
        }

        #[test]
        fn a_header_of_any_length_comes_off(words in 5u8..=15, body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = vec![0; usize::from(words) * 4];
            bytes[0] = 0x40 | words;
            bytes.extend(&body);
            prop_assert_eq!(strip_ipv4(&bytes), Some(&body[..]));
        }
    }
}
