//! A read of the state in a process that embeds the client.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_client::Monitor;
use netmon_tests::agent::Agent;
use netmon_tests::lab::{World, find_program, run};

use crate::await_up;

const READS: u32 = 100_000_000;
const TRACED_READS: u32 = 1_000_000;

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

    let strace = find_program("strace").context("strace is not installed: apt-get install strace")?;
    let trace = agent.folder().join("trace");
    let mut command = Command::new(strace);
    command.args(["--follow-forks", "--output"]).arg(&trace);
    run(command.arg(std::env::current_exe()?).arg("read-loop").arg(&agent.socket), "")?;
    let trace = fs::read_to_string(trace)?;
    let calls = between_marks(&trace)?;
    println!("  system calls in {TRACED_READS} reads, by strace: {}", calls.len());
    ensure!(calls.is_empty(), "a read makes system calls: {calls:?}");
    Ok(())
}

/// Reads between two calls of getppid(2), which nothing else here makes.
pub fn traced_loop(socket: &Path) -> Result<()> {
    let monitor = Monitor::connect(socket)?;
    nix::unistd::getppid();
    for _ in 0..TRACED_READS {
        black_box(black_box(&monitor).is_up());
    }
    nix::unistd::getppid();
    Ok(())
}

/// What the thread that made the marks called between them.
fn between_marks(trace: &str) -> Result<Vec<&str>> {
    // A call that another thread interrupts has a second line, `<... getppid resumed>`.
    let calls = || trace.lines().filter(|line| !line.contains(" resumed>"));
    let is_mark = |line: &&str| line.contains("getppid(");
    let reader = calls().find(is_mark).and_then(|l| l.split(' ').next()).context("no mark in the trace")?;
    let mut own = calls().filter(|l| l.split(' ').next() == Some(reader));
    own.by_ref().find(is_mark).context("no first mark")?;
    let rest: Vec<_> = own.collect();
    let end = rest.iter().position(is_mark).context("no second mark")?;
    Ok(rest[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::between_marks;

    #[test]
    fn only_the_readers_calls_between_its_marks_count() {
        let trace = "7 getppid( <unfinished ...>\n8 futex(0) = 0\n7 <... getppid resumed>) = 1\n7 read(3) = 1\n\
                     7 getppid() = 1\n7 write(1) = 1\n";
        assert_eq!(between_marks(trace).unwrap(), ["7 read(3) = 1"]);
        assert!(between_marks("7 getppid() = 1\n").is_err());
        assert!(between_marks("7 read(3) = 1\n").is_err());
    }
}
