//! What the two questions for a name brought, and what to make of it. Pure.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::observation::is_of_a_host;

/// Addresses of one family that are taken at most. An answer by TCP has room for four thousand, and each one is probed,
/// remembered and told of: whoever answers must not have this machine flood others.
const MOST: usize = 256;

/// Addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// The smallest time to live of all records that led to them, aliases included.
    pub(super) ttl: Duration,
}

/// What the question for one family brought.
pub(super) type Half = Result<Found, Failure>;

/// Where a service is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Hosts and ports, each once, in the order of the names.
    pub all: Vec<(String, u16)>,
    /// The smallest time to live of all records that led to them.
    pub ttl: Duration,
}

/// Why a name has no address, in words that a person understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// RFC 1035, response code 3.
    #[error("no such name (NXDOMAIN)")]
    NoName,
    /// The name exists, without an address.
    #[error("the name has no address")]
    NoAddress,
    /// It has addresses, of which none is a host's: so those answer who block a name.
    #[error("the name has no address but {0}, which is no host's")]
    NoHost(IpAddr),
    /// It can't be asked for.
    #[error("not a host name: {0}")]
    BadName(String),
    /// A resolver, or the ones it asks, failed: SERVFAIL, REFUSED and their like.
    #[error("the resolver {0} answers {1}")]
    Error(Arc<str>, String),
    /// These resolvers kept silent.
    #[error("{}", silence(.0))]
    Silent(Vec<Arc<str>>),
    /// Nothing listens at the resolver's address.
    #[error("the resolver {0} refuses questions: {1}")]
    Closed(Arc<str>, String),
    /// Something on the way says that it can't be reached.
    #[error("the resolver {0} can't be reached: {1}")]
    Unreachable(Arc<str>, String),
    /// A question could not leave this machine.
    #[error("can't ask the resolver {0}: {1}")]
    NoWay(Arc<str>, String),
    /// The look-up itself came to no end: a mistake of this program's.
    #[error("the look-up broke off")]
    BrokeOff,
    /// `resolv.conf` names no resolver, and there is none on this machine either.
    #[error("no resolver is configured")]
    NoResolver,
}

impl Failure {
    /// Whether it is an answer, which no other resolver has to be asked for.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::NoName | Self::NoAddress | Self::NoHost(_) | Self::BadName(_))
    }

    /// Whether no resolver said anything.
    pub(super) fn is_silence(&self) -> bool {
        !self.is_answer() && !matches!(self, Self::Error(..))
    }

    /// Whether the cause lies on this machine.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::NoWay(..) | Self::NoResolver | Self::BrokeOff)
    }

    /// The more telling one of two. Of silence and silence, both.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Silent(mut all), Self::Silent(more)) => {
                all.extend(more.into_iter().filter(|m| !all.contains(m)).collect::<Vec<_>>());
                Self::Silent(all)
            }
            (a, b) if b.tells() > a.tells() => b,
            (a, _) => a,
        }
    }

    fn tells(&self) -> u8 {
        match self {
            Self::BrokeOff | Self::NoResolver => 0,
            Self::NoWay(..) => 1,
            Self::Closed(..) => 2,
            Self::Unreachable(..) => 3,
            Self::Silent(_) => 4,
            Self::NoAddress => 5,
            Self::Error(..) => 6,
            Self::NoName => 7,
            Self::NoHost(_) => 8,
            Self::BadName(_) => 9,
        }
    }
}

fn silence(resolvers: &[Arc<str>]) -> String {
    match resolvers {
        [one] => format!("the resolver {one} does not answer"),
        several => format!("the resolvers {} do not answer", several.join(", ")),
    }
}

/// Those of a name's addresses that can be a host's; none at all is a failure.
pub(super) fn of_hosts(mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Failure> {
    let first = addresses.first().copied();
    addresses.retain(|address| is_of_a_host(*address));
    match (addresses.is_empty(), first) {
        (false, _) => Ok(addresses),
        (true, Some(first)) => Err(Failure::NoHost(first)),
        (true, None) => Err(Failure::NoAddress),
    }
}

/// A name's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// IPv4 first, each family in the order of its numbers: a resolver that hands them out in turns changes nothing.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
    /// Whether one family's resolver failed; its old addresses are among these.
    pub(super) partly: bool,
    /// Addresses that there was no room for.
    pub(super) left_out: usize,
}

