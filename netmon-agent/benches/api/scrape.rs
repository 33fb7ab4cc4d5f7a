//! One rendering of the metrics.

use std::{sync::Arc, time::Duration};

use netmon_agent::{
    health::{AddressStats, State},
    observation::{ProbeDetail, ProbeOutcome, StampSource},
    output::{
        WallOffset,
        metrics::{self, Format, Options, Own},
    },
    state::{AddressView, Snapshot, TargetView},
    time::Mono,
};

const ROUNDS: u32 = 10;

pub(crate) fn measure(count: u32) {
    let mut stats = AddressStats::default();
    for second in 0..60 {
        let rtt = Duration::from_micros(1234 + second * 40);
        let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false };
        stats.record(Mono::from_nanos(second * 1_000_000_000), &reply);
    }
    let address = AddressView {
        address: std::net::Ipv4Addr::new(10, 0, 0, 1).into(),
        state: State::Up,
        stats: Arc::new(stats),
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
        let text = metrics::render(
            &snapshot,
            &[],
            false,
            WallOffset::default(),
            &own,
            Options::default(),
            Format::Text,
        );
        let rendered = Mono::now();
        packed = metrics::gzip(&text).map_or(0, |p| p.len());
        render = render.min(rendered.since(started));
        pack = pack.min(Mono::now().since(rendered));
        (series, bytes) =
            (text.split(|b| *b == b'\n').filter(|l| !l.is_empty() && l[0] != b'#').count(), text.len());
    }
    println!(
        "scrape of {count} targets: {series} series, {bytes} bytes in {render:.2?}; \
         gzip to {packed} bytes in {pack:.2?} (best of {ROUNDS})"
    );
}
