//! Which targets are probed: the configured ones, and those that the machine itself names (gateways, resolvers, the
//! three public hosts). Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::Config,
    health::{Role, TargetSpec, UPLINK_MEMORY},
    observation::{IfIndex, IfName, Link, Method, Network, PathOptions, Route, TargetId, escape_bytes},
    source::resolve::Nameserver,
    time::Mono,
};

/// Public resolvers that answer echo requests, each with its IPv6 address: that stands in its place where only IPv6 has
/// a default route.
pub const INTERNET: [(Ipv4Addr, Ipv6Addr); 3] = [
    (Ipv4Addr::new(8, 8, 8, 8), Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    (Ipv4Addr::new(1, 1, 1, 1), Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
    (Ipv4Addr::new(8, 8, 4, 4), Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844)),
];

/// TCP ports tried in ICMP's place where no ICMP socket can be had. A refusal is an answer too.
pub const FALLBACK_PORTS: &[u16] = &[53, 443];

/// How long a gateway whose route vanished is still a target, its link being fine: an operator who takes a route away
/// for good gets rid of the alarm without a restart.
pub const GATEWAY_MEMORY: Duration = UPLINK_MEMORY;

/// A target with all that probing it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What the core needs to know.
    pub spec: TargetSpec,
    /// Which way its packets go.
    pub path: Arc<PathOptions>,
    /// How often.
    pub interval: Duration,
    /// How long a reply may take.
    pub timeout: Duration,
}

/// What makes a gateway the same one as before: a device made anew has another index, and two devices may lead to the
/// same gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gateway {
    address: IpAddr,
    /// Printable name of its device, for a link-local address, which means nothing without.
    device: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Mono,
    link: IfIndex,
}

/// Makes the list of targets, and keeps their numbers across changes. Probes that go another way than before are another
/// target's: what was seen of the old way says nothing of the new one.
#[derive(Debug)]
pub struct Planner {
    config: Arc<Config>,
    resolvers: Vec<Nameserver>,
    /// Of what was last planned, with the way to each.
    ids: HashMap<Arc<str>, (TargetId, Arc<PathOptions>)>,
    next_id: u32,
    gateways: BTreeMap<Gateway, Seen>,
    /// Families of the default routes seen so far: IPv4, IPv6.
    families: [bool; 2],
}

impl Planner {
    /// A planner for this configuration and these system resolvers.
    pub fn new(config: Arc<Config>, resolvers: Vec<Nameserver>) -> Self {
        Self {
            config,
            resolvers,
            ids: HashMap::new(),
            next_id: 0,
            gateways: BTreeMap::new(),
            families: [false; 2],
        }
    }

