//! A target's place, from the evidence in hand: its verdict's reasons, links and routes, neighbours, its gateway.

use std::net::IpAddr;

use super::{census::Census, place::Place};
use crate::{
    health::{AddressEvidence, Health, Reach, Reason, ReasonCode, Role, State, Target, judge_link, next_hop},
    observation::{FailureReason, IfIndex, Link, Method, Neighbour, NeighbourState},
};

/// What the evidence in hand says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evident {
    /// Where.
    pub place: Place,
    /// One line for a person.
    pub detail: String,
    /// The address that a look would be at; none where a look could tell no more.
    pub open: Option<IpAddr>,
}

/// Where the fault of a target is; none where it has none, or nothing is known of it.
pub fn of_target(health: &Health, target: &Target, census: &Census) -> Option<Evident> {
    if !matches!(target.verdict.state, State::Degraded | State::Down) {
        return None;
    }
    let view = View { health, target, census };
    target.verdict.reasons.iter().find_map(|reason| view.by_reason(reason))
}

/// Where the fault is when no route leads anywhere: the link that had the default route last is to blame, if anything is
/// wrong with it, for routes go with their link and with the address they need.
pub(super) fn without_route(health: &Health, v6: bool) -> Evident {
    let network = health.network();
    for index in health.uplinks() {
        let Some(link) = network.links.get(index) else {
            return settled(Place::Link, "the device that had the default route is gone");
        };
        if let Some(found) = of_link(link, health) {
            return found;
        }
        let mut addresses = network.addresses_of(*index);
        if !addresses.any(|a| a.usable && a.address.is_ipv6() == v6 && !a.is_link_local()) {
            let (family, name) = (if v6 { "IPv6" } else { "IPv4" }, link.name.escaped());
            return settled(Place::Address, format!("{name} has no usable {family} address"));
        }
    }
    settled(Place::Route, "no route leads there")
}

/// R2's reason as a place.
pub(super) fn of_code(code: ReasonCode) -> Option<Place> {
    match code {
        ReasonCode::AdminDown
        | ReasonCode::NoCarrier
        | ReasonCode::OperDown
        | ReasonCode::DeviceGone
        | ReasonCode::NoUsableLink => Some(Place::Link),
        ReasonCode::NoAddress => Some(Place::Address),
        ReasonCode::NoRoute => Some(Place::Route),
        _ => None,
    }
}

fn of_link(link: &Link, health: &Health) -> Option<Evident> {
    let reason = judge_link(link, health.network()).1.into_iter().next()?;
    Some(settled(of_code(reason.code)?, reason.detail))
}

fn settled(place: Place, detail: impl Into<String>) -> Evident {
    Evident { place, detail: detail.into(), open: None }
}

fn open(place: Place, address: IpAddr, detail: impl Into<String>) -> Evident {
    Evident { place, detail: detail.into(), open: Some(address) }
}

struct View<'a> {
    health: &'a Health,
    target: &'a Target,
    census: &'a Census,
}

