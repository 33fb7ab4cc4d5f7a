//! Clients over HTTP on the socket: whatever the language, the same commands, exit codes and words.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Witness, await_until};
use netmon_tests::lab::World;
use serde_json::Value;

use super::example;

const PROBES: Duration = Duration::from_secs(20);

pub fn python() -> Result<()> {
    waits_out_an_outage(&["python3", "python/netmon.py"], |event, subject, state| {
        event.split(' ').skip(1).eq([subject, state])
    })
}

pub fn curl() -> Result<()> {
    waits_out_an_outage(&["sh", "shell/curl.sh"], |event, subject, state| {
        serde_json::from_str::<Value>(event).is_ok_and(|e| e["subject"] == subject && e["state"] == state)
    })
}

/// Status, a wait that is not fulfilled, one that is released by the link's return, and the events of both changes.
fn waits_out_an_outage(client: &[&str; 2], is: fn(&str, &str, &str) -> bool) -> Result<()> {
    let world = World::new()?;
    let mut agent = Agent::start(&world)?;
    let socket = agent.socket.clone();
    let client = |arguments: &[&str]| {
        let mut command: Command = world.node.command(client[0]);
        command.arg(example(client[1])).args(arguments).env("NETMON_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let code = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = client(arguments).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into()))
    };
    Witness::new(&agent)?.up(PROBES)?;
    let (status, said) = code(&["status"])?;
    ensure!(status == Some(0) && said.contains("up"), "status: {status:?}: {said}");
    ensure!(code(&["wait"])?.0 == Some(0), "it is usable");

    let mut events = client(&["events"]).spawn()?;
    let mut heard = events.stdout.take().context("its output")?;
    agent.await_followers(1)?;
    world.carrier_down(0)?;
    let (status, said) = code(&["wait", "usable", "1s"])?;
    ensure!(status == Some(75) && said.contains("eth0"), "not by the deadline: {status:?}: {said}");
    let mut waiter = client(&["wait", "usable", "60s"]).spawn()?;
    agent.await_waiters(1)?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(waiter.try_wait()?.is_none(), "released while the link is down");
    world.carrier_up(0)?;
    let released =
        await_until(PROBES, || Ok(waiter.try_wait()?))?.context("still waits with the link back")?;
    ensure!(released.code() == Some(0), "{released}");

    let (status, said) = code(&["wait", "sideways"])?;
    ensure!(status == Some(2) && said.contains("usable"), "no such state: {status:?}: {said}");
    // Those who follow are told of the end, and what was said until then is complete.
    agent.stop()?;
    let mut text = String::new();
    heard.read_to_string(&mut text)?;
    events.wait()?;
    let mut lines = text.lines();
    for state in ["up", "down"] {
        ensure!(lines.any(|l| is(l, "network", state)), "no change to {state} in time: {text}");
    }
    ensure!(lines.any(|l| is(l, "network", "up") || is(l, "network", "degraded")), "no return: {text}");
    let (status, said) = code(&["status"])?;
    ensure!(status == Some(69) && !said.is_empty(), "no agent: {status:?}: {said}");
    Ok(())
}
