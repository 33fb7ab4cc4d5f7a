//! What the resolver says of targets' names, as far as their probes can use it. Pure.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    observation::{Evidence, PathOptions, TargetId},
    plan::Planned,
};

/// The names of targets, with the addresses that their probes can go to.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<TargetId, Name>);

#[derive(Debug)]
struct Name {
    host: String,
    path: Arc<PathOptions>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// From now on the names of these targets, which get the addresses that are known of them. Gives every name.
    pub(super) fn follow(&mut self, planned: &mut [Planned]) -> HashMap<TargetId, String> {
        let mut old = std::mem::take(&mut self.0);
        let mut hosts = HashMap::new();
        for p in planned.iter_mut().filter(|p| p.spec.addresses.is_empty()) {
            // A target's number changes with its path, not with its host.
            let known = old.remove(&p.spec.id).filter(|name| name.host == p.spec.host);
            let name = known.unwrap_or_else(|| Name {
                host: p.spec.host.clone(),
                path: Arc::clone(&p.path),
                addresses: Vec::new(),
            });
            p.spec.addresses.clone_from(&name.addresses);
            hosts.insert(p.spec.id, name.host.clone());
            self.0.insert(p.spec.id, name);
        }
        hosts
    }

    /// Takes what was said of a name, and gives what it means for the target.
    pub(super) fn learn(&mut self, evidence: Evidence) -> Evidence {
        let Evidence::Resolved { target, mut addresses } = evidence else { return evidence };
        let Some(name) = self.0.get_mut(&target) else { return Evidence::Resolved { target, addresses } };
        addresses.retain(|address| name.path.suits(*address));
        name.addresses.clone_from(&addresses);
        match name.path.source.filter(|_| addresses.is_empty()) {
            Some(source) => {
                let error = format!("none of its addresses can be reached from {source}");
                Evidence::ResolveFailed { target, error }
            }
            None => Evidence::Resolved { target, addresses },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config::Config, observation::Network, plan::Planner, time::Mono};

    fn planned(text: &str) -> Vec<Planned> {
        let text = format!("[defaults]\nauto_targets = false\n[[target]]\nname = \"t\"\n{text}");
        let config = Config::parse(&text, Path::new("t")).unwrap();
        Planner::new(Arc::new(config), Vec::new()).plan(Mono::default(), &Network::default())
    }

    fn resolved(addresses: &[&str]) -> Evidence {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Evidence::Resolved { target: TargetId(0), addresses }
    }

    #[test]
    fn addresses_that_the_source_cannot_reach_are_left_out_and_none_at_all_is_a_failure() {
        let mut names = Names::default();
        let mut all = planned("host = \"a.example\"\nsource = \"192.0.2.1\"");
        assert_eq!(names.follow(&mut all), HashMap::from([(TargetId(0), "a.example".to_owned())]));
        assert!(all[0].spec.addresses.is_empty());
        let told = names.learn(resolved(&["192.0.2.9", "2001:db8::9"]));
        assert_eq!(told, resolved(&["192.0.2.9"]));
        all[0].spec.addresses.clear();
        names.follow(&mut all);
        assert_eq!(all[0].spec.addresses, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
        let error = "none of its addresses can be reached from 192.0.2.1".to_owned();
        let told = names.learn(resolved(&["2001:db8::9"]));
        assert_eq!(told, Evidence::ResolveFailed { target: TargetId(0), error });
        all[0].spec.addresses.clear();
        names.follow(&mut all);
        assert!(all[0].spec.addresses.is_empty());
    }

    #[test]
    fn another_host_begins_without_addresses() {
        let mut names = Names::default();
        let mut all = planned("host = \"a.example\"");
        names.follow(&mut all);
        assert_eq!(names.learn(resolved(&["192.0.2.9"])), resolved(&["192.0.2.9"]));
        for (host, known) in [("a.example", 1), ("b.example", 0)] {
            let mut all = planned(&format!("host = \"{host}\""));
            names.follow(&mut all);
            assert_eq!(all[0].spec.addresses.len(), known, "{host}");
        }
    }
}
