//! The lab's world as values: the node with its uplinks, their gateways, the internet, and what is broken.
//!
//! It does what the kernel was seen to do, and what the lab does to mend it. Of the kernel: a device that is set down
//! loses its routes and its IPv6 addresses, one that loses its carrier keeps them; with the last IPv4 address go the
//! IPv4 routes, an IPv6 address takes only its prefix with it; routes of a link without carrier are still used.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use netmon_agent::{
    config::Config,
    observation::{
        Address, Evidence, IfIndex, IfName, Link, Neighbour, NeighbourState, Network, NetworkChange,
        OperState, PathOptions, Route, TcpTimeout,
    },
};
use rand::{SeedableRng, rngs::SmallRng};

use super::format::{FamilyWord, Fault, Ground, Scenario, Wire};

/// How long the kernel asks for a neighbour in vain: three times, a second apart (`neigh/default/mcast_solicit`).
pub(super) const ASKING: Duration = Duration::from_secs(3);

/// Routes that vanish without a message are found by the reading after this (`source/netlink/schedule.rs`).
const SILENT: Duration = Duration::from_millis(15);

/// After a connection is cut off its retransmission timer runs out at these moments: the least time-out that Linux has
/// (`TCP_RTO_MIN`, 200 ms) and a round trip, then twice as long again.
const RTO: [Duration; 2] = [Duration::from_millis(210), Duration::from_millis(620)];

const MAIN_TABLE: u32 = 254;

/// One uplink of the node: its device, and the wires to and behind its gateway.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    pub(super) index: u32,
    name: String,
    exists: bool,
    admin: bool,
    /// The far end of the wire is up.
    far: bool,
    v4: bool,
    v6: bool,
    default4: bool,
    default6: bool,
    /// The wire behind the gateway has a carrier.
    pub(super) wan: bool,
    /// The gateway answers ARP and NDP.
    pub(super) heard: bool,
    /// The kernel gave up asking for its link-layer address, by ARP and by NDP.
    failed: [bool; 2],
}

impl Uplink {
    pub(super) fn carrier(&self) -> bool {
        self.exists && self.admin && self.far
    }

    fn configure(&mut self, ipv6: bool) {
        self.admin = true;
        (self.v4, self.default4) = (true, true);
        (self.v6, self.default6) = (ipv6, ipv6);
    }
}

/// The world.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) ground: Ground,
    pub(super) uplinks: Vec<Uplink>,
    /// Faults of packets and services; those of links stand in `uplinks`.
    pub(super) faults: Vec<Fault>,
    /// Hosts that the node sends to by TCP.
    pub(super) uploads: Vec<IpAddr>,
    /// The way of the configured targets' packets, by name.
    pub(super) paths: HashMap<String, Arc<PathOptions>>,
    pub(super) rng: SmallRng,
    /// Until when a neighbour is being asked for in vain, by place.
    pub(super) asking: HashMap<(usize, Wire, bool), Duration>,
    /// All that stands broken, in order.
    broken: Vec<Fault>,
    next_index: u32,
    shown: Network,
    news: Vec<(Duration, Evidence)>,
}

impl Model {
    pub(super) fn new(scenario: &Scenario, config: &Config, seed: u64) -> Self {
        let ground = scenario.world.clone();
        let uplink = |n: usize| {
            let mut uplink = Uplink {
                index: n as u32 + 2,
                name: format!("eth{n}"),
                exists: true,
                admin: true,
                far: true,
                v4: true,
                v6: true,
                default4: true,
                default6: true,
                wan: true,
                heard: true,
                failed: [false; 2],
            };
            uplink.configure(ground.ipv6);
            uplink
        };
        Self {
            uplinks: (0..ground.uplinks).map(uplink).collect(),
            ground,
            faults: Vec::new(),
            uploads: Vec::new(),
            paths: config.targets.iter().map(|t| (t.name.clone(), t.path.clone())).collect(),
            rng: SmallRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            asking: HashMap::new(),
            broken: Vec::new(),
            next_index: 10,
            shown: Network::default(),
            news: Vec::new(),
        }
    }

