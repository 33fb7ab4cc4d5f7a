//! Whole tables: everything at the start and after a loss, routes whenever they may have changed.
//!
//! All of it blocks: on kernels before 6.10 every dump waits for the rtnetlink lock, which another process may hold
//! for long. So it runs on a thread beside the runtime, and events are heard meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use crate::observation::{Address, IfIndex, Link, Neighbour, Network, Route};

use super::{
    Counters, Options,
    decode::{self, Assigned, Hop, Nexthop, RawRoute},
    decode_link,
    neighbours::NeighbourQuery,
    socket::Asker,
    sysfs,
    wire::{self, AF_INET, AF_INET6, Malformed},
};

/// How often an answer that a change cut through is asked for again before it is taken as it is.
const ATTEMPTS: u32 = 8;

/// A gateway: its address on an interface.
pub(super) type Gateway = (IfIndex, IpAddr);

/// Everything.
#[derive(Debug)]
pub(super) struct Everything {
    pub(super) network: Network,
    /// Every address with its peer.
    pub(super) assigned: Vec<Assigned>,
    /// False if changes kept cutting through: entries may be missing, so it wants reading again.
    pub(super) consistent: bool,
}

/// Routes, and neighbours if there is a gateway that was none before.
#[derive(Debug, Default)]
pub(super) struct Routing {
    pub(super) routes: Vec<Route>,
    pub(super) truncated: bool,
    /// All gateways' neighbour entries, if they were asked for.
    pub(super) neighbours: Option<Vec<Neighbour>>,
    pub(super) consistent: bool,
}

/// Reads tables.
pub(super) struct Dumper {
    asker: Option<Asker>,
    neighbours: NeighbourQuery,
    max_routes: usize,
    counters: Arc<Counters>,
}

impl Dumper {
    pub(super) fn open(options: &Options, counters: Arc<Counters>) -> io::Result<Self> {
        Ok(Self {
            asker: Some(Asker::open()?),
            neighbours: NeighbourQuery::open()?,
            max_routes: options.max_routes,
            counters,
        })
    }

    /// Reads everything. Links keep no speed from before: hardware is asked for it.
    pub(super) fn everything(&mut self) -> io::Result<Everything> {
        let mut consistent = true;
        let links = self.dump(wire::RTM_GETLINK, &[0; 16], &mut consistent, decode_link::link)?;
        let assigned = self.dump(wire::RTM_GETADDR, &[0; 8], &mut consistent, decode::address)?;
        let routing = self.routing(&BTreeSet::new())?;
        let links = links.into_iter().map(with_speed).map(|l| (l.index, l)).collect();
        let addresses = assigned.iter().map(|a| (address_key(&a.address), a.address.clone())).collect();
        let neighbours =
            routing.neighbours.into_iter().flatten().map(|n| ((n.ifindex, n.address), n)).collect();
        let network = Network {
            links,
            addresses,
            routes: routing.routes,
            routes_truncated: routing.truncated,
            neighbours,
        };
        Ok(Everything { network, assigned, consistent: consistent && routing.consistent })
    }

    /// Reads routes, and the gateways' neighbours if a gateway is not among the `known`.
    pub(super) fn routing(&mut self, known: &BTreeSet<Gateway>) -> io::Result<Routing> {
        let mut routing = Routing { consistent: true, ..Routing::default() };
        let raw = self.raw_routes(&mut routing)?;
        let nexthops = if raw.iter().any(|r| r.nexthop.is_some()) {
            let all = self.dump(wire::RTM_GETNEXTHOP, &[0; 8], &mut routing.consistent, |payload| {
                decode::nexthop(payload).map(Some)
            })?;
            all.into_iter().map(|n| (n.id, n)).collect()
        } else {
            BTreeMap::new()
        };
        routing.routes = raw.iter().flat_map(|r| ways(r, &nexthops)).collect();
        sort(&mut routing.routes);
        let gateways = gateways(&routing.routes);
        if !gateways.is_subset(known) {
            let all =
                self.neighbours.read(gateways.iter().map(|g| g.0).collect(), &mut routing.consistent)?;
            routing.neighbours =
                Some(all.into_iter().filter(|n| gateways.contains(&(n.ifindex, n.address))).collect());
        }
        Ok(routing)
    }