    /// From now on this configuration. Targets of the same name and way keep their numbers.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.config = config;
    }

    /// From now on these resolvers. While there are none the last ones stay targets: a file is being written anew, or was
    /// emptied with the link that they are behind, and that is the very time to say that they can't be reached.
    pub fn follow(&mut self, resolvers: Vec<Nameserver>) {
        if !resolvers.is_empty() {
            self.resolvers = resolvers;
        }
    }

    /// All targets, given the network as it is now. Order: gateways, resolvers, public hosts, configured ones. A VRF's
    /// gateways are not among them: what is not bound to the VRF can't reach them, and has nothing of them.
    pub fn plan(&mut self, now: Mono, network: &Network) -> Vec<Planned> {
        let config = Arc::clone(&self.config);
        let mut all = Vec::new();
        if config.auto_targets {
            self.remember_gateways(now, network);
            for (g, seen) in self.gateways.clone() {
                let name = match &g.device {
                    Some(device) => format!("gateway-{}%{device}", g.address),
                    None => format!("gateway-{}", g.address),
                };
                let mut planned = self.automatic(&name, g.address, "gateway", Method::Icmp);
                planned.spec.role = Role::Gateway;
                planned.spec.link = g.device.map(|_| seen.link);
                all.push(planned);
            }
            for Nameserver { address, zone } in &self.resolvers {
                let zone = zone.as_deref();
                let on = zone.map(|zone| format!("%{}", escape_bytes(zone.as_bytes()))).unwrap_or_default();
                let name = format!("dns-{address}{on}");
                let mut planned = self.automatic(&name, *address, "dns", Method::dns(53));
                // Of a device that there is not, it is on no link.
                planned.spec.link = zone.map(|zone| link_of(zone, network).unwrap_or(IfIndex(0)));
                all.push(planned);
            }
            let by_v6 = self.asks_by_v6(network);
            for (v4, v6) in INTERNET {
                let address = if by_v6 { v6.into() } else { v4.into() };
                all.push(self.automatic(&v4.to_string(), address, "internet", Method::Icmp));
            }
        }
        // A configured target takes the place of an automatic one of the same name.
        let configured: HashSet<&str> = config.targets.iter().map(|t| t.name.as_str()).collect();
        all.retain(|p| !configured.contains(&*p.spec.name));
        all.reserve_exact(config.targets.len());
        for t in &config.targets {
            let name: Arc<str> = t.name.as_str().into();
            let spec = TargetSpec {
                id: TargetId(0),
                name,
                host: t.host.clone(),
                scope: t.scope.clone(),
                method: t.method.clone(),
                role: Role::Plain,
                addresses: t.host.parse().into_iter().collect(),
                link: t.path.device.as_deref().and_then(|device| bound_to(device, network)),
            };
            let (path, interval, timeout) = (t.path.clone(), t.interval, t.timeout);
            all.push(Planned { spec, path, interval, timeout });
        }
        self.give_numbers(&mut all);
        all
    }

    /// No number is given twice: late news of what is gone must not be taken for another's.
    fn give_numbers(&mut self, all: &mut [Planned]) {
        let ids = HashMap::with_capacity(all.len());
        let mut old = std::mem::replace(&mut self.ids, ids);
        for p in all {
            let known = old.remove(&p.spec.name).filter(|(_, path)| *path == p.path);
            let (id, _) = known.unwrap_or_else(|| {
                let id = TargetId(self.next_id);
                self.next_id = self.next_id.wrapping_add(1);
                (id, Arc::default())
            });
            p.spec.id = id;
            self.ids.insert(Arc::clone(&p.spec.name), (id, Arc::clone(&p.path)));
        }
    }

    fn automatic(&self, name: &str, address: IpAddr, scope: &str, method: Method) -> Planned {
        let spec = TargetSpec {
            id: TargetId(0),
            name: name.into(),
            host: address.to_string(),
            scope: scope.to_owned(),
            method,
            role: Role::Plain,
            addresses: vec![address],
            link: None,
        };
        let (interval, timeout) = (self.config.interval, self.config.timeout);
        Planned { spec, path: Arc::default(), interval, timeout }
    }

    /// The number of what is planned by this name.
    pub fn number(&self, name: &str) -> Option<TargetId> {
        self.ids.get(name).map(|(id, _)| *id)
    }

    /// A gateway stays a target while its link is down: that is the very time to say that it can't be reached. One
    /// that another has taken the place of goes at once. Where only preferred devices carry the verdict, the gateway of
    /// another is none: R2 would find no usable link to it, and the node would never be up.
    fn remember_gateways(&mut self, now: Mono, network: &Network) {
        let preferred = &self.config.health.preferred;
        let carries = |index: IfIndex| {
            let is_one = |l: &Link| preferred.contains(&l.name.escaped());
            preferred.is_empty() || network.links.get(&index).is_none_or(is_one)
        };
        // The best route of several comes last, and is the one that counts.
        for route in network.default_routes().into_iter().rev().filter(|r| carries(r.ifindex)) {
            if let Some(gateway) = gateway_of(route, network) {
                self.gateways.insert(gateway, Seen { at: now, link: route.ifindex });
            }
        }
        self.gateways
            .retain(|g, seen| carries(seen.link) && (seen.at == now || is_missed(now, g, *seen, network)));
    }

    /// The public hosts are asked by IPv6 where that alone ever had a default route. One of IPv4 that goes away again is
    /// missed: it must not turn into health by the other family.
    fn asks_by_v6(&mut self, network: &Network) -> bool {
        for r in network.default_routes() {
            self.families[usize::from(r.destination.is_ipv6())] = true;
        }
        self.families == [false, true]
    }
}

