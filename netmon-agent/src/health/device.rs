//! One device: rule R2, and which devices are watched.

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::{
    stack,
    verdict::{Reason, ReasonCode, State},
};
use crate::observation::{Address, IfName, Link, Network};

/// Which devices are watched, by patterns over their printable names.
#[derive(Clone, Debug)]
pub struct Watch {
    include: GlobSet,
    exclude: GlobSet,
    /// As written.
    patterns: [Vec<String>; 2],
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Watch {
    /// Patterns as in the shell: `*`, `?`, `[…]`, `{a,b}`. An error names the bad pattern.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        let set = |patterns: &[String]| {
            let mut builder = GlobSetBuilder::new();
            for p in patterns {
                builder.add(Glob::new(p)?);
            }
            builder.build()
        };
        let patterns = [include.to_vec(), exclude.to_vec()];
        Ok(Self { include: set(include)?, exclude: set(exclude)?, patterns })
    }

    /// The patterns it was made of: of the devices to watch, and of those to leave out.
    pub fn patterns(&self) -> &[Vec<String>; 2] {
        &self.patterns
    }

    /// Whether a device of this name is watched.
    pub fn watches(&self, name: &IfName) -> bool {
        let name = name.escaped();
        self.include.is_match(&name) && !self.exclude.is_match(&name)
    }
}

/// R2 for one link: admin up, carrier, operational, with an address, and so what it stands on ([`stack`]). Up, or down
/// with the first thing that is missing.
pub fn judge(link: &Link, network: &Network) -> (State, Vec<Reason>) {
    if let Some(reasons) = stack::fault(link, network) {
        return (State::Down, reasons);
    }
    if link.is_of_kind("vrf") {
        return stack::judge_vrf(link, network);
    }
    if !has_address(link, network) && !stack::is_carrier(link, network) {
        let name = link.name.escaped();
        let detail = format!("{name} has no usable address");
        return (State::Down, vec![Reason::new(ReasonCode::NoAddress, name, detail)]);
    }
    (State::Up, Vec::new())
}

/// A link-local address is enough only where a default route stands on the link (unnumbered uplinks).
pub(super) fn has_address(link: &Link, network: &Network) -> bool {
    let routed = network.routes.iter().any(|r| r.is_default() && r.ifindex == link.index);
    let serves = |a: &Address| a.usable && (routed || !a.is_link_local());
    network.addresses_of(link.index).any(serves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{IfIndex, NetworkChange, OperState, Route};

    fn network(address: Option<&str>) -> Network {
        let mut n = Network::default();
        if let Some(a) = address {
            n.apply(NetworkChange::Address(Address {
                ifindex: IfIndex(2),
                address: a.parse().unwrap(),
                prefix_len: 24,
                usable: true,
            }));
        }
        n
    }

    fn link() -> Link {
        Link {
            index: IfIndex(2),
            name: IfName::new(*b"eth0"),
            admin_up: true,
            carrier: true,
            oper: OperState::Up,
            ..Link::default()
        }
    }

    fn code(link: &Link, network: &Network) -> Option<ReasonCode> {
        judge(link, network).1.first().map(|r| r.code)
    }

    #[test]
    fn r2_each_missing_thing_has_its_reason() {
        let ok = network(Some("10.0.0.2"));
        assert_eq!(code(&link(), &ok), None);
        assert_eq!(code(&Link { admin_up: false, ..link() }, &ok), Some(ReasonCode::AdminDown));
        assert_eq!(code(&Link { carrier: false, ..link() }, &ok), Some(ReasonCode::NoCarrier));
        assert_eq!(code(&Link { oper: OperState::Dormant, ..link() }, &ok), Some(ReasonCode::OperDown));
        assert_eq!(code(&link(), &network(None)), Some(ReasonCode::NoAddress));
        assert_eq!(code(&Link { master: Some(IfIndex(9)), ..link() }, &network(None)), None);
    }

    #[test]
    fn r2_link_local_serves_an_unnumbered_uplink_only() {
        let mut n = network(Some("fe80::1"));
        assert_eq!(code(&link(), &n), Some(ReasonCode::NoAddress));
        n.routes.push(Route {
            table: 254,
            destination: "::".parse().unwrap(),
            prefix_len: 0,
            gateway: Some("fe80::9".parse().unwrap()),
            ifindex: IfIndex(2),
            metric: 1024,
        });
        assert_eq!(code(&link(), &n), None);
    }

    #[test]
    fn default_patterns_leave_out_plumbing() {
        let s = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let w = Watch::new(&s(&["*"]), &s(&["lo", "veth*", "docker*", "br-*"])).unwrap();
        assert!(w.watches(&IfName::new(*b"eth0")) && w.watches(&IfName::new(*b"bond0")));
        assert!(w.watches(&IfName::new(*b"w\xff")), "bytes that are not UTF-8 are a name like any other");
        assert!(!w.watches(&IfName::new(*b"lo")) && !w.watches(&IfName::new(*b"veth12ab")));
    }
}
