//! What resolvers answer, and the files that say who they are.

use netmon_agent::{
    fuzzing,
    packet::dns::{
        Question, decode_answer, encode_query, record_type, record_word, response_code, response_word,
    },
};

use super::texts;

/// Bytes of a message's header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;

/// DNS: an answer to a probe, and answers that become addresses. Whatever is taken for an answer has its query's number
/// and, but for an error without one, its question.
pub fn dns(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'r', rest)) => {
            let Some((length, rest)) = rest.split_first() else { return };
            let (v4, v6) = rest.split_at(rest.len().min(usize::from(*length) * 2));
            fuzzing::resolved(v4, v6);
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
