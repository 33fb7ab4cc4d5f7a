//! The set of targets: what comes, what goes, and what keeps its evidence.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    AddressEvidence, Health, LinkKnowledge, Review, Role, State, Target, TargetSpec, Verdict, flaps::Flaps,
    network,
};
use crate::{
    observation::{IfIndex, TargetId},
    time::{Moment, Mono},
};

impl Health {
    /// Sets the targets to these. One that is unchanged keeps its evidence; one whose addresses changed keeps that of
    /// the addresses that stayed.
    pub fn set_targets(&mut self, now: Moment, specs: Vec<TargetSpec>) {
        self.order = specs.iter().map(|s| s.id).collect();
        let kept: HashSet<TargetId> = self.order.iter().copied().collect();
        let gone: Vec<TargetId> = self.targets.keys().filter(|id| !kept.contains(id)).copied().collect();
        for id in gone {
            self.forget_target(id);
        }
        self.gateways = specs.iter().filter(|s| s.role == Role::Gateway).map(|s| s.id).collect();
        let usable = network::usable_links(&self.network, &self.settings);
        for spec in specs {
            // Of ten thousand mostly one is another.
            if self.targets.get(&spec.id).is_none_or(|known| known.spec != spec) {
                self.put_target(now, spec, &usable);
            }
        }
        // Their order may be another, too.
        self.dirty = true;
        self.judge_all(now);
    }

    pub(super) fn resolved(&mut self, now: Moment, id: TargetId, addresses: &[IpAddr]) {
        let Some(target) = self.targets.get(&id) else { return };
        let spec = TargetSpec { addresses: addresses.to_vec(), ..target.spec.clone() };
        let usable = network::usable_links(&self.network, &self.settings);
        self.put_target(now, spec, &usable);
        if let Some(target) = self.targets.get_mut(&id) {
            target.unresolved = None;
        }
        self.judge_target(now, id);
        // Many names come together, and that over all takes a look at every target.
        self.overall_due = Some(now);
    }

    fn put_target(&mut self, now: Moment, spec: TargetSpec, usable: &BTreeSet<IfIndex>) {
        self.ways = None;
        let id = spec.id;
        let mut old = self.targets.remove(&id);
        if let Some(t) = old.as_ref().filter(|t| t.spec.scope != spec.scope || t.spec.name != spec.name) {
            self.untally(&t.spec);
        }
        let links_known = self.links == LinkKnowledge::Known;
        let new = |a: IpAddr| {
            let reach = network::reach_of(&self.network, usable, &spec, a);
            let way = network::way_of(&self.network, usable, &spec, a);
            AddressEvidence::new(a, reach, way, links_known, self.settings.native_histograms)
        };
        // Of another host nothing is known yet; of the same one, that its name can't be resolved, however it is probed.
        let same_host = old.as_ref().is_some_and(|t| t.spec.host == spec.host);
        let unresolved = old.as_mut().filter(|_| same_host).and_then(|t| t.unresolved.take());
        let look_up = old.as_ref().filter(|_| same_host).and_then(|t| t.look_up);
        // Whatever it is now, it was told of under this name: what it turns into is told as a change of that.
        let new_verdict = || Verdict { since: now, ..Verdict::default() };
        let verdict = old.as_mut().map_or_else(new_verdict, |t| std::mem::take(&mut t.verdict));
        // What is probed otherwise is another thing: nothing that was seen of it counts any more.
        // But a device that was made anew is the same way, under another number; a gateway's link is part of its address.
        let mut old = old.filter(|t| {
            t.spec.method == spec.method && (t.spec.link == spec.link || spec.role == Role::Plain)
        });
        let relinked = old.as_ref().is_some_and(|t| t.spec.link != spec.link);
        let mut previous = old.as_mut().map(|t| std::mem::take(&mut t.addresses)).unwrap_or_default();
        // A name that has moved to other addresses is the same service: no state is lost until these are heard of.
        let moved = same_host
            && previous.iter().any(|a| a.fsm.state() == State::Up)
            && !previous.iter().any(|a| spec.addresses.contains(&a.address));
        let addresses =
            spec.addresses.iter().map(|address| match previous.iter().position(|a| a.address == *address) {
                Some(i) => previous.swap_remove(i),
                None => new(*address),
            });
        let mut addresses: Vec<AddressEvidence> = addresses.collect();
        if moved {
            addresses.iter_mut().for_each(|a| a.fsm.succeed(now.mono, &self.settings));
        }
        let mut departed = old.as_mut().and_then(|t| t.departed.take());
        for a in previous {
            self.timers.set((id, a.address), None);
            Arc::make_mut(departed.get_or_insert_default()).add(&a.stats);
        }
        let flaps = old.map_or_else(Flaps::default, |t| t.flaps);
        self.scopes.entry(spec.scope.clone()).or_default().put(&spec.name, verdict.state);
        self.targets.insert(id, Target { spec, addresses, verdict, unresolved, look_up, departed, flaps });
        self.dirty = true;
        if relinked && links_known {
            self.update_reach_of(now, id, usable, false);
        }
        if moved {
            self.attend(now.mono, id);
        }
    }

    fn forget_target(&mut self, id: TargetId) {
        if let Some(t) = self.targets.remove(&id) {
            self.ways = None;
            self.reviews.set(Review::Target(id), None);
            self.doubted.remove(&id);
            for a in &t.addresses {
                self.timers.set((id, a.address), None);
            }
            self.untally(&t.spec);
            self.dirty = true;
        }
    }

    fn untally(&mut self, spec: &TargetSpec) {
        if let Some(tally) = self.scopes.get_mut(&spec.scope) {
            tally.take(&spec.name);
            if tally.total() == 0 {
                self.scopes.remove(&spec.scope);
            }
        }
    }

    /// Probes under way will never be heard of: they neither convict nor acquit.
    pub(super) fn forget_probes(&mut self, now: Mono) {
        for t in self.targets.values_mut() {
            for a in &mut t.addresses {
                a.fsm.forget_outstanding(now);
                a.sampler.forget();
                self.timers.set((t.spec.id, a.address), a.fsm.deadline());
            }
        }
    }
}
