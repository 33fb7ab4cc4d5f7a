//! What is known of a target, and what it costs: nanoseconds and allocations a record, bytes an address, and the time
//! of a snapshot, by the thread's own CPU time: `cargo bench -p netmon-agent --bench stats -- [ADDRESSES]` (10000).
//!
//! Each address answers every two seconds for an hour, as a host in the same house does: three tenths of a millisecond,
//! give or take a sixth, now and then three times as much; one probe in five hundred is lost.

mod common;
#[path = "common/cpu.rs"]
mod cpu;

use std::{cell::Cell, net::Ipv4Addr, sync::Arc, time::Duration};

use allocation_counter::{AllocationInfo, measure};
use anyhow::Result;
use netmon_agent::{
    diagnosis::Known,
    health::{AddressStats, Health, Quantiles, Role, Settings, Span, TargetSpec, Watch},
    observation::{
        Evidence, FailureReason, Method, Observation, ProbeEvent, ProbeOutcome, StampSource, TargetId,
    },
    state,
    time::{Moment, Mono},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use common::count;
use cpu::cpu;

const INTERVAL: Duration = Duration::from_secs(2);

/// Probes an hour.
const HOUR: u32 = 1800;

fn main() -> Result<()> {
    let Some(count) = count()? else { return Ok(()) };
    let outcomes = outcomes();
    records(count, &outcomes);
    snapshots(count, &outcomes);
    Ok(())
}

/// An hour of many addresses: each begins elsewhere in the same long row.
fn outcomes() -> Vec<ProbeOutcome> {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut one = || {
        if rng.random_bool(0.002) {
            return ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None };
        }
        // Four uniform numbers are near enough to a normal one, of deviation 1.
        let normal = ((0..4).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 2.0) * 3f64.sqrt();
        let slow = if rng.random_bool(0.01) { 3.0 } else { 1.0 };
        let rtt = Duration::from_secs_f64(3e-4 * (normal / 6.0).exp() * slow);
        ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false }
    };
    (0..65_536).map(|_| one()).collect()
}

fn outcome(outcomes: &[ProbeOutcome], address: u32, probe: u32) -> &ProbeOutcome {
    &outcomes[(address.wrapping_mul(7919).wrapping_add(probe) % 65_536) as usize]
}

fn at(probe: u32) -> Mono {
    Mono::from_nanos(1_000_000_000) + INTERVAL * probe
}

fn records(count: u32, outcomes: &[ProbeOutcome]) {
    let mut all: Vec<Arc<AddressStats>> = Vec::new();
    let took = Cell::new(Duration::ZERO);
    // A publication shares all of them, as a snapshot does, and frees what the one before shared.
    let hour = |all: &mut Vec<Arc<AddressStats>>, from: u32, publish_every: u32| {
        let started = cpu();
        let mut published = Vec::new();
        for probe in from..from + HOUR {
            for (address, stats) in (0..).zip(all.iter_mut()) {
                Arc::make_mut(stats).record(at(probe), outcome(outcomes, address, probe));
            }
            if probe % publish_every == 0 {
                published = all.clone();
            }
        }
        drop(published);
        took.set(cpu().saturating_sub(started));
    };
    let first = measure(|| {
        all.resize_with(count as usize, Arc::default);
        hour(&mut all, 0, HOUR);
    });
    let n = f64::from(count) * f64::from(HOUR);
    println!("{count} addresses, an hour: {:.0} bytes an address in all", held(&first) / f64::from(count));
    for (i, (publish_every, when)) in
        (1..).zip([(u32::MAX, "at no time"), (15, "every 30 s"), (1, "every 2 s")])
    {
        let again = measure(|| hour(&mut all, i * HOUR, publish_every));
        println!(
            "published {when}: {:.1} ns and {:.3} allocations a record",
            took.get().as_nanos() as f64 / n,
            again.count_total as f64 / n,
        );
    }
    let (now, mut quantiles) = (at(4 * HOUR), Quantiles::default());
    for span in Span::ALL {
        let started = cpu();
        let probes: u64 = all.iter().map(|stats| stats.figures(span, now, &mut quantiles).probes()).sum();
        let took = cpu().saturating_sub(started).as_nanos() as f64 / f64::from(count);
        println!(
            "figures of {}, {} probes: {took:.0} ns an address",
            span.as_str(),
            probes / u64::from(count)
        );
    }
}

fn held(info: &AllocationInfo) -> f64 {
    info.bytes_current as f64
}

fn snapshots(count: u32, outcomes: &[ProbeOutcome]) {
    let start = Moment { mono: at(0), ..Moment::default() };
    let everything = Watch::new(&[], &[]).expect("no pattern is bad");
    let mut health = Health::new(start, Settings::default(), everything, false);
    let spec = |n: u32| TargetSpec {
        id: TargetId(n),
        name: format!("target-{n}").into(),
        host: format!("host-{n}.example.com"),
        scope: "custom".into(),
        method: Method::Icmp,
        role: Role::Plain,
        addresses: vec![Ipv4Addr::from(0x0a00_0000 + n).into()],
        link: None,
    };
    health.set_targets(start, (0..count).map(spec).collect());
    let mut round = |probe: u32| {
        let now = start.after(INTERVAL * probe);
        for n in 0..count {
            let address = Ipv4Addr::from(0x0a00_0000 + n).into();
            let mut tell = |outcome| {
                let event = ProbeEvent { target: TargetId(n), address, seq: probe.into(), outcome };
                health.handle(now, Observation { at: now.mono, evidence: Evidence::Probe(event) });
            };
            tell(ProbeOutcome::Sent);
            tell(outcome(outcomes, n, probe).clone());
        }
        while health.poll_event().is_some() {}
    };
    (1..=HOUR).for_each(&mut round);
    let mut best = Duration::MAX;
    let info = measure(|| {
        for _ in 0..5 {
            let started = cpu();
            let made = (state::devices(&health, at(HOUR)), state::targets(&health, &Known::default()));
            best = best.min(cpu().saturating_sub(started));
            drop(made);
        }
    });
    println!(
        "a snapshot of {count} targets: {best:.2?}, {:.1} allocations a target (best of 5)",
        info.count_total as f64 / 5.0 / f64::from(count)
    );
}
