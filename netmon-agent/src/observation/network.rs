//! The network as netlink tells it: links, addresses, routes, gateways' neighbours.

use std::{collections::BTreeMap, fmt, net::IpAddr};

/// Interface index, unique within a network namespace while the interface lives (`if_nametoindex(3)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// Interface name as the kernel has it: 1–15 bytes, of any value but `/`, NUL and white space. Often not UTF-8-safe
/// or terminal-safe, so it has no plain `Display`: see [`IfName::escaped`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(Vec<u8>);

impl IfName {
    /// The kernel's bytes, without the trailing NUL.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The kernel's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A printable, one-to-one form: bytes that are not UTF-8, control characters and backslashes read `\xNN`.
    pub fn escaped(&self) -> String {
        escape_bytes(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IfName({})", self.escaped())
    }
}

/// Bytes from outside as text that is safe in a log, a terminal and a label: see [`IfName::escaped`].
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() || disguises(c) {
                let mut buf = [0; 4];
                for b in c.encode_utf8(&mut buf).bytes() {
                    out.push_str(&format!("\\x{b:02x}"));
                }
            } else {
                out.push(c);
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

/// Bidirectional overrides and other format characters can disguise a name as well as a control can.
pub fn disguises(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// RFC 2863 operational state (`IFLA_OPERSTATE`, `include/uapi/linux/if.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperState {
    /// The driver does not say; judged by carrier alone (loopback, tun, dummy).
    #[default]
    Unknown,
    /// The hardware is gone.
    NotPresent,
    /// Down.
    Down,
    /// A layer below is down.
    LowerLayerDown,
    /// In a test mode.
    Testing,
    /// Waiting for an external event (802.1X, LACP).
    Dormant,
    /// Up.
    Up,
}

impl OperState {
    /// The kernel's word for it, as `ip link` and `/sys/class/net/*/operstate` have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotPresent => "notpresent",
            Self::Down => "down",
            Self::LowerLayerDown => "lowerlayerdown",
            Self::Testing => "testing",
            Self::Dormant => "dormant",
            Self::Up => "up",
        }
    }
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// Its key.
    pub index: IfIndex,
    /// Its name, which can change.
    pub name: IfName,
    /// `ip link set … alias`: bytes, newlines allowed.
    pub alias: Option<Vec<u8>>,
    /// Driver kind (`veth`, `bond`, `vlan` …); none for hardware.
    pub kind: Option<String>,
    /// `IFF_UP`: the administrator wants it up.
    pub admin_up: bool,
    /// `IFF_LOWER_UP` / `IFLA_CARRIER`: the driver sees a link partner.
    pub carrier: bool,
    /// RFC 2863 state.
    pub oper: OperState,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// Maximum transmission unit, bytes.
    pub mtu: u32,
    /// Megabits a second (`/sys/class/net/*/speed`); none where the driver does not know.
    pub speed_mbps: Option<u32>,
    /// The bond, bridge or VRF that it is enslaved to.
    pub master: Option<IfIndex>,
    /// The link that it stands on: of a VLAN, a macvlan, a tunnel (`IFLA_LINK`). None when that is in another namespace.
    pub lower: Option<IfIndex>,
    /// Routing table of a VRF (`IFLA_VRF_TABLE`); none for every other kind.
    pub table: Option<u32>,
    /// Link-layer address.
    pub mac: Option<Vec<u8>>,
    /// Carrier transitions since the device was made (`IFLA_CARRIER_CHANGES`).
    pub carrier_changes: u32,
    /// Traffic counters as of this message.
    pub stats: LinkStats,
}

impl Link {
    /// Whether it is of this kind (`IFLA_INFO_KIND`).
    pub fn is_of_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

/// `struct rtnl_link_stats64`, the part that node_exporter shows too. Since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's own field names")]
pub struct LinkStats {
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// On which interface.
    pub ifindex: IfIndex,
    /// The local address.
    pub address: IpAddr,
    /// Prefix length, 0–32 or 0–128.
    pub prefix_len: u8,
    /// False while duplicate address detection runs or after it failed (`IFA_F_TENTATIVE`, `IFA_F_DADFAILED`).
    pub usable: bool,
}

impl Address {
    /// Link scope: 169.254/16 or fe80::/10.
    pub fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(a) => a.is_link_local(),
            IpAddr::V6(a) => a.is_unicast_link_local(),
        }
    }
}

/// `RT_TABLE_MAIN`, `include/uapi/linux/rtnetlink.h`.
const MAIN_TABLE: u32 = 254;

