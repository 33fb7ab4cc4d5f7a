//! The network without netlink: links from `/sys/class/net`, addresses and routes from `/proc/net` and getifaddrs(3).
//!
//! It is polled, so it is late by up to an interval, and it knows less: the kind of few virtual links, no tables but
//! main, one way of a multipath IPv4 route, no neighbours. Names are bytes here too.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    observation::{
        Address, Evidence, IfIndex, IfName, Link, LinkStats, Network, NetworkChange, Observation, OperState,
        Route,
    },
    time::Mono,
};

use super::{Options, dump};

const CLASS_NET: &str = "/sys/class/net";
/// Of the calling thread, which may be in another namespace than its process.
const PROC_NET: &str = "/proc/thread-self/net";

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const RT_TABLE_MAIN: u32 = 254;
const RTF_UP: u32 = 1;
const RTF_REJECT: u32 = 0x200;
/// `RTF_CACHE | RTF_ANYCAST | RTF_LOCAL`, of `include/uapi/linux/ipv6_route.h`.
const RTF_NOT_UNICAST: u32 = 0x0100_0000 | 0x0010_0000 | 0x8000_0000;
/// `IFA_F_TENTATIVE | IFA_F_DADFAILED`.
const IFA_F_UNUSABLE: u32 = 0x40 | 0x08;

/// Reads the network when polled and says when it has changed.
#[derive(Clone, Debug, Default)]
pub struct Poller {
    options: Options,
    last: Option<Network>,
}

impl Poller {
    /// A poller that has told nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, last: None }
    }

    /// Reads everything. The first time, and when anything but a counter has changed, gives a
    /// [`NetworkChange::Dump`]. Blocks for some tens of microseconds a link, longer where a driver is slow to say
    /// its speed.
    pub fn poll(&mut self) -> Option<Observation> {
        let network = read(&self.options);
        let changed = self.last.as_ref().is_none_or(|last| !same(last, &network));
        changed.then(|| {
            self.last = Some(network.clone());
            let evidence = Evidence::Network(NetworkChange::Dump(Box::new(network)));
            Observation { at: Mono::now(), evidence }
        })
    }
}

/// The network as sysfs and procfs tell it now. What cannot be read is left out.
pub fn read(options: &Options) -> Network {
    let links = links(Path::new(CLASS_NET));
    let by_name = links.values().map(|l| (l.name.as_bytes(), l.index)).collect();
    let proc_net = Path::new(PROC_NET);
    let mut addresses = addresses_v4(&links);
    addresses.extend(addresses_v6(&slurp(&proc_net.join("if_inet6"))));
    let mut routes = routes_v4(&slurp(&proc_net.join("route")), &by_name);
    routes.extend(routes_v6(&slurp(&proc_net.join("ipv6_route")), &by_name));
    let mut others = 0;
    let all = routes.len();
    routes.retain(|r| {
        others += usize::from(!r.is_default());
        r.is_default() || others <= options.max_routes
    });
    let routes_truncated = routes.len() < all;
    dump::sort(&mut routes);
    let addresses = addresses.into_iter().map(|a| (dump::address_key(&a), a)).collect();
    Network { links, addresses, routes, routes_truncated, neighbours: BTreeMap::new() }
}

/// The counters of every link.
pub fn stats() -> Vec<(IfIndex, LinkStats)> {
    devices(Path::new(CLASS_NET)).filter_map(|path| Some((index(&path)?, stats_of(&path)))).collect()
}

/// The speed of a link, megabits a second. None where the driver does not know (it says −1 or EINVAL), and where the
/// name has passed to another link. Asks the driver, which may take its time.
pub(super) fn speed(name: &IfName, expected: IfIndex) -> Option<u32> {
    let path = Path::new(CLASS_NET).join(OsStr::from_bytes(name.as_bytes()));
    // Another mount of sysfs shows another namespace's links.
    (index(&path)? == expected).then(|| speed_of(&path))?
}

