//! What stands on what (R2): the ports under a bond or a bridge, the members of a VRF, the link below a VLAN.
//!
//! - **A port serves by its master.** It has no address by design, carries no route, and its loss is the master's to tell:
//!   `degraded` with [`ReasonCode::PortDown`] while another port serves, down with the last one.
//! - **A master is judged by its ports at once.** The kernel takes a bridge's carrier 0.3 to 1 s after that of its last
//!   port (its link watch holds back a device's events), and that of a bond without link monitoring never. Neither can
//!   carry anything without a port. A master with no port at all is taken by the kernel's word.
//! - **A lower link explains what stands on it**, and needs no address where that has one. A tunnel's lower link
//!   (`IFLA_LINK` too) is no such thing: a tunnel goes wherever a route leads.
//! - **A VRF** has neither address nor carrier of its own. It is usable where a member is; a member is a link like any
//!   other, with its own address.

use super::{
    device::{self, has_address},
    verdict::{Reason, ReasonCode, State},
};
use crate::observation::{IfIndex, Link, Network, OperState};

/// Masters whose ports have no addresses, and that carry nothing without a port.
const MASTERS: [&str; 3] = ["bond", "bridge", "team"];

/// Links that send all they have by the one below.
const UPPERS: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];

/// Layers that are followed: as many as the kernel allows (`MAX_NEST_DEV`).
const LAYERS: u8 = 8;

/// Whether it serves by the address of the master above it. A member of a VRF serves by its own.
pub(super) fn is_port(link: &Link, network: &Network) -> bool {
    let Some(master) = link.master else { return false };
    // Of a master that was not told of yet, most are no VRFs.
    network.links.get(&master).is_none_or(|m| !m.is_of_kind("vrf"))
}

/// Why nothing can pass over it, whatever its addresses: by the kernel's word, by that of its ports, or of what it stands
/// on. The first reason is its own, what explains it follows. None where it is sound.
pub(super) fn fault(link: &Link, network: &Network) -> Option<Vec<Reason>> {
    fault_within(link, network, LAYERS)
}

/// Whether something that stands on it, or that it is a port of, has the address for it.
pub(super) fn is_carrier(link: &Link, network: &Network) -> bool {
    is_carrier_within(link, network, LAYERS)
}

/// The VRF's own judgement: whether any member is usable.
pub(super) fn judge_vrf(vrf: &Link, network: &Network) -> (State, Vec<Reason>) {
    let mut faults = Vec::new();
    for member in ports(vrf, network) {
        match device::judge(member, network) {
            (State::Down, reasons) => faults.extend(reasons),
            _ => return (State::Up, Vec::new()),
        }
    }
    let name = vrf.name.escaped();
    let detail = match faults.is_empty() {
        true => format!("VRF {name} has no member"),
        false => format!("no member of VRF {name} is usable"),
    };
    faults.insert(0, Reason::new(ReasonCode::NoUsableLink, name, detail));
    (State::Down, faults)
}

/// R2b: ports that have served, and do no longer while another does.
pub(super) fn lost_ports(
    master: &Link,
    network: &Network,
    in_service: impl Fn(IfIndex) -> bool,
) -> Vec<Reason> {
    if !is_master(master) {
        return Vec::new();
    }
    let (mut serve, mut lost) = (Vec::new(), Vec::new());
    for port in ports(master, network) {
        match fault(port, network) {
            None => serve.push(port.name.escaped()),
            Some(faults) if in_service(port.index) => lost.push((port.name.escaped(), faults)),
            Some(_) => {}
        }
    }
    let name = master.name.escaped();
    let why = |faults: &[Reason]| faults.first().map(|r| r.detail.clone()).unwrap_or_default();
    let reason = |(port, faults): (String, Vec<Reason>)| {
        let detail = format!("{}; {name} has {} left", why(&faults), serve.join(", "));
        Reason::new(ReasonCode::PortDown, port, detail)
    };
    lost.into_iter().map(reason).collect()
}

fn is_master(link: &Link) -> bool {
    MASTERS.iter().any(|kind| link.is_of_kind(kind))
}

fn ports<'a>(master: &Link, network: &'a Network) -> impl Iterator<Item = &'a Link> {
    let index = master.index;
    network.links.values().filter(move |l| l.master == Some(index))
}

/// What it stands on, where all it sends goes by that.
fn lower<'a>(link: &Link, network: &'a Network) -> Option<&'a Link> {
    let stands = UPPERS.iter().any(|kind| link.is_of_kind(kind));
    link.lower.filter(|_| stands).and_then(|lower| network.links.get(&lower))
}

fn fault_within(link: &Link, network: &Network, layers: u8) -> Option<Vec<Reason>> {
    let name = link.name.escaped();
    let own = own_fault(link, &name);
    let below = layers.checked_sub(1).and_then(|layers| below(link, network, layers));
    // One that was set down by hand is down for no other reason. But the kernel sets a VLAN down with its lower link.
    let below = match &own {
        Some((ReasonCode::AdminDown, _)) => below.filter(|b| b.set_down),
        _ => below,
    };
    let Some(below) = below else {
        return own.map(|(code, detail)| vec![Reason::new(code, name, detail)]);
    };
    let (code, _) = own.unwrap_or((ReasonCode::NoCarrier, String::new()));
    let mut reasons = vec![Reason::new(code, &name, format!("{name} is down with {}", below.what))];
    reasons.extend(below.reasons);
    Some(reasons)
}

/// Why a link is down by another's fault.
struct Below {
    /// In words: "eth0, on which it stands".
    what: String,
    /// The other's reasons.
    reasons: Vec<Reason>,
    /// The link below was set down by the administrator.
    set_down: bool,
}

fn below(link: &Link, network: &Network, layers: u8) -> Option<Below> {
    if let Some(lower) = lower(link, network) {
        let reasons = fault_within(lower, network, layers)?;
        let what = format!("{}, on which it stands", lower.name.escaped());
        return Some(Below { what, reasons, set_down: !lower.admin_up });
    }
    if !is_master(link) {
        return None;
    }
    let (mut names, mut reasons) = (Vec::new(), Vec::new());
    for port in ports(link, network) {
        reasons.extend(fault_within(port, network, layers)?);
        names.push(port.name.escaped());
    }
    let what = match names.as_slice() {
        [] => return None,
        [port] => format!("its only port, {port}"),
        all => format!("all its ports: {}", all.join(", ")),
    };
    Some(Below { what, reasons, set_down: false })
}

/// R2 by the kernel's word on this link alone.
fn own_fault(link: &Link, name: &str) -> Option<(ReasonCode, String)> {
    if !link.admin_up {
        return Some((ReasonCode::AdminDown, format!("{name} is set down by the administrator")));
    }
    if !link.carrier {
        return Some((ReasonCode::NoCarrier, format!("{name} has no carrier")));
    }
    if !matches!(link.oper, OperState::Up | OperState::Unknown) {
        return Some((ReasonCode::OperDown, format!("{name} is operationally {}", link.oper.as_str())));
    }
    None
}

fn is_carrier_within(link: &Link, network: &Network, layers: u8) -> bool {
    let Some(layers) = layers.checked_sub(1) else { return false };
    let stands_on_it = |upper: &&Link| lower(upper, network).is_some_and(|l| l.index == link.index);
    let serves = |upper: &Link| has_address(upper, network) || is_carrier_within(upper, network, layers);
    is_port(link, network) || network.links.values().filter(stands_on_it).any(serves)
}
