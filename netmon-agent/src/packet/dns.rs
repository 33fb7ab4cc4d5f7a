//! DNS queries and what their answers say (RFC 1035), as far as probing needs: the question and the response code.

/// Bytes of the header.
const HEADER: usize = 12;
const RESPONSE: u8 = 0x80;
const RECURSION_DESIRED: u8 = 0x01;
/// Bytes of a name on the wire at most, and of a label.
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;
/// Class IN.
const INTERNET: [u8; 2] = [0, 1];

/// Why a name can't be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Two dots in a row, or one at the start.
    #[error("a label is empty")]
    EmptyLabel,
    /// RFC 1035 section 2.3.4.
    #[error("a label has more than 63 bytes")]
    LongLabel,
    /// RFC 1035 section 2.3.4.
    #[error("it has more than 253 bytes")]
    LongName,
}

/// What is asked, as it stands on the wire: name, type, class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question(Vec<u8>);

impl Question {
    /// A question for the records of this type (IANA's registry of DNS parameters) of `name`; of the root where it is
    /// empty. A dot at its end changes nothing.
    ///
    /// # Errors
    /// When it is no name.
    pub fn new(name: &str, record: u16) -> Result<Self, NameError> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut bytes = Vec::with_capacity(name.len() + 6);
        for label in name.split('.').filter(|_| !name.is_empty()) {
            match label.len() {
                0 => return Err(NameError::EmptyLabel),
                1..=LONGEST_LABEL => bytes.push(label.len() as u8),
                _ => return Err(NameError::LongLabel),
            }
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        if bytes.len() > LONGEST_NAME {
            return Err(NameError::LongName);
        }
        bytes.extend(record.to_be_bytes());
        bytes.extend(INTERNET);
        Ok(Self(bytes))
    }

    /// Names are the same in either case (RFC 4343); some resolvers change it.
    fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.0.len()).is_some_and(|b| b.eq_ignore_ascii_case(&self.0))
    }
}

/// Record types that have a word here.
const TYPES: [(&str, u16); 12] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("DS", 43),
    ("HTTPS", 65),
    ("CAA", 257),
];

/// Response codes that have a word here, by their numbers.
const CODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/// The number of a record type by its word, as `A` or `aaaa`; numbers from 1 to 65535 as they are.
pub fn record_type(word: &str) -> Option<u16> {
    let known = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, number)| *number);
    known.or_else(|| word.parse().ok().filter(|number| *number > 0))
}

/// The number of a response code by its word: RFC 1035 section 4.1.1.
pub fn response_code(word: &str) -> Option<u8> {
    CODES.iter().position(|name| name.eq_ignore_ascii_case(word)).map(|i| i as u8)
}

/// What [`record_type`] reads as this number: its word, or the number itself.
pub fn record_word(number: u16) -> String {
    let known = TYPES.iter().find(|(_, n)| *n == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// What [`response_code`] reads as this number, where there is such a word.
pub fn response_word(code: u8) -> Option<&'static str> {
    CODES.get(usize::from(code)).copied()
}

/// Lays out a query.
pub fn encode_query(id: u16, question: &Question) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    bytes[2] = RECURSION_DESIRED;
    bytes[5] = 1;
    bytes.extend(&question.0);
    bytes
}

/// Reads an answer to the query with this id and question: its response code, 0 to 15. `None` when the bytes are anything
/// else. An error may leave the question out, as some resolvers do for FORMERR and REFUSED.
pub fn decode_answer(id: u16, question: &Question, bytes: &[u8]) -> Option<u8> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    if header[..2] != id.to_be_bytes() || header[2] & RESPONSE == 0 {
        return None;
    }
    let code = header[3] & 0x0f;
    let resolves = code == 0 || code == 3;
    match u16::from_be_bytes([header[4], header[5]]) {
        0 => (!resolves).then_some(code),
        1 => question.begins(&bytes[HEADER..]).then_some(code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root() -> Question {
        Question::new("", 2).unwrap()
    }

    fn answer(id: u16, question: &Question, code: u8) -> Vec<u8> {
        let mut bytes = encode_query(id, question);
        bytes[2] |= RESPONSE;
        bytes[3] = code;
        bytes
    }

    #[test]
    fn a_question_has_the_bytes_of_rfc_1035() {
        assert_eq!(root().0, [0, 0, 2, 0, 1]);
        let question = Question::new("ab.c.", 28).unwrap();
        assert_eq!(question.0, [2, b'a', b'b', 1, b'c', 0, 0, 28, 0, 1]);
        assert_eq!(Question::new("a..b", 1), Err(NameError::EmptyLabel));
        assert_eq!(Question::new(&"a".repeat(64), 1), Err(NameError::LongLabel));
        assert_eq!(Question::new(&"a.".repeat(127), 1).map(|q| q.0.len()), Ok(259));
        assert_eq!(Question::new(&"a.".repeat(128), 1), Err(NameError::LongName));
    }

    #[test]
    fn types_and_codes_have_words() {
        assert_eq!(
            (record_type("aaaa"), record_type("257"), record_type("CAA")),
            (Some(28), Some(257), Some(257))
        );
        assert_eq!((record_type("0"), record_type("x"), record_type("65536")), (None, None, None));
        assert_eq!(
            (response_code("nxdomain"), response_code("NOERROR"), response_code("no")),
            (Some(3), Some(0), None)
        );
    }

    #[test]
    fn codes_are_told_apart() {
        for code in 0..16 {
            assert_eq!(decode_answer(77, &root(), &answer(77, &root(), code)), Some(code));
        }
    }

    #[test]
    fn an_error_may_lack_the_question_but_a_success_may_not() {
        for (code, expected) in [(5, Some(5)), (0, None)] {
            let mut bytes = answer(1, &root(), code);
            bytes[5] = 0;
            bytes.truncate(HEADER);
            assert_eq!(decode_answer(1, &root(), &bytes), expected);
        }
    }

    #[test]
    fn a_query_or_another_question_is_no_answer() {
        let question = Question::new("Example.com", 1).unwrap();
        assert_eq!(decode_answer(1, &question, &encode_query(1, &question)), None);
        for (other, expected) in [("example.COM", Some(0)), ("example.org", None), ("", None)] {
            let other = Question::new(other, 1).unwrap();
            assert_eq!(decode_answer(1, &question, &answer(1, &other, 0)), expected);
        }
        let other = Question::new("example.com", 28).unwrap();
        assert_eq!(decode_answer(1, &question, &answer(1, &other, 0)), None);
    }

    proptest! {
        #[test]
        fn another_id_is_no_answer(id: u16, other: u16) {
            prop_assume!(id != other);
            prop_assert_eq!(decode_answer(id, &root(), &answer(other, &root(), 0)), None);
        }

        #[test]
        fn no_bytes_make_it_panic(id: u16, name in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_answer(id, &root(), &bytes);
            if let Ok(question) = Question::new(&name, 1) {
                prop_assert_eq!(decode_answer(id, &question, &answer(id, &question, 3)), Some(3));
            }
        }
    }
}