/// Equal but for counters of traffic.
fn same(a: &Network, b: &Network) -> bool {
    let quiet = |l: &Link| Link { stats: LinkStats::default(), ..l.clone() };
    a.links.len() == b.links.len()
        && a.links.values().zip(b.links.values()).all(|(a, b)| quiet(a) == quiet(b))
        && a.addresses == b.addresses
        && a.routes == b.routes
        && a.routes_truncated == b.routes_truncated
}

fn links(class_net: &Path) -> BTreeMap<IfIndex, Link> {
    devices(class_net).filter_map(|path| link(&path)).map(|link| (link.index, link)).collect()
}

fn devices(class_net: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(class_net).into_iter().flatten().flatten();
    // `bonding_masters` is a plain file.
    entries.map(|e| e.path()).filter(|path| path.is_dir())
}

fn link(path: &Path) -> Option<Link> {
    let name = IfName::new(path.file_name()?.as_bytes());
    let flags = text(path, "flags").and_then(|t| u32::from_str_radix(t.trim_start_matches("0x"), 16).ok())?;
    // Reading the carrier of a link that is down is an error (EINVAL): there is none then.
    let carrier = number::<u8>(path, "carrier") == Some(1);
    let virtual_device = fs::canonicalize(path).is_ok_and(|real| real.starts_with("/sys/devices/virtual"));
    Some(Link {
        index: index(path)?,
        name,
        alias: fs::read(path.join("ifalias")).ok().map(without_newline).filter(|a| !a.is_empty()),
        // As netlink has it: loopback is of no kind, though virtual.
        kind: (virtual_device && flags & IFF_LOOPBACK == 0).then(|| device_type(path)).flatten(),
        admin_up: flags & IFF_UP != 0,
        carrier,
        oper: text(path, "operstate").map(|t| oper_state(&t)).unwrap_or_default(),
        loopback: flags & IFF_LOOPBACK != 0,
        mtu: number(path, "mtu").unwrap_or_default(),
        speed_mbps: (carrier && !virtual_device).then(|| speed_of(path)).flatten(),
        master: index(&path.join("master")),
        lower: lower_of(path),
        // It is told by netlink alone.
        table: None,
        mac: text(path, "address").and_then(|t| mac(&t)),
        carrier_changes: number(path, "carrier_changes").unwrap_or_default(),
        stats: stats_of(path),
    })
}

/// `iflink`, when that is a link of this namespace which this one stands on: those have a folder `lower_*` each.
fn lower_of(path: &Path) -> Option<IfIndex> {
    let wanted = number(path, "iflink").map(IfIndex)?;
    let is_lower = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"lower_");
    let mut lowers = fs::read_dir(path).ok()?.flatten().filter(is_lower).filter_map(|e| index(&e.path()));
    lowers.find(|lower| *lower == wanted)
}

fn index(path: &Path) -> Option<IfIndex> {
    number(path, "ifindex").map(IfIndex)
}

fn speed_of(path: &Path) -> Option<u32> {
    // `SPEED_UNKNOWN` is −1, in some drivers as an unsigned number.
    number::<i64>(path, "speed").and_then(|s| u32::try_from(s).ok()).filter(|&s| s != 0 && s != u32::MAX)
}

fn stats_of(path: &Path) -> LinkStats {
    let statistics = path.join("statistics");
    let count = |name| number(&statistics, name).unwrap_or_default();
    LinkStats {
        rx_bytes: count("rx_bytes"),
        tx_bytes: count("tx_bytes"),
        rx_packets: count("rx_packets"),
        tx_packets: count("tx_packets"),
        rx_errors: count("rx_errors"),
        tx_errors: count("tx_errors"),
        rx_dropped: count("rx_dropped"),
        tx_dropped: count("tx_dropped"),
    }
}

/// `DEVTYPE` of `uevent`: vlan, bridge, bond and some more say it; others are merely virtual.
fn device_type(path: &Path) -> Option<String> {
    let uevent = text(path, "uevent").unwrap_or_default();
    let kind = uevent.lines().find_map(|l| l.strip_prefix("DEVTYPE="));
    Some(kind.unwrap_or("virtual").to_owned())
}

