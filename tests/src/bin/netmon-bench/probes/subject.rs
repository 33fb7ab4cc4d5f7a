//! Programs under measurement: run inside a namespace, with what they cost.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_tests::lab::Netns;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// A namespace with a loopback that answers as 16 million hosts, ping sockets open to all, and no limit on answers.
pub fn loopback() -> Result<Netns> {
    let netns = Netns::create(&format!("nmt-{}-probes", std::process::id()))?;
    prepare(&netns)?;
    Ok(netns)
}

/// Opens what limits a bench: ping sockets, rates of ICMP, queues of listeners, local ports.
pub fn prepare(netns: &Netns) -> Result<()> {
    for (path, value) in [
        ("ipv4/ping_group_range", "0 2147483647"),
        ("ipv4/icmp_ratelimit", "0"),
        ("core/somaxconn", "4096"),
        ("ipv4/ip_local_port_range", "1024 65535"),
        ("ipv4/tcp_max_tw_buckets", "200000"),
    ] {
        netns.sysctl(path, value)?;
    }
    Ok(())
}

/// What a program said, and the CPU time, user and system, of it and all it started.
pub struct Ran {
    pub output: String,
    pub cpu: Duration,
}

/// Runs a program in a namespace to its end. Its exit status is not judged: fping's tells of lost probes.
///
/// # Errors
/// When it cannot be started.
pub fn run(netns: &Netns, command: &mut Command, input: &str) -> Result<Ran> {
    let shown = command.get_program().display().to_string();
    netns.run(|| {
        let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        // Standard error goes the same way: fping tells its statistics there.
        let folder = netns.folder()?;
        let (asked, said) = (folder.join("in"), folder.join("out"));
        File::create(&asked)?.write_all(input.as_bytes())?;
        let out = File::create(&said)?;
        let errors = out.try_clone()?;
        let mut child = command
            .stdin(File::open(&asked)?)
            .stdout(Stdio::from(out))
            .stderr(Stdio::from(errors))
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        child.wait()?;
        let cpu = cpu(&getrusage(UsageWho::RUSAGE_CHILDREN)?).saturating_sub(cpu(&before));
        Ok(Ran { output: std::fs::read_to_string(said)?, cpu })
    })?
}

/// User and system time.
pub fn cpu(usage: &Usage) -> Duration {
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.max(0) as u64)
}

/// Address `n` of 127.0.0.0/8, none of them special.
pub fn host(n: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from(0x7f01_0000 + n)
}
