//! Links, addresses and routes change faster than a small receive buffer can hold.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{Family, Options, World};
use netmon_tests::promise;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::{SOON, STEADY};

/// What the kernel doubles for its own needs (`sk_rcvbuf`, socket(7)).
const ASKED: usize = 2048;
/// Rounds, each with a change that matters in the midst of a storm, and one after it.
const ROUNDS: usize = 5;
/// Events of a storm: five for each of so many addresses.
const ADDRESSES: usize = 400;

pub fn small_buffer() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let agent = Start::new(&world)?.config(STEADY).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let buffer = shrink_event_buffer(&agent)?;
    ensure!(buffer == 2 * ASKED, "the buffer has {buffer} bytes");
    let overruns = || -> Result<f64> {
        agent.metrics()?.value("netmon_netlink_overruns_total", &[]).context("no counter of overruns")
    };
    let before = overruns()?;
    let (mut longest, mut events) = (Duration::ZERO, 0);
    for round in 0..ROUNDS {
        let waiter = agent.cli_spawn(&["wait", "--state", "down", "--timeout", "20s"])?;
        agent.await_waiters(1)?;
        thread::scope(|scope| -> Result<()> {
            let storm = scope.spawn(|| storm(&world));
            // While others crowd the buffer.
            thread::sleep(Duration::from_millis(50));
            let began = Mono::now();
            if round % 2 == 0 {
                world.carrier_down(0)?;
            } else {
                world.remove_address(0, Family::V4)?;
            }
            ensure!(
                waiter.wait_with_output()?.status.success(),
                "round {round}: {}",
                agent.status()?["reasons"]
            );
            longest = longest.max(Mono::now().since(began));
            events += storm.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?;
            Ok(())
        })?;
        // Each loss is a moment of `unknown`, as long as the storm lasts; then it is what it is.
        let code = if round % 2 == 0 { "no_carrier" } else { "no_address" };
        let lasts = await_until(SOON, || {
            let now = agent.status()?;
            Ok((now["state"] == "down" && now["reasons"][0]["code"] == code).then_some(()))
        })?;
        lasts.with_context(|| {
            format!("round {round}, {code}: {:?}", agent.status().map(|s| s["reasons"].clone()))
        })?;
        witness.after("up", &[], SOON, || {
            world.carrier_up(0)?;
            world.configure_uplink(0)
        })?;
    }
    ensure!(events >= 10_000, "{events} events are no storm");
    let lost = overruns()? - before;
    ensure!(lost >= 1.0, "{events} events fit into {buffer} bytes");
    // What is shown is what there is: the storm's own device is gone, the uplink is whole.
    let status = agent.status()?;
    let names: Vec<_> = status["devices"].as_array().into_iter().flatten().map(|d| &d["name"]).collect();
    ensure!(names.iter().all(|name| *name == "eth0"), "{names:?}");
    let own = world.node_address(0, Family::V4).to_string();
    ensure!(status["devices"][0]["addresses"].to_string().contains(&own), "{}", status["devices"][0]);
    promise(
        "netlink-overrun",
        format_args!(
            "{events} events through {buffer} bytes: {lost} overruns counted, {ROUNDS} of {ROUNDS} changes told, the slowest \
             after {:.0} ms",
            longest.as_secs_f64() * 1e3
        ),
    );
    Ok(())
}

/// Makes the buffer of the agent's event socket as small as it may be, through a descriptor of our own of the same socket;
/// its size then.
fn shrink_event_buffer(agent: &Agent<'_>) -> Result<usize> {
    let table = agent.world.node.run(|| fs::read_to_string("/proc/thread-self/net/netlink"))??;
    // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode; protocol 0 is NETLINK_ROUTE, and who hears events is in a group.
    let hears = |line: &str| -> Option<String> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let groups = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        (*fields.get(1)? == "0" && groups != 0).then(|| format!("socket:[{}]", fields.last().unwrap_or(&"")))
    };
    let hearers: BTreeSet<String> = table.lines().filter_map(hears).collect();
    let mut found = None;
    for entry in fs::read_dir(format!("/proc/{}/fd", agent.pid()))? {
        let entry = entry?;
        let is_one = fs::read_link(entry.path()).is_ok_and(|to| hearers.contains(&*to.to_string_lossy()));
        if is_one {
            found = entry.file_name().to_str().and_then(|name| name.parse().ok());
        }
    }
    let number: i32 = found.with_context(|| format!("the agent has none of {hearers:?}"))?;
    let pid = Pid::from_raw(agent.pid().as_raw()).context("a process")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let socket: OwnedFd = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
    setsockopt(&socket, sockopt::RcvBuf, &ASKED)?;
    Ok(getsockopt(&socket, sockopt::RcvBuf)?)
}

/// Addresses, routes and a link that change as fast as `ip` can say; how many changes.
fn storm(world: &World) -> Result<usize> {
    let began = Mono::now();
    let mut lines = String::from(
        "link add name vethstorm0 type veth peer name vethstorm1\nlink set vethstorm1 up\nlink set vethstorm0 up\n",
    );
    for i in 0..ADDRESSES {
        let (high, low) = (i >> 8, i & 255);
        // Writing to a String can't fail.
        let _ = write!(
            lines,
            "addr add 198.18.{high}.{low}/32 dev vethstorm0\nroute add 198.19.{high}.{low}/32 dev vethstorm0\n\
             link set vethstorm0 mtu {}\nroute del 198.19.{high}.{low}/32 dev vethstorm0\n\
             addr del 198.18.{high}.{low}/32 dev vethstorm0\n",
            1400 + i % 2
        );
    }
    lines += "link del vethstorm0\n";
    world.node.ip(&lines)?;
    eprintln!("{} changes in {:.2?}", lines.lines().count(), Mono::now().since(began));
    Ok(lines.lines().count())
}
