//! What the core knows, as a snapshot shows it.

use std::{collections::HashSet, sync::Arc};

use super::{AddressView, DeviceView, TargetView};
use crate::{
    diagnosis::Known,
    health::{AddressEvidence, Device, Health, Target},
    observation::{IfIndex, Link},
    time::Mono,
};

/// With more targets than this a change is shown without looking at all the others anew.
const WHOLE: usize = 1000;

/// The devices of `health` at `now`.
pub fn devices(health: &Health, now: Mono) -> Vec<Arc<DeviceView>> {
    health.devices().filter_map(|d| device(d, health, now)).map(Arc::new).collect()
}

/// The targets of `health`, every figure anew.
pub fn targets(health: &Health, known: &Known) -> Vec<Arc<TargetView>> {
    health.targets().map(|t| Arc::new(target(t, known))).collect()
}

/// The same for a change of these targets alone. Where there are many, the others stand as they were last shown: a
/// hundred thousand are not to be looked through for each that changes.
pub fn targets_changed(
    health: &Health,
    known: &Known,
    shown: &[Arc<TargetView>],
    changed: &HashSet<&str>,
) -> Vec<Arc<TargetView>> {
    if shown.len() < WHOLE {
        return targets(health, known);
    }
    let mut shown = shown.iter();
    let one = |t: &Target| match shown.next() {
        Some(view) if Arc::ptr_eq(&view.name, &t.spec.name) && !changed.contains(&*t.spec.name) => {
            view.clone()
        }
        _ => Arc::new(target(t, known)),
    };
    health.targets().map(one).collect()
}

fn device(d: &Device, health: &Health, now: Mono) -> Option<DeviceView> {
    let network = health.network();
    let link = network.links.get(&d.index)?;
    let stands = |v4: bool| {
        let here = |r: &&crate::observation::Route| r.is_default() && r.ifindex == d.index;
        network.routes.iter().filter(here).any(|r| r.destination.is_ipv4() == v4)
    };
    Some(DeviceView {
        name: d.name.clone(),
        link: link.clone(),
        master: link.master.and_then(|m: IfIndex| network.links.get(&m)).map(|m| m.name.escaped()),
        lowers: network.links.values().filter(|l| carries(l, link)).map(|l| l.name.escaped()).collect(),
        addresses: network.addresses_of(d.index).map(|a| (a.address, a.prefix_len)).collect(),
        default_route: [stands(true), stands(false)],
        verdict: d.verdict.clone(),
        tcp: health.tcp().map(|t| t.devices.get(&d.index).copied().unwrap_or_default()),
        retransmit_ratio: health.retransmit_ratio(d, now),
    })
}

/// Whether `upper` stands on `lower`.
fn carries(lower: &Link, upper: &Link) -> bool {
    lower.master == Some(upper.index) || upper.lower == Some(lower.index)
}

fn target(t: &Target, known: &Known) -> TargetView {
    // Statistics are shared, not copied: the core copies those of an address when it next learns something of it.
    let address = |a: &AddressEvidence| AddressView {
        address: a.address,
        state: a.fsm.state(),
        stats: Arc::clone(&a.stats),
        detail: a.detail.get(),
    };
    TargetView {
        name: t.spec.name.clone(),
        host: t.spec.host.clone(),
        scope: t.spec.scope.clone(),
        method: t.spec.method.as_str(),
        verdict: t.verdict.clone(),
        diagnosis: known.target(t.spec.id).cloned(),
        look_up: t.look_up,
        addresses: t.addresses.iter().map(address).collect(),
        departed: t.departed.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        health::{Role, Settings, TargetSpec, Watch},
        observation::{Method, TargetId},
        time::Moment,
    };

    #[test]
    fn of_many_targets_only_those_that_changed_are_looked_at_anew() {
        let at = |s: u64| Moment::default().after(Duration::from_secs(s));
        let watch = Watch::new(&["*".into()], &[]).unwrap();
        let mut health = Health::new(at(0), Settings::default(), watch, false);
        let spec = |i: u32| TargetSpec {
            id: TargetId(i),
            name: format!("t{i}").into(),
            host: "127.0.0.1".to_owned(),
            scope: "custom".to_owned(),
            method: Method::Icmp,
            role: Role::Plain,
            addresses: vec!["127.0.0.1".parse().unwrap()],
            link: None,
        };
        health.set_targets(at(0), (0..2_000).map(spec).collect());
        let known = Known::default();
        let first = targets(&health, &known);
        let next = targets_changed(&health, &known, &first, &["t7", "t1999"].into());
        let anew: Vec<usize> = (0..2_000).filter(|i| !Arc::ptr_eq(&first[*i], &next[*i])).collect();
        assert_eq!(anew, [7, 1999]);
        // Others are shown where others are.
        health.set_targets(at(2), (1..2_001).map(spec).collect());
        let last = targets_changed(&health, &known, &next, &HashSet::new());
        let names = |views: &[Arc<TargetView>]| views.iter().map(|v| v.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&last), names(&targets(&health, &known)));
    }
}
