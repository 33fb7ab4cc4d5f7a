//! Lost probes as each program tells them, held against what a filter at the far end dropped.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::binary;
use netmon_tests::lab::{Netns, find_program, run};
use serde_json::Value;

use super::wire::{Wire, host};
use super::{Arguments, smokeping, subject};

const TARGETS: u32 = 20;
/// The tenth part, at random.
const RULES: &str = "table ip bench {
    counter dropped {}
    chain input {
        type filter hook input priority 0;
        icmp type echo-request numgen random mod 10 0 counter name dropped drop
    }
}
";
/// Until the last probe of whatever ran is answered or given up.
const REST: Duration = Duration::from_secs(2);

/// Prints for each program what was dropped of its probes, and what it said.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let wire = Wire::new()?;
    wire.far.nft(RULES)?;
    println!("lost probes, one in ten dropped behind a path of 5 ms: dropped / told");
    report(&wire, "netmon probe, 20 targets at 5/s", || netmon(&wire.near, arguments.seconds))?;
    if !arguments.alone {
        report(&wire, "fping, 20 targets at 5/s", || fping(&wire.near, arguments.seconds))?;
        report(&wire, "ping, one target at 50/s", || ping(&wire.near, arguments.seconds))?;
        report(&wire, "smokeping_prober, 20 targets at 1/s", || {
            // Its counts of what was sent and of what came back are not level at rest: they are taken from before to after.
            wire.far.nft("delete chain ip bench input")?;
            let prober = smokeping::start(&wire.near, (1..=TARGETS).map(host))?;
            thread::sleep(REST);
            let before = smokeping::counts(&prober)?;
            wire.far.nft(RULES)?;
            thread::sleep(arguments.time() * 2);
            wire.far.nft("delete chain ip bench input")?;
            thread::sleep(REST);
            let after = smokeping::counts(&prober)?;
            Ok((after.0 - after.1) - (before.0 - before.1))
        })?;
    }
    Ok(())
}

fn report(wire: &Wire, name: &str, probe: impl FnOnce() -> Result<f64>) -> Result<()> {
    dropped(&wire.far)?;
    let told = probe()?;
    let dropped = dropped(&wire.far)?;
    ensure!(dropped > 0, "{name}: nothing was dropped");
    println!("  {name:<36} {dropped:>5} / {told:<5}");
    Ok(())
}

/// How many since the last time.
fn dropped(netns: &Netns) -> Result<u64> {
    let nft = find_program("nft").context("nft is not installed")?;
    let said = netns.run(|| run(Command::new(nft).args(["reset", "counters"]), ""))??;
    let after = said.split_once("packets ").with_context(|| format!("nft said {said}"))?.1;
    Ok(after.split_whitespace().next().context("a number")?.parse()?)
}

fn netmon(netns: &Netns, seconds: u64) -> Result<f64> {
    let mut command = Command::new(binary()?);
    command.args(["probe", "--icmp", "--json", "-i", "0.2", "-c", &(5 * seconds).to_string()]);
    command.args((1..=TARGETS).map(|n| host(n).to_string()));
    let output = subject::run(netns, &mut command, "")?.output;
    let summary: Value = serde_json::from_str(output.lines().last().context("netmon said nothing")?)?;
    let hosts = summary["hosts"].as_array().with_context(|| format!("no summary: {summary}"))?;
    hosts.iter().map(|host| host["lost"].as_f64().context("a host without its losses")).sum()
}

fn fping(netns: &Netns, seconds: u64) -> Result<f64> {
    let program = find_program("fping").context("fping is not installed: apt-get install fping")?;
    let mut command = Command::new(program);
    command.args(["-q", "-i", "10", "-p", "200", "-t", "1000", "-c", &(5 * seconds).to_string()]);
    command.args((1..=TARGETS).map(|n| host(n).to_string()));
    let output = subject::run(netns, &mut command, "")?.output;
    // 10.78.0.1 : xmt/rcv/%loss = 25/22/12%, min/avg/max = …
    let counts = output.lines().filter_map(|line| line.split_once("%loss = ")).map(|(_, rest)| rest);
    counts
        .map(|counts| {
            let mut numbers = counts.split('/').map_while(|n| n.parse::<f64>().ok());
            Ok(numbers.next().context("no count")? - numbers.next().context("no count")?)
        })
        .sum()
}

fn ping(netns: &Netns, seconds: u64) -> Result<f64> {
    let program = find_program("ping").context("ping is not installed")?;
    let mut command = Command::new(program);
    command.args(["-n", "-q", "-i", "0.02", "-c", &(50 * seconds).to_string(), &host(1).to_string()]);
    let output = subject::run(netns, &mut command, "")?.output;
    // 250 packets transmitted, 226 received, 9.6% packet loss, time 4980ms
    let line = output.lines().find(|line| line.contains(" packets transmitted")).context("no summary")?;
    let mut numbers = line.split(' ').filter_map(|word| word.parse::<f64>().ok());
    Ok(numbers.next().context("no count")? - numbers.next().context("no count")?)
}