/// The device or VRF of this name, or none while no links are known; 0, which no link has, where it is not there.
fn bound_to(device: &str, network: &Network) -> Option<IfIndex> {
    let named = || network.links.values().find(|l| l.name.as_bytes() == device.as_bytes());
    (!network.links.is_empty()).then(|| named().map_or(IfIndex(0), |l| l.index))
}

fn gateway_of(route: &Route, network: &Network) -> Option<Gateway> {
    let address = route.gateway?;
    let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
    let name = || match network.links.get(&route.ifindex) {
        Some(link) => link.name.escaped(),
        None => format!("#{}", route.ifindex.0),
    };
    Some(Gateway { address, device: link_local.then(name) })
}

/// Whether a gateway that no default route names any more is still one to ask for.
fn is_missed(now: Mono, gateway: &Gateway, seen: Seen, network: &Network) -> bool {
    let others = network.default_routes().into_iter();
    let mut others = others.filter(|r| r.gateway.is_some_and(|g| g.is_ipv4() == gateway.address.is_ipv4()));
    let lately = now.since(seen.at) <= GATEWAY_MEMORY;
    match network.links.get(&seen.link) {
        None => lately && others.next().is_none(),
        Some(link) if !link.admin_up || !link.carrier => true,
        Some(_) => lately && !others.any(|r| r.ifindex == seen.link),
    }
}

