//! What many targets cost the whole agent: CPU, memory, the time to the first complete round, scrapes, a reload.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, await_until, get};
use netmon_tests::lab::World;
use netmon_tests::promise;
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
    let first = first_round(&agent, targets)?;
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
    let (share, a_probe) = (cpu / took * 100.0, cpu * 1e6 / (took * rate));
    println!("    CPU {share:.2} % of a core, {a_probe:.1} µs a probe");
    let each = after.resident_kib as f64 * 1024.0 / f64::from(targets);
    let resident = after.resident_kib as f64 / 1024.0;
    println!("    resident {resident:.0} MB, {each:.0} bytes a target");
    promise(
        "many-targets",
        format_args!(
            "{targets} targets, {rate:.0} probes a second: {share:.2} % of a core, {a_probe:.1} µs a probe, {resident:.0} MB resident"
        ),
    );
    scrapes(&agent)?;
    reload(&agent, cpu / took)
}

/// From the start until every target has its first verdict, by the log: the verdict over all waits three seconds for
/// them at most, and metrics of so many are half a gigabyte.
fn first_round(agent: &Agent<'_>, targets: u32) -> Result<Duration> {
    let is_one = |line: &String| line.contains("target target-") && line.contains(" is up");
    let complete = await_until(ANSWER, || {
        thread::sleep(Duration::from_millis(100));
        let up = agent.log.lines().iter().filter(|line| is_one(line)).count();
        Ok((up >= targets as usize).then(|| Mono::now().since(agent.started)))
    })?;
    complete.with_context(|| format!("not every target is up: {:?}", agent.log.lines().last()))
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

/// The same file once more: read, compared, and nothing changed by it.
fn reload(agent: &Agent<'_>, cpu_a_second: f64) -> Result<()> {
    let (before, began) = (agent.usage()?.cpu_ns, Mono::now());
    agent.signal(Signal::SIGHUP)?;
    let said = agent.log.await_line(ANSWER, |l| l.contains("SIGHUP: configuration read anew"));
    ensure!(said.is_some(), "no word on the reload: {:?}", agent.log.lines().last());
    let read = Mono::now().since(began);
    thread::sleep(Duration::from_secs(5));
    let cpu = (agent.usage()?.cpu_ns - before) as f64 / 1e9;
    let beside = cpu - cpu_a_second * Mono::now().since(began).as_secs_f64();
    println!("    reload: read after {read:.0?}, {:.0} ms of CPU beside the probing", beside.max(0.0) * 1e3);
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
