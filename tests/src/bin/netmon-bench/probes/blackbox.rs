//! Beside Prometheus' blackbox_exporter: a scrape is a probe there, so the cost of its HTTP is part of it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use netmon_tests::lab::find_program;

use super::engine::Job;
use super::exporter::Exporter;
use super::subject::{host, loopback};
use super::{Arguments, cost, median};

const PORT: u16 = 9115;
const CONFIG: &str =
    "modules:\n  icmp:\n    prober: icmp\n    timeout: 1s\n  tcp:\n    prober: tcp\n    timeout: 1s\n";
/// Scrapes a run.
const SCRAPES: u32 = 1_000;

/// Prints its cost as a multiple of ours at 1,000 targets.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let Some(program) = find_program("prometheus-blackbox-exporter") else {
        bail!("blackbox_exporter is missing; as root on Debian, `cargo xtask bench probes` fetches it");
    };
    let netns = loopback()?;
    let port = cost::listen(&netns)?;
    let config = netns.folder()?.join("blackbox.yml");
    fs::write(&config, CONFIG)?;
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    let exporter = Exporter::start(&netns, &mut command, PORT)?;
    println!("beside blackbox_exporter, its scrape of one target included");
    let ours = Job::icmp(host(1), 1_000, Duration::from_secs(1), arguments.time());
    for (module, job) in [("icmp", ours.clone()), ("tcp", ours.tcp(port))] {
        let (mut theirs, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..arguments.runs {
            let before = exporter.cpu()?;
            for i in 1..=SCRAPES {
                let host = host(i);
                let target = if module == "tcp" { format!("{host}:{port}") } else { host.to_string() };
                let body = exporter.get(&format!("/probe?module={module}&target={target}"))?;
                ensure!(body.contains("probe_success 1"), "{target} failed: {body}");
            }
            let each = exporter.cpu()?.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(SCRAPES);
            theirs.push(each);
            ratios.push(each / job.run(&netns)?.each_us());
        }
        println!(
            "  {module}: {:.0} µs, ×{:.1} of ours at 1,000 targets at 1/s",
            median(theirs),
            median(ratios)
        );
    }
    println!("  memory with no file behind it: {:.1} MB", exporter.anonymous()? as f64 / 1e6);
    Ok(())
}
