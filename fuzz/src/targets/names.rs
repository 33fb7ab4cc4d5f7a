//! What resolvers answer, and the files that say who they are.

use std::io::ErrorKind;

use arbitrary::{Arbitrary, Unstructured};
use netmon_agent::{
    fuzzing::{self, Asked},
    packet::dns::{
        Question, decode_answer, encode_query, record_type, record_word, response_code, response_word,
    },
};

use super::texts;

/// Bytes of a message's header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;

/// What resolvers are asked for a name's addresses, and what each of them says.
#[derive(Arbitrary, Debug)]
struct Lookup {
    v4: Vec<Resolver>,
    v6: Vec<Resolver>,
}

#[derive(Arbitrary, Debug)]
enum Resolver {
    Silent,
    Fault(u8),
    Answer {
        code: u8,
        flags: u8,
        records: Vec<Record>,
        lie: Option<u8>,
    },
    /// So many addresses.
    Many(u16),
}

#[derive(Arbitrary, Debug)]
enum Record {
    Host(u8, u8),
    /// One that no host has.
    Nobody(u8),
    Alias(u8),
    Service(u8, u16),
    Authority(u8),
    Other(u8, Vec<u8>),
}

/// A record's type, its time to live and its data.
type Data = (u16, u8, Vec<u8>);

const FAULTS: [ErrorKind; 6] = [
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionReset,
    ErrorKind::HostUnreachable,
    ErrorKind::TimedOut,
    ErrorKind::NetworkUnreachable,
    ErrorKind::PermissionDenied,
];

impl Resolver {
    fn asked(&self, of_v6: bool) -> Asked {
        let kind: u16 = if of_v6 { 28 } else { 1 };
        let address = |first: u8, number: u16| match of_v6 {
            true => [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 9], &[first], &number.to_be_bytes()].concat(),
            false => [&[10, first][..], &number.to_be_bytes()].concat(),
        };
        let nobody = |which: u8| match (of_v6, which % 2) {
            (true, 0) => vec![0; 16],
            (true, _) => [&[0xff, 2][..], &[0; 13], &[1]].concat(),
            (false, 0) => vec![0; 4],
            (false, _) => vec![224, 0, 0, 1],
        };
        let (code, flags, all, lie): (u8, u8, Vec<Data>, Option<u8>) = match self {
            Self::Silent => return Asked::Silence,
            Self::Fault(which) => return Asked::Fault(FAULTS[usize::from(*which) % FAULTS.len()]),
            Self::Many(count) => (0, 0, (0..count % 600).map(|n| (kind, 60, address(1, n))).collect(), None),
            Self::Answer { code, flags, records, lie } => {
                let record = |record: &Record| match record {
                    Record::Host(host, ttl) => (kind, *ttl, address(0, (*host).into())),
                    Record::Nobody(which) => (kind, 9, nobody(*which)),
                    // Of the name that was asked for, by a pointer (RFC 1035, section 4.1.4).
                    Record::Alias(ttl) => (5, *ttl, b"\x01c\xc0\x0c".to_vec()),
                    Record::Service(host, port) => {
                        let target = if host % 4 == 0 { vec![0] } else { vec![1, *host, 0xc0, 0x0c] };
                        (33, 5, [&[0, 1, 0, 2][..], &port.to_be_bytes(), &target].concat())
                    }
                    Record::Authority(ttl) => (6, *ttl, [&[0xc0, 0x0c, 0xc0, 0x0c][..], &[0; 20]].concat()),
                    Record::Other(kind, data) => ((*kind).into(), 1, data.clone()),
                };
                (*code, *flags, records.iter().map(record).collect(), *lie)
            }
        };
        let count = (all.len() as u16).wrapping_add(lie.unwrap_or(0).into());
        let mut out = vec![0, 1, 0x81 | flags & 0x06, 0x80 | code & 0x0f, 0, 1];
        out.extend(count.to_be_bytes());
        out.extend([0; 4]);
        out.extend(b"\x07example\x03org\x00");
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        for (kind, ttl, data) in all {
            out.extend([0xc0, 0x0c]);
            out.extend(kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, ttl]);
            out.extend((data.len() as u16).to_be_bytes());
            out.extend(data);
        }
        Asked::Answer(out)
    }
}

/// DNS: an answer to a probe, and answers that become addresses. Whatever is taken for an answer has its query's number
/// and, but for an error without one, its question.
pub fn dns(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'r', rest)) => {
            let Some((length, rest)) = rest.split_first() else { return };
            let (v4, v6) = rest.split_at(rest.len().min(usize::from(*length) * 2));
            fuzzing::looked_up(&[Asked::Answer(v4.to_vec())], &[Asked::Answer(v6.to_vec())]);
        }
        Some((b'l', rest)) => {
            let Ok(Lookup { v4, v6 }) = Lookup::arbitrary_take_rest(Unstructured::new(rest)) else { return };
            let asked = |all: &[Resolver], of_v6| all.iter().take(4).map(|one| one.asked(of_v6)).collect();
            let (v4, v6): (Vec<_>, Vec<_>) = (asked(&v4, false), asked(&v6, true));
            fuzzing::looked_up(&v4, &v6);
        }
        Some((b'w', rest)) => {
            let word = String::from_utf8_lossy(rest);
            if let Some(number) = record_type(&word) {
                assert_eq!(record_type(&record_word(number)), Some(number));
            }
            if let Some(code) = response_code(&word) {
                assert!(response_word(code).is_some_and(|known| known.eq_ignore_ascii_case(&word)));
            }
        }
        Some((length, rest)) => {
            let (name, answer) = rest.split_at(rest.len().min((*length).into()));
            probe(&String::from_utf8_lossy(name), answer);
        }
        None => {}
    }
}

fn probe(name: &str, answer: &[u8]) {
    let Ok(question) = Question::new(name, 28) else { return };
    let query = encode_query(0x3031, &question);
    assert!(query.len() <= HEADER + 255 + 4, "a question that no resolver reads");
    assert_eq!(decode_answer(0x3031, &question, &query), None, "a query is an answer");
    let mut own = query.clone();
    own[2] |= 0x80;
    own[3] = (answer.len() % 16) as u8;
    assert_eq!(decode_answer(0x3031, &question, &own), Some(own[3]));
    assert_eq!(decode_answer(0x3032, &question, &own), None, "another query's number");
    if let Some(code) = decode_answer(0x3031, &question, answer) {
        assert_eq!((&answer[..2], answer[2] & 0x80, answer[3] & 0x0f), (&[0x30, 0x31][..], 0x80, code));
        match answer[5] {
            0 => assert!(code != 0 && code != 3, "a success without its question"),
            _ => assert!(
                answer[HEADER..].to_ascii_lowercase().starts_with(&query[HEADER..].to_ascii_lowercase())
            ),
        }
    }
}

/// `resolv.conf`, a name to look up, the hosts file: with a NUL between each.
pub fn resolv_conf(bytes: &[u8]) {
    let [text, name, hosts] = texts(bytes);
    fuzzing::resolv_conf(&text, &name);
    fuzzing::hosts(&hosts, &name);
}
