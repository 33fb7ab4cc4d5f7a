//! The one DNS question netmon asks (RFC 1035): the name servers of the root, which any resolver can answer, mostly
//! from its cache.

/// Bytes of the query: header and question `. NS IN`.
pub const QUERY_BYTES: usize = HEADER + QUESTION.len();

const HEADER: usize = 12;
/// The root's empty name, type NS (2), class IN (1).
const QUESTION: [u8; 5] = [0, 0, 2, 0, 1];
const RESPONSE: u8 = 0x80;
const RECURSION_DESIRED: u8 = 0x01;

/// How a resolver answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// NOERROR or NXDOMAIN: it resolves.
    Resolves,
    /// Another code (RFC 1035 section 4.1.1), such as SERVFAIL (2) or REFUSED (5).
    Error(u8),
}

/// Lays out the query.
pub fn encode_query(id: u16) -> [u8; QUERY_BYTES] {
    let mut bytes = [0; QUERY_BYTES];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    bytes[2] = RECURSION_DESIRED;
    bytes[5] = 1;
    bytes[HEADER..].copy_from_slice(&QUESTION);
    bytes
}

/// Reads an answer to the query with this id; `None` when the bytes are anything else. An error may leave the
/// question out, as some resolvers do for FORMERR and REFUSED.
pub fn decode_answer(id: u16, bytes: &[u8]) -> Option<Answer> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    if header[..2] != id.to_be_bytes() || header[2] & RESPONSE == 0 {
        return None;
    }
    let code = header[3] & 0x0f;
    let answer = if code == 0 || code == 3 { Answer::Resolves } else { Answer::Error(code) };
    match u16::from_be_bytes([header[4], header[5]]) {
        0 => (answer != Answer::Resolves).then_some(answer),
        1 => bytes[HEADER..].starts_with(&QUESTION).then_some(answer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(id: u16, code: u8) -> Vec<u8> {
        let mut bytes = encode_query(id).to_vec();
        bytes[2] |= RESPONSE;
        bytes[3] = code;
        bytes
    }

    #[test]
    fn codes_are_told_apart() {
        for code in 0..16 {
            let expected = if code == 0 || code == 3 { Answer::Resolves } else { Answer::Error(code) };
            assert_eq!(decode_answer(77, &answer(77, code)), Some(expected));
        }
    }

    #[test]
    fn an_error_may_lack_the_question_but_a_success_may_not() {
        for (code, expected) in [(5, Some(Answer::Error(5))), (0, None)] {
            let mut bytes = answer(1, code);
            bytes[5] = 0;
            bytes.truncate(HEADER);
            assert_eq!(decode_answer(1, &bytes), expected);
        }
    }

    #[test]
    fn a_query_or_another_question_is_no_answer() {
        assert_eq!(decode_answer(1, &encode_query(1)), None);
        let mut bytes = answer(1, 0);
        bytes[HEADER + 2] = 1;
        assert_eq!(decode_answer(1, &bytes), None);
    }

    proptest! {
        #[test]
        fn another_id_is_no_answer(id: u16, other: u16) {
            prop_assume!(id != other);
            prop_assert_eq!(decode_answer(id, &answer(other, 0)), None);
        }

        #[test]
        fn no_bytes_make_it_panic(id: u16, bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_answer(id, &bytes);
        }
    }
}
