//! netmon's probe engine in a process of its own.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use netmon_agent::observation::{Evidence, Method, Observation, ProbeOutcome, TargetId};
use netmon_agent::source::probe::{Engine, LAG_BUCKETS, Options, Sockets, Stats, TargetSpec};
use netmon_agent::time::Mono;
use netmon_tests::lab::Netns;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::subject::{cpu, run as run_in};

/// What the engine is to do.
#[derive(Args, Clone, Debug)]
pub struct Job {
    #[arg(long)]
    first: Ipv4Addr,
    #[arg(long)]
    targets: u32,
    #[arg(long)]
    interval_us: u64,
    #[arg(long)]
    seconds: f64,
    /// TCP port; none means ICMP.
    #[arg(long)]
    port: Option<u16>,
    /// Where to write each round trip: address, number, nanoseconds.
    #[arg(long)]
    trips: Option<PathBuf>,
}

/// What came of it, from the first complete round on.
#[derive(Debug, Deserialize, Serialize)]
pub struct Report {
    pub sent: u64,
    pub replies: u64,
    pub failed: u64,
    pub inconclusive: u64,
    pub skipped: u64,
    pub cpu_us: f64,
    pub wall_us: f64,
    pub switches: u64,
    /// Until every target had been answered, from the engine's start; none if that did not come.
    pub first_round_ms: Option<f64>,
    /// Upper bounds of the engine's lateness, milliseconds; infinity is left out.
    pub lag_p50_ms: Option<f64>,
    pub lag_p99_ms: Option<f64>,
    /// Memory with no file behind it: with targets, and before there were any.
    pub anonymous_kib: u64,
    pub empty_kib: u64,
}

impl Job {
    pub fn icmp(first: Ipv4Addr, targets: u32, interval: Duration, time: Duration) -> Self {
        let interval_us = interval.as_micros() as u64;
        Self { first, targets, interval_us, seconds: time.as_secs_f64(), port: None, trips: None }
    }

