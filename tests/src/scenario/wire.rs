//! What becomes of a probe in the modelled world: node, wire, gateway, wire, host, and all the way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use netmon_agent::{
    observation::{FailureReason, IfIndex, Method, Route, UdpExpect},
    plan::INTERNET,
};
use rand::RngExt;

use super::{
    format::{Answers, FamilyWord, Fault, Lost, Refusal, WayWord, Wire as Place},
    model::{ASKING, GATEWAY_LINK_LOCAL, Model, address},
};
use crate::{
    lab::{DISCARD, ECHO, SERVER_V4, SERVER_V6},
    sim::{Fate, Probe, Unsent, Wire},
};

/// Ports that the lab's server listens on.
const PORTS: [u16; 5] = [53, 80, 443, ECHO, DISCARD];

/// Round trips, without what a scenario adds: to the gateway, and beyond it.
const NEAR: Duration = Duration::from_micros(150);
const FAR: Duration = Duration::from_micros(400);

/// IPv4 header and ICMP header; IPv6's is 20 bytes longer.
const HEADERS: u16 = 28;
/// Payload of an echo where nothing else is asked for.
const PAYLOAD: u16 = 32;
/// A full segment of an upload.
const FULL: u16 = 1500;

/// A packet on a wire.
#[derive(Clone, Copy)]
struct Packet {
    /// The end of the way that is not the node's.
    peer: IpAddr,
    echo: bool,
    tcp: bool,
    bytes: u16,
}

/// What a packet comes to on its way there and back.
enum Way {
    Answered,
    Refused(FailureReason, IpAddr),
    /// An error says so, at this moment.
    Until(Duration, IpAddr),
    Silent,
    NoRoute,
}

impl Wire for Model {
    fn probe(&mut self, probe: &Probe<'_>) -> Fate {
        let method = &probe.target.method;
        let path = self.paths.get(&*probe.target.name).cloned().unwrap_or_default();
        let headers = HEADERS + if probe.address.is_ipv6() { 20 } else { 0 };
        let packet = Packet {
            peer: probe.address,
            echo: *method == Method::Icmp,
            tcp: matches!(method, Method::Tcp { .. } | Method::Http(_)),
            bytes: headers + path.size.unwrap_or(PAYLOAD),
        };
        let uplink = self.uplink_to(probe.address, probe.target.link, path.device.as_deref());
        let beyond = uplink.is_some_and(|n| !is_gateway(n, probe.address));
        let rtt = self.rtt(beyond);
        let soon = |reason, reporter| Fate::Failed { after: rtt, reason, reporter };
        match self.way(probe.at, uplink, packet) {
            Way::NoRoute => Fate::Unsent { reason: Unsent::NoRoute },
            Way::Silent => Fate::Silent,
            Way::Refused(reason, reporter) => soon(reason, Some(reporter)),
            Way::Until(at, reporter) => Fate::Failed {
                after: at.saturating_sub(probe.at),
                reason: FailureReason::HostUnreachable,
                reporter: Some(reporter),
            },
            Way::Answered => match self.service(uplink, probe.address, method) {
                Some(Ok(())) => Fate::Answered { rtt },
                Some(Err(reason)) => soon(reason, None),
                None => Fate::Silent,
            },
        }
    }

    fn progress(&mut self, _: Duration, _: Duration) -> Option<BTreeMap<IfIndex, BTreeSet<u32>>> {
        let mut prefixes: BTreeMap<IfIndex, BTreeSet<u32>> = BTreeMap::new();
        for (host, device) in self.passing() {
            let prefix = self.uploads.iter().position(|h| *h == host).unwrap_or_default();
            prefixes.entry(device).or_default().insert(prefix as u32);
        }
        Some(prefixes)
    }
}

