//! Which targets are probed: the configured ones, and those that the machine itself names (gateways, resolvers, the
//! three public hosts). Pure but for [`resolvers`], which reads one file.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use crate::{
    config::Config,
    health::{Role, TargetSpec},
    observation::{IfIndex, Method, Network, TargetId},
    time::Mono,
};

/// Public resolvers that answer echo requests.
pub const INTERNET: [Ipv4Addr; 3] =
    [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 4, 4)];

/// TCP ports tried in ICMP's place where no ICMP socket can be had. A refusal is an answer too.
pub const FALLBACK_PORTS: &[u16] = &[53, 443];

/// How long a gateway whose route vanished is still a target, its link being fine: an operator who takes a route away
/// for good gets rid of the alarm without a restart.
pub const GATEWAY_MEMORY: Duration = Duration::from_secs(600);

/// A target with all that probing it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What the core needs to know.
    pub spec: TargetSpec,
    /// How often.
    pub interval: Duration,
    /// How long a reply may take.
    pub timeout: Duration,
    /// Through which interface, for a link-local address.
    pub ifindex: Option<IfIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gateway {
    address: IpAddr,
    ifindex: IfIndex,
}

/// Makes the list of targets, and keeps their numbers across changes.
#[derive(Debug)]
pub struct Planner {
    config: Arc<Config>,
    resolvers: Vec<IpAddr>,
    ids: HashMap<Arc<str>, TargetId>,
    gateways: BTreeMap<Gateway, Mono>,
}

impl Planner {
    /// A planner for this configuration and these system resolvers.
    pub fn new(config: Arc<Config>, resolvers: Vec<IpAddr>) -> Self {
        Self { config, resolvers, ids: HashMap::new(), gateways: BTreeMap::new() }
    }

    /// From now on this configuration and these resolvers. Targets of the same name keep their numbers.
    pub fn configure(&mut self, config: Arc<Config>, resolvers: Vec<IpAddr>) {
        self.config = config;
        self.resolvers = resolvers;
    }

    /// All targets, given the network as it is now. Order: gateways, resolvers, public hosts, configured ones.
    pub fn plan(&mut self, now: Mono, network: &Network) -> Vec<Planned> {
        let config = Arc::clone(&self.config);
        let mut all = Vec::new();
        if config.auto_targets {
            self.remember_gateways(now, network);
            for g in self.gateways.keys().cloned().collect::<Vec<_>>() {
                let link_local = matches!(g.address, IpAddr::V6(a) if a.is_unicast_link_local());
                let name = match network.links.get(&g.ifindex).filter(|_| link_local) {
                    Some(link) => format!("gateway-{}%{}", g.address, link.name.escaped()),
                    None => format!("gateway-{}", g.address),
                };
                let mut planned = self.automatic(&name, g.address, "gateway", Method::Icmp);
                planned.spec.role = Role::Gateway;
                planned.ifindex = link_local.then_some(g.ifindex);
                all.push(planned);
            }
            for address in self.resolvers.clone() {
                all.push(self.automatic(&format!("dns-{address}"), address, "dns", Method::Dns { port: 53 }));
            }
            for address in INTERNET {
                all.push(self.automatic(&address.to_string(), address.into(), "internet", Method::Icmp));
            }
        }
        for t in &config.targets {
            // A configured target takes the place of an automatic one of the same name.
            all.retain(|p| *p.spec.name != *t.name);
            let name: Arc<str> = t.name.as_str().into();
            let spec = TargetSpec {
                id: self.id(&name),
                name,
                host: t.host.clone(),
                scope: t.scope.clone(),
                method: t.method,
                role: Role::Plain,
                addresses: t.host.parse().into_iter().collect(),
            };
            let (interval, timeout) = (t.interval, t.timeout);
            all.push(Planned { spec, interval, timeout, ifindex: None });
        }
        all
    }

    fn automatic(&mut self, name: &str, address: IpAddr, scope: &str, method: Method) -> Planned {
        let name: Arc<str> = name.into();
        let spec = TargetSpec {
            id: self.id(&name),
            name,
            host: address.to_string(),
            scope: scope.to_owned(),
            method,
            role: Role::Plain,
            addresses: vec![address],
        };
        let (interval, timeout) = (self.config.interval, self.config.timeout);
        Planned { spec, interval, timeout, ifindex: None }
    }

    fn id(&mut self, name: &Arc<str>) -> TargetId {
        let next = TargetId(self.ids.len() as u32);
        *self.ids.entry(name.clone()).or_insert(next)
    }

    /// A gateway stays a target while its link is down: that is the very time to say that it can't be reached.
    fn remember_gateways(&mut self, now: Mono, network: &Network) {
        let present = network
            .routes
            .iter()
            .filter(|r| r.is_default())
            .filter_map(|r| r.gateway.map(|address| Gateway { address, ifindex: r.ifindex }));
        for g in present {
            self.gateways.insert(g, now);
        }
        self.gateways.retain(|g, seen| match network.links.get(&g.ifindex) {
            None => now.since(*seen) <= GATEWAY_MEMORY,
            Some(link) if !link.admin_up || !link.carrier => true,
            Some(_) => now.since(*seen) <= GATEWAY_MEMORY,
        });
    }
}

/// The system's resolvers: the `nameserver` lines of `resolv.conf(5)`, without repeats; three at most, as the C library
/// takes them. None when the file can't be read.
pub fn resolvers(path: &Path) -> Vec<IpAddr> {
    parse_resolvers(&std::fs::read_to_string(path).unwrap_or_default())
}

fn parse_resolvers(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        if let Some(Ok(address)) = words.next().map(str::parse)
            && !found.contains(&address)
            && found.len() < 3
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Link, Route};

    fn planner(text: &str) -> Planner {
        let config = Config::parse(text, Path::new("t")).unwrap();
        Planner::new(Arc::new(config), vec!["10.0.0.53".parse().unwrap()])
    }

    fn network(gateways: &[(&str, u32)]) -> Network {
        let mut n = Network::default();
        for (gateway, ifindex) in gateways {
            let gateway: IpAddr = gateway.parse().unwrap();
            let any = if gateway.is_ipv4() { "0.0.0.0" } else { "::" };
            let index = IfIndex(*ifindex);
            let link = Link {
                index,
                name: crate::observation::IfName::new(*b"eth0"),
                admin_up: true,
                carrier: true,
                ..Link::default()
            };
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
        assert_eq!((all[0].ifindex, all[1].ifindex), (None, Some(IfIndex(2))));
        assert_eq!(all[2].spec.method, Method::Dns { port: 53 });
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
        assert_eq!(p.plan(s(100_001), &n)[0].spec.id, id, "a number is for ever");
    }

    #[test]
    fn resolv_conf_is_read_as_the_c_library_reads_it() {
        let text = "# c\nnameserver 10.0.0.1\nsearch a\nnameserver\t::1 \nnameserver bad\nnameserver 10.0.0.1\noptions x";
        let expected: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(parse_resolvers(text), expected);
    }
}
