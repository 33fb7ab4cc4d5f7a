//! What the core knows, as a snapshot shows it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{AddressView, DeviceView, TargetView};
use crate::{
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

/// The targets of `health` at `now`, every figure anew.
pub fn targets(health: &Health, now: Mono) -> Vec<Arc<TargetView>> {
    let mut quantiles = Quantiles::default();
    health.targets().map(|t| Arc::new(target(t, now, &mut quantiles))).collect()
}

/// The same for a change of these targets alone. Where there are many, the others stand as they were last shown: a
/// hundred thousand are not to be looked through for each that changes.
pub fn targets_changed(
    health: &Health,
    now: Mono,
    shown: &[Arc<TargetView>],
    changed: &HashSet<&str>,
) -> Vec<Arc<TargetView>> {
    if shown.len() < WHOLE {
        return targets(health, now);
    }
    let mut quantiles = Quantiles::default();
    let mut shown = shown.iter();
    let one = |t: &Target| match shown.next() {
        Some(view) if Arc::ptr_eq(&view.name, &t.spec.name) && !changed.contains(&*t.spec.name) => {
            view.clone()
        }
        _ => Arc::new(target(t, now, &mut quantiles)),
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

fn target(t: &Target, now: Mono, quantiles: &mut Quantiles) -> TargetView {
    TargetView {
        name: t.spec.name.clone(),
        host: t.spec.host.clone(),
        scope: t.spec.scope.clone(),
        method: t.spec.method.as_str(),
        verdict: t.verdict.clone(),
        addresses: t.addresses.iter().map(|a| address(a, now, quantiles)).collect(),
    }
}

fn address(a: &AddressEvidence, now: Mono, quantiles: &mut Quantiles) -> AddressView {
    let (lost, concluded) = a.stats.loss(now);
    let [p50, p90, p99] = quantiles.of(a.stats.rtts(now));
    AddressView {
        address: a.address,
        state: a.fsm.state(),
        counters: a.stats.counters.clone(),
        loss_ratio: (concluded > 0).then(|| lost as f64 / concluded as f64),
        rtt_last: a.stats.last_rtt(),
        rtt_p50: p50,
        rtt_p90: p90,
        rtt_p99: p99,
        jitter: a.stats.jitter(),
    }
}

/// Room for one window's samples, for all addresses in turn.
#[derive(Default)]
struct Quantiles(Vec<Duration>);

impl Quantiles {
    /// The median, the 90th and the 99th percentile: samples, by nearest rank.
    fn of(&mut self, rtts: impl Iterator<Item = Duration>) -> [Option<Duration>; 3] {
        self.0.clear();
        self.0.extend(rtts);
        self.0.sort_unstable();
        let rank = |percent: usize| (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        [50, 90, 99].map(|percent| self.0.get(rank(percent)).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        health::{Role, Settings, TargetSpec, Watch},
        observation::{Method, TargetId},
        time::Moment,
    };

    #[test]
    fn quantiles_are_samples_by_nearest_rank() {
        let mut q = Quantiles::default();
        assert_eq!(q.of(std::iter::empty()), [None; 3]);
        let ms = |m: u64| Duration::from_millis(m);
        assert_eq!(q.of((1..=100).rev().map(ms)), [50, 90, 99].map(|m| Some(ms(m))));
        assert_eq!(q.of((1..=3).map(ms)), [2, 3, 3].map(|m| Some(ms(m))));
        assert_eq!(
            q.of(std::iter::once(Duration::from_nanos(61_500))),
            [Some(Duration::from_nanos(61_500)); 3]
        );
    }

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
        let first = targets(&health, at(0).mono);
        let next = targets_changed(&health, at(1).mono, &first, &["t7", "t1999"].into());
        let anew: Vec<usize> = (0..2_000).filter(|i| !Arc::ptr_eq(&first[*i], &next[*i])).collect();
        assert_eq!(anew, [7, 1999]);
        // Others are shown where others are.
        health.set_targets(at(2), (1..2_001).map(spec).collect());
        let last = targets_changed(&health, at(2).mono, &next, &HashSet::new());
        let names = |views: &[Arc<TargetView>]| views.iter().map(|v| v.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&last), names(&targets(&health, at(2).mono)));
    }
}
