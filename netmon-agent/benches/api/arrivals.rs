//! Released jobs: how many start at once, with and without `--spread`. Each is a `netmon wait` of its own.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use netmon_agent::{health::State, time::Mono};
use nix::{
    sys::wait::{WaitStatus, wait},
    unistd::Pid,
};

use crate::{waiters::raise_limit, world::World};

/// Jobs that start within this put their load on a server together.
const WINDOW: Duration = Duration::from_millis(100);
/// More than any of these outages spreads anybody over.
const SPREAD: &str = "10s";

/// Lets `count` of them wait for so many seconds, once as they are and once spread.
pub(crate) fn measure(count: usize, outage: Duration) -> Result<()> {
    raise_limit(count as u64 + 1000)?;
    for spread in ["0s", SPREAD] {
        let arrivals = release(count, outage, spread)?;
        let last = arrivals.last().copied().unwrap_or_default();
        println!(
            "{count} `netmon wait --spread {spread}` released after {outage:.0?}: at most {} within {WINDOW:?}, \
             the last after {last:.2?}",
            peak(&arrivals)
        );
    }
    Ok(())
}

/// When each was released, from the publication on, sorted.
fn release(count: usize, outage: Duration, spread: &str) -> Result<Vec<Duration>> {
    let mut world = World::new()?;
    let mut jobs = HashSet::new();
    for _ in 0..count {
        let child = Command::new(env!("CARGO_BIN_EXE_netmon"))
            .args(["wait", "--state", "up", "--spread", spread, "--socket"])
            .arg(world.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting netmon wait")?;
        jobs.insert(Pid::from_raw(child.id() as i32));
    }
    world.until_waiting(count)?;
    thread::sleep(outage);
    let published = Mono::now();
    world.publish(State::Up);
    let mut arrivals = Vec::with_capacity(count);
    while !jobs.is_empty() {
        let ended = wait()?;
        if ended.pid().is_some_and(|pid| jobs.remove(&pid)) {
            ensure!(matches!(ended, WaitStatus::Exited(_, 0)), "a job ended otherwise: {ended:?}");
            arrivals.push(Mono::now().since(published));
        }
    }
    Ok(arrivals)
}

/// The most in any window; they are sorted.
fn peak(arrivals: &[Duration]) -> usize {
    let within = |first: &Duration| arrivals.partition_point(|at| *at < *first + WINDOW);
    arrivals.iter().enumerate().map(|(n, first)| within(first) - n).max().unwrap_or_default()
}