fn oper_state(word: &str) -> OperState {
    use OperState::{Dormant, Down, LowerLayerDown, NotPresent, Testing, Unknown, Up};
    let all = [Unknown, NotPresent, Down, LowerLayerDown, Testing, Dormant, Up];
    all.into_iter().find(|state| state.as_str() == word).unwrap_or_default()
}

fn mac(text: &str) -> Option<Vec<u8>> {
    text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

/// getifaddrs(3) gives names as text, with what is not UTF-8 replaced. A name that two links then share is no one's.
fn addresses_v4(links: &BTreeMap<IfIndex, Link>) -> Vec<Address> {
    let mut by_text: BTreeMap<String, Vec<IfIndex>> = BTreeMap::new();
    for link in links.values() {
        by_text
            .entry(String::from_utf8_lossy(link.name.as_bytes()).into_owned())
            .or_default()
            .push(link.index);
    }
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(|entry| {
        // An alias (`eth0:1`) is an address with a label; the link is what stands before the colon.
        let name = entry.interface_name.split(':').next()?;
        let [ifindex] = by_text.get(name)?.as_slice() else { return None };
        let address = entry.address?.as_sockaddr_in()?.ip();
        let mask = entry.netmask?.as_sockaddr_in()?.ip();
        let prefix_len = mask.to_bits().leading_ones() as u8;
        Some(Address { ifindex: *ifindex, address: address.into(), prefix_len, usable: true })
    })
    .collect()
}

/// `/proc/net/if_inet6`: address, ifindex, prefix length, scope, flags, all hexadecimal, and the name.
pub(super) fn addresses_v6(table: &[u8]) -> Vec<Address> {
    rows(table)
        .filter_map(|row| {
            let flags: u32 = hex(row.get(4)?)?;
            Some(Address {
                ifindex: IfIndex(hex(row.get(1)?)?),
                address: ip6(row.first()?)?,
                prefix_len: u8::try_from(hex(row.get(2)?)?).ok().filter(|l| *l <= 128)?,
                usable: flags & IFA_F_UNUSABLE == 0,
            })
        })
        .collect()
}

/// `/proc/net/route`: name, destination, gateway, flags, refcount, use, metric, mask …; addresses as the memory of a
/// big-endian number read on this machine.
pub(super) fn routes_v4(table: &[u8], by_name: &BTreeMap<&[u8], IfIndex>) -> Vec<Route> {
    let address = |field: &[u8]| hex(field).map(|bits| Ipv4Addr::from(bits.to_ne_bytes()));
    rows(table)
        .skip(1)
        .filter_map(|row| {
            let flags = hex(row.get(3)?)?;
            if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 {
                return None;
            }
            Some(Route {
                table: RT_TABLE_MAIN,
                destination: address(row.get(1)?)?.into(),
                prefix_len: address(row.get(7)?)?.to_bits().leading_ones() as u8,
                gateway: Some(address(row.get(2)?)?).filter(|g| !g.is_unspecified()).map(IpAddr::V4),
                ifindex: *by_name.get(row.first()?)?,
                metric: std::str::from_utf8(row.get(6)?).ok()?.parse().ok()?,
            })
        })
        .collect()
}

/// `/proc/net/ipv6_route`: destination and its length, source and its length, gateway, metric, refcount, use, flags,
/// all hexadecimal, and the name. It does not say which table.
pub(super) fn routes_v6(table: &[u8], by_name: &BTreeMap<&[u8], IfIndex>) -> Vec<Route> {
    let mut seen = BTreeSet::new();
    rows(table)
        .filter_map(|row| {
            let flags = hex(row.get(8)?)?;
            let destination = ip6(row.first()?)?;
            if flags & RTF_UP == 0
                || flags & (RTF_REJECT | RTF_NOT_UNICAST) != 0
                || destination.is_multicast()
            {
                return None;
            }
            let route = Route {
                table: RT_TABLE_MAIN,
                destination,
                prefix_len: u8::try_from(hex(row.get(1)?)?).ok().filter(|l| *l <= 128)?,
                gateway: Some(ip6(row.get(4)?)?).filter(|g| !g.is_unspecified()),
                ifindex: *by_name.get(row.get(9)?)?,
                metric: hex(row.get(5)?)?,
            };
            let key = (route.destination, route.prefix_len, route.gateway, route.ifindex, route.metric);
            seen.insert(key).then_some(route)
        })
        .collect()
}

/// Rows of fields between white space, which no interface name contains.
fn rows(table: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    table
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.split(|b| matches!(b, b' ' | b'\t')).filter(|field| !field.is_empty()).collect())
}

