//! The things that histories are about: addresses, targets, settings.

use super::super::*;
use crate::observation::{DnsQuery, HttpRequest};

/// Every address that a target may have.
pub const ADDRESSES: [&str; 12] = [
    "10.0.0.1",
    "8.8.8.8",
    "1.1.1.1",
    "10.0.0.53",
    "127.0.0.53",
    "fe80::1",
    "2001:db8:1::9",
    "9.9.9.1",
    "9.9.9.2",
    "2001:db8:9::1",
    "10.1.0.80",
    "10.1.0.1",
];

/// How a probe may fail.
pub const FAILURES: [FailureReason; 15] = FailureReason::ALL;

/// The target that has a name to resolve.
pub const NAMED: TargetId = TargetId(3);

/// Targets there may be.
pub const TARGETS: u8 = 9;

/// Those that there usually are, as a mask.
pub const USUAL: u16 = 0b0000_1111;

/// The targets of this mask. `odd`: one is probed by another method, and one is of another scope.
pub fn targets(mask: u16, odd: u8, resolved: &HashMap<TargetId, Vec<IpAddr>>) -> Vec<TargetSpec> {
    let all = (0..TARGETS).filter(|i| mask & 1 << i != 0);
    all.map(|i| one(i, odd, resolved)).collect()
}

fn one(i: u8, odd: u8, resolved: &HashMap<TargetId, Vec<IpAddr>>) -> TargetSpec {
    let (name, scope, address, role) = match i {
        0 => ("gateway", "gateway", ADDRESSES[0], Role::Gateway),
        1 => ("a", if odd & 1 == 0 { "internet" } else { "own" }, ADDRESSES[1], Role::Plain),
        2 => ("b", "internet", ADDRESSES[2], Role::Plain),
        3 => ("named", "own", "::", Role::Plain),
        4 => ("dns", "dns", ADDRESSES[3], Role::Plain),
        5 => ("stub", "dns", ADDRESSES[4], Role::Plain),
        6 => ("gateway6", "gateway", ADDRESSES[5], Role::Gateway),
        7 => ("six", "internet", ADDRESSES[6], Role::Plain),
        _ => ("web", "own", ADDRESSES[10], Role::Plain),
    };
    let mut spec = target(i.into(), name, scope, address, role);
    match i {
        3 => {
            spec.host = "named.example".to_owned();
            spec.addresses = resolved.get(&NAMED).cloned().unwrap_or_default();
            spec.method = if odd & 2 == 0 { Method::Icmp } else { Method::Tcp { port: 443 } };
        }
        4 | 5 => spec.method = Method::Dns(DnsQuery::default().into()),
        6 => spec.link = Some(IfIndex(2)),
        8 => spec.method = Method::Http(HttpRequest::default().into()),
        _ => {}
    }
    spec
}

/// What the name may resolve to.
pub fn addresses(mask: u8) -> Vec<IpAddr> {
    let all = [ADDRESSES[7], ADDRESSES[8], ADDRESSES[9], ADDRESSES[1]];
    let some: Vec<IpAddr> =
        all.iter().enumerate().filter(|(i, _)| mask & 1 << i != 0).map(|(_, a)| ip(a)).collect();
    if some.is_empty() { vec![ip(all[0])] } else { some }
}

/// Settings, and the beginnings of the names of devices that are not watched. In every fourth history loss is left early
/// and the dwell is long: with the defaults the window alone would keep it.
pub fn settings(variant: u8, seed: u64) -> (Settings, Vec<&'static str>) {
    let mut s = Settings::default();
    if seed % 4 == 3 {
        (s.loss_left, s.degraded_dwell) = (6, Duration::from_secs(150));
    }
    let mut unwatched = vec!["lo"];
    match variant % 8 {
        1 => drop(s.quorum.insert("internet".to_owned(), 1)),
        2 => s.required = vec!["eth0".to_owned()],
        3 => s.preferred = vec!["wlan0".to_owned()],
        4 => unwatched.push("usb"),
        5 => {
            s.required = vec!["usb0".to_owned()];
            s.quorum.insert("own".to_owned(), 7);
        }
        6 => {
            s.preferred = vec!["eth0".to_owned(), "usb0".to_owned()];
            unwatched.push("eth");
        }
        _ => {}
    }
    (s, unwatched)
}

pub fn watch(unwatched: &[&'static str]) -> Watch {
    let patterns: Vec<String> = unwatched.iter().map(|u| format!("{u}*")).collect();
    Watch::new(&["*".to_owned()], &patterns).unwrap()
}