impl View<'_> {
    fn by_reason(&self, reason: &Reason) -> Option<Evident> {
        match reason.code {
            ReasonCode::ExplainedByLink => Some(self.without_reach()),
            ReasonCode::NoRoute => Some(settled(Place::Route, &*reason.detail)),
            ReasonCode::Dns => Some(settled(Place::Dns, &*reason.detail)),
            ReasonCode::NoReply
            | ReasonCode::Unreachable
            | ReasonCode::SendFailed
            | ReasonCode::Refused
            | ReasonCode::DnsError
            | ReasonCode::ServiceError => self.failing().map(|a| self.failed(a)),
            ReasonCode::IcmpFiltered => {
                let said = "echo requests or their replies are dropped on the way, and TCP gets through";
                self.failing().map(|a| open(Place::Path, a.address, said))
            }
            ReasonCode::Loss | ReasonCode::Latency => Some(self.impaired(reason)),
            _ => None,
        }
    }

    /// The address that the verdict is about.
    fn failing(&self) -> Option<&AddressEvidence> {
        self.target.addresses.iter().find(|a| a.reach.stands() && a.fsm.state() == State::Down)
    }

    /// R3: no link, or no route.
    fn without_reach(&self) -> Evident {
        let network = self.health.network();
        for a in &self.target.addresses {
            let Reach::LinkDown(links) = &a.reach else { continue };
            let links = links.iter().filter_map(|index| network.links.get(index));
            let mut found = links.clone().filter_map(|link| of_link(link, self.health));
            return found.next().unwrap_or_else(|| {
                let names: Vec<String> = links.map(|l| l.name.escaped()).collect();
                settled(Place::Link, format!("{} is none of the preferred devices", names.join(", ")))
            });
        }
        let v6 = self.target.addresses.iter().all(|a| a.address.is_ipv6());
        without_route(self.health, v6)
    }

    fn failed(&self, a: &AddressEvidence) -> Evident {
        let (host, method) = (&self.target.spec.host, &self.target.spec.method);
        let asked = port_of(method).map_or_else(|| method.as_str().to_owned(), |port| format!("port {port}"));
        match a.fsm.last_failure() {
            None | Some(FailureReason::Timeout) => self.unheard(a),
            Some(FailureReason::SendError) => {
                open(Place::Local, a.address, format!("{} probes can't be sent from here", method.as_str()))
            }
            Some(FailureReason::ServFail) => {
                settled(Place::Dns, format!("the resolver {host} answers, with errors"))
            }
            Some(FailureReason::NxDomain) => {
                settled(Place::Dns, format!("the resolver {host} answers that there is no such name"))
            }
            Some(FailureReason::Refused) => {
                settled(Place::Port, format!("{asked} of {host} is closed, the host answers"))
            }
            Some(FailureReason::PortUnreachable) if *method != Method::Icmp => {
                settled(Place::Port, format!("{asked} of {host} is said to be closed"))
            }
            Some(FailureReason::Status | FailureReason::Tls | FailureReason::Protocol) => settled(
                Place::Port,
                format!("the service at {asked} of {host} answers, but not as it should"),
            ),
            Some(FailureReason::PacketTooBig) => {
                open(Place::PathMtu, a.address, "a link on the way takes no packet as large as the probes")
            }
            // This machine's kernel says so too, of a gateway that does not answer for its address.
            Some(other) => match self.unheard(a) {
                found if found.open.is_none() => found,
                _ => open(Place::Path, a.address, format!("somebody on the way says {other}")),
            },
        }
    }

    /// Probes left, and nothing came back.
    fn unheard(&self, a: &AddressEvidence) -> Evident {
        if self.target.spec.role == Role::Gateway {
            return self.silent_gateway(self.target, a);
        }
        if a.reach == Reach::Local {
            return settled(Place::Local, "the address is this machine's own, and nothing answers there");
        }
        let Some(way) = &a.way else {
            return open(Place::Path, a.address, "nothing is heard of it");
        };
        let silent = if matches!(self.target.spec.method, Method::Dns(_)) { Place::Dns } else { Place::Path };
        let Some((gateway, link)) = next_hop(self.health.network(), way, a.address) else {
            return self.unheard_on_link(a, silent, way.links.first().copied());
        };
        let name = self.link_name(link);
        let tally = self.census.beyond(way, a.address.is_ipv6());
        let others_answer = tally.down < tally.known;
        let Some((owner, seen)) = self.gateway(gateway, link) else {
            return match self.neighbour(gateway, link).filter(|n| !n.is_valid() && !others_answer) {
                Some(_) => settled(Place::Neighbour, unanswered(gateway, &name)),
                None => open(Place::Path, a.address, format!("nothing is heard beyond {gateway} on {name}")),
            };
        };
        if seen.fsm.state() == State::Down && owner.verdict.state == State::Down && !others_answer {
            return self.silent_gateway(owner, seen);
        }
        if seen.fsm.is_suspect() || owner.verdict.state == State::Unknown {
            let said =
                format!("nothing is heard of it, and the gateway {gateway} on {name} is being examined");
            return open(silent, a.address, said);
        }
        if tally.known > 1 && !others_answer {
            let said = format!("everything beyond gateway {gateway} is silent, the gateway answers");
            return open(Place::Path, a.address, said);
        }
        let others = if others_answer { ", others behind it do" } else { "" };
        let said = match owner.verdict.state {
            State::Down => {
                format!("neither the gateway {gateway} on {name} answers nor the target behind it{others}")
            }
            _ => format!("the gateway {gateway} on {name} answers, the target behind it does not{others}"),
        };
        open(silent, a.address, said)
    }

    fn unheard_on_link(&self, a: &AddressEvidence, silent: Place, link: Option<IfIndex>) -> Evident {
        let name = link.map(|link| self.link_name(link)).unwrap_or_default();
        let same = link.and_then(|link| self.gateway(a.address, link));
        match same {
            Some((owner, seen)) if owner.verdict.state == State::Down => self.silent_gateway(owner, seen),
            // The host that does not answer so answers otherwise.
            Some((_, seen)) if seen.fsm.state() == State::Up && !seen.fsm.is_suspect() => {
                let place = if silent == Place::Dns { Place::Dns } else { Place::Port };
                let method = self.target.spec.method.as_str();
                settled(place, format!("{} answers, but not to {method} probes", a.address))
            }
            _ => {
                let said = format!("it is on the link of {name} itself, and does not answer");
                open(silent, a.address, said)
            }
        }
    }

    fn silent_gateway(&self, gateway: &Target, a: &AddressEvidence) -> Evident {
        let link = gateway.spec.link.or_else(|| a.way.as_ref()?.links.first().copied());
        let name = link.map_or_else(|| "no link".to_owned(), |link| self.link_name(link));
        match link.and_then(|link| self.neighbour(a.address, link)) {
            Some(state) if !state.is_valid() => settled(Place::Neighbour, unanswered(a.address, &name)),
            Some(state) => settled(
                Place::Gateway,
                format!(
                    "the gateway {} on {name} does not answer; its link-layer address is {}",
                    a.address,
                    state.as_str()
                ),
            ),
            None => settled(Place::Gateway, format!("the gateway {} on {name} does not answer", a.address)),
        }
    }

    /// R9, R11: it answers, but not well.
    fn impaired(&self, reason: &Reason) -> Evident {
        let what = if reason.code == ReasonCode::Loss { "packets are lost" } else { "packets are slow" };
        let up = self.target.addresses.iter().find(|a| a.fsm.state() == State::Up);
        let hop = up.and_then(|a| next_hop(self.health.network(), a.way.as_ref()?, a.address));
        let Some((address, link)) = hop else {
            let place = if self.target.spec.role == Role::Gateway { Place::Gateway } else { Place::Path };
            return settled(place, format!("{what} on the link itself, or at its other end"));
        };
        let name = self.link_name(link);
        match self.gateway(address, link) {
            Some((gateway, _)) if gateway.verdict.state == State::Up => settled(
                Place::Path,
                format!("{what} beyond the gateway {address} on {name}, which answers well"),
            ),
            Some((gateway, _)) if gateway.verdict.state != State::Unknown => settled(
                Place::Gateway,
                format!("{what} on the way to the gateway {address} on {name} already"),
            ),
            _ => settled(Place::Path, format!("{what} somewhere beyond {name}")),
        }
    }

    /// The target that is this gateway, and its evidence.
    fn gateway(&self, address: IpAddr, link: IfIndex) -> Option<(&Target, &AddressEvidence)> {
        let here = |t: &&Target| t.spec.link.is_none_or(|on| on == link);
        let mut gateways = self.health.gateways().filter(here);
        gateways.find_map(|t| Some((t, t.addresses.iter().find(|a| a.address == address)?)))
    }

    fn neighbour(&self, address: IpAddr, link: IfIndex) -> Option<NeighbourState> {
        let of = |n: &&Neighbour| n.address == address && n.ifindex == link;
        self.health.network().neighbours.values().find(of).map(|n| n.state)
    }

    fn link_name(&self, link: IfIndex) -> String {
        let known = self.health.network().links.get(&link);
        known.map_or_else(|| format!("#{}", link.0), |l| l.name.escaped())
    }
}

fn unanswered(gateway: IpAddr, link: &str) -> String {
    let by = if gateway.is_ipv6() { "neighbour discovery" } else { "ARP" };
    format!("the gateway {gateway} on {link} does not answer for its address ({by})")
}

/// The port that probes by this method go to.
pub(super) fn port_of(method: &Method) -> Option<u16> {
    match method {
        Method::Icmp => None,
        Method::Tcp { port } | Method::Udp { port, .. } => Some(*port),
        Method::Dns(query) => Some(query.port),
        Method::Http(request) => Some(request.port),
    }
}
