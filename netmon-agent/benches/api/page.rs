//! One status page, over the socket: bytes, and the processor's time of all who have to do with it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use netmon_agent::{
    health::{AddressStats, State, Verdict},
    observation::{FailureReason, ProbeDetail, ProbeOutcome, StampSource},
    output::api::{self, Options},
    state::{AddressView, Board, Snapshot, TargetView},
    time::{Moment, Mono},
};
use nix::sys::resource::{UsageWho, getrusage};

const ROUNDS: u32 = 20;
/// A probe every two seconds.
const HOUR: u64 = 1800;

pub(crate) fn measure(count: usize) -> Result<()> {
    let now = Moment::now();
    let mut stats = AddressStats::default();
    for n in 0..HOUR {
        let rtt = Duration::from_micros(1200 + n * 7 % 400);
        let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false };
        let lost = ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None };
        let at = now.mono.as_nanos().saturating_sub((HOUR - n) * 2_000_000_000);
        stats.record(Mono::from_nanos(at), if n % 40 == 0 { &lost } else { &reply });
    }
    let stats = Arc::new(stats);
    let target = |n: usize| TargetView {
        name: format!("target-{n}").into(),
        host: format!("host-{n}.example.net"),
        scope: "custom".into(),
        method: "icmp",
        verdict: Verdict { state: if n % 50 == 7 { State::Down } else { State::Up }, ..Verdict::default() },
        addresses: vec![AddressView {
            address: std::net::Ipv4Addr::new(10, 0, 0, 1).into(),
            state: State::Up,
            stats: stats.clone(),
            detail: ProbeDetail::default(),
        }],
        ..TargetView::default()
    };
    let targets = (0..count).map(|n| Arc::new(target(n))).collect();
    let snapshot = Snapshot { at: now, targets, ..Snapshot::default() };

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("netmon.sock");
    let inside = runtime.enter();
    let board = Board::new(snapshot, Duration::from_secs(600));
    let _server = api::start(board, Options { socket: socket.clone(), ..Options::default() })?;
    drop(inside);
    for (what, path) in [
        ("whole page", "/"),
        ("what changes", "/?part=live"),
        ("a search", "/?q=target-77&state=faulty&part=live"),
    ] {
        get(&socket, path)?;
        let (before, mut bytes) = (processor()?, 0);
        for _ in 0..ROUNDS {
            bytes = get(&socket, path)?;
        }
        let each = (processor()? - before) / ROUNDS;
        println!("page of {count} targets, {what}: {bytes} bytes, {each:.2?} of the processor");
    }
    Ok(())
}

fn get(socket: &std::path::Path, path: &str) -> Result<usize> {
    let mut stream = UnixStream::connect(socket)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(answer.split_once("\r\n\r\n").context("no body")?.1.len())
}

/// Time of the processor that this process has taken.
fn processor() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let of = |t: nix::sys::time::TimeVal| {
        Duration::from_secs(t.tv_sec() as u64) + Duration::from_micros(t.tv_usec() as u64)
    };
    Ok(of(usage.user_time()) + of(usage.system_time()))
}
