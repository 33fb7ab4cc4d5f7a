//! One rendering of the metrics, in each form, beside vectors of the `prometheus` crate that hold the same series.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use netmon_agent::{
    health::{AddressStats, State},
    observation::{ProbeDetail, ProbeOutcome, StampSource},
    output::{
        WallOffset,
        metrics::{self, Format, Options, Own, Writer},
    },
    state::{AddressView, Snapshot, TargetView},
    time::{Moment, Mono},
};

use crate::{cpu::cpu, peer::Peer};

const ROUNDS: u32 = 10;
/// The peer takes a second.
const PEER_ROUNDS: u32 = 3;

/// Prints CPU time and bytes of a scrape of so many targets, each probed every two seconds for more than a minute.
pub(crate) fn measure(count: u32) -> Result<()> {
    let (snapshot, own) = (snapshot(count), Own::new());
    let (walls, options) = (WallOffset::default(), Options::default());
    let render = |writer| metrics::render(&snapshot, &[], false, walls, &own, options, writer);
    // As the agent does it: with room for as much as the last one was.
    let mut room = 0;
    let mut plain = |format| {
        let written = render(Writer::with_room(format, room));
        room = written.len();
        Ok(written)
    };
    let (text, text_cpu) = best(ROUNDS, || plain(Format::Text))?;
    let series = samples(&text);
    println!(
        "scrape of {count} targets: {series} series, {} a target (CPU, best of {ROUNDS})",
        series / count as usize
    );
    tell("text", &text, text_cpu);
    for (form, format) in [("text", Format::Text), ("protobuf", Format::Protobuf)] {
        if format != Format::Text {
            let (body, cpu) = best(ROUNDS, || plain(format))?;
            tell(form, &body, cpu);
        }
        let (body, cpu) = best(ROUNDS, || Ok(render(Writer::compressed(format))))?;
        tell(&format!("{form}, gzip"), &body, cpu);
    }
    let peer = Peer::of(std::str::from_utf8(&text)?)?;
    let (theirs, cpu) = best(PEER_ROUNDS, || peer.render())?;
    ensure!(samples(&theirs) == series, "the peer has {} series", samples(&theirs));
    tell("vectors of the prometheus crate", &theirs, cpu);
    println!("  text takes {:.1} % of theirs", text_cpu.as_secs_f64() / cpu.as_secs_f64() * 100.0);
    Ok(())
}

fn tell(form: &str, body: &[u8], cpu: Duration) {
    println!("  {form:<32} {:>8.1} ms {:>10} bytes", cpu.as_secs_f64() * 1e3, body.len());
}

/// The last of so many, and the least CPU time that one of them took.
fn best(rounds: u32, mut make: impl FnMut() -> Result<Vec<u8>>) -> Result<(Vec<u8>, Duration)> {
    let (mut made, mut least) = (Vec::new(), Duration::MAX);
    for _ in 0..rounds {
        // The body before has gone by then, as that of a scrape has.
        drop(std::mem::take(&mut made));
        let started = cpu();
        made = make()?;
        least = least.min(cpu().saturating_sub(started));
    }
    Ok((made, least))
}

fn samples(text: &[u8]) -> usize {
    text.split(|b| *b == b'\n').filter(|l| !l.is_empty() && l[0] != b'#').count()
}

fn snapshot(count: u32) -> Snapshot {
    let target = |n: u32| {
        let mut stats = AddressStats::default();
        for second in 0..40 {
            // Other times for each: alike, they would be packed better and predicted better than real ones.
            let rtt = Duration::from_nanos(u64::from(1_234_567 + (n * 7919 + second * 104_729) % 2_000_003));
            let reply =
                ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false };
            stats.record(at(second), &reply);
        }
        TargetView {
            name: format!("target-{n}").into(),
            host: format!("host-{n}.example.com"),
            scope: "custom".into(),
            method: "icmp",
            addresses: vec![AddressView {
                address: Ipv4Addr::from(0x0a00_0000 + n).into(),
                state: State::Up,
                stats: Arc::new(stats),
                detail: ProbeDetail::default(),
            }],
            ..TargetView::default()
        }
    };
    let now = Moment { mono: at(40), ..Moment::default() };
    Snapshot { targets: (0..count).map(|n| Arc::new(target(n))).collect(), at: now, ..Snapshot::default() }
}

fn at(probe: u32) -> Mono {
    Mono::from_nanos(u64::from(probe) * 2_000_000_000)
}
