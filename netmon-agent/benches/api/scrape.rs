//! One rendering of the metrics.

use std::{sync::Arc, time::Duration};

use netmon_agent::{
    health::State,
    observation::ProbeDetail,
    output::{
        WallOffset,
        metrics::{self, Format, Own},
    },
    state::{AddressView, ProbeCounters, Snapshot, TargetView},
    time::Mono,
};

const ROUNDS: u32 = 10;

pub(crate) fn measure(count: u32) {
    let address = AddressView {
        address: std::net::Ipv4Addr::new(10, 0, 0, 1).into(),
        state: State::Up,
        counters: ProbeCounters::default(),
        loss_ratio: Some(0.0),
        rtt_last: None,
        rtt_p50: Some(Duration::from_micros(1234)),
        rtt_p90: Some(Duration::from_micros(2345)),
        rtt_p99: Some(Duration::from_micros(3456)),
        jitter: Some(Duration::from_micros(12)),
        detail: ProbeDetail::default(),
    };
    let target = |n: u32| TargetView {
        name: format!("target-{n}").into(),
        method: "icmp",
        addresses: vec![address.clone()],
        ..TargetView::default()
    };
    let targets = (0..count).map(|n| Arc::new(target(n))).collect();
    let (snapshot, own) = (Snapshot { targets, ..Snapshot::default() }, Own::new());
    let (mut render, mut pack) = (Duration::MAX, Duration::MAX);
    let (mut series, mut bytes, mut packed) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let started = Mono::now();
        let text = metrics::render(&snapshot, false, WallOffset::default(), &own, Format::Text);
        let rendered = Mono::now();
        packed = metrics::gzip(&text).map_or(0, |p| p.len());
        render = render.min(rendered.since(started));
        pack = pack.min(Mono::now().since(rendered));
        (series, bytes) = (text.lines().filter(|l| !l.starts_with('#')).count(), text.len());
    }
    println!(
        "scrape of {count} targets: {series} series, {bytes} bytes in {render:.2?}; \
         gzip to {packed} bytes in {pack:.2?} (best of {ROUNDS})"
    );
}