/// A unicast route with one next hop; a multipath route is several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Routing table; 254 is main. The local table (255) is left out.
    pub table: u32,
    /// Network address; all zeroes with `prefix_len` 0 for a default route.
    pub destination: IpAddr,
    /// Prefix length; 0 is a default route.
    pub prefix_len: u8,
    /// Next hop, if it is not on the link itself. May be of the other family (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// Which way out.
    pub ifindex: IfIndex,
    /// Metric; lower wins.
    pub metric: u32,
}

impl Route {
    /// Whether it is a default route.
    pub fn is_default(&self) -> bool {
        self.prefix_len == 0
    }

    /// Whether it is in the table that is asked where no rule says otherwise.
    pub fn is_main(&self) -> bool {
        self.table == MAIN_TABLE
    }

    /// Whether it covers `address`.
    pub fn covers(&self, address: IpAddr) -> bool {
        prefix_covers(self.destination, self.prefix_len, address)
    }
}

/// Whether the prefix `network/len` holds `address`; false across families.
pub fn prefix_covers(network: IpAddr, len: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (n.to_bits() ^ a.to_bits()).leading_zeros() >= u32::from(len),
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits() ^ a.to_bits()).leading_zeros() >= u32::from(len),
        _ => false,
    }
}

/// Neighbour unreachability state (`NUD_*`, `include/uapi/linux/neighbour.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked for, no answer yet.
    Incomplete,
    /// Confirmed a short while ago.
    Reachable,
    /// Known, not confirmed lately.
    Stale,
    /// Used again after stale; waiting for confirmation by traffic.
    Delay,
    /// Being asked again.
    Probe,
    /// Gave no answer.
    Failed,
    /// Needs none (point-to-point) or set by hand.
    Permanent,
}

impl NeighbourState {
    /// Whether the kernel has a link-layer address that it would use.
    pub fn is_valid(self) -> bool {
        !matches!(self, Self::Incomplete | Self::Failed)
    }

    /// The word that `ip neigh` has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Delay => "delay",
            Self::Probe => "probe",
            Self::Failed => "failed",
            Self::Permanent => "permanent",
        }
    }
}

/// A neighbour: who answers for an address on a link. Only gateways' are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// On which interface.
    pub ifindex: IfIndex,
    /// Whose.
    pub address: IpAddr,
    /// How sure the kernel is.
    pub state: NeighbourState,
    /// Link-layer address, where known.
    pub mac: Option<Vec<u8>>,
}

/// A change of [`Network`].
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkChange {
    /// Everything, read in one dump: replaces all that was known.
    Dump(Box<Network>),
    /// A link is new or changed.
    Link(Box<Link>),
    /// A link is gone, with all that stood on it.
    LinkGone(IfIndex),
    /// Fresh traffic counters.
    LinkStats(Vec<(IfIndex, LinkStats)>),
    /// An address is new or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// All routes, read anew. (The kernel removes routes of a lost link without a message, so they are never counted
    /// up and down.)
    Routes {
        /// The routes; see [`Network::routes`].
        routes: Vec<Route>,
        /// See [`Network::routes_truncated`].
        truncated: bool,
    },
    /// A gateway's neighbour entry is new or changed.
    Neighbour(Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone {
        /// On which interface.
        ifindex: IfIndex,
        /// Whose.
        address: IpAddr,
    },
}

/// The network as last told. [`Network::apply`] keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Links by index.
    pub links: BTreeMap<IfIndex, Link>,
    /// Addresses, by interface, address and prefix length.
    pub addresses: BTreeMap<(IfIndex, IpAddr, u8), Address>,
    /// Unicast routes of every table but local; default routes always, others up to the source's bound.
    pub routes: Vec<Route>,
    /// Whether non-default routes were left out for being too many: then a missing route proves nothing.
    pub routes_truncated: bool,
    /// Gateways' neighbours.
    pub neighbours: BTreeMap<(IfIndex, IpAddr), Neighbour>,
}

impl Network {
    /// Applies one change. Applying events one by one ends in the same state as a fresh dump.
    pub fn apply(&mut self, change: NetworkChange) {
        match change {
            NetworkChange::Dump(all) => *self = *all,
            NetworkChange::Link(link) => {
                self.links.insert(link.index, *link);
            }
            NetworkChange::LinkGone(index) => {
                self.links.remove(&index);
                self.addresses.retain(|key, _| key.0 != index);
                self.routes.retain(|r| r.ifindex != index);
                self.neighbours.retain(|key, _| key.0 != index);
            }
            NetworkChange::LinkStats(all) => {
                for (index, stats) in all {
                    if let Some(link) = self.links.get_mut(&index) {
                        link.stats = stats;
                    }
                }
            }
            NetworkChange::Address(a) => {
                self.addresses.insert((a.ifindex, a.address, a.prefix_len), a);
            }
            NetworkChange::AddressGone(a) => {
                self.addresses.remove(&(a.ifindex, a.address, a.prefix_len));
            }
            NetworkChange::Routes { routes, truncated } => {
                self.routes = routes;
                self.routes_truncated = truncated;
            }
            NetworkChange::Neighbour(n) => {
                self.neighbours.insert((n.ifindex, n.address), n);
            }
            NetworkChange::NeighbourGone { ifindex, address } => {
                self.neighbours.remove(&(ifindex, address));
            }
        }
    }

