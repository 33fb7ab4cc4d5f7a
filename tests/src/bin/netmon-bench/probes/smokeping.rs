//! Beside smokeping_prober, which pings all the time and is scraped.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use netmon_tests::agent::Metrics;
use netmon_tests::lab::{Netns, find_program};

use super::engine::Job;
use super::exporter::Exporter;
use super::subject::{host, loopback};
use super::{Arguments, median};

const PORT: u16 = 9374;
/// Each of its targets has a raw socket of its own, which hears the answers to all: the work grows with the square.
const TARGETS: [u32; 3] = [1, 20, 200];

/// Prints what a probe costs it, and as a multiple of ours at as many targets.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let netns = loopback()?;
    println!("beside smokeping_prober, targets at 1/s");
    for targets in TARGETS {
        let job = Job::icmp(host(1), targets, Duration::from_secs(1), arguments.time());
        let (mut theirs, mut ratios, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..arguments.runs {
            let prober = start(&netns, (1..=targets).map(host))?;
            thread::sleep(Duration::from_secs(2));
            let before = (counts(&prober)?.0, prober.cpu()?);
            thread::sleep(arguments.time());
            let after = (counts(&prober)?.0, prober.cpu()?);
            ensure!(after.0 > before.0, "it does not probe");
            let each = (after.1 - before.1).as_secs_f64() * 1e6 / (after.0 - before.0);
            memory.push(prober.anonymous()? as f64);
            drop(prober);
            theirs.push(each);
            ratios.push(each / job.run(&netns)?.each_us());
        }
        println!(
            "  {targets} targets: {:.0} µs a probe, ×{:.1} of ours; {:.1} MB of memory with no file behind it",
            median(theirs),
            median(ratios),
            median(memory) / 1e6
        );
    }
    Ok(())
}

/// One that pings each of them once a second.
pub fn start(netns: &Netns, hosts: impl Iterator<Item = std::net::Ipv4Addr>) -> Result<Exporter<'_>> {
    let Some(program) = find_program("prometheus-smokeping-prober") else {
        bail!("smokeping_prober is missing; as root on Debian, `cargo xtask bench probes` fetches it");
    };
    let mut command = Command::new(program);
    command.args(["-i", "1s"]).args(hosts.map(|host| host.to_string()));
    Exporter::start(netns, &mut command, PORT)
}

/// Probes that it has sent, and answers that it has heard.
pub fn counts(prober: &Exporter<'_>) -> Result<(f64, f64)> {
    let answer = prober.get("/metrics")?;
    let metrics = Metrics::parse(answer.split_once("\r\n\r\n").map_or("", |(_, body)| body))?;
    let sum = |name| metrics.sum(name, &[]);
    Ok((sum("smokeping_requests_total"), sum("smokeping_response_duration_seconds_count")))
}
