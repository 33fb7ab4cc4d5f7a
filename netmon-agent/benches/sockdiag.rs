//! What a dump of the kernel's TCP sockets costs, beside `ss -tinH` in the same run:
//! `cargo bench -p netmon-agent --bench sockdiag -- [SOCKETS…]` (1000 and 10000).
//!
//! The connections go over loopback, in a network namespace of the bench's own with root and in the machine's without.
//! A connection is two sockets, so 10,000 of them need 10,000 descriptors.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use netmon_agent::{
    source::sockdiag::{Look, Progress, Reader, Socket, Step, Tally},
    time::Mono,
};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
        time::TimeVal,
    },
    time::{ClockId, clock_gettime},
};

const ROUNDS: u32 = 20;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; `cargo test --benches` does not, and has nothing to learn from figures.
    if !words.iter().any(|w| w == "--bench") {
        return Ok(());
    }
    let counts = words.iter().filter(|w| *w != "--bench");
    let counts: Vec<usize> =
        counts.map(|w| w.parse().with_context(|| format!("{w:?} is no count"))).collect::<Result<_>>()?;
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        ensure!(Command::new("ip").args(["link", "set", "lo", "up"]).status()?.success(), "lo is down");
    } else {
        println!("in the machine's own namespace: its other sockets count too");
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let counts = if counts.is_empty() { vec![0, 1000, 10_000] } else { counts };
    counts.into_iter().try_for_each(measure)
}

fn measure(sockets: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = listener.local_addr()?;
    let connect = |_| Ok((TcpStream::connect(to)?, listener.accept()?.0));
    let pairs = (0..sockets.div_ceil(2)).map(connect).collect::<std::io::Result<Vec<_>>>()?;
    let mut reader = Reader::open()?;
    // The first gives every socket its cookie.
    reader.collect(|| (), |(), _| ())?;

    let (mut bare, mut full, mut compared, mut longest) =
        (Duration::MAX, Duration::MAX, Duration::MAX, Duration::ZERO);
    let (mut found, mut steps) = (0, 0);
    let mut progress = Progress::default();
    for _ in 0..ROUNDS {
        let started = cpu()?;
        (steps, found) = (0, 0);
        loop {
            let began = cpu()?;
            let step = reader.step(|_| found += 1)?;
            longest = longest.max(cpu()?.saturating_sub(began));
            steps += 1;
            if let Step::Done(_) = step {
                break;
            }
        }
        bare = bare.min(cpu()?.saturating_sub(started));

        let started = cpu()?;
        reader.collect(
            || (Tally::default(), Look::default()),
            |(tally, look), socket| {
                tally.add(socket, |_| None);
                look.add(&outward(socket), |_| None);
            },
        )?;
        full = full.min(cpu()?.saturating_sub(started));

        let (look, _) = reader.collect(Look::default, |look, socket| look.add(&outward(socket), |_| None))?;
        let started = cpu()?;
        progress.settle(Mono::now(), look);
        compared = compared.min(cpu()?.saturating_sub(started));
    }
    let theirs = (0..ROUNDS.min(5)).map(|_| ss()).collect::<Result<Vec<_>>>()?;
    let theirs = theirs.into_iter().min().unwrap_or_default();
    let each = |all: Duration| all.as_nanos() as f64 / f64::from(u32::try_from(found.max(1)).unwrap_or(1));
    println!(
        "{found} sockets: dump {bare:.2?} CPU ({:.0} ns a socket), with both sums {full:.2?} ({:.0} ns); {steps} steps, \
         the longest {longest:.0?} of CPU; comparing two looks {compared:.2?}; `ss -tinH` {theirs:.2?} CPU: {:.1} times as much \
         (best of {ROUNDS})",
        each(bare),
        each(full),
        theirs.as_secs_f64() / full.as_secs_f64(),
    );
    drop(pairs);
    Ok(())
}

/// The same socket as if it went to another host, each to a prefix of its own: loopback is left out.
fn outward(socket: &Socket) -> Socket {
    let remote = Ipv4Addr::from(0x0a00_0000 | (socket.cookie as u32 & 0xffff) << 8);
    Socket { local: Ipv4Addr::new(192, 0, 2, 1).into(), remote: remote.into(), ..*socket }
}

/// CPU time of this thread, kernel's included.
fn cpu() -> Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?))
}

/// CPU time of `ss` over the same sockets, kernel's included.
fn ss() -> Result<Duration> {
    let used = || -> Result<Duration> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let micros = |time: TimeVal| {
            Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()).unsigned_abs())
        };
        Ok(micros(usage.user_time()) + micros(usage.system_time()))
    };
    let before = used()?;
    let status = Command::new("ss").arg("-tinH").stdout(Stdio::null()).status().context("ss")?;
    ensure!(status.success(), "ss: {status}");
    Ok(used()?.saturating_sub(before))
}