    pub fn tcp(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    pub fn tracing(self, trips: PathBuf) -> Self {
        Self { trips: Some(trips), ..self }
    }

    /// Does it in a process of its own, inside a namespace.
    pub fn run(&self, netns: &Netns) -> Result<Report> {
        let mut command = Command::new(super::own_program()?);
        command.arg("probes-engine").args(["--first", &self.first.to_string()]);
        command.args(["--targets", &self.targets.to_string(), "--seconds", &self.seconds.to_string()]);
        command.args(["--interval-us", &self.interval_us.to_string()]);
        if let Some(port) = self.port {
            command.args(["--port", &port.to_string()]);
        }
        if let Some(trips) = &self.trips {
            command.arg("--trips").arg(trips);
        }
        let ran = run_in(netns, &mut command, "")?;
        serde_json::from_str(&ran.output).with_context(|| format!("the engine said {}", ran.output))
    }
}

impl Report {
    /// Microseconds of CPU a probe.
    pub fn each_us(&self) -> f64 {
        self.cpu_us / self.sent.max(1) as f64
    }
}

#[derive(Debug, Default)]
struct Heard {
    replies: AtomicU64,
    failed: AtomicU64,
    inconclusive: AtomicU64,
    unanswered: AtomicU64,
    round_at: AtomicU64,
}

/// The process itself.
pub fn run(job: &Job) -> Result<()> {
    let heard = Arc::new(Heard { unanswered: u64::from(job.targets).into(), ..Heard::default() });
    let trips: Arc<Mutex<Vec<(IpAddr, u64, Duration)>>> = Arc::default();
    let mut answered = vec![false; job.targets as usize];
    let (listener, noted, trace) = (heard.clone(), trips.clone(), job.trips.is_some());
    let engine = Engine::start(Sockets::open(), Options::default(), move |seen| {
        listener.take(&seen, &mut answered);
        if trace && let Ok(mut trips) = noted.lock() {
            trips.extend(seen.iter().filter_map(trip));
        }
    })?;
    thread::sleep(Duration::from_millis(50));
    let empty_kib = anonymous_kib()?;
    let started = Mono::now();
    engine.set_targets(job.specs());
    let patience = started + Duration::from_micros(job.interval_us) * 2 + Duration::from_secs(2);
    while heard.unanswered.load(Ordering::Relaxed) > 0 && Mono::now() < patience {
        thread::sleep(Duration::from_millis(20));
    }
    let round = Mono::from_nanos(heard.round_at.load(Ordering::Relaxed));
    let before = (engine.stats(), Reading::take(&heard)?);
    thread::sleep(Duration::from_secs_f64(job.seconds));
    let after = (engine.stats(), Reading::take(&heard)?);
    let anonymous_kib = anonymous_kib()?;
    engine.stop();
    let lag = |q| lag_quantile(&before.0, &after.0, q);
    let report = Report {
        sent: after.0.sent - before.0.sent,
        replies: after.1.replies - before.1.replies,
        failed: after.1.failed - before.1.failed,
        inconclusive: after.1.inconclusive - before.1.inconclusive,
        skipped: after.0.skipped.iter().sum::<u64>() - before.0.skipped.iter().sum::<u64>(),
        cpu_us: after.1.cpu.saturating_sub(before.1.cpu).as_secs_f64() * 1e6,
        wall_us: after.1.at.since(before.1.at).as_secs_f64() * 1e6,
        switches: after.1.switches - before.1.switches,
        first_round_ms: (round.as_nanos() > 0).then(|| round.since(started).as_secs_f64() * 1e3),
        lag_p50_ms: lag(0.5),
        lag_p99_ms: lag(0.99),
        anonymous_kib,
        empty_kib,
    };
    println!("{}", serde_json::to_string(&report)?);
    if let Some(path) = &job.trips {
        let mut file = std::io::BufWriter::new(fs::File::create(path)?);
        for (address, seq, rtt) in trips.lock().map_err(|_| anyhow::anyhow!("the engine panicked"))?.iter() {
            writeln!(file, "{address} {seq} {}", rtt.as_nanos())?;
        }
    }
    Ok(())
}

impl Job {
    fn specs(&self) -> Vec<TargetSpec> {
        let method = || self.port.map_or(Method::Icmp, |port| Method::Tcp { port });
        let spec = |i: u32| TargetSpec {
            interval: Duration::from_micros(self.interval_us),
            ..TargetSpec::new(TargetId(i), vec![Ipv4Addr::from(u32::from(self.first) + i).into()], method())
        };
        (0..self.targets).map(spec).collect()
    }
}

impl Heard {
    fn take(&self, seen: &[Observation], answered: &mut [bool]) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        for observation in seen {
            let Evidence::Probe(event) = &observation.evidence else { continue };
            match event.outcome {
                ProbeOutcome::Reply { .. } => {
                    add(&self.replies);
                    if let Some(first) = answered.get_mut(event.target.0 as usize).filter(|a| !**a) {
                        *first = true;
                        if self.unanswered.fetch_sub(1, Ordering::Relaxed) == 1 {
                            self.round_at.store(observation.at.as_nanos(), Ordering::Relaxed);
                        }
                    }
                }
                ProbeOutcome::Failed { .. } => _ = add(&self.failed),
                ProbeOutcome::Inconclusive { .. } => _ = add(&self.inconclusive),
                ProbeOutcome::Sent
                | ProbeOutcome::Late { .. }
                | ProbeOutcome::Duplicate
                | ProbeOutcome::Corrupted
                | ProbeOutcome::Detail(_) => {}
            }
        }
    }
}

struct Reading {
    at: Mono,
    cpu: Duration,
    switches: u64,
    replies: u64,
    failed: u64,
    inconclusive: u64,
}

impl Reading {
    fn take(heard: &Heard) -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Self {
            at: Mono::now(),
            cpu: cpu(&usage),
            switches: (usage.voluntary_context_switches() + usage.involuntary_context_switches()) as u64,
            replies: count(&heard.replies),
            failed: count(&heard.failed),
            inconclusive: count(&heard.inconclusive),
        })
    }
}

fn trip(observation: &Observation) -> Option<(IpAddr, u64, Duration)> {
    match &observation.evidence {
        Evidence::Probe(event) => match event.outcome {
            ProbeOutcome::Reply { rtt, .. } => Some((event.address, event.seq, rtt)),
            _ => None,
        },
        _ => None,
    }
}

/// The upper bound of the bucket the share `q` of wake-ups was not later than, milliseconds.
fn lag_quantile(before: &Stats, after: &Stats, q: f64) -> Option<f64> {
    let counts: Vec<u64> = after.lag.iter().zip(before.lag).map(|(a, b)| a - b).collect();
    let wanted = (counts.iter().sum::<u64>() as f64 * q).ceil() as u64;
    let mut seen = 0;
    let bucket = counts.iter().position(|n| {
        seen += n;
        seen >= wanted
    })?;
    LAG_BUCKETS.get(bucket).map(|seconds| seconds * 1e3)
}

fn anonymous_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).context("no RssAnon")
}
