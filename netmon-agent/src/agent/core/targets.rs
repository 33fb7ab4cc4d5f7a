//! Keeps the targets in step with the world: the plan, the addresses of names, the ways out of the machine.

use std::sync::Arc;

use super::{Core, LOOK, REPLAN};
use crate::{
    health::Role,
    observation::{Network, Route},
    plan::{FALLBACK_PORTS, Planned},
    source::probe,
    time::Moment,
};

impl Core {
    /// A new way out of the machine may be a way to a resolver, or to one that knows other names.
    pub(super) fn note_ways(&mut self) {
        let ways: Vec<_> =
            self.health.network().default_routes().iter().map(|r| (r.gateway, r.ifindex)).collect();
        if ways.iter().any(|way| !self.ways.contains(way)) {
            self.resolver.poke();
        }
        self.ways = ways;
    }

    /// Whether the system has other resolvers than before.
    pub(super) fn look_at_resolvers(&mut self, now: Moment) -> bool {
        self.next_look = now.mono + LOOK;
        let Some(resolvers) = self.system.news() else { return false };
        self.planner.follow(resolvers);
        self.resolver.poke();
        true
    }

    /// The targets may be others now: tells the core, the engine and the resolver.
    pub(super) fn replan(&mut self, now: Moment) {
        let mut planned = self.planner.plan(now.mono, self.health.network());
        self.replan_due = false;
        self.next_replan = now.mono + REPLAN * planned.len() as u32;
        let names = self.names.follow(&mut planned);
        self.resolver.set(&names);
        let network = self.health.network();
        let connected: Vec<Route> = network.connected_routes().cloned().collect();
        let same = planned == self.planned;
        if same && connected == self.connected {
            return;
        }
        self.connected = connected;
        let on_link: Vec<bool> = planned.iter().map(|p| is_on_link(p, network)).collect();
        if same && on_link == self.on_link {
            return;
        }
        if !same {
            self.health.set_targets(now, planned.iter().map(|p| p.spec.clone()).collect());
            self.diagnoser.forget_others(&self.health);
        }
        let specs = planned.iter().zip(&on_link).map(|(p, on_link)| probe_spec(p, *on_link));
        self.engine.set_targets(specs.collect());
        (self.planned, self.on_link) = (planned, on_link);
    }
}

/// Whether no router lies between.
fn is_on_link(p: &Planned, network: &Network) -> bool {
    p.spec.role == Role::Gateway || p.spec.addresses.iter().all(|a| network.is_on_link(*a))
}

fn probe_spec(p: &Planned, on_link: bool) -> probe::TargetSpec {
    probe::TargetSpec {
        path: Arc::clone(&p.path),
        fallback_ports: FALLBACK_PORTS.to_vec(),
        interval: p.interval,
        timeout: p.timeout,
        scope: p.spec.link.map_or(0, |i| i.0),
        on_link,
        ..probe::TargetSpec::new(p.spec.id, p.spec.addresses.clone(), p.spec.method.clone())
    }
}