    /// The whole network, as a dump has it.
    pub(super) fn dump(&mut self) -> Network {
        self.shown = self.network();
        self.shown.clone()
    }

    /// What netlink and TCP tell that is due by now, and when, in order.
    pub(super) fn news(&mut self, until: Duration) -> Vec<Evidence> {
        // What is due at one moment stays in the order in which it came about.
        self.news.sort_by_key(|(at, _)| *at);
        let due = self.news.partition_point(|(at, _)| *at <= until);
        self.news.drain(..due).map(|(_, evidence)| evidence).collect()
    }

    /// When the next of it is due.
    pub(super) fn next_news(&self) -> Option<Duration> {
        self.news.iter().map(|(at, _)| *at).min()
    }

    /// Something breaks.
    pub(super) fn break_it(&mut self, now: Duration, fault: &Fault) {
        let passed = self.passing();
        let ipv6 = self.ground.ipv6;
        match fault {
            Fault::Carrier { uplink, at: Wire::Uplink } => self.uplinks[*uplink].far = false,
            Fault::Carrier { uplink, at: Wire::Wan } => self.uplinks[*uplink].wan = false,
            Fault::Admin { uplink } => self.set_down(*uplink),
            Fault::Device { uplink } => {
                // The kernel sets it down first, and says so.
                self.set_down(*uplink);
                self.tell(now);
                let gone = &mut self.uplinks[*uplink];
                (gone.exists, gone.v4) = (false, false);
            }
            Fault::Name { uplink, to } => self.uplinks[*uplink].name.clone_from(to),
            Fault::Address { uplink, family: FamilyWord::V4 } => {
                (self.uplinks[*uplink].v4, self.uplinks[*uplink].default4) = (false, false);
            }
            Fault::Address { uplink, family: FamilyWord::V6 } => self.uplinks[*uplink].v6 = false,
            Fault::Route { uplink, family: FamilyWord::V4 } => self.uplinks[*uplink].default4 = false,
            Fault::Route { uplink, family: FamilyWord::V6 } => self.uplinks[*uplink].default6 = false,
            Fault::Neighbour { uplink } => self.uplinks[*uplink].heard = false,
            Fault::Lose { .. }
            | Fault::Refuse { .. }
            | Fault::Resolver { .. }
            | Fault::Port { .. }
            | Fault::Latency { .. } => self.faults.push(fault.clone()),
        }
        debug_assert!(ipv6 || self.uplinks.iter().all(|u| !u.v6), "no IPv6 where there is none");
        self.broken.push(fault.clone());
        self.tell(now);
        self.cut_off(now, &passed);
    }

    /// Every fault of this kind is mended, as the lab mends it.
    pub(super) fn mend(&mut self, now: Duration, kind: &str) {
        let is = |f: &Fault| kind == "all" || kind == f.kind();
        let (mended, kept): (Vec<Fault>, Vec<Fault>) =
            std::mem::take(&mut self.broken).into_iter().partition(is);
        self.broken = kept;
        self.faults.retain(|f| !is(f));
        for fault in mended.iter().rev() {
            let ipv6 = self.ground.ipv6;
            match fault {
                Fault::Carrier { uplink, at: Wire::Uplink } => self.uplinks[*uplink].far = true,
                Fault::Carrier { uplink, at: Wire::Wan } => self.uplinks[*uplink].wan = true,
                Fault::Admin { uplink } | Fault::Address { uplink, .. } => {
                    self.uplinks[*uplink].configure(ipv6);
                }
                Fault::Device { uplink } => {
                    self.next_index += 1;
                    let made = &mut self.uplinks[*uplink];
                    (made.exists, made.far, made.index) = (true, true, self.next_index);
                    made.configure(ipv6);
                }
                Fault::Name { uplink, .. } => self.uplinks[*uplink].name = format!("eth{uplink}"),
                Fault::Route { uplink, family: FamilyWord::V4 } => self.uplinks[*uplink].default4 = true,
                Fault::Route { uplink, family: FamilyWord::V6 } => self.uplinks[*uplink].default6 = true,
                Fault::Neighbour { uplink } => {
                    (self.uplinks[*uplink].heard, self.uplinks[*uplink].failed) = (true, [false; 2]);
                }
                Fault::Lose { .. }
                | Fault::Refuse { .. }
                | Fault::Resolver { .. }
                | Fault::Port { .. }
                | Fault::Latency { .. } => {}
            }
        }
        self.asking.clear();
        self.tell(now);
    }

