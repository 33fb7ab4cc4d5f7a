//! A resolver small enough to be trusted: it answers every question, or refuses, or keeps silent.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use anyhow::{Context, Result};

use super::netns::Netns;
use super::service::Service;
use super::world::{SERVER_V4, SERVER_V6};

/// How the resolver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// NOERROR, with the lab's own host as the address of every name.
    Yes,
    /// SERVFAIL (RFC 1035, response code 2).
    Servfail,
    /// Nothing at all.
    Silence,
}

/// A DNS responder on UDP port 53 of a gateway.
#[derive(Debug)]
pub struct Resolver {
    mode: Arc<AtomicU8>,
    queries: Arc<AtomicU64>,
    _service: Service,
}

impl Resolver {
    /// Starts it inside `netns` on the given addresses.
    pub(super) fn start(netns: &Netns, addresses: &[IpAddr]) -> Result<Self> {
        let mode = Arc::new(AtomicU8::new(0));
        let queries = Arc::new(AtomicU64::new(0));
        let open = || {
            let bind = |ip: &IpAddr| UdpSocket::bind((*ip, 53)).with_context(|| format!("DNS on {ip}"));
            addresses.iter().map(bind).collect()
        };
        let (how, count) = (mode.clone(), queries.clone());
        let service = Service::start(netns, open, move |socket| serve(socket, &how, &count))?;
        Ok(Self { mode, queries, _service: service })
    }

    /// Changes how it behaves from the next query on.
    pub fn answer(&self, answer: Answer) {
        self.mode.store(answer as u8, Ordering::Relaxed);
    }

    /// Queries received so far, answered or not.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }
}

fn serve(socket: &UdpSocket, mode: &AtomicU8, queries: &AtomicU64) {
    let mut buffer = [0; 1500];
    let Ok((n, peer)) = socket.recv_from(&mut buffer) else { return };
    queries.fetch_add(1, Ordering::Relaxed);
    let mode = mode.load(Ordering::Relaxed);
    if mode != Answer::Silence as u8
        && let Some(reply) = reply(&buffer[..n], mode == Answer::Servfail as u8)
    {
        // The peer may be gone or unreachable by now; that is what the lab is for.
        let _ = socket.send_to(&reply, peer);
    }
}

/// The answer to one query (RFC 1035, 4.1); `None` when it is none or does not hold together.
fn reply(query: &[u8], servfail: bool) -> Option<Vec<u8>> {
    let header = query.get(..12)?;
    let is_query = header[2] & 0x80 == 0;
    if !is_query || u16::from_be_bytes([header[4], header[5]]) != 1 {
        return None;
    }
    let mut at = 12;
    while *query.get(at)? != 0 {
        at += 1 + usize::from(query[at]);
    }
    let question = query.get(12..at + 5)?;
    let address = match u16::from_be_bytes([query[at + 1], query[at + 2]]) {
        _ if servfail => Vec::new(),
        1 => SERVER_V4.octets().to_vec(),
        28 => SERVER_V6.octets().to_vec(),
        _ => Vec::new(),
    };
    let flags = [0x80 | (header[2] & 0x01), 0x80 | if servfail { 2 } else { 0 }];
    let answers = u8::from(!address.is_empty());
    let mut reply = [&header[..2], &flags, &[0, 1, 0, answers, 0, 0, 0, 0], question].concat();
    if answers > 0 {
        // A pointer to the question's name, its type and class, a minute to live.
        reply.extend([0xc0, 12]);
        reply.extend(&question[question.len() - 4..]);
        reply.extend([0, 0, 0, 60, 0, address.len() as u8]);
        reply.extend(address);
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::reply;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";

    #[test]
    fn an_address_is_answered_with_the_labs_host() {
        let answer = reply(QUERY, false).unwrap();
        assert_eq!(&answer[..12], b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00");
        assert_eq!(&answer[answer.len() - 6..], b"\x00\x04\xcb\x00\x71\x0a");
    }

    #[test]
    fn a_refusal_says_servfail_and_no_address() {
        let answer = reply(QUERY, true).unwrap();
        assert_eq!(&answer[2..8], b"\x81\x82\x00\x01\x00\x00");
        assert_eq!(answer.len(), QUERY.len());
    }

    #[test]
    fn a_cut_query_or_an_answer_is_left_alone() {
        for n in 0..QUERY.len() {
            assert_eq!(reply(&QUERY[..n], false), None, "{n}");
        }
        let mut answer = QUERY.to_vec();
        answer[2] |= 0x80;
        assert_eq!(reply(&answer, false), None);
    }
}