impl Model {
    /// Uploads whose segments are acknowledged, and the devices they leave by.
    pub(super) fn passing(&self) -> Vec<(IpAddr, IfIndex)> {
        let mut passing = Vec::new();
        for host in self.uploads.clone() {
            let segment = Packet { peer: host, echo: false, tcp: true, bytes: FULL };
            let Some(n) = self.uplink_to(host, None, None) else { continue };
            // Some lost segments are sent again; all of them lost is what counts here.
            let cut =
                |place, way| self.faults.iter().any(|f| self.loses(f, n, place, way, segment) == Some(100.0));
            let ways = [WayWord::FromNode, WayWord::ToNode];
            let lost = ways.into_iter().any(|w| cut(Place::Uplink, w) || cut(Place::Wan, w));
            let uplink = &self.uplinks[n];
            if uplink.carrier() && uplink.heard && uplink.wan && !lost && self.refusal(n, host).is_none() {
                passing.push((host, IfIndex(uplink.index)));
            }
        }
        passing
    }

    /// The uplink by which the kernel sends to an address. It uses routes of links without carrier as well, for
    /// `ignore_routes_with_linkdown` is off by default.
    fn uplink_to(&self, to: IpAddr, link: Option<IfIndex>, device: Option<&str>) -> Option<usize> {
        let of = |r: &Route| self.uplinks.iter().position(|u| u.index == r.ifindex.0);
        let bound = |r: &Route| device.is_none_or(|d| of(r).is_some_and(|n| d == format!("eth{n}")));
        let routes = self.routes();
        let covering =
            routes.iter().filter(|r| r.covers(to) && link.is_none_or(|l| l == r.ifindex) && bound(r));
        covering.min_by_key(|r| (255 - r.prefix_len, r.metric)).and_then(of)
    }

    fn way(&mut self, at: Duration, uplink: Option<usize>, packet: Packet) -> Way {
        let Some(n) = uplink else { return Way::NoRoute };
        if !self.uplinks[n].carrier() || self.is_lost(n, Place::Uplink, WayWord::FromNode, packet) {
            return Way::Silent;
        }
        let family = if packet.peer.is_ipv4() { FamilyWord::V4 } else { FamilyWord::V6 };
        if !self.uplinks[n].heard {
            let (until, fresh) = self.asked_for(at, (n, Place::Uplink, packet.peer.is_ipv4()));
            if fresh {
                self.gives_up(until, n, packet.peer.is_ipv6());
            }
            return Way::Until(until, address(n, family, 2));
        }
        let answer = match is_gateway(n, packet.peer) {
            true => Way::Answered,
            false => self.beyond(at, n, packet, self.gateway(n, family)),
        };
        match answer {
            Way::Answered | Way::Refused(..) | Way::Until(..)
                if self.is_lost(n, Place::Uplink, WayWord::ToNode, packet) =>
            {
                Way::Silent
            }
            answer => answer,
        }
    }

    fn beyond(&mut self, at: Duration, n: usize, packet: Packet, gateway: IpAddr) -> Way {
        if let Some(code) = self.refusal(n, packet.peer) {
            let reason = match code {
                Refusal::NetUnreachable => FailureReason::NetUnreachable,
                Refusal::HostUnreachable => FailureReason::HostUnreachable,
                Refusal::Prohibited => FailureReason::Prohibited,
            };
            return Way::Refused(reason, gateway);
        }
        if !self.uplinks[n].wan {
            let (until, _) = self.asked_for(at, (n, Place::Wan, packet.peer.is_ipv4()));
            return Way::Until(until, gateway);
        }
        let lost = [WayWord::FromNode, WayWord::ToNode]
            .into_iter()
            .any(|way| self.is_lost(n, Place::Wan, way, packet));
        if lost { Way::Silent } else { Way::Answered }
    }

    /// Until when a neighbour that does not answer is asked for; what waits for it is refused then. Whether it is the
    /// first that asks.
    fn asked_for(&mut self, at: Duration, place: (usize, Place, bool)) -> (Duration, bool) {
        let until = self.asking.get(&place).copied().filter(|until| *until > at);
        let fresh = until.is_none();
        let until = until.unwrap_or(at + ASKING);
        self.asking.insert(place, until);
        (until, fresh)
    }

