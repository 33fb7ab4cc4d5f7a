//! What the core knows, as a snapshot shows it.

use std::{sync::Arc, time::Duration};

use hdrhistogram::Histogram;

use super::{AddressView, DeviceView, TargetView};
use crate::{
    health::{AddressEvidence, Device, Health, Target},
    observation::{IfIndex, Link},
    time::Mono,
};

/// The devices and targets of `health` at `now`.
pub fn views(health: &Health, now: Mono) -> (Vec<Arc<DeviceView>>, Vec<Arc<TargetView>>) {
    let devices = health.devices().filter_map(|d| device(d, health, now));
    let mut quantiles = Quantiles::default();
    let targets = health.targets().map(|t| Arc::new(target(t, now, &mut quantiles)));
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
        detail: a.detail.get(),
    }
}

/// One histogram for all targets in turn: a window holds few samples, the histogram is for exact ranks and a bounded
/// error of 0.1 %.
struct Quantiles(Histogram<u32>);

impl Default for Quantiles {
    fn default() -> Self {
        // 1 ns to 60 s at three digits; these bounds are valid, so this can't fail.
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds"))
    }
}

impl Quantiles {
    fn of(&mut self, rtts: impl Iterator<Item = Duration>) -> [Option<Duration>; 3] {
        self.0.reset();
        for rtt in rtts {
            self.0.saturating_record(rtt.as_nanos() as u64);
        }
        let max = self.0.max();
        [0.5, 0.9, 0.99].map(|q| {
            // The upper edge of the highest bucket lies above every sample.
            (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.value_at_quantile(q).min(max)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ranks_with_a_bounded_error() {
        let mut q = Quantiles::default();
        assert_eq!(q.of(std::iter::empty()), [None; 3]);
        let ms = |m: u64| Duration::from_millis(m);
        let [p50, p90, p99] = q.of((1..=100).map(ms)).map(|d| d.unwrap().as_secs_f64() * 1e3);
        assert!(
            (p50 - 50.0).abs() < 0.05 && (p90 - 90.0).abs() < 0.1 && (p99 - 99.0).abs() < 0.1,
            "{p50} {p90} {p99}"
        );
        let [one, ..] = q.of(std::iter::once(Duration::from_nanos(61_500)));
        assert!((one.unwrap().as_nanos() as i64 - 61_500).abs() < 70);
    }
}
