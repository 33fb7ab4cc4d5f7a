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

/// Bytes of payload that an echo request of ours has at least: nonce and mark.
pub const SMALLEST_PAYLOAD: usize = REQUEST_BYTES - HEADER;

/// Lays out an echo request with `size` bytes of payload in `out`, whose content it replaces. After nonce and mark comes
/// a pattern that counts up. Fewer than [`SMALLEST_PAYLOAD`] are that many.
pub fn encode_sized(family: Family, echo: &Echo, size: usize, out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER + size.max(SMALLEST_PAYLOAD), 0);
    out[0] = family.request();
    out[4..6].copy_from_slice(&echo.ident.to_be_bytes());
    out[6..8].copy_from_slice(&echo.sequence.to_be_bytes());
    out[HEADER..HEADER + 16].copy_from_slice(&echo.nonce);
    out[HEADER + 16..REQUEST_BYTES].copy_from_slice(MARK);
    for (i, byte) in out[REQUEST_BYTES..].iter_mut().enumerate() {
        *byte = i as u8;
    }
    let sum = checksum(out, 1);
    out[2..4].copy_from_slice(&sum.to_be_bytes());
}

/// An echo reply, whoever's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Identifier.
    pub ident: u16,
    /// Sequence number.
    pub sequence: u16,
    /// All after the header.
    pub payload: &'a [u8],
}

impl Answer<'_> {
    /// Whether it has the payload of the request with this nonce and size, as far as was received: the first `kept` bytes
    /// of the message.
    pub fn is_intact(&self, nonce: &Nonce, size: usize, kept: usize) -> bool {
        let size = size.max(SMALLEST_PAYLOAD);
        self.payload.len() == size.min(kept.saturating_sub(HEADER))
            && self.payload.starts_with(nonce)
            && self.payload[16..].starts_with(MARK)
            && self.payload[SMALLEST_PAYLOAD..].iter().enumerate().all(|(i, byte)| *byte == i as u8)
    }
}

/// Reads an echo reply.
///
/// # Errors
/// When it is something else.
pub fn decode_answer(family: Family, bytes: &[u8]) -> Result<Answer<'_>, DecodeError> {
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or(DecodeError::Short)?;
    if header[..2] != [family.reply(), 0] {
        return Err(DecodeError::Type);
    }
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Ok(Answer { ident: word(4), sequence: word(6), payload: &bytes[HEADER..] })
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

/// Reads a request of ours with `size` bytes of payload at the end of a frame, whatever headers are before it.
///
/// # Errors
/// When it is something else.
pub fn decode_frame(family: Family, bytes: &[u8], size: usize) -> Result<Quote, DecodeError> {
    let request = HEADER + size.max(SMALLEST_PAYLOAD);
    let start = bytes.len().checked_sub(request).ok_or(DecodeError::Short)?;
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
        fn a_sized_request_comes_back_intact_or_not_at_all(
            family in family(), echo in echo(), size in 0usize..3000, kept in 32usize..3000, at: usize, bit in 0u8..8,
        ) {
            let mut bytes = Vec::new();
            encode_sized(family, &echo, size, &mut bytes);
            prop_assert_eq!(bytes.len(), HEADER + size.max(SMALLEST_PAYLOAD));
            prop_assert_eq!(decode_frame(family, &bytes, size).unwrap().nonce, Some(echo.nonce));
            let sum = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)])));
            let sum = sum.sum::<u32>();
            prop_assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
            bytes[0] = family.reply();
            bytes.truncate(kept);
            let answer = decode_answer(family, &bytes).unwrap();
            prop_assert_eq!((answer.ident, answer.sequence), (echo.ident, echo.sequence));
            prop_assert!(answer.is_intact(&echo.nonce, size, kept));
            prop_assert!(!answer.is_intact(&echo.nonce, size, kept.max(bytes.len() + 1)) || bytes.len() == HEADER + size.max(SMALLEST_PAYLOAD));
            let at = HEADER + at % (bytes.len() - HEADER);
            bytes[at] ^= 1 << bit;
            prop_assert!(!decode_answer(family, &bytes).unwrap().is_intact(&echo.nonce, size, kept));
        }

        #[test]
        fn a_frame_ends_in_its_request(
            family in family(), echo in echo(), headers in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let frame = [&headers[..], &encode_request(family, &echo)].concat();
            prop_assert_eq!(decode_frame(family, &frame, 0).unwrap().nonce, Some(echo.nonce));
        }

        #[test]
        fn a_cut_reply_is_refused(family in family(), echo in echo(), length in 0..REQUEST_BYTES) {
            let mut bytes = encode_request(family, &echo);
            bytes[0] = family.reply();
            prop_assert!(decode_reply(family, &bytes[..length]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(family in family(), mut bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            let _ = (decode_reply(family, &bytes), decode_frame(family, &bytes, 0), strip_ipv4(&bytes));
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