    /// How what reached its destination is answered; none where nobody answers. The internet forwards nothing from one
    /// gateway to the other.
    fn service(
        &self,
        uplink: Option<usize>,
        to: IpAddr,
        method: &Method,
    ) -> Option<Result<(), FailureReason>> {
        let gateway = uplink.filter(|n| is_gateway(*n, to));
        if gateway.is_none() && !is_public(to) {
            return None;
        }
        Some(match method {
            Method::Icmp => Ok(()),
            Method::Dns(query) if gateway == Some(0) && query.port == 53 && !query.tcp => {
                return self.resolver(&query.accept);
            }
            Method::Tcp { port } if gateway.is_none() && PORTS.contains(port) && !self.is_closed(*port) => {
                Ok(())
            }
            Method::Udp { expect: UdpExpect::Unreachable, .. } => Ok(()),
            Method::Udp { .. } => Err(FailureReason::PortUnreachable),
            Method::Tcp { .. } | Method::Dns(_) | Method::Http(_) => Err(FailureReason::Refused),
        })
    }

    fn resolver(&self, accept: &[u8]) -> Option<Result<(), FailureReason>> {
        let mood = self.faults.iter().rev().find_map(|f| match f {
            Fault::Resolver { answers } => Some(*answers),
            _ => None,
        });
        let (code, reason) = match mood {
            None => (0, FailureReason::Protocol),
            Some(Answers::Servfail) => (2, FailureReason::ServFail),
            Some(Answers::Nxdomain) => (3, FailureReason::NxDomain),
            Some(Answers::Silence) => return None,
        };
        Some(if accept.contains(&code) { Ok(()) } else { Err(reason) })
    }

    fn is_closed(&self, port: u16) -> bool {
        self.faults.iter().any(|f| matches!(f, Fault::Port { port: p } if *p == port))
    }

    fn refusal(&self, n: usize, to: IpAddr) -> Option<Refusal> {
        self.faults.iter().find_map(|f| match f {
            Fault::Refuse { uplink, code, host } if *uplink == n && host.is_none_or(|h| h == to) => {
                Some(*code)
            }
            _ => None,
        })
    }

    /// Whether this packet is lost on this wire, this way.
    fn is_lost(&mut self, n: usize, place: Place, way: WayWord, packet: Packet) -> bool {
        let percents: Vec<f64> =
            self.faults.iter().filter_map(|f| self.loses(f, n, place, way, packet)).collect();
        percents.into_iter().any(|percent| percent >= 100.0 || self.rng.random_bool(percent / 100.0))
    }

    /// With which probability, in percent, a fault takes it.
    fn loses(&self, fault: &Fault, n: usize, place: Place, way: WayWord, packet: Packet) -> Option<f64> {
        let Fault::Lose { uplink, at, way: its, what } = fault else { return None };
        if uplink.is_some_and(|u| u != n) || *at != place || (*its != WayWord::Both && *its != way) {
            return None;
        }
        let takes = match *what {
            Lost::Everything => true,
            Lost::Echo => packet.echo,
            Lost::Ipv6 => packet.peer.is_ipv6(),
            Lost::Tcp => packet.tcp,
            Lost::Percent(percent) => return Some(percent),
            Lost::Host(host) => host == packet.peer,
            Lost::LongerThan(bytes) => packet.bytes > bytes,
        };
        takes.then_some(100.0)
    }

    fn rtt(&mut self, beyond: bool) -> Duration {
        let added = self.faults.iter().filter_map(|f| match f {
            Fault::Latency { added } => Some(added.0),
            _ => None,
        });
        let whole = match beyond {
            true => self.ground.rtt.map_or(FAR, |s| s.0) + added.sum::<Duration>(),
            false => NEAR,
        };
        whole.mul_f64(self.rng.random_range(0.9..=1.1))
    }
}

fn is_gateway(n: usize, to: IpAddr) -> bool {
    let own = [address(n, FamilyWord::V4, 1), address(n, FamilyWord::V6, 1), GATEWAY_LINK_LOCAL.into()];
    own.contains(&to)
}

fn is_public(to: IpAddr) -> bool {
    INTERNET.iter().any(|(v4, v6)| to == IpAddr::V4(*v4) || to == IpAddr::V6(*v6))
        || to == IpAddr::V4(SERVER_V4)
        || to == IpAddr::V6(SERVER_V6)
}
