//! Waiters on the socket.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};
use netmon_agent::health::State;
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{
    bare,
    crowd::Crowd,
    world::{LOOK, World},
};

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
    let before = (resident()?, slab()?);
    crowd.join()?;
    world.until_waiting(count)?;
    let each = resident()?.saturating_sub(before.0) / count as u64;
    let kernel = slab()?.saturating_sub(before.1) / count as u64;
    let idle = idle_publications(&mut world);

    let (mut took, mut written): (Vec<Duration>, Vec<Duration>) = Default::default();
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
        let (before, spent) = (world.server.own().woken().0, cpu_time()?);
        let published = world.publish(State::Up);
        written.push(world.until_woken(before + count as u64)?.since(published));
        took.extend(crowd.answers()?.into_iter().map(|at| at.since(published)));
        world.until_waiting(0)?;
        cpu += cpu_time()? - spent;
    }
    crowd.end()?;
    let (woken, seconds) = world.server.own().woken();
    let mean = Duration::from_secs_f64(seconds / woken.max(1) as f64);
    println!(
        "{count} waiters{}, {rounds} releases, each served exactly once",
        if own_conditions { " with a condition each" } else { "" },
    );
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(&mut took, share));
    println!(
        "  until the waiter has its answer, by its own clock: p50 {p50:.2?}, p99 {p99:.2?}, max {max:.2?}"
    );
    if !own_conditions {
        let mut least = bare::measure(count, rounds)?;
        let [least50, least99] = [0.5, 0.99].map(|share| quantile(&mut least, share));
        println!(
            "  of a program that does no more than write these answers: p50 {least50:.2?}, p99 {least99:.2?}; \
             the agent takes {:.2} and {:.2} times as long",
            p50.as_secs_f64() / least50.as_secs_f64(),
            p99.as_secs_f64() / least99.as_secs_f64()
        );
    }
    let [p50, max] = [0.5, 1.0].map(|share| quantile(&mut written, share));
    println!(
        "  until the agent has written it (netmon_wait_wake_seconds): mean {mean:.2?}; the last of all: \
         p50 {p50:.2?}, max {max:.2?}, looked at every {LOOK:.1?}"
    );
    println!(
        "  release {:.2?} CPU of the agent; a publication that releases nobody {idle:.2?}",
        cpu / rounds as u32
    );
    println!(
        "  memory a waiter: {each} bytes resident; the kernel's, both ends, and what else it did: {kernel}"
    );
    Ok(())
}

/// The value below which the share `q` lies; they are sorted in place.
fn quantile(all: &mut [Duration], q: f64) -> Duration {
    all.sort_unstable();
    all[((all.len() - 1) as f64 * q) as usize]
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
    field("/proc/self/status", "VmRSS:")
}

/// What the kernel has in objects of its own, bytes: sockets are among them.
fn slab() -> Result<u64> {
    field("/proc/meminfo", "Slab:")
}

fn field(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

/// Children inherit it.
pub(crate) fn raise_limit(wanted: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        bail!("{wanted} descriptors are needed, {hard} is the limit: see `ulimit -Hn`");
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?)
}
