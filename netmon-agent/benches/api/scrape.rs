//! One rendering of the metrics, in each form, beside vectors of the `prometheus` crate that hold the same series.

use std::{
    cell::Cell,
    hint::black_box,
    io::{self, Write},
    net::Ipv4Addr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, ensure};
use netmon_agent::{
    health::{AddressStats, State},
    observation::{ProbeDetail, ProbeOutcome, StampSource},
    output::{
        WallOffset,
        metrics::{self, Format, Options, Outlet, Own, Writer},
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
    // As the agent does it: in pieces, each of which is sent and its buffer used again.
    let sent = |writer: Writer| {
        let bytes = Rc::default();
        render(writer.through(Box::new(Sent { bytes: Rc::clone(&bytes) })));
        Ok(bytes.get())
    };
    let text = render(Writer::new(Format::Text));
    let series = samples(&text);
    let (bytes, text_cpu) = best(ROUNDS, || sent(Writer::new(Format::Text)))?;
    // But for the digits of the process's own figures it is the same text.
    ensure!(bytes.abs_diff(text.len()) < 64, "{bytes} bytes in pieces, {} as a whole", text.len());
    println!(
        "scrape of {count} targets: {series} series, {} a target (CPU, best of {ROUNDS})",
        series / count as usize
    );
    tell("text", bytes, text_cpu);
    for (form, writer) in [
        ("text, gzip", (|| Writer::compressed(Format::Text)) as fn() -> Writer),
        ("protobuf", || Writer::new(Format::Protobuf)),
        ("protobuf, gzip", || Writer::compressed(Format::Protobuf)),
    ] {
        let (bytes, cpu) = best(ROUNDS, || sent(writer()))?;
        tell(form, bytes, cpu);
    }
    let peer = Peer::of(std::str::from_utf8(&text)?)?;
    let mut theirs = Vec::new();
    peer.render(&mut theirs)?;
    ensure!(samples(&theirs) == series, "the peer has {} series", samples(&theirs));
    drop(theirs);
    // As programs use it: a text that is sent when it is whole.
    let (bytes, whole) = best(PEER_ROUNDS, || {
        let mut text = Vec::new();
        peer.render(&mut text)?;
        Ok(text.len())
    })?;
    tell("vectors of the prometheus crate", bytes, whole);
    let (bytes, cpu) = best(PEER_ROUNDS, || {
        let mut sent = Sent::default();
        peer.render(&mut sent)?;
        Ok(sent.bytes.get())
    })?;
    tell("the same, kept nowhere", bytes, cpu);
    let part = |theirs: Duration| text_cpu.as_secs_f64() / theirs.as_secs_f64() * 100.0;
    println!("  text takes {:.1} % of theirs, {:.1} % where they keep none either", part(whole), part(cpu));
    Ok(())
}

/// Takes what is written as a connection does, but for the system calls.
#[derive(Debug, Default)]
struct Sent {
    bytes: Rc<Cell<usize>>,
}

impl Outlet for Sent {
    fn take(&mut self, mut piece: Vec<u8>) -> Vec<u8> {
        self.bytes.update(|bytes| bytes + black_box(&piece).len());
        piece.clear();
        piece
    }

    fn end(&mut self, piece: Vec<u8>) {
        self.take(piece);
    }
}

impl Write for Sent {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.bytes.update(|bytes| bytes + black_box(piece).len());
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tell(form: &str, bytes: usize, cpu: Duration) {
    println!("  {form:<32} {:>8.1} ms {bytes:>10} bytes", cpu.as_secs_f64() * 1e3);
}

/// The bytes of so many, and the least CPU time that one of them took.
fn best(rounds: u32, mut make: impl FnMut() -> Result<usize>) -> Result<(usize, Duration)> {
    let (mut made, mut least) = (0, Duration::MAX);
    for _ in 0..rounds {
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
