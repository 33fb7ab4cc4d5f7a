//! Waiters on the socket.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};
use netmon_agent::health::State;
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{crowd::Crowd, world::World};

/// Descriptors beyond the waiters' own.
const SPARE: u64 = 400;
/// Publications that release nobody.
const IDLE: u32 = 100;
/// Releases of one count, so that there is a distribution for a few waiters too.
const RELEASES: usize = 1000;

/// Wakes as many as said, for each count.
pub(crate) fn measure(counts: &[usize]) -> Result<()> {
    counts.iter().try_for_each(|count| measure_one(*count, false))
}

/// The same where no two wait for the same.
pub(crate) fn measure_own_conditions(count: usize) -> Result<()> {
    measure_one(count, true)
}

fn measure_one(count: usize, own_conditions: bool) -> Result<()> {
    raise_limit(count as u64 + SPARE)?;
    let mut world = World::new()?;
    let mut crowd = Crowd::new(&world.socket(), count, own_conditions)?;
    let before = resident()?;
    crowd.join()?;
    world.until_waiting(count)?;
    let each = resident()?.saturating_sub(before) / count as u64;
    let idle = idle_publications(&mut world);

    let mut took: Vec<Duration> = Vec::new();
    let rounds = (RELEASES / count).clamp(5, RELEASES);
    let mut cpu = Duration::ZERO;
    for round in 0..rounds {
        if round > 0 {
            world.publish(State::Down);
            crowd.join()?;
            world.until_waiting(count)?;
            // What joined is done with; the release is measured alone.
            thread::sleep(Duration::from_millis(if count > 100 { 100 } else { 1 }));
        }
        let spent = cpu_time()?;
        let published = world.publish(State::Up);
        took.extend(crowd.answers()?.into_iter().map(|at| at.since(published)));
        world.until_waiting(0)?;
        cpu += cpu_time()? - spent;
    }
    crowd.end()?;
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{count} waiters{}: wake p50 {:.2?}, p99 {:.2?}, max {:.2?} over {rounds} releases, each served exactly once\n  \
         release {:.2?} CPU; a publication that releases nobody {idle:.2?} CPU; {each} bytes a waiter",
        if own_conditions { " with a condition each" } else { "" },
        at(0.5),
        at(0.99),
        at(1.0),
        cpu / rounds as u32,
    );
    Ok(())
}

/// What a publication that releases nobody costs this process.
fn idle_publications(world: &mut World) -> Duration {
    let before = cpu_time().unwrap_or_default();
    for _ in 0..IDLE {
        world.publish(State::Down);
        thread::sleep(Duration::from_millis(20));
    }
    world.evaluated();
    (cpu_time().unwrap_or_default() - before) / IDLE
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Resident memory of this process, bytes.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

/// Children inherit it.
fn raise_limit(wanted: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        bail!("{wanted} descriptors are needed, {hard} is the limit: see `ulimit -Hn`");
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?)
}
