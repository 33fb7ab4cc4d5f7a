//! Beside Prometheus' blackbox_exporter: a scrape is a probe there, so the cost of its HTTP is part of it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netmon_tests::lab::{Netns, find_program};

use super::engine::Job;
use super::subject::{host, loopback};
use super::{Arguments, cost, median};

const ADDRESS: &str = "127.0.0.1:9115";
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
    command.arg(format!("--web.listen-address={ADDRESS}")).stdout(Stdio::null()).stderr(Stdio::null());
    let exporter = Exporter(netns.run(|| command.spawn())?.context("starting blackbox_exporter")?);
    exporter.await_ready(&netns)?;
    println!("beside blackbox_exporter, its scrape of one target included");
    let ours = Job::icmp(host(1), 1_000, Duration::from_secs(1), arguments.time());
    for (module, job) in [("icmp", ours.clone()), ("tcp", ours.tcp(port))] {
        let (mut theirs, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..arguments.runs {
            let before = exporter.cpu()?;
            netns.run(|| -> Result<()> {
                for i in 1..=SCRAPES {
                    let host = host(i);
                    let target = if module == "tcp" { format!("{host}:{port}") } else { host.to_string() };
                    let body = get(&format!("/probe?module={module}&target={target}"))?;
                    ensure!(body.contains("probe_success 1"), "{target} failed: {body}");
                }
                Ok(())
            })??;
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
    Ok(())
}

struct Exporter(Child);

impl Exporter {
    fn await_ready(&self, netns: &Netns) -> Result<()> {
        for _ in 0..100 {
            if netns.run(|| get("/-/healthy").is_ok())? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("blackbox_exporter does not answer")
    }

    /// CPU time of all its threads, those that ended included.
    fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // After the name, which may hold anything but ends at the last parenthesis: fields 14 and 15 of proc(5).
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks: u64 = fields.get(11..13).context("stat")?.iter().map(|f| f.parse().unwrap_or(0)).sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut body = String::new();
    stream.read_to_string(&mut body)?;
    Ok(body)
}