    /// The far end of an uplink goes or comes.
    pub(super) fn set_far(&mut self, now: Duration, uplink: usize, up: bool) {
        self.uplinks[uplink].far = up;
        self.tell(now);
    }

    /// From now on the node sends to these.
    pub(super) fn upload(&mut self, hosts: &[IpAddr]) {
        self.uploads = hosts.to_vec();
    }

    /// The kernel gives up asking for a gateway at `at`.
    pub(super) fn gives_up(&mut self, at: Duration, uplink: usize, ipv6: bool) {
        self.uplinks[uplink].failed[usize::from(ipv6)] = true;
        let ifindex = IfIndex(self.uplinks[uplink].index);
        for address in self.default_gateways(uplink).into_iter().filter(|a| a.is_ipv6() == ipv6) {
            let neighbour = Neighbour { ifindex, address, state: NeighbourState::Failed, mac: None };
            self.shown.neighbours.insert((ifindex, address), neighbour.clone());
            self.news.push((at, Evidence::Network(NetworkChange::Neighbour(neighbour))));
        }
    }

    fn set_down(&mut self, uplink: usize) {
        let down = &mut self.uplinks[uplink];
        (down.admin, down.v6, down.default4, down.default6) = (false, false, false, false);
    }

    /// Connections that passed and no longer do run into their time-outs.
    fn cut_off(&mut self, now: Duration, passed: &[(IpAddr, IfIndex)]) {
        let still = self.passing();
        for (prefix, (host, device)) in passed.iter().enumerate() {
            if still.iter().any(|(h, _)| h == host) {
                continue;
            }
            for after in RTO {
                let timeout = TcpTimeout { device: *device, prefix: prefix as u32 };
                self.news.push((now + after, Evidence::TcpTimeout(timeout)));
            }
        }
    }

    /// What netlink says of the difference between what it said last and what is.
    fn tell(&mut self, now: Duration) {
        let is = self.network();
        let was = std::mem::replace(&mut self.shown, is.clone());
        let mut say = |after: Duration, change| self.news.push((now + after, Evidence::Network(change)));
        for index in was.links.keys().filter(|i| !is.links.contains_key(i)) {
            say(Duration::ZERO, NetworkChange::LinkGone(*index));
        }
        for link in is.links.values().filter(|l| was.links.get(&l.index) != Some(l)) {
            say(Duration::ZERO, NetworkChange::Link(Box::new(link.clone())));
        }
        for (key, gone) in was.addresses.iter().filter(|(key, _)| !is.addresses.contains_key(key)) {
            if is.links.contains_key(&key.0) {
                say(Duration::ZERO, NetworkChange::AddressGone(gone.clone()));
            }
        }
        for (_, new) in is.addresses.iter().filter(|(key, _)| !was.addresses.contains_key(key)) {
            say(Duration::ZERO, NetworkChange::Address(new.clone()));
        }
        for (ifindex, address) in was.neighbours.keys().filter(|key| !is.neighbours.contains_key(key)) {
            say(Duration::ZERO, NetworkChange::NeighbourGone { ifindex: *ifindex, address: *address });
        }
        for (_, new) in is.neighbours.iter().filter(|(key, n)| was.neighbours.get(key) != Some(n)) {
            say(Duration::ZERO, NetworkChange::Neighbour(new.clone()));
        }
        if was.routes != is.routes {
            let flushed = is.routes.len() < was.routes.len() && was.addresses != is.addresses;
            let after = if flushed { SILENT } else { Duration::ZERO };
            say(after, NetworkChange::Routes { routes: is.routes, truncated: false });
        }
    }

