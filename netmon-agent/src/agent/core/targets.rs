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

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path, time::Duration};

    use super::*;
    use crate::{
        config::Config,
        health::Health,
        observation::{Evidence, Observation, ProbeEvent, ProbeOutcome, StampSource, TargetId},
        plan::Planner,
    };

    const MANY: usize = 1500;

    /// What is known of a target, and where that is kept.
    type Known = (TargetId, *const crate::health::AddressStats, crate::health::Verdict);

    fn known(health: &Health) -> HashMap<String, Known> {
        let of =
            |t: &crate::health::Target| (t.spec.id, Arc::as_ptr(&t.addresses[0].stats), t.verdict.clone());
        health.targets().map(|t| (t.spec.name.to_string(), of(t))).collect()
    }

    fn config(targets: impl Iterator<Item = (usize, &'static str)>) -> Arc<Config> {
        let of = |(i, more): (usize, &str)| {
            format!("[[target]]\nname = \"t{i}\"\nhost = \"10.1.{}.{}\"\n{more}\n", i / 250, i % 250 + 1)
        };
        let text = format!("[defaults]\nauto_targets = false\n{}", targets.map(of).collect::<String>());
        Arc::new(Config::parse(&text, Path::new("netmon.toml")).unwrap())
    }

    /// As [`Core::reload`] does it, without the threads around it.
    fn reload(now: Moment, planner: &mut Planner, health: &mut Health, config: Arc<Config>) {
        health.configure(now, config.health.clone(), config.watch.clone());
        planner.configure(config);
        let planned = planner.plan(now.mono, health.network());
        health.set_targets(now, planned.into_iter().map(|p| p.spec).collect());
    }

    #[test]
    fn of_many_targets_a_reload_touches_those_alone_that_changed() {
        let now = Moment::now();
        let first = config((0..MANY).map(|i| (i, "")));
        let mut health = Health::new(now, first.health.clone(), first.watch.clone(), false);
        let mut planner = Planner::new(Arc::clone(&first), Vec::new());
        reload(now, &mut planner, &mut health, first);
        let all: Vec<_> = health.targets().map(|t| (t.spec.id, t.spec.addresses[0])).collect();
        let stamp = StampSource::Kernel;
        let reply = ProbeOutcome::Reply { rtt: Duration::from_millis(5), stamp, ttl: None, reordered: false };
        for seq in 1..=2 {
            for (target, address) in &all {
                for outcome in [ProbeOutcome::Sent, reply.clone()] {
                    let event = ProbeEvent { target: *target, address: *address, seq, outcome };
                    health.handle(now, Observation { at: now.mono, evidence: Evidence::Probe(event) });
                }
            }
        }
        let before = known(&health);
        assert_eq!(before.len(), MANY);

        // In another order; 7 with another host, 8 with another pace, without 9, and with one more.
        let numbers = (0..=MANY).rev().filter(|i| *i != 9);
        let next = config(numbers.map(|i| (i, if i == 8 { "interval = \"9s\"" } else { "" })));
        let mut next = (*next).clone();
        let seventh = next.targets.iter_mut().find(|t| t.name == "t7").unwrap();
        seventh.host = "10.9.9.9".to_owned();
        let later = now.after(Duration::from_millis(100));
        reload(later, &mut planner, &mut health, Arc::new(next));
        let after = known(&health);
        assert_eq!(after.len(), MANY);
        assert!(!after.contains_key("t9") && after.contains_key(&format!("t{MANY}")));
        let touched: Vec<&String> =
            before.iter().filter(|(name, known)| after.get(*name) != Some(known)).map(|(n, _)| n).collect();
        assert_eq!(touched.len(), 2, "{touched:?}");
        assert_ne!(after["t7"].1, before["t7"].1, "another host begins anew");
    }
}
