//! Little memory, and everything at once that takes some: targets, scrapes, waiters.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, await_until, get};
use netmon_tests::lab::{MemoryGroup, World};
use netmon_tests::{promise, targets_on_loopback};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::crowds::ask_in_vain;
use super::is_slow;

/// Targets, waiters, and the bound in MiB: what `docs/CAPACITY.md` reckons for them, with each scrape that may be under way.
const SMALL: (u32, usize, u64) = (1_000, 2_000, 160);
const WHOLE: (u32, usize, u64) = (10_000, 10_000, 1_280);
/// Rounds of scrapes, each of as many at once as are served.
const ROUNDS: usize = 5;
const AT_ONCE: usize = 8;
const ANSWER: Duration = Duration::from_secs(120);

pub fn bounded() -> Result<()> {
    let (targets, waiters, bound) = if is_slow() { WHOLE } else { SMALL };
    let group = match MemoryGroup::new(bound << 20) {
        Ok(group) => Some(group),
        Err(e) => {
            // What can be had everywhere is coarser: it bounds what is asked for, not what is used.
            eprintln!("memory: by RLIMIT_DATA, {e:#}");
            None
        }
    };
    let world = World::new()?;
    let data = format!("--data={}", (bound << 20) * 2);
    let start = Start::new(&world)?.config(&config(targets));
    let start = if group.is_some() { start } else { start.behind(&["prlimit", &data]) };
    let mut agent = start.spawn()?;
    if let Some(group) = &group {
        group.add(agent.pid())?;
    }
    let all = await_until(ANSWER, || {
        thread::sleep(Duration::from_millis(200));
        ensure!(agent.runs()?, "the agent is gone: {:?}", agent.log.lines().last());
        let up =
            agent.log.lines().iter().filter(|l| l.contains("target target-") && l.contains(" is up")).count();
        Ok((up >= targets as usize).then_some(()))
    })?;
    all.with_context(|| format!("not every target is up: {:?}", agent.log.lines().last()))?;

    let mut held = hold(&agent, waiters)?;
    let scrapes = scrape(&agent).with_context(|| format!("{group:?}: {:?} MiB at most", peak(&group)));
    ensure!(agent.runs()?, "the agent is gone, of {bound} MiB it took {:?}", peak(&group));
    let scrapes = scrapes?;
    ensure!(scrapes > ROUNDS, "{scrapes} scrapes were served");
    // Who waits is still served, and so is who comes now.
    world.carrier_down(0)?;
    let released = held.iter_mut().map(is_answered).filter(|answered| *answered).count();
    ensure!(released == waiters, "{released} of {waiters} were answered");
    ensure!(agent.runs()?, "the agent is gone");
    let resident = agent.usage()?.resident_kib >> 10;
    let killed = group.as_ref().map_or(Ok(0), MemoryGroup::killed)?;
    ensure!(killed == 0, "killed for want of memory");
    let peak =
        peak(&group).map_or_else(|| format!("{resident} MiB resident"), |peak| format!("{peak} MiB at most"));
    let by = if group.is_some() { "a control group" } else { "RLIMIT_DATA" };
    promise(
        "memory-bounded",
        format_args!(
            "{targets} targets, {scrapes} scrapes by {AT_ONCE} at once, {waiters} waiters: {peak} where {by} allows {bound} MiB, \
             0 killed"
        ),
    );
    drop(agent);
    Ok(())
}

/// The most that was taken, MiB, where that is known.
fn peak(group: &Option<MemoryGroup>) -> Option<u64> {
    group.as_ref()?.peak().map(|bytes| bytes >> 20)
}

/// Every address of 127/8 answers. What is awaited is the link's.
fn config(targets: u32) -> String {
    let text = String::from(
        "[agent]\nmax_probes_per_second = 10000\n[limits]\ncpu = \"off\"\nmemory = \"off\"\n[defaults]\ninterval = \"10s\"\n\
         auto_targets = false\n",
    );
    text + &targets_on_loopback(targets)
}

fn hold(agent: &Agent<'_>, count: usize) -> Result<Vec<UnixStream>> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let ask = |_| ask_in_vain(&agent.socket, "/v1/wait?device=eth0&state=down&timeout=300s");
    let held = (0..count).map(ask).collect::<Result<Vec<_>>>()?;
    let waiting = await_until(ANSWER, || {
        thread::sleep(Duration::from_millis(100));
        let status = agent.get("/metrics")?;
        let line =
            status.body.lines().find_map(|l| l.strip_prefix("netmon_wait_clients ").map(str::to_owned));
        Ok(line.is_some_and(|n| n.trim().parse() == Ok(count)).then_some(()))
    })?;
    waiting.with_context(|| format!("not all of {count} wait"))?;
    Ok(held)
}

/// As many at once as are served, again and again; how many were.
fn scrape(agent: &Agent<'_>) -> Result<usize> {
    let mut served = 0;
    for _ in 0..ROUNDS {
        let answers: Vec<_> = thread::scope(|scope| {
            let one = || scope.spawn(|| get(&agent.socket, "/metrics", ANSWER));
            let all: Vec<_> = (0..AT_ONCE).map(|_| one()).collect();
            all.into_iter().map(|s| s.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        for answer in answers {
            // The words of what went wrong come after all that was read.
            let answer = answer.map_err(|e| anyhow::anyhow!("a scrape: {}", e.root_cause()))?;
            ensure!([200, 503].contains(&answer.status), "{}: {}", answer.status, answer.body);
            served += usize::from(answer.status == 200);
        }
    }
    Ok(served)
}

fn is_answered(stream: &mut UnixStream) -> bool {
    let mut answer = [0; 64];
    let length = stream.set_read_timeout(Some(ANSWER)).and_then(|()| stream.read(&mut answer)).unwrap_or(0);
    answer[..length].starts_with(b"HTTP/1.1 200 ")
}