    fn network(&self) -> Network {
        let mut network = Network::default();
        let loopback = Link {
            index: IfIndex(1),
            name: IfName::new("lo"),
            admin_up: true,
            carrier: true,
            loopback: true,
            mtu: 65536,
            ..Link::default()
        };
        network.links.insert(loopback.index, loopback);
        for (n, uplink) in self.uplinks.iter().enumerate().filter(|(_, u)| u.exists) {
            self.add(&mut network, n, uplink);
        }
        network
    }

    fn add(&self, network: &mut Network, n: usize, uplink: &Uplink) {
        let (ifindex, carrier) = (IfIndex(uplink.index), uplink.carrier());
        let link = Link {
            index: ifindex,
            name: IfName::new(uplink.name.as_str()),
            kind: Some("veth".to_owned()),
            admin_up: uplink.admin,
            carrier,
            oper: if carrier { OperState::Up } else { OperState::Down },
            mtu: 1500,
            ..Link::default()
        };
        network.links.insert(ifindex, link);
        let own6 = self.ground.ipv6 && uplink.admin;
        let link_local = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100 + n as u16));
        for (has, address, prefix_len) in [
            (uplink.v4, address(n, FamilyWord::V4, 2), 24),
            (uplink.v6, address(n, FamilyWord::V6, 2), 64),
            (own6, link_local, 64),
        ] {
            if has {
                let address = Address { ifindex, address, prefix_len, usable: true };
                network.addresses.insert((ifindex, address.address, prefix_len), address);
            }
        }
        let metric = 100 * (n as u32 + 1);
        let mut route = |destination: IpAddr, prefix_len, gateway, metric| {
            network.routes.push(Route {
                table: MAIN_TABLE,
                destination,
                prefix_len,
                gateway,
                ifindex,
                metric,
            });
        };
        if uplink.admin && uplink.v4 {
            route(address(n, FamilyWord::V4, 0), 24, None, 0);
        }
        if uplink.admin && uplink.v6 {
            route(address(n, FamilyWord::V6, 0), 64, None, 256);
        }
        if own6 {
            route(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 64, None, 256);
        }
        if uplink.default4 {
            route(Ipv4Addr::UNSPECIFIED.into(), 0, Some(self.gateway(n, FamilyWord::V4)), metric);
        }
        if uplink.default6 {
            route(Ipv6Addr::UNSPECIFIED.into(), 0, Some(self.gateway(n, FamilyWord::V6)), metric);
        }
        for address in self.default_gateways(n) {
            let state = match (carrier, uplink.heard, uplink.failed[usize::from(address.is_ipv6())]) {
                (true, true, _) => NeighbourState::Reachable,
                (true, false, true) => NeighbourState::Failed,
                _ => continue,
            };
            let mac = state.is_valid().then(|| vec![2, 0, 0, 0, 0, n as u8]);
            network.neighbours.insert((ifindex, address), Neighbour { ifindex, address, state, mac });
        }
    }

    fn default_gateways(&self, n: usize) -> Vec<IpAddr> {
        let uplink = &self.uplinks[n];
        let both = [(uplink.default4, FamilyWord::V4), (uplink.default6, FamilyWord::V6)];
        both.into_iter().filter(|(has, _)| *has).map(|(_, family)| self.gateway(n, family)).collect()
    }

    /// The gateway of uplink `n` as the default route names it.
    pub(super) fn gateway(&self, n: usize, family: FamilyWord) -> IpAddr {
        match family {
            FamilyWord::V6 if self.ground.link_local_gateway => GATEWAY_LINK_LOCAL.into(),
            _ => address(n, family, 1),
        }
    }

    /// The network as netlink would dump it now.
    pub(super) fn routes(&self) -> Vec<Route> {
        self.network().routes
    }
}

/// The lab's link-local address of every gateway.
pub(super) const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The lab's address of host `host` on the wire of uplink `n`; 0 is the network's own.
pub(super) fn address(n: usize, family: FamilyWord, host: u8) -> IpAddr {
    let wire = n as u8 + 1;
    match family {
        FamilyWord::V4 => Ipv4Addr::new(10, 77, wire, host).into(),
        FamilyWord::V6 => Ipv6Addr::new(0xfd77, wire.into(), 0, 0, 0, 0, 0, host.into()).into(),
    }
}
