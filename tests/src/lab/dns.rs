//! A resolver small enough to be trusted: it answers every question, or refuses, or keeps silent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::netns::Netns;
use super::service::Service;
use super::world::{SERVER_V4, SERVER_V6};

/// How the resolver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// NOERROR, with the same addresses for every name: the lab's own host, until others are given.
    Yes,
    /// SERVFAIL (RFC 1035, response code 2).
    Servfail,
    /// NXDOMAIN (response code 3).
    Nxdomain,
    /// Nothing at all.
    Silence,
}

/// What every name is, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// Its IPv4 address, if it has one.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, if it has one.
    pub v6: Option<Ipv6Addr>,
    /// Time to live, seconds.
    pub ttl: u32,
}

impl Default for Records {
    fn default() -> Self {
        Self { v4: Some(SERVER_V4), v6: Some(SERVER_V6), ttl: 60 }
    }
}

/// A DNS responder on UDP port 53 of a gateway.
#[derive(Debug)]
pub struct Resolver {
    mode: Arc<AtomicU8>,
    records: Arc<Mutex<Records>>,
    queries: Arc<AtomicU64>,
    _service: Service,
}

impl Resolver {
    /// Starts it inside `netns` on the given addresses.
    pub(super) fn start(netns: &Netns, addresses: &[IpAddr]) -> Result<Self> {
        let mode = Arc::new(AtomicU8::new(0));
        let records = Arc::new(Mutex::new(Records::default()));
        let queries = Arc::new(AtomicU64::new(0));
        let open = || {
            let bind = |ip: &IpAddr| UdpSocket::bind((*ip, 53)).with_context(|| format!("DNS on {ip}"));
            addresses.iter().map(bind).collect()
        };
        let (how, what, count) = (mode.clone(), records.clone(), queries.clone());
        let service = Service::start(netns, open, move |socket| serve(socket, &how, &what, &count))?;
        Ok(Self { mode, records, queries, _service: service })
    }

    /// Changes what every name is, from the next query on.
    pub fn records(&self, records: Records) {
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = records;
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

fn serve(socket: &UdpSocket, mode: &AtomicU8, records: &Mutex<Records>, queries: &AtomicU64) {
    let mut buffer = [0; 1500];
    let Ok((n, peer)) = socket.recv_from(&mut buffer) else { return };
    queries.fetch_add(1, Ordering::Relaxed);
    let mode = mode.load(Ordering::Relaxed);
    let records = *records.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match mode {
        m if m == Answer::Yes as u8 => Ok(records),
        m if m == Answer::Nxdomain as u8 => Err(NXDOMAIN),
        _ => Err(SERVFAIL),
    };
    if mode != Answer::Silence as u8
        && let Some(reply) = reply(&buffer[..n], answer)
    {
        // The peer may be gone or unreachable by now; that is what the lab is for.
        let _ = socket.send_to(&reply, peer);
    }
}

/// Response codes of RFC 1035, 4.1.1.
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// The answer to one query (RFC 1035, 4.1): records, or a response code; `None` when it is none or does not hold
/// together.
fn reply(query: &[u8], answer: Result<Records, u8>) -> Option<Vec<u8>> {
    let (records, code) = (answer.ok(), answer.err().unwrap_or(0));
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
    let address = match (u16::from_be_bytes([query[at + 1], query[at + 2]]), records) {
        (1, Some(r)) => r.v4.map(|a| a.octets().to_vec()),
        (28, Some(r)) => r.v6.map(|a| a.octets().to_vec()),
        _ => None,
    };
    let address = address.unwrap_or_default();
    let flags = [0x80 | (header[2] & 0x01), 0x80 | code];
    let answers = u8::from(!address.is_empty());
    let mut reply = [&header[..2], &flags, &[0, 1, 0, answers, 0, 0, 0, 0], question].concat();
    if answers > 0 {
        // A pointer to the question's name, its type and class, its time to live.
        reply.extend([0xc0, 12]);
        reply.extend(&question[question.len() - 4..]);
        reply.extend(records.map(|r| r.ttl).unwrap_or_default().to_be_bytes());
        reply.extend([0, address.len() as u8]);
        reply.extend(address);
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::{NXDOMAIN, Records, SERVFAIL, reply};

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";

    #[test]
    fn an_address_is_answered_with_the_labs_host() {
        let answer = reply(QUERY, Ok(Records::default())).unwrap();
        assert_eq!(&answer[..12], b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00");
        assert_eq!(&answer[answer.len() - 6..], b"\x00\x04\xcb\x00\x71\x0a");
    }

    #[test]
    fn a_name_without_an_address_of_that_family_is_no_error() {
        let only_v6 = Records { v4: None, ttl: 5, ..Records::default() };
        let answer = reply(QUERY, Ok(only_v6)).unwrap();
        assert_eq!(&answer[2..8], b"\x81\x80\x00\x01\x00\x00");
        assert_eq!(answer.len(), QUERY.len());
        let mut v6 = QUERY.to_vec();
        let family = v6.len() - 3;
        v6[family] = 28;
        let answer = reply(&v6, Ok(only_v6)).unwrap();
        assert_eq!(&answer[answer.len() - 22..answer.len() - 16], b"\x00\x00\x00\x05\x00\x10");
    }

    #[test]
    fn a_refusal_says_its_code_and_no_address() {
        for code in [SERVFAIL, NXDOMAIN] {
            let answer = reply(QUERY, Err(code)).unwrap();
            assert_eq!(&answer[2..8], [0x81, 0x80 | code, 0, 1, 0, 0]);
            assert_eq!(answer.len(), QUERY.len());
        }
    }

    #[test]
    fn a_cut_query_or_an_answer_is_left_alone() {
        for n in 0..QUERY.len() {
            assert_eq!(reply(&QUERY[..n], Err(SERVFAIL)), None, "{n}");
        }
        let mut answer = QUERY.to_vec();
        answer[2] |= 0x80;
        assert_eq!(reply(&answer, Err(SERVFAIL)), None);
    }
}
