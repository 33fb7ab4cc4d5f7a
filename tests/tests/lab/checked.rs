//! An agent under a checker of memory or threads that does wrong when it is told to: the report has to reach its file, also out of
//! an agent that is shut in. For `cargo xtask sanitize`, which says by `NETMON_FAULT` what is to be done wrong.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use netmon_agent::sandbox::of_process;
use netmon_tests::agent::{Start, await_until};
use netmon_tests::lab::World;
use nix::sys::signal::Signal;

use crate::attempt;

const NAME: &str = "checked::an_agent_that_does_wrong_is_reported";
/// A checker looks for names, or for what is leaked, as long as that takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The trial, where a fault is asked for.
pub fn trials() -> Option<Trial> {
    env::var_os("NETMON_FAULT")?;
    Some(Trial::test(NAME, || attempt(NAME, does_wrong)))
}

fn does_wrong() -> Result<()> {
    let reports = env::var("NETMON_REPORTS").context("NETMON_REPORTS")?;
    let world = World::new()?;
    let mut agent = Start::new(&world)?.start()?;
    let is_open = env::var_os("NETMON_CHECKED_OPEN").is_some();
    let threads = of_process(agent.pid().as_raw() as u32)?;
    ensure!(threads.iter().all(|thread| (thread.seccomp == 0) == is_open), "{threads:?}");
    agent.signal(Signal::SIGHUP)?;
    // By a race it goes on; by what is worse its checker ends it.
    let done = await_until(PATIENCE, || {
        let told = agent.log.lines().iter().any(|line| line.contains("SIGHUP"));
        Ok((told || !agent.runs()?).then_some(()))
    })?;
    ensure!(done.is_some(), "no word of SIGHUP: {:?}", agent.log.lines());
    if agent.runs()? {
        agent.signal(Signal::SIGTERM)?;
    }
    agent.await_end(PATIENCE)?;
    let file = Path::new(&reports).join(format!("netmon.{}", agent.pid()));
    let reported = || fs::read_to_string(&file).is_ok_and(|text| text.contains("Sanitizer"));
    await_until(PATIENCE, || Ok(reported().then_some(())))?
        .with_context(|| format!("nothing in {}", file.display()))
}