    /// Addresses of one interface.
    pub fn addresses_of(&self, index: IfIndex) -> impl Iterator<Item = &Address> {
        self.addresses.values().filter(move |a| a.ifindex == index)
    }

    /// Whether `address` is reached without a gateway: a route covers it that has none and is no default route.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.connected_routes().any(|r| r.covers(address))
    }

    /// Routes to what is reached without a gateway.
    pub fn connected_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|r| r.gateway.is_none() && !r.is_default())
    }

    /// The VRF whose table this route is in: then it serves only what is bound to that VRF or to a member of it.
    pub fn vrf_of(&self, route: &Route) -> Option<&Link> {
        // Spares nearly all routes the look at every link.
        if route.is_main() {
            return None;
        }
        self.links.values().find(|l| l.table == Some(route.table))
    }

    /// The machine's own default routes, without those of VRFs: the main table's first, of these the best metric first.
    pub fn default_routes(&self) -> Vec<&Route> {
        let own = self.routes.iter().filter(|r| r.is_default() && self.vrf_of(r).is_none());
        let mut all: Vec<&Route> = own.collect();
        all.sort_by_key(|r| (!r.is_main(), r.metric));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_one_to_one() {
        assert_eq!(IfName::new(*b"eth0").escaped(), "eth0");
        assert_eq!(IfName::new(*b"a\"b{}").escaped(), "a\"b{}");
        assert_eq!(IfName::new(*b"a\xff\x1b\\").escaped(), "a\\xff\\x1b\\x5c");
        assert_eq!(IfName::new("é\u{202e}".as_bytes()).escaped(), "é\\xe2\\x80\\xae");
    }

    #[test]
    fn prefixes_cover_within_a_family_only() {
        let covers = |n: &str, len, a: &str| prefix_covers(n.parse().unwrap(), len, a.parse().unwrap());
        assert!(covers("10.1.0.0", 16, "10.1.255.1"));
        assert!(!covers("10.1.0.0", 16, "10.2.0.1"));
        assert!(covers("0.0.0.0", 0, "8.8.8.8"));
        assert!(!covers("0.0.0.0", 0, "::1"));
        assert!(covers("::", 0, "2001:db8::1"));
        assert!(covers("10.1.2.3", 32, "10.1.2.3") && !covers("10.1.2.3", 32, "10.1.2.2"));
    }

    #[test]
    fn the_machines_own_default_routes_are_those_of_no_vrf() {
        let route = |table, ifindex, metric| Route {
            table,
            destination: "0.0.0.0".parse().unwrap(),
            prefix_len: 0,
            gateway: None,
            ifindex: IfIndex(ifindex),
            metric,
        };
        let routes = vec![route(10, 2, 0), route(100, 3, 0), route(254, 4, 200), route(254, 5, 100)];
        let mut n = Network { routes, ..Network::default() };
        let vrf =
            Link { index: IfIndex(9), kind: Some("vrf".to_owned()), table: Some(10), ..Link::default() };
        n.links.insert(vrf.index, vrf);
        let order: Vec<u32> = n.default_routes().iter().map(|r| r.ifindex.0).collect();
        assert_eq!(order, [5, 4, 3], "the main table first, another after it, the VRF's not at all");
        assert_eq!(n.vrf_of(&n.routes[0]).map(|l| l.index), Some(IfIndex(9)));
    }

    #[test]
    fn on_link_is_what_needs_no_gateway() {
        let route = |destination: &str, prefix_len, gateway: Option<&str>| Route {
            table: 254,
            destination: destination.parse().unwrap(),
            prefix_len,
            gateway: gateway.map(|g| g.parse().unwrap()),
            ifindex: IfIndex(2),
            metric: 0,
        };
        let routes = vec![
            route("0.0.0.0", 0, None),
            route("10.0.0.0", 24, None),
            route("10.9.0.0", 16, Some("10.0.0.1")),
        ];
        let n = Network { routes, ..Network::default() };
        let on_link = |a: &str| n.is_on_link(a.parse().unwrap());
        assert!(on_link("10.0.0.9") && !on_link("10.9.0.9") && !on_link("8.8.8.8"));
    }
}
