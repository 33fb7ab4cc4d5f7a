//! A read of the state in a process that embeds the client.

#[path = "../../../../netmon-agent/client/tests/traced/mod.rs"]
mod traced;

use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use netmon_agent::time::Mono;
use netmon_client::Monitor;
use netmon_tests::agent::Agent;
use netmon_tests::lab::World;
use netmon_tests::promise;

use crate::await_up;

const READS: u32 = 100_000_000;

/// Times the read, and counts the system calls of a process that reads, between two that mark the loop.
pub fn measure() -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    await_up(&agent)?;
    let monitor = Monitor::connect(&agent.socket)?;
    ensure!(monitor.is_up(), "the client does not see what the agent says");
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Mono::now();
        for _ in 0..READS {
            black_box(black_box(&monitor).is_up());
        }
        let took = Mono::now().since(start);
        best = best.min(took.as_nanos() as f64 / f64::from(READS));
    }
    println!("read: {best:.2} ns a read (best of five runs of {READS})");

    if let Some(why) = traced::obstacle() {
        bail!("{why}");
    }
    let arguments = ["read-loop".as_ref(), agent.socket.as_os_str()];
    let calls = traced::system_calls(&std::env::current_exe()?, &arguments, agent.folder())
        .map_err(|e| anyhow!(e))?;
    println!("  system calls in {} reads, by strace: {}", traced::READS, calls.len());
    promise(
        "read-cost",
        format_args!("{best:.2} ns a read, {} system calls in {} reads", calls.len(), traced::READS),
    );
    ensure!(calls.is_empty(), "a read makes system calls: {calls:?}");
    Ok(())
}

/// The traced half.
pub fn traced_loop(socket: &Path) -> Result<()> {
    let monitor = Monitor::connect(socket)?;
    traced::read_loop(|| monitor.is_up()).map_err(|e| anyhow!(e))
}
