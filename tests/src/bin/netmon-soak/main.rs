//! The real agent under a load that wears months in hours, and whether anything of it grows: memory, descriptors, threads,
//! kernel objects, files. `docs/SOAK.md` says what is done and what is held against which bound.

mod load;
mod process;
mod regression;
mod report;
mod sample;
mod table;
mod verdict;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, await_until, logs_of_this_thread};
use netmon_tests::lab::{self, World};

use self::load::{Ending, HOSTS, Load, Receiver, Targets};
use self::sample::Sampler;

/// Runs the agent under load and judges what it took. Needs root.
#[derive(Parser)]
#[command(name = "netmon-soak")]
struct Arguments {
    /// For how many hours.
    #[arg(long, default_value_t = 2.0)]
    hours: f64,
    /// The agent; otherwise the one named by NETMON_BIN, or that of this workspace.
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Where samples are written.
    #[arg(long, default_value = "netmon-soak.csv")]
    csv: PathBuf,
    /// Seconds from one sample to the next.
    #[arg(long, default_value_t = 10.0)]
    every: f64,
    /// Targets that stay, beside those that come and go.
    #[arg(long, default_value_t = 200)]
    targets: usize,
    /// Hours at the beginning that count for no growth: windows and ledger fill. By default 70 minutes, or half of a
    /// shorter run.
    #[arg(long)]
    warm_up: Option<f64>,
    /// Judge the samples of this file instead, also of a run that goes on or was cut off.
    #[arg(long, value_name = "CSV")]
    report: Option<PathBuf>,
}

/// From one rest to the next, of a run that is long enough.
const REST: Duration = Duration::from_secs(300);
/// What the agent may take to be as it was at the beginning, once the load rests.
const RESTORED: Duration = Duration::from_secs(180);
/// Then it closes what it held, and threads that nothing was asked of for ten seconds end.
const SETTLED: Duration = Duration::from_secs(12);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("netmon-soak: {e:#}\n{}", logs_of_this_thread());
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &Arguments) -> Result<bool> {
    let file = arguments.report.as_ref().unwrap_or(&arguments.csv);
    if arguments.report.is_none() {
        lab::clean_up_on_signals()?;
        if let Some(why) = lab::obstacle() {
            bail!("{why}");
        }
        soak(arguments)?;
    }
    let rows = table::read(&fs::read_to_string(file).with_context(|| file.display().to_string())?)?;
    let hours = rows.last().and_then(|row| row.get(table::SECONDS)).map_or(0.0, |s| s / 3600.0);
    let warm_up = arguments.warm_up.unwrap_or((70.0_f64 / 60.0).min(hours / 2.0));
    let lines = verdict::judge(&rows, warm_up);
    Ok(report::print(&lines, hours, warm_up, rows.len()))
}

/// Runs for as long as is asked; whatever ends it before leaves its samples.
fn soak(arguments: &Arguments) -> Result<()> {
    let lasts = Duration::from_secs_f64(arguments.hours * 3600.0);
    let between_rests = REST.min(lasts / 4);
    let world = World::new()?;
    let hosts = HOSTS.iter().enumerate();
    let addresses =
        hosts.flat_map(|(n, count)| (1..=*count).map(move |i| format!("addr add 198.18.{n}.{i}/32 dev lo")));
    world.internet.ip(&addresses.collect::<Vec<_>>().join("\n"))?;
    let receivers = (Receiver::start(&world.node)?, Receiver::start(&world.internet)?);

    let start = Start::new(&world)?;
    let targets = Targets::new(&world, start.folder(), arguments.targets)?;
    let start = start.config(targets.config());
    let start = match &arguments.bin {
        Some(bin) => start.program(&std::path::absolute(bin)?),
        None => start,
    };
    let mut agent = start.start()?;
    let pace = between_rests.as_secs_f64() / REST.as_secs_f64();
    let load = Load::new(agent.socket.clone(), agent.pid(), pace, targets);
    let usual = await_usual(&agent, None)?;
    eprintln!(
        "netmon-soak: the agent is process {} with {usual} targets; samples go to {}",
        agent.pid(),
        arguments.csv.display()
    );

    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| -> Result<()> {
        let _ending = Ending(&load);
        load.start(scope, &world, &failures);
        let mut sampler = Sampler::new(&arguments.csv, Mono::now());
        let end = Mono::now() + lasts;
        let (mut next, mut rest) = (Mono::now(), Mono::now() + between_rests);
        while !load.is_over() {
            next = next + Duration::from_secs_f64(arguments.every);
            while Mono::now() < next && !load.is_over() {
                thread::sleep(Duration::from_millis(50));
            }
            if !agent.runs()? {
                load.count("restarts", 1.0);
                sampler.last(&load)?;
                bail!("the agent ended");
            }
            let at_end = Mono::now() >= end;
            if at_end || Mono::now() >= rest {
                load.at_rest(|| {
                    load.restore_targets()?;
                    await_usual(&agent, Some(usual))?;
                    thread::sleep(SETTLED);
                    sampler.take(&agent, &load, &receivers.0, true)
                })?;
                (next, rest) = (Mono::now(), Mono::now() + between_rests);
            } else {
                sampler.take(&agent, &load, &receivers.0, false)?;
            }
            if at_end {
                break;
            }
        }
        Ok(())
    })?;
    let failures = failures.into_inner().unwrap_or_else(|e| e.into_inner());
    ensure!(failures.is_empty(), "the load broke: {}", failures.join("; "));
    let ended = agent.stop()?;
    ensure!(ended.success(), "the agent ended with {ended}");
    Ok(())
}

/// Waits until the network is up and there are so many targets, or as many as stay for a second; returns how many.
fn await_usual(agent: &Agent<'_>, count: Option<usize>) -> Result<usize> {
    let mut before = None;
    let found = await_until(RESTORED, || {
        thread::sleep(Duration::from_millis(500));
        let metrics = agent.metrics()?;
        let now = metrics.all("netmon_target_state", &[("state", "up")]).len();
        let is_usual = count.map_or(before == Some(now), |count| count == now);
        before = Some(now);
        let up = metrics.state("netmon_state", &[]).is_some_and(|state| state == "up" || state == "degraded");
        Ok((is_usual && up).then_some(now))
    })?;
    found.with_context(|| format!("not as usual within {RESTORED:?}: {before:?} targets, {count:?} are due"))
}
