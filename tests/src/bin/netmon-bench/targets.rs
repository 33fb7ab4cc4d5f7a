//! What many targets cost the whole agent: CPU, memory, the time to the first complete round, scrapes, a reload.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, await_until, get};
use netmon_tests::lab::World;
use nix::sys::signal::Signal;

/// A hundred thousand targets' metrics are half a gigabyte.
const ANSWER: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How many targets, each a loopback address of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    targets: Vec<u32>,
    /// Seconds from one probe of a target to the next.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// For how many seconds the agent is watched once every target is up.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Starts the agent with each number of targets in turn.
pub fn measure(arguments: &Arguments) -> Result<()> {
    println!("the agent with many targets, by ICMP over loopback, every {} s", arguments.interval);
    for &targets in &arguments.targets {
        one(targets, arguments)?;
    }
    Ok(())
}

fn one(targets: u32, arguments: &Arguments) -> Result<()> {
    let world = World::new()?;
    let agent = Start::new(&world)?.config(&config(targets, arguments.interval)).start()?;
    let up = |agent: &Agent<'_>| agent.cli_code(&["wait", "--state", "up", "--timeout", "120s"]);
    ensure!(up(&agent)? == 0, "not every target is up: {:?}", agent.log.lines().last());
    // The verdict over all waits for a first verdict of each.
    let first = Mono::now().since(agent.started);
    let start = agent.usage()?;
    let (before, began) = (agent.usage()?, Mono::now());
    thread::sleep(Duration::from_secs(arguments.seconds));
    let (after, took) = (agent.usage()?, Mono::now().since(began).as_secs_f64());
    let cpu = (after.cpu_ns - before.cpu_ns) as f64 / 1e9;
    let rate = f64::from(targets) / arguments.interval as f64;
    println!("  {targets} targets, {rate:.0} probes a second");
    println!(
        "    first complete round {:.1} s after the start, with {:.2} s of CPU",
        first.as_secs_f64(),
        start.cpu_ns as f64 / 1e9
    );
    println!("    CPU {:.2} % of a core, {:.1} µs a probe", cpu / took * 100.0, cpu * 1e6 / (took * rate));
    let each = after.resident_kib as f64 * 1024.0 / f64::from(targets);
    println!("    resident {:.0} MB, {each:.0} bytes a target", after.resident_kib as f64 / 1024.0);
    scrapes(&agent)?;
    reload(&agent)
}

fn scrapes(agent: &Agent<'_>) -> Result<()> {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..3 {
        let began = Mono::now();
        bytes = get(&agent.socket, "/metrics", ANSWER)?.body.len();
        times.push(Mono::now().since(began));
        thread::sleep(Duration::from_secs(1));
    }
    let (median, size) = (crate::quantile(&mut times, 0.5), bytes as f64 / 1e6);
    println!(
        "    scrape {median:.0?}, {size:.1} MB; resident {} MB after it",
        agent.usage()?.resident_kib / 1024
    );
    Ok(())
}

fn reload(agent: &Agent<'_>) -> Result<()> {
    let read = || {
        let text = get(&agent.socket, "/metrics", ANSWER)?.body;
        let name = "netmon_config_last_reload_success_timestamp_seconds ";
        let line = text.lines().find_map(|l| l.strip_prefix(name)).context("no time of the last reload")?;
        Ok::<f64, anyhow::Error>(line.parse()?)
    };
    let (last, before, began) = (read()?, agent.usage()?.cpu_ns, Mono::now());
    agent.signal(Signal::SIGHUP)?;
    let said = agent.log.await_line(ANSWER, |l| l.contains("SIGHUP"));
    ensure!(said.is_some(), "no word on the reload");
    let parsed = Mono::now().since(began);
    let done = await_until(ANSWER, || Ok((read()? > last).then_some(())))?;
    ensure!(done.is_some(), "the configuration was not taken over");
    let cpu = Duration::from_nanos(agent.usage()?.cpu_ns - before);
    println!("    reload: read after {parsed:.0?}, in force with {cpu:.0?} of CPU, a scrape among it");
    Ok(())
}

/// Every address of 127/8 answers.
fn config(targets: u32, interval: u64) -> String {
    let rate = (targets / interval as u32).max(10_000);
    let mut text = format!(
        "[agent]\nmax_probes_per_second = {rate}\n[limits]\ncpu = \"off\"\nmemory = \"off\"\n\
         [defaults]\ninterval = \"{interval}s\"\nauto_targets = false\n"
    );
    for i in 0..targets {
        let (a, b, c) = (1 + i / 62_500, i / 250 % 250, 1 + i % 250);
        // Writing to a String can't fail.
        let _ = write!(text, "[[target]]\nname = \"target-{i:06}\"\nhost = \"127.{a}.{b}.{c}\"\n");
    }
    text
}
