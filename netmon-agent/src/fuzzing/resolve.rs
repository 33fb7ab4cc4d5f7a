//! `resolv.conf`, the hosts file, and what resolvers answer.

use std::{io, sync::Arc, time::Duration};

use hickory_resolver::{
    net::{DnsError, NetError},
    proto::{
        op::{DnsResponse, Message},
        rr::RecordType,
    },
};

use super::{
    answer::{Failure, Half, combine},
    conf::{Conf, nameservers},
    dns::{failure, half, services_of},
    files::{hosts as of_file, plain},
};
use crate::observation::is_of_a_host;

/// The longest name that can be asked for, with the dot at its end.
const LONGEST: usize = 254;

/// `resolv.conf`, and a name to look up by it.
pub fn resolv_conf(text: &str, name: &str) {
    let conf = Conf::parse(text, 53);
    assert!((1..=3).contains(&conf.servers.len()), "{conf:?}");
    assert!((Duration::from_secs(1)..=Duration::from_secs(30)).contains(&conf.timeout), "{conf:?}");
    let told = nameservers(text);
    assert_eq!(told.is_empty(), conf.guessed, "{conf:?}");
    for (told, server) in told.iter().zip(&conf.servers) {
        assert_eq!(told.address, server.ip);
        assert!(told.zone.is_none() || told.address.is_ipv6());
        assert!(text.contains(&*server.label), "{:?} is not in it", server.label);
    }
    let candidates = conf.candidates(name);
    for (i, candidate) in candidates.iter().enumerate() {
        assert!(candidate.ends_with('.') && candidate.starts_with(name), "{candidate:?} for {name:?}");
        assert!(candidate.len() <= LONGEST || name.ends_with('.'), "{candidate:?} is too long");
        assert!(!candidates[..i].contains(candidate), "{candidate:?} twice");
    }
}

/// The hosts file: names that are wanted, and addresses that it has.
pub fn hosts(text: &str, wanted: &str) {
    let found = of_file(text, |name| name.contains(wanted));
    for (name, addresses) in &found {
        assert!(name.contains(wanted) && *name == plain(name) || name.ends_with('.'), "{name:?}");
        assert!(!addresses.is_empty() && !name.contains(['#', ' ', '\n']), "{name:?}: {addresses:?}");
    }
    let all: usize = found.values().map(Vec::len).sum();
    assert!(all * 3 <= text.len(), "more addresses than bytes for them");
}

/// What comes of a question to a resolver.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Bytes that are, or are not, a message.
    Answer(Vec<u8>),
    /// Nothing in time.
    Silence,
    /// The socket says so; or there is no connection to be had.
    Fault(io::ErrorKind),
}

/// What the resolvers said to the questions for both families, each list in the order in which they were asked: only addresses
/// that can be a host's, none twice, no more than there is room for; of failures the one that tells most, in one line; and
/// what is found by SRV records.
pub fn looked_up(v4: &[Asked], v6: &[Asked]) {
    let old = ["192.0.2.7".parse().expect("an address"), "2001:db8::7".parse().expect("an address")];
    let (a, b) = (half_of(v4, RecordType::A), half_of(v6, RecordType::AAAA));
    let (first, second) = (a.clone(), b.clone());
    match combine(a, b, &old) {
        Ok(found) => {
            assert!(first.is_ok() || second.is_ok(), "addresses of two failures");
            assert!(found.addresses.len() <= 512, "more than there is room for");
            assert!(found.addresses.is_sorted() && found.addresses.iter().all(|a| is_of_a_host(*a)));
            assert!(found.addresses.windows(2).all(|pair| pair[0] != pair[1]), "an address twice");
            assert!(found.partly || !found.addresses.is_empty());
            assert!(!found.partly || first.is_err() || second.is_err());
        }
        Err(failure) => {
            assert!(first.is_err() && second.is_err(), "{failure} for a name with an address");
            let said = failure.to_string();
            assert!(!said.is_empty() && !said.chars().any(char::is_control), "{said:?}");
            assert!(!(failure.is_answer() && failure.is_silence()), "{failure:?}");
            assert!(failure.is_silence() || !failure.is_local(), "{failure:?}");
            if let Failure::Silent(all) = &failure {
                assert!(all.iter().enumerate().all(|(i, one)| !all[..i].contains(one)), "{all:?}");
            }
        }
    }
    for answer in v4 {
        let Asked::Answer(bytes) = answer else { continue };
        let Ok(message) = Message::from_vec(bytes) else { continue };
        let services = services_of(&message.answers);
        assert!(services.all.is_sorted() && services.all.len() <= message.answers.len());
        assert!(
            services.all.iter().all(|(host, _)| !host.is_empty() && !host.chars().any(char::is_control)),
            "{services:?}"
        );
    }
}

/// As resolvers are asked one after the other: the first that answers has said it.
fn half_of(asked: &[Asked], family: RecordType) -> Half {
    let mut failed: Option<Failure> = None;
    for (nth, one) in asked.iter().enumerate() {
        let label = Arc::from(format!("192.0.2.{nth}"));
        let words = |kind: io::ErrorKind| (kind, io::Error::from(kind).to_string());
        let error = match one {
            Asked::Answer(bytes) => {
                let response = DnsResponse::from_buffer(bytes.clone()).map_err(NetError::from);
                match response.and_then(|response| Ok(DnsError::from_response(response)?)) {
                    Ok(response) => return half(&response.answers, family),
                    Err(error) => failure(&error, &label, || words(io::ErrorKind::Other)),
                }
            }
            Asked::Silence => failure(&NetError::Timeout, &label, || words(io::ErrorKind::Other)),
            Asked::Fault(kind) => failure(&NetError::NoConnections, &label, || words(*kind)),
        };
        if error.is_answer() {
            return Err(error);
        }
        failed = Some(match failed {
            Some(other) => {
                let told = other.clone().or(error.clone());
                assert!(told == other || told == error || told.is_silence(), "{told} of {other} and {error}");
                told
            }
            None => error,
        });
    }
    Err(failed.unwrap_or(Failure::NoResolver))
}
