//! Faults on the wires: rules of nftables that drop, lose or refuse.
//!
//! Drops sit at the *receiver's* ingress hook, so that the sender's kernel is told nothing: a rule at its own
//! egress would be reported back to the sending socket as congestion.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use super::netns::Netns;
use super::world::World;

/// A wire of the world.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Between the node and gateway `n`.
    Uplink(usize),
    /// Behind gateway `n`: the gateway itself still answers.
    Wan(usize),
}

/// Which way of the wire is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the node sends is lost.
    FromNode,
    /// What the node should receive is lost.
    ToNode,
    /// Both are.
    Both,
}

/// What is lost.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Every frame, neighbour discovery (ARP, NDP) included.
    Everything,
    /// Every packet, but neighbours still resolve.
    Packets,
    /// Each frame independently, with this probability in percent.
    Loss(f64),
    /// ICMP and ICMPv6 echo requests and replies, as firewalls do.
    Echo,
    /// All that goes to or comes from one address.
    Host(IpAddr),
    /// IPv6, neighbour discovery included.
    Ipv6,
    /// ARP and neighbour discovery: nobody is heard of any more.
    Neighbours,
    /// Packets of more bytes than this, IP header included, as a tunnel on the way does whose errors are filtered.
    LongerThan(u16),
    /// TCP.
    Tcp,
    /// Each TCP segment independently, with this probability in percent; probes by ICMP and UDP pass.
    TcpLoss(f64),
}

/// With which ICMP error, or segment, the gateway refuses to forward (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug)]
pub enum Code {
    /// Network unreachable; for IPv6 no route.
    NetUnreachable,
    /// Host unreachable; for IPv6 address unreachable.
    HostUnreachable,
    /// Administratively prohibited.
    AdminProhibited,
    /// Port unreachable.
    PortUnreachable,
}

/// A fault in force. It stays until it is mended or its world ends.
#[must_use = "a fault is mended through its value"]
#[derive(Debug)]
pub struct Fault<'a> {
    tables: Vec<(&'a Netns, String)>,
}

impl Fault<'_> {
    /// Ends the fault.
    pub fn mend(self) -> Result<()> {
        self.tables.iter().try_for_each(|(netns, table)| netns.nft(&format!("delete table {table}\n")))
    }
}

impl World {
    /// Loses `what` at `place`, in the given `way`.
    pub fn lose(&self, place: Place, way: Way, what: What) -> Result<Fault<'_>> {
        let mut tables = Vec::new();
        for one in [Way::FromNode, Way::ToNode].into_iter().filter(|w| way == Way::Both || way == *w) {
            let (netns, device) = match (place, one) {
                (Place::Uplink(n), Way::FromNode) => (&self.gateways[n], "lan0".to_owned()),
                (Place::Uplink(n), _) => (&self.node, self.device(n)),
                (Place::Wan(n), Way::FromNode) => (&self.internet, format!("isp{n}")),
                (Place::Wan(n), _) => (&self.gateways[n], "wan0".to_owned()),
            };
            let table = format!("netdev {}", unique());
            let hook = format!("type filter hook ingress device \"{device}\" priority 0");
            netns.nft(&table_of(&table, &hook, &what.rules(one)))?;
            tables.push((netns, table));
        }
        Ok(Fault { tables })
    }

    /// Loses everything on every wire of the node: a silent blackhole.
    pub fn blackhole(&self) -> Result<Fault<'_>> {
        self.blackhole_at(Place::Uplink)
    }

    /// Loses everything behind the gateways, which themselves still answer.
    pub fn blackhole_behind(&self) -> Result<Fault<'_>> {
        self.blackhole_at(Place::Wan)
    }

    /// Lets gateway `n` refuse to forward, all or what is for `host`.
    pub fn refuse(&self, n: usize, code: Code, host: Option<IpAddr>) -> Result<Fault<'_>> {
        let (v4, v6) = code.names();
        let (only4, only6) = match host {
            None => (Some("meta nfproto ipv4".to_owned()), Some("meta nfproto ipv6".to_owned())),
            Some(IpAddr::V4(host)) => (Some(format!("ip daddr {host}")), None),
            Some(IpAddr::V6(host)) => (None, Some(format!("ip6 daddr {host}"))),
        };
        let rules: Vec<_> = [(only4, "icmp", v4), (only6, "icmpv6", v6)]
            .into_iter()
            .filter_map(|(only, family, name)| {
                Some(format!("iifname lan0 {} reject with {family} type {name}", only?))
            })
            .collect();
        let table = format!("inet {}", unique());
        let gateway = &self.gateways[n];
        gateway.nft(&table_of(&table, "type filter hook forward priority 0", &rules))?;
        Ok(Fault { tables: vec![(gateway, table)] })
    }

    /// Closes a TCP port of every host of the internet: a connect is reset.
    pub fn close_port(&self, port: u16) -> Result<Fault<'_>> {
        let table = format!("inet {}", unique());
        let rules = [format!("tcp dport {port} reject with tcp reset")];
        self.internet.nft(&table_of(&table, "type filter hook input priority 0", &rules))?;
        Ok(Fault { tables: vec![(&self.internet, table)] })
    }

    fn blackhole_at(&self, place: fn(usize) -> Place) -> Result<Fault<'_>> {
        let mut tables = Vec::new();
        for n in 0..self.gateways.len() {
            tables.extend(self.lose(place(n), Way::Both, What::Everything)?.tables);
        }
        Ok(Fault { tables })
    }
}

impl What {
    fn rules(self, way: Way) -> Vec<String> {
        let side = if way == Way::FromNode { "daddr" } else { "saddr" };
        match self {
            Self::Everything => vec!["drop".to_owned()],
            Self::Packets => vec![
                "meta protocol ip drop".to_owned(),
                "icmpv6 type { echo-request, echo-reply } drop".to_owned(),
                "meta protocol ip6 meta l4proto != ipv6-icmp drop".to_owned(),
            ],
            Self::Loss(percent) => vec![lose_of(percent)],
            Self::TcpLoss(percent) => vec![format!("meta l4proto tcp {}", lose_of(percent))],
            Self::Echo => vec![
                "icmp type { echo-request, echo-reply } drop".to_owned(),
                "icmpv6 type { echo-request, echo-reply } drop".to_owned(),
            ],
            Self::Host(IpAddr::V4(host)) => vec![format!("ip {side} {host} drop")],
            Self::Host(IpAddr::V6(host)) => vec![format!("ip6 {side} {host} drop")],
            Self::Ipv6 => vec!["meta protocol ip6 drop".to_owned()],
            Self::Neighbours => vec![
                "meta protocol arp drop".to_owned(),
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop".to_owned(),
            ],
            Self::LongerThan(bytes) => vec![format!("meta length > {bytes} drop")],
            Self::Tcp => vec!["meta l4proto tcp drop".to_owned()],
        }
    }
}

fn lose_of(percent: f64) -> String {
    format!("numgen random mod 10000 < {} drop", (percent * 100.0).round() as u32)
}

impl Code {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::NetUnreachable => ("net-unreachable", "no-route"),
            Self::HostUnreachable => ("host-unreachable", "addr-unreachable"),
            Self::AdminProhibited => ("admin-prohibited", "admin-prohibited"),
            Self::PortUnreachable => ("port-unreachable", "port-unreachable"),
        }
    }
}

/// The text of a table with one chain. nft wants every rule and brace on a line of its own.
fn table_of(table: &str, hook: &str, rules: &[String]) -> String {
    format!("table {table} {{\nchain fault {{\n{hook}\n{}\n}}\n}}\n", rules.join("\n"))
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("fault{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
