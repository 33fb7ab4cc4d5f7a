//! /proc or /sys are not there, or other users' processes are hidden: as in a container that somebody hardened.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{World, abort_connections, growth};
use netmon_tests::promise;

use super::SOON;

/// `ip netns exec` gives every program a mount namespace of its own.
const NO_PROC: [&str; 3] = ["sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\""];
const NO_SYS: [&str; 3] = ["sh", "-c", "mount -t tmpfs none /sys && exec \"$0\" \"$@\""];
/// An instance of its own, as `ProtectProc=invisible` of systemd makes one; who is nobody then sees nobody else.
const NO_PIDS: [&str; 3] = [
    "sh",
    "-c",
    "mount -t proc -o hidepid=invisible proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups \
     --inh-caps=-all --bounding-set=-all \"$0\" \"$@\"",
];

pub fn proc() -> Result<()> {
    let lost = goes_on("proc-hidden", &NO_PROC, false)?;
    promise(
        "proc-hidden",
        format_args!("without /proc: missing and told are {lost}; verdicts and waits go on"),
    );
    Ok(())
}

pub fn sys() -> Result<()> {
    let lost = goes_on("sys-hidden", &NO_SYS, false)?;
    promise(
        "sys-hidden",
        format_args!("without /sys: missing and told are {lost}; verdicts and waits go on"),
    );
    Ok(())
}

pub fn pids() -> Result<()> {
    let lost = goes_on("processes-hidden", &NO_PIDS, true)?;
    promise(
        "processes-hidden",
        format_args!(
            "an agent of nobody's under hidepid: missing and told are {lost}; verdicts and waits go on"
        ),
    );
    Ok(())
}

/// The agent runs, and every capability that it claims does its work. Those that are missing.
fn goes_on(what: &str, before: &[&str], as_nobody: bool) -> Result<String> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    if as_nobody {
        nix::unistd::chown(start.folder(), Some(65534.into()), Some(65534.into()))?;
    }
    let agent = start.behind(before).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let status = agent.status()?;
    let capabilities = status["agent"]["capabilities"].as_object().context("no capabilities")?;
    let metrics = agent.metrics()?;
    let mut lost = Vec::new();
    for (name, capability) in capabilities.iter().filter(|(_, c)| c["ok"] == false) {
        // A history has no place in the lab.
        if name == "history" {
            continue;
        }
        ensure!(!capability["detail"].to_string().is_empty(), "{name}: {capability}");
        ensure!(metrics.value("netmon_capability", &[("name", name)]) == Some(0.0), "{name} in the metrics");
        lost.push(name.clone());
    }
    ensure!(!lost.is_empty(), "{what}: nothing is told as missing: {}", status["agent"]["capabilities"]);
    counts(&agent, capabilities["bpf"]["ok"] == true)?;
    // Scrapes, waits, and a change of each kind.
    witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
    witness.after("up", &[], SOON, || world.carrier_up(0))?;
    Ok(if lost.is_empty() { "none".to_owned() } else { lost.join(", ") })
}

/// Where the agent says that its programs are in the kernel, they count: a capability that is claimed and does nothing is worse
/// than one that is missing.
fn counts(agent: &Agent<'_>, claimed: bool) -> Result<()> {
    let before = (agent.metrics()?, agent.world.counters()?);
    abort_connections(agent.world, 20)?;
    let truth = growth(&before.1, &agent.world.counters()?, "TcpOutRsts");
    let counted = await_until(SOON, || {
        thread::sleep(Duration::from_millis(200));
        let now = agent.metrics()?.sum("netmon_tcp_resets_total", &[("direction", "sent")]);
        Ok((now - before.0.sum("netmon_tcp_resets_total", &[("direction", "sent")]) >= truth as f64)
            .then_some(()))
    });
    match (claimed, counted?) {
        (true, None) => anyhow::bail!("the programs are said to count, and counted none of {truth} resets"),
        _ => Ok(()),
    }
}
