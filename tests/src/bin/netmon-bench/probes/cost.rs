//! CPU, memory and time of many probes.

use std::io::Read;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::lab::{Netns, find_program};

use super::engine::{Job, Report};
use super::subject::{self, host, loopback};
use super::{Arguments, floor, median};

const SECOND: Duration = Duration::from_secs(1);
/// Echoes the floor is measured with.
const FLOOR: u32 = 200_000;

/// CPU per ICMP probe. Each run takes all subjects in turn, so that they share what the machine does beside.
pub fn icmp(arguments: &Arguments) -> Result<()> {
    let netns = loopback()?;
    println!("cost of an ICMP probe over loopback, medians of {}", arguments.runs);
    let floors = || (0..arguments.runs).map(|_| floor::measure(&netns, FLOOR, 1)).collect::<Result<Vec<_>>>();
    let floor = median(floors()?);
    println!("  floor, one target, two system calls: {floor:.2} µs");
    for &targets in &arguments.targets {
        let job = Job::icmp(host(1), targets, SECOND, arguments.time());
        let (mut ours, mut ratios, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        let mut like = Vec::new();
        let (mut paced, mut burst) = (Vec::new(), Vec::new());
        for _ in 0..arguments.runs {
            let floor = floor::measure(&netns, FLOOR, 1)?;
            let report = job.run(&netns)?;
            let each = report.each_us();
            like.push(each / floor::measure(&netns, FLOOR, targets)?);
            ours.push(each);
            ratios.push(each / floor);
            reports.push(report);
            // fping numbers its probes with 16 bits, and fails beyond.
            if !arguments.alone && targets <= 30_000 {
                paced.push(fping(&netns, targets, false, arguments.seconds)? / each);
                burst.push(fping(&netns, targets, true, arguments.seconds)? / each);
            }
        }
        let each = median(ours);
        println!("  {targets} targets at 1/s: {each:.2} µs, {:.0} a CPU-second", 1e6 / each);
        let (over, like) = (median(ratios), median(like));
        println!("    over the floor ×{over:.2}, over that of as many hosts ×{like:.2}; {}", worst(&reports));
        if !paced.is_empty() {
            let (paced, burst) = (median(paced), median(burst));
            println!("    fping paced ×{paced:.2}, burst ×{burst:.2} of ours");
        }
    }
    flood(arguments, &netns)?;
    if !arguments.alone {
        let (mut each, count) = (Vec::new(), 20 * arguments.seconds);
        for _ in 0..arguments.runs {
            let program = find_program("ping").context("ping is not installed")?;
            let arguments = ["-q", "-n", "-i", "0.05", "-c", &count.to_string(), "127.0.0.1"];
            let ran = subject::run(&netns, Command::new(program).args(arguments), "")?;
            each.push(ran.cpu.as_secs_f64() * 1e6 / count as f64);
        }
        println!("  ping, one target at 20/s: {:.2} µs", median(each));
    }
    Ok(())
}

/// As many as the engine can: it is asked for a million a second, and leaves out what it has no time for. A target has
/// one probe a turn at most, so it takes many to keep the engine busy.
fn flood(arguments: &Arguments, netns: &Netns) -> Result<()> {
    let job = Job::icmp(host(1), 10_000, Duration::from_millis(10), arguments.time());
    let mut each = Vec::new();
    let mut reports = Vec::new();
    for _ in 0..arguments.runs {
        let report = job.run(netns)?;
        each.push(report.each_us());
        reports.push(report);
    }
    let each = median(each);
    println!("  flood: {each:.2} µs, {:.0} a CPU-second; {}", 1e6 / each, worst(&reports));
    Ok(())
}

/// CPU per TCP probe.
pub fn tcp(arguments: &Arguments) -> Result<()> {
    let netns = loopback()?;
    let port = listen(&netns)?;
    println!("cost of a TCP probe over loopback, the accepting side's handshake included");
    for &targets in arguments.targets.iter().filter(|n| **n <= 10_000) {
        let job = Job::icmp(host(1), targets, SECOND, arguments.time()).tcp(port);
        let reports: Vec<_> = (0..arguments.runs).map(|_| job.run(&netns)).collect::<Result<_>>()?;
        let each = median(reports.iter().map(Report::each_us).collect());
        println!("  {targets} targets at 1/s: {each:.2} µs, {:.0} a CPU-second", 1e6 / each);
        println!("    {}", worst(&reports));
    }
    Ok(())
}

/// Memory of the engine alone, beyond what it takes without targets.
pub fn memory(arguments: &Arguments) -> Result<()> {
    let netns = loopback()?;
    println!("memory of the engine, anonymous");
    for &targets in &arguments.targets {
        // A probe is remembered for five seconds, so that is when it is full.
        let time = arguments.time().max(Duration::from_secs(7));
        let report = Job::icmp(host(1), targets, SECOND, time).run(&netns)?;
        let kib = report.anonymous_kib - report.empty_kib;
        println!(
            "  {targets} targets at 1/s: {:.1} MB, {:.0} bytes a target",
            report.anonymous_kib as f64 / 1024.0,
            kib as f64 * 1024.0 / f64::from(targets)
        );
    }
    Ok(())
}

/// Until every one of 10,000 targets has been answered.
pub fn start(arguments: &Arguments) -> Result<()> {
    let netns = loopback()?;
    for interval in [1, 10].map(Duration::from_secs) {
        let job = Job::icmp(host(1), 10_000, interval, Duration::ZERO);
        let reports: Vec<_> = (0..arguments.runs).map(|_| job.run(&netns)).collect::<Result<_>>()?;
        let times: Vec<_> = reports.iter().filter_map(|r| r.first_round_ms).collect();
        ensure!(times.len() == reports.len(), "a round was not completed: {reports:?}");
        println!(
            "first complete round of 10,000 targets, every {interval:?}: {:.0} ms after they were set",
            median(times)
        );
    }
    Ok(())
}

/// The worst run's losses, lateness and wake-ups.
fn worst(reports: &[Report]) -> String {
    let max = |get: fn(&Report) -> u64| reports.iter().map(get).max().unwrap_or_default();
    let unanswered = reports.iter().map(|r| r.sent.saturating_sub(r.replies)).max().unwrap_or_default();
    let bound = |get: fn(&Report) -> Option<f64>| {
        let latest = reports.iter().map(|r| get(r).unwrap_or(f64::INFINITY)).fold(0.0, f64::max);
        format!("≤ {latest} ms")
    };
    let rate = median(reports.iter().map(|r| r.sent as f64 * 1e6 / r.wall_us).collect());
    let switches = median(reports.iter().map(|r| r.switches as f64 * 1e6 / r.wall_us).collect());
    format!(
        "{rate:.0} a second, {switches:.0} switches a second; at worst {} failed, {} inconclusive, {unanswered} not yet \
         answered, {} skipped; lag p50 {}, p99 {}",
        max(|r| r.failed),
        max(|r| r.inconclusive),
        max(|r| r.skipped),
        bound(|r| r.lag_p50_ms),
        bound(|r| r.lag_p99_ms),
    )
}

/// Microseconds of CPU a probe of fping: one probe a target and second evenly spaced, or as fast as it can.
fn fping(netns: &Netns, targets: u32, burst: bool, seconds: u64) -> Result<f64> {
    let program = find_program("fping").context("fping is not installed: apt-get install fping")?;
    let count = if burst { 1 } else { seconds };
    // At `-i 0` it sends without a pause; it knows thousandths of a millisecond.
    let gap = if burst { "0".to_owned() } else { format!("{:.3}", 1_000.0 / f64::from(targets)) };
    let mut command = Command::new(program);
    command.args(["-q", "-b", "24", "-t", "1000", "-p", "1000", "-i", &gap, "-c", &count.to_string()]);
    let list: String = (1..=targets).map(|i| format!("{}\n", host(i))).collect();
    let ran = subject::run(netns, &mut command, &list)?;
    let answered = ran.output.lines().filter(|l| l.contains("/0%")).count();
    ensure!(answered as u32 * 100 >= targets * 99, "fping lost {} of {targets}", targets - answered as u32);
    Ok(ran.cpu.as_secs_f64() * 1e6 / (u64::from(targets) * count) as f64)
}

/// A listener that accepts and closes, on a thread that ends with the process.
pub fn listen(netns: &Netns) -> Result<u16> {
    let listener = netns.run(|| -> Result<TcpListener> {
        let listener = TcpListener::bind("0.0.0.0:0")?;
        // std asks for 128; a second call on the same socket lengthens its queue.
        socket2::SockRef::from(&listener).listen(4096)?;
        Ok(listener)
    })??;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // It waits for the other end to close first, as most servers do.
            let mut stream = stream;
            let _ = stream.set_read_timeout(Some(SECOND));
            let _ = stream.read(&mut [0]);
        }
    });
    Ok(port)
}