    fn raw_routes(&mut self, routing: &mut Routing) -> io::Result<Vec<RawRoute>> {
        let mut all: Vec<RawRoute> = Vec::new();
        for family in [AF_INET, AF_INET6] {
            // `struct rtmsg` with the family and, for kernels that filter, the type.
            let request = [family, 0, 0, 0, 0, 0, 0, decode::RTN_UNICAST, 0, 0, 0, 0];
            let room = self.max_routes.saturating_sub(all.iter().filter(|r| r.prefix_len != 0).count());
            let take = |payload: &[u8], kept: &mut Kept| {
                if let Some(route) = decode::route(family, payload)? {
                    kept.add(route, room);
                }
                Ok(())
            };
            match self.dump_with(wire::RTM_GETROUTE, &request, &mut routing.consistent, take) {
                Ok(kept) => {
                    all.extend(kept.routes);
                    routing.truncated |= kept.truncated;
                }
                Err(e) if family == AF_INET6 && unsupported(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(all)
    }

    fn dump<T>(
        &mut self,
        kind: u16,
        payload: &[u8],
        consistent: &mut bool,
        decode: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> io::Result<Vec<T>> {
        self.dump_with(kind, payload, consistent, |payload, kept: &mut Vec<T>| {
            kept.extend(decode(payload)?);
            Ok(())
        })
    }

    /// Asks until the answer is consistent. `take` adds what a message holds to what is kept.
    fn dump_with<C: Default>(
        &mut self,
        kind: u16,
        payload: &[u8],
        consistent: &mut bool,
        take: impl Fn(&[u8], &mut C) -> Result<(), Malformed>,
    ) -> io::Result<C> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut asker = match self.asker.take() {
                Some(asker) => asker,
                None => Asker::open()?,
            };
            let mut kept = C::default();
            let mut malformed = 0;
            // Dropped on an error: an answer may still be under way in it, and the kernel refuses a second dump.
            let whole = asker.dump(kind, payload, |message| {
                // The answer to RTM_GETx is RTM_NEWx, two below it.
                if message.kind.checked_add(2) == Some(kind) && take(message.payload, &mut kept).is_err() {
                    malformed += 1;
                }
            })?;
            self.asker = Some(asker);
            self.counters.malformed.fetch_add(malformed, Relaxed);
            if whole || attempt == ATTEMPTS {
                *consistent &= whole;
                return Ok(kept);
            }
            self.counters.interrupted_dumps.fetch_add(1, Relaxed);
            // Whoever makes changes one after the other gets a moment to finish.
            std::thread::sleep(Duration::from_micros(100) * attempt);
        }
    }
}

/// Routes within the bound: default routes always, others while there is room.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) routes: Vec<RawRoute>,
    others: usize,
    truncated: bool,
}

impl Kept {
    pub(super) fn add(&mut self, route: RawRoute, room: usize) {
        if route.prefix_len != 0 {
            if self.others == room {
                self.truncated = true;
                return;
            }
            self.others += 1;
        }
        self.routes.push(route);
    }
}

/// The gateways of default routes.
pub(super) fn gateways(routes: &[Route]) -> BTreeSet<Gateway> {
    routes.iter().filter(|r| r.is_default()).filter_map(|r| Some((r.ifindex, r.gateway?))).collect()
}

/// The key of an address in [`Network::addresses`].
pub(super) fn address_key(a: &Address) -> (IfIndex, IpAddr, u8) {
    (a.ifindex, a.address, a.prefix_len)
}

/// Whether a link is a device of hardware, which alone has a speed worth asking for. The speed of a virtual link is
/// made up (veth says 10 Gbit/s) or that of the links under it.
pub(super) fn has_speed(link: &Link) -> bool {
    link.kind.is_none() && !link.loopback
}

fn with_speed(mut link: Link) -> Link {
    if has_speed(&link) && link.carrier {
        link.speed_mbps = sysfs::speed(&link.name, link.index);
    }
    link
}

fn unsupported(error: &io::Error) -> bool {
    use nix::libc::{EAFNOSUPPORT, EOPNOTSUPP};
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EOPNOTSUPP))
}

/// A raw route as one route per way.
pub(super) fn ways<'a>(
    raw: &'a RawRoute,
    nexthops: &BTreeMap<u32, Nexthop>,
) -> impl Iterator<Item = Route> + use<'a> {
    let mut hops = raw.hops.clone();
    if let Some(nexthop) = raw.nexthop.and_then(|id| nexthops.get(&id)) {
        hops.extend(nexthop.hop);
        // Groups hold no groups (`nh_check_attr_group`).
        hops.extend(nexthop.group.iter().filter_map(|id| nexthops.get(id)?.hop));
    }
    hops.into_iter().map(|Hop { ifindex, gateway }| Route {
        table: raw.table,
        destination: raw.destination,
        prefix_len: raw.prefix_len,
        gateway,
        ifindex,
        metric: raw.metric,
    })
}

/// One order for one set of routes, whatever order the kernel tells them in.
pub(super) fn sort(routes: &mut Vec<Route>) {
    routes.sort_by_key(|r| (r.table, r.destination, r.prefix_len, r.metric, r.ifindex, r.gateway));
    routes.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(prefix_len: u8, nexthop: Option<u32>) -> RawRoute {
        let destination = "0.0.0.0".parse().unwrap();
        RawRoute { table: 254, destination, prefix_len, metric: 1, hops: Vec::new(), nexthop }
    }

    #[test]
    fn default_routes_are_kept_whatever_the_bound() {
        let mut kept = Kept::default();
        for len in [24, 0, 24, 0, 24] {
            kept.add(raw(len, None), 2);
        }
        assert_eq!(kept.routes.iter().map(|r| r.prefix_len).collect::<Vec<_>>(), [24, 0, 24, 0]);
        assert!(kept.truncated);
        let mut none = Kept::default();
        none.add(raw(24, None), 0);
        none.add(raw(0, None), 0);
        assert!(none.truncated && none.routes.len() == 1);
    }

    #[test]
    fn a_route_by_nexthop_object_has_the_ways_of_its_group() {
        let hop = |i| Some(Hop { ifindex: IfIndex(i), gateway: None });
        let nexthops: BTreeMap<u32, Nexthop> = [
            Nexthop { id: 1, hop: hop(3), group: vec![] },
            Nexthop { id: 2, hop: hop(4), group: vec![] },
            Nexthop { id: 9, hop: None, group: vec![1, 2, 77] },
        ]
        .into_iter()
        .map(|n| (n.id, n))
        .collect();
        let indices = |id| ways(&raw(0, Some(id)), &nexthops).map(|r| r.ifindex.0).collect::<Vec<_>>();
        assert_eq!(indices(9), [3, 4]);
        assert_eq!(indices(2), [4]);
        assert!(indices(77).is_empty());
    }
}