/// The device that a zone names: by its number or its name (`if_nametoindex(3)`, as the C library takes it).
fn link_of(zone: &str, network: &Network) -> Option<IfIndex> {
    match zone.parse() {
        Ok(index) => Some(IfIndex(index)),
        Err(_) => {
            let name = IfName::new(zone);
            network.links.values().find(|link| link.name == name).map(|link| link.index)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn resolver(address: &str, zone: Option<&str>) -> Nameserver {
        Nameserver { address: address.parse().unwrap(), zone: zone.map(str::to_owned) }
    }

    fn planner(text: &str) -> Planner {
        let config = Config::parse(text, Path::new("t")).unwrap();
        Planner::new(Arc::new(config), vec![resolver("10.0.0.53", None)])
    }

    fn network(gateways: &[(&str, u32)]) -> Network {
        let mut n = Network::default();
        for (gateway, ifindex) in gateways {
            let gateway: IpAddr = gateway.parse().unwrap();
            let any = if gateway.is_ipv4() { "0.0.0.0" } else { "::" };
            let index = IfIndex(*ifindex);
            let link =
                Link { index, name: IfName::new(*b"eth0"), admin_up: true, carrier: true, ..Link::default() };
            n.links.insert(index, link);
            n.routes.push(Route {
                table: 254,
                destination: any.parse().unwrap(),
                prefix_len: 0,
                gateway: Some(gateway),
                ifindex: index,
                metric: 0,
            });
        }
        n
    }

    fn names(all: &[Planned]) -> Vec<&str> {
        all.iter().map(|p| &*p.spec.name).collect()
    }

    #[test]
    fn the_defaults_are_gateways_resolvers_and_three_hosts() {
        let all = planner("").plan(Mono::default(), &network(&[("10.0.0.1", 2), ("fe80::1", 2)]));
        assert_eq!(
            names(&all),
            ["gateway-10.0.0.1", "gateway-fe80::1%eth0", "dns-10.0.0.53", "8.8.8.8", "1.1.1.1", "8.8.4.4"]
        );
        assert_eq!((all[0].spec.link, all[1].spec.link), (None, Some(IfIndex(2))));
        assert_eq!(all[2].spec.method, Method::dns(53));
    }

    #[test]
    fn the_systems_resolvers_are_followed_but_not_into_nothing() {
        let mut p = planner("");
        let mut dns = |resolvers: &[&str]| {
            p.follow(resolvers.iter().map(|r| resolver(r, None)).collect());
            let all = p.plan(Mono::default(), &Network::default());
            all.into_iter().filter(|t| t.spec.scope == "dns").map(|t| t.spec.host).collect::<Vec<_>>()
        };
        assert_eq!(dns(&["10.1.0.53", "::1"]), ["10.1.0.53", "::1"]);
        assert_eq!(dns(&[]), ["10.1.0.53", "::1"]);
        assert_eq!(dns(&["::1"]), ["::1"]);
    }

    #[test]
    fn a_resolver_with_a_link_local_address_is_of_its_link() {
        let mut p = planner("");
        p.follow(vec![
            resolver("fe80::1", Some("eth0")),
            resolver("fe80::1", Some("7")),
            resolver("fe80::1", Some("x\u{1b}")),
        ]);
        let all = p.plan(Mono::default(), &network(&[("10.0.0.1", 2)]));
        let dns: Vec<_> =
            all.iter().filter(|t| t.spec.scope == "dns").map(|t| (&*t.spec.name, t.spec.link)).collect();
        assert_eq!(
            dns,
            [
                ("dns-fe80::1%eth0", Some(IfIndex(2))),
                ("dns-fe80::1%7", Some(IfIndex(7))),
                ("dns-fe80::1%x\\x1b", Some(IfIndex(0)))
            ]
        );
    }

    #[test]
    fn a_configured_target_takes_the_place_of_an_automatic_one() {
        let all = planner("[[target]]\nhost = \"8.8.8.8\"\nscope = \"own\"")
            .plan(Mono::default(), &Network::default());
        assert_eq!(names(&all), ["dns-10.0.0.53", "1.1.1.1", "8.8.4.4", "8.8.8.8"]);
        assert_eq!(all[3].spec.scope, "own");
        let none =
            planner("[defaults]\nauto_targets = false").plan(Mono::default(), &network(&[("10.0.0.1", 2)]));
        assert!(none.is_empty());
    }

    #[test]
    fn a_gateway_is_remembered_while_its_link_is_down_and_for_a_while_after() {
        let mut p = planner("");
        let s = |s: u64| Mono::from_nanos(s * 1_000_000_000);
        let mut n = network(&[("10.0.0.1", 2)]);
        let id = p.plan(s(0), &n)[0].spec.id;
        n.routes.clear();
        n.links.get_mut(&IfIndex(2)).unwrap().carrier = false;
        assert_eq!(p.plan(s(100_000), &n)[0].spec.id, id);
        n.links.get_mut(&IfIndex(2)).unwrap().carrier = true;
        assert!(!names(&p.plan(s(100_000), &n)).contains(&"gateway-10.0.0.1"));
        let n = network(&[("10.0.0.1", 2)]);
        assert_ne!(p.plan(s(100_001), &n)[0].spec.id, id, "no number is given twice");
        assert_eq!(p.ids.len(), p.plan(s(100_002), &n).len(), "those of what is gone are forgotten");
    }

    #[test]
    fn a_target_keeps_its_number_until_its_probes_go_another_way() {
        let mut p = planner("");
        let mut id = |keys: &str| {
            let text = format!("[[target]]\nname = \"t\"\nhost = \"10.0.0.9\"\n{keys}");
            p.configure(Arc::new(Config::parse(&text, Path::new("t")).unwrap()));
            let all = p.plan(Mono::default(), &Network::default());
            all.iter().find(|t| &*t.spec.name == "t").unwrap().spec.id
        };
        let plain = id("");
        assert_eq!(id("interval = \"5s\"\nscope = \"own\""), plain);
        let mut seen = vec![plain];
        for keys in [
            "source = \"10.0.0.1\"",
            "device = \"eth0\"",
            "mark = 7",
            "ttl = 9",
            "dscp = 46",
            "size = 900",
            "size = 900\ndont_fragment = true",
        ] {
            let other = id(keys);
            assert!(!seen.contains(&other), "{keys}");
            assert_eq!(id(keys), other, "{keys}");
            seen.push(other);
        }
    }

    #[test]
    fn a_vrfs_gateway_is_no_target_and_a_bound_target_has_its_device() {
        let mut n = network(&[("10.0.0.1", 2), ("10.9.0.1", 3)]);
        n.routes[1].table = 10;
        let mut p = planner("[[target]]\nhost = \"10.9.0.7\"\nvrf = \"red\"");
        let bound = |p: &mut Planner, n: &Network| p.plan(Mono::default(), n).last().unwrap().spec.link;
        assert_eq!(bound(&mut p, &Network::default()), None, "nothing is known yet");
        assert_eq!(bound(&mut p, &n), Some(IfIndex(0)), "no such device");
        let red = IfName::new(*b"red");
        let vrf = Link { index: IfIndex(9), name: red, table: Some(10), ..Link::default() };
        n.links.insert(vrf.index, vrf);
        assert_eq!(bound(&mut p, &n), Some(IfIndex(9)));
        let mut fresh = planner("");
        let all = fresh.plan(Mono::default(), &n);
        assert_eq!(names(&all)[..2], ["gateway-10.0.0.1", "dns-10.0.0.53"]);
    }

    #[test]
    fn a_gateway_that_another_replaces_goes_at_once() {
        for (old, new) in [("10.0.0.1", "10.0.0.3"), ("fe80::1", "fe80::3")] {
            let mut p = planner("");
            p.plan(Mono::default(), &network(&[(old, 2)]));
            let all = p.plan(Mono::default() + Duration::from_secs(1), &network(&[(new, 2)]));
            let gateways = all.iter().filter(|t| t.spec.role == Role::Gateway);
            assert_eq!(gateways.map(|t| t.spec.host.as_str()).collect::<Vec<_>>(), [new]);
        }
    }

    #[test]
    fn a_route_that_goes_from_one_of_two_uplinks_is_missed() {
        let mut p = planner("");
        let mut n = network(&[("10.0.0.1", 2), ("10.1.0.1", 3)]);
        p.plan(Mono::default(), &n);
        n.routes.retain(|r| r.ifindex == IfIndex(2));
        let second = Mono::default() + Duration::from_secs(1);
        assert_eq!(names(&p.plan(second, &n))[..2], ["gateway-10.0.0.1", "gateway-10.1.0.1"]);
        n.links.remove(&IfIndex(3));
        assert!(!names(&p.plan(second, &n)).contains(&"gateway-10.1.0.1"), "its device is no more");
    }

    #[test]
    fn a_gateway_of_a_device_that_is_not_preferred_is_no_target() {
        let mut n = network(&[("10.0.0.1", 2), ("10.1.0.1", 3)]);
        n.links.get_mut(&IfIndex(3)).unwrap().name = IfName::new(*b"eth1");
        let mut p = planner("[devices]\npreferred = [\"eth0\"]");
        let second = Mono::default() + Duration::from_secs(1);
        assert_eq!(names(&p.plan(Mono::default(), &n))[..2], ["gateway-10.0.0.1", "dns-10.0.0.53"]);
        n.routes.clear();
        n.links.remove(&IfIndex(2));
        assert_eq!(
            names(&p.plan(second, &n))[0],
            "gateway-10.0.0.1",
            "a preferred one that is gone is missed"
        );
    }

    #[test]
    fn a_device_made_anew_and_two_devices_to_one_gateway_are_one_target() {
        let mut p = planner("");
        for n in [
            network(&[("10.0.0.1", 2), ("fe80::1", 2)]),
            Network::default(),
            network(&[("10.0.0.1", 7), ("fe80::1", 7)]),
            network(&[("10.0.0.1", 7), ("fe80::1", 7), ("10.0.0.1", 8)]),
        ] {
            let all = p.plan(Mono::default() + Duration::from_secs(1), &n);
            assert_eq!(names(&all)[..3], ["gateway-10.0.0.1", "gateway-fe80::1%eth0", "dns-10.0.0.53"]);
        }
    }

    #[test]
    fn where_only_ipv6_has_a_default_route_the_hosts_are_asked_by_ipv6() {
        let mut p = planner("");
        let mut host = |n: &Network| {
            let all = p.plan(Mono::default(), n);
            all.iter().find(|t| &*t.spec.name == "8.8.8.8").map(|t| t.spec.host.clone()).unwrap()
        };
        assert_eq!(host(&Network::default()), "8.8.8.8");
        assert_eq!(host(&network(&[("fe80::1", 2)])), "2001:4860:4860::8888");
        assert_eq!(
            host(&Network::default()),
            "2001:4860:4860::8888",
            "a lost link does not change the family"
        );
        assert_eq!(host(&network(&[("fe80::1", 2), ("10.0.0.1", 2)])), "8.8.8.8");
        assert_eq!(host(&network(&[("fe80::1", 2)])), "8.8.8.8", "what is lost is missed");
    }
}