/// One family is enough. Where the other's resolver failed, as opposed to having no address, its old addresses stay.
pub(super) fn combine(v4: Half, v6: Half, old: &[IpAddr]) -> Result<Resolved, Failure> {
    let kept = |v4: bool| old.iter().copied().filter(move |a| a.is_ipv4() == v4);
    let (mut addresses, ttl, partly) = match (v4, v6) {
        (Ok(a), Ok(b)) => ([a.addresses, b.addresses].concat(), a.ttl.min(b.ttl), false),
        (Ok(a), Err(e)) if e.is_answer() => (a.addresses, a.ttl, false),
        (Err(e), Ok(b)) if e.is_answer() => (b.addresses, b.ttl, false),
        (Ok(a), Err(_)) => (a.addresses.into_iter().chain(kept(false)).collect(), a.ttl, true),
        (Err(_), Ok(b)) => (b.addresses.into_iter().chain(kept(true)).collect(), b.ttl, true),
        // That one family has no address is no news while the other's resolver fails.
        (Err(Failure::NoAddress), Err(e)) | (Err(e), Err(Failure::NoAddress)) => return Err(e),
        (Err(a), Err(b)) => return Err(a.or(b)),
    };
    addresses.sort_unstable();
    addresses.dedup();
    let v4 = addresses.partition_point(IpAddr::is_ipv4);
    let mut v6 = addresses.split_off(v4);
    let left_out = addresses.len().saturating_sub(MOST) + v6.len().saturating_sub(MOST);
    addresses.truncate(MOST);
    v6.truncate(MOST);
    addresses.append(&mut v6);
    Ok(Resolved { addresses, ttl, partly, left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[&str], ttl: u64) -> Half {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Ok(Found { addresses, ttl: Duration::from_secs(ttl) })
    }

    fn ips(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|a| a.parse().unwrap()).collect()
    }

    fn silent(who: &str) -> Failure {
        Failure::Silent(vec![who.into()])
    }

    #[test]
    fn both_families_count_in_one_order_without_repeats() {
        let a = combine(found(&["10.0.0.9", "10.0.0.2", "10.0.0.9"], 60), found(&["fe80::1"], 30), &[]);
        let b = combine(found(&["10.0.0.2", "10.0.0.9"], 60), found(&["fe80::1"], 30), &[]);
        assert_eq!(a, b);
        let a = a.unwrap();
        assert_eq!(a.addresses, ips(&["10.0.0.2", "10.0.0.9", "fe80::1"]));
        assert_eq!((a.ttl, a.partly), (Duration::from_secs(30), false));
    }

    #[test]
    fn no_more_of_a_family_are_taken_than_there_is_room_for_and_the_same_each_time() {
        let many: Vec<String> = (0..300).rev().map(|i| format!("10.0.{}.{}", i / 256, i % 256)).collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        let first = combine(found(&many, 60), found(&["2001:db8::1"], 60), &[]).unwrap();
        assert_eq!((first.addresses.len(), first.left_out), (MOST + 1, 44));
        assert_eq!(first.addresses[MOST - 1..], ips(&["10.0.0.255", "2001:db8::1"]));
        many.rotate_left(100);
        assert_eq!(combine(found(&many, 60), found(&["2001:db8::1"], 60), &[]), Ok(first));
    }

    #[test]
    fn one_family_is_enough() {
        let old = ips(&["10.0.0.1", "2001:db8::1"]);
        for none in [Failure::NoAddress, Failure::NoName] {
            let only = combine(Err(none.clone()), found(&["2001:db8::2"], 60), &old).unwrap();
            assert_eq!((only.addresses, only.partly), (ips(&["2001:db8::2"]), false));
            let only = combine(found(&["10.0.0.2"], 60), Err(none), &old).unwrap();
            assert_eq!((only.addresses, only.partly), (ips(&["10.0.0.2"]), false));
        }
    }

    #[test]
    fn a_family_whose_resolver_fails_keeps_its_old_addresses() {
        let old = ips(&["10.0.0.1", "2001:db8::1"]);
        let half = combine(found(&["10.0.0.2"], 60), Err(silent("r")), &old).unwrap();
        assert_eq!((half.addresses, half.partly), (ips(&["10.0.0.2", "2001:db8::1"]), true));
        let half = combine(Err(silent("r")), found(&["2001:db8::2"], 60), &old).unwrap();
        assert_eq!((half.addresses, half.partly), (ips(&["10.0.0.1", "2001:db8::2"]), true));
    }

    #[test]
    fn the_more_telling_failure_is_told() {
        let error = || Failure::Error("r".into(), "SERVFAIL".into());
        for (a, b, told) in [
            (Failure::NoName, Failure::NoName, Failure::NoName),
            (Failure::NoAddress, Failure::NoAddress, Failure::NoAddress),
            (Failure::NoAddress, silent("r"), silent("r")),
            (error(), Failure::NoAddress, error()),
            (silent("r"), error(), error()),
            (silent("r"), Failure::NoName, Failure::NoName),
            (silent("r"), silent("s"), Failure::Silent(vec!["r".into(), "s".into()])),
        ] {
            assert_eq!(combine(Err(a), Err(b), &[]), Err(told));
        }
    }

    #[test]
    fn an_address_that_is_no_hosts_is_left_out() {
        assert_eq!(of_hosts(ips(&["0.0.0.0", "10.0.0.1"])), Ok(ips(&["10.0.0.1"])));
        assert_eq!(of_hosts(Vec::new()), Err(Failure::NoAddress));
        let none = of_hosts(ips(&["::", "ff02::1"])).unwrap_err();
        assert_eq!(none.to_string(), "the name has no address but ::, which is no host's");
        assert_eq!(combine(Err(Failure::NoAddress), Err(none.clone()), &[]), Err(none));
    }

    #[test]
    fn the_words_are_a_persons() {
        assert_eq!(Failure::NoName.to_string(), "no such name (NXDOMAIN)");
        assert_eq!(silent("10.0.0.53").to_string(), "the resolver 10.0.0.53 does not answer");
        let both = silent("10.0.0.53").or(silent("::1")).or(silent("::1"));
        assert_eq!(both.to_string(), "the resolvers 10.0.0.53, ::1 do not answer");
        let error = Failure::Error("10.0.0.53".into(), "SERVFAIL".into());
        assert_eq!(error.to_string(), "the resolver 10.0.0.53 answers SERVFAIL");
    }
}