fn hex(field: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}

fn ip6(field: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(field).ok().filter(|t| t.len() == 32)?;
    u128::from_str_radix(text, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).into())
}

fn number<T: FromStr>(path: &Path, name: &str) -> Option<T> {
    text(path, name)?.parse().ok()
}

fn text(path: &Path, name: &str) -> Option<String> {
    fs::read_to_string(path.join(name)).ok().map(|t| t.trim_end().to_owned())
}

fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.pop_if(|last| *last == b'\n');
    bytes
}

fn slurp(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_ipv4_table() {
        let names = BTreeMap::from([(&b"a\xff"[..], IfIndex(7))]);
        let table =
            b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT  \n\
            a\xff\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0   \n\
            a\xff\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0   \n\
            *\t00000000\t00000000\t0200\t0\t0\t7\t00000000\t0\t0\t0   \n\
            gone\t00000000\t0100000A\t0003\t0\t0\t1\t00000000\t0\t0\t0\n\
            a\xff\tzz\n";
        let routes = routes_v4(table, &names);
        assert_eq!(routes.len(), 2, "no reject, no stranger, no fragment: {routes:?}");
        assert_eq!((routes[0].gateway, routes[0].metric), (Some(ip("10.0.0.1")), 100));
        assert!(routes[0].is_default());
        assert_eq!((routes[1].destination, routes[1].prefix_len), (ip("10.0.0.0"), 24));
        assert_eq!(routes[1].gateway, None);
    }

    #[test]
    fn the_ipv6_tables() {
        let names = BTreeMap::from([(&b"eth0"[..], IfIndex(2)), (&b"lo"[..], IfIndex(1))]);
        let zero = "00000000000000000000000000000000";
        let gateway = "fd000000000000000000000000000001";
        let table = [
            format!("{zero} 00 {zero} 00 {gateway} 00000400 00000001 00000000 00000003     eth0"),
            format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo"),
            format!("{gateway} 80 {zero} 00 {zero} 00000000 00000002 00000000 80200001     eth0"),
            format!("ff{} 08 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0", &zero[2..]),
        ]
        .join("\n");
        let routes = routes_v6(table.as_bytes(), &names);
        assert_eq!(routes.len(), 1, "{routes:?}");
        assert_eq!((routes[0].gateway, routes[0].metric), (Some(ip("fd00::1")), 1024));

        let addresses = addresses_v6(
            b"fd000000000000000000000000000001 02 40 00 40     eth0\n\
              fd000000000000000000000000000002 02 40 00 80     eth0\nfd00 02 40 00 80 eth0\n",
        );
        assert_eq!(addresses.iter().map(|a| a.usable).collect::<Vec<_>>(), [false, true]);
        assert_eq!((addresses[1].address, addresses[1].prefix_len), (ip("fd00::2"), 64));
    }

    #[test]
    fn words_of_the_kernel() {
        assert_eq!(oper_state("lowerlayerdown"), OperState::LowerLayerDown);
        assert_eq!(oper_state("from a newer kernel"), OperState::Unknown);
        assert_eq!(mac("02:00:00:00:00:ff"), Some(vec![2, 0, 0, 0, 0, 255]));
        assert_eq!(mac(""), None);
        assert_eq!(without_newline(b"x\n\n".to_vec()), b"x\n");
    }
}
