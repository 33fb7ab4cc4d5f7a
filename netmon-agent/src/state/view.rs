//! What the core knows, as a snapshot shows it.

use std::sync::Arc;

use super::{AddressView, DeviceView, TargetView};
use crate::{
    health::{AddressEvidence, Device, Health, Target},
    observation::{IfIndex, Link},
    time::Mono,
};

/// The devices and targets of `health` at `now`.
pub fn views(health: &Health, now: Mono) -> (Vec<Arc<DeviceView>>, Vec<Arc<TargetView>>) {
    let devices = health.devices().filter_map(|d| device(d, health, now));
    let targets = health.targets().map(|t| Arc::new(target(t)));
    (devices.map(Arc::new).collect(), targets.collect())
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

fn target(t: &Target) -> TargetView {
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
        addresses: t.addresses.iter().map(address).collect(),
    }
}
