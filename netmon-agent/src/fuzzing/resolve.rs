//! `resolv.conf`, the hosts file, and what resolvers answer.

use std::time::Duration;

use hickory_resolver::proto::op::Message;

use super::{
    answer::{Failure, Found, Half, combine, of_hosts},
    conf::{Conf, nameservers},
    dns::{life, services_of},
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

/// A resolver's answers for both families: only addresses that can be a host's, none twice, no more than there is room for;
/// and what is found by SRV records.
pub fn answer(v4: &[u8], v6: &[u8]) {
    let half = |bytes: &[u8], of_v4: bool| -> Half {
        let message = Message::from_vec(bytes).map_err(|e| Failure::BadName(e.to_string()))?;
        let addresses = message.answers.iter().filter_map(|record| record.data.ip_addr());
        let ttl = life(&message.answers);
        of_hosts(addresses.filter(|a| a.is_ipv4() == of_v4).collect())
            .map(|addresses| Found { addresses, ttl })
    };
    let old = ["192.0.2.7".parse().expect("an address"), "2001:db8::7".parse().expect("an address")];
    match combine(half(v4, true), half(v6, false), &old) {
        Ok(found) => {
            assert!(found.addresses.len() <= 512, "more than there is room for");
            assert!(found.addresses.is_sorted() && found.addresses.iter().all(|a| is_of_a_host(*a)));
            assert!(found.partly || !found.addresses.is_empty());
        }
        Err(failure) => assert!(!failure.to_string().is_empty()),
    }
    if let Ok(message) = Message::from_vec(v4) {
        let services = services_of(&message.answers);
        assert!(services.all.is_sorted() && services.all.len() <= message.answers.len());
        assert!(
            services.all.iter().all(|(host, _)| !host.is_empty() && !host.chars().any(char::is_control)),
            "{services:?}"
        );
    }
}
