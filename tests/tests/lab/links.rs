//! Many links: several default routes, and devices that stand on others.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Boot;
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{Family, Options, Switch, World};
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("links::the_best_uplink_lost_names_the_next", best_lost),
    ("links::three_uplinks_take_over_in_turn", three_in_turn),
    ("links::a_dead_route_that_the_kernel_skips_loses_nothing", dead_route_skipped),
    ("links::a_dead_route_that_the_kernel_uses_is_told", dead_route_used),
    ("links::equal_metrics_carry_together", equal_metrics),
    ("links::a_bridge_is_down_with_its_only_port_at_once", bridge_follows_its_port),
    ("links::a_lost_port_of_a_bridge_is_degraded_and_named", lost_port),
    ("links::what_stands_on_a_device_names_it", macvlan),
];

/// R2 promises 100 ms; what is allowed here includes a process start on a machine that runs other trials.
const LINK: Duration = Duration::from_secs(3);
const PROBES: Duration = Duration::from_secs(20);
/// Longer than any target takes to be down, if it is.
const DOWN: Duration = Duration::from_secs(7);

/// Faults by turns are what is tried here, not what is to be damped.
const UNDAMPED: &str = "[health]\nflap_half_life = \"1s\"\nflap_suppress = 1000000\n";

fn uplinks(count: usize) -> Result<World> {
    World::with(Options { uplinks: count, ipv6: false, ..Options::default() })
}

/// What the reason `uplink_lost` of a device says.
fn missed(agent: &Agent<'_>, device: &str) -> Result<Option<String>> {
    let status = agent.status()?;
    let mut reasons = status["reasons"].as_array().into_iter().flatten();
    let found = reasons.find(|r| r["code"] == "uplink_lost" && r["subject"] == device);
    Ok(found.and_then(|r| r["detail"].as_str().map(str::to_owned)))
}

/// Insists that the uplink is missed, and that `by` carries in its place.
fn carried_by(agent: &Agent<'_>, lost: &str, by: &str) -> Result<()> {
    let detail =
        missed(agent, lost)?.with_context(|| format!("{lost} is not missed: {:?}", agent.status()))?;
    ensure!(detail.contains(&format!("goes by {by} ")), "{lost}, carried by {by}: {detail}");
    Ok(())
}

fn down_of_scope(witness: &Witness<'_>, agent: &Agent<'_>, scope: &str) -> Result<Vec<Value>> {
    let status = agent.status()?;
    let targets = status["targets"].as_array().into_iter().flatten();
    let names: Vec<&Value> = targets.filter(|t| t["scope"] == scope).map(|t| &t["name"]).collect();
    let changes = witness.watch().changes()?;
    Ok(changes.into_iter().filter(|c| c["state"] == "down" && names.contains(&&c["subject"])).collect())
}

fn best_lost() -> Result<()> {
    let world = World::with(Options { uplinks: 2, ..Options::default() })?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let reasons = ["uplink_lost/eth0", "admin_down/eth0"];
    // Both families go at once, but IPv6 routes a moment before those of IPv4 are read anew.
    witness.after("degraded", &reasons[1..], LINK, || world.admin_down(0))?;
    let detail = await_until(LINK, || {
        Ok(missed(&agent, "eth0")?
            .filter(|d| d.contains("IPv4 goes by eth1") && d.contains("IPv6 goes by eth1")))
    })?;
    ensure!(detail.is_some(), "{:?}", missed(&agent, "eth0")?);
    thread::sleep(DOWN);
    let down = down_of_scope(&witness, &agent, "internet")?;
    ensure!(down.is_empty(), "the other uplink carries: {down:?}");
    witness.after("up", &[], PROBES, || world.admin_up(0))?;
    ensure!(missed(&agent, "eth0")?.is_none(), "it carries again");
    Ok(())
}

fn three_in_turn() -> Result<()> {
    let world = uplinks(3)?;
    let agent = Start::new(&world)?.config(UNDAMPED).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    witness.after("degraded", &["uplink_lost/eth0"], LINK, || world.admin_down(0))?;
    carried_by(&agent, "eth0", "eth1")?;
    world.admin_down(1)?;
    let third = await_until(LINK, || {
        Ok(carried_by(&agent, "eth0", "eth2").and_then(|()| carried_by(&agent, "eth1", "eth2")).ok())
    })?;
    ensure!(third.is_some(), "{}", agent.status()?);
    witness.after("down", &["admin_down/eth2"], LINK, || world.admin_down(2))?;
    witness.after("degraded", &["uplink_lost/eth0"], PROBES, || world.admin_up(2))?;
    carried_by(&agent, "eth0", "eth2")?;
    (0..2).try_for_each(|n| world.admin_up(n))?;
    witness.up(PROBES)?;
    ensure!(missed(&agent, "eth0")?.is_none() && missed(&agent, "eth1")?.is_none(), "{}", agent.status()?);
    Ok(())
}

/// Whether a lost carrier takes its route along is the kernel's to say: by default it does not.
fn dead_route(skipped: bool) -> Result<()> {
    let world = uplinks(2)?;
    world.node.sysctl("ipv4/conf/all/ignore_routes_with_linkdown", if skipped { "1" } else { "0" })?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    witness.after("degraded", &["no_carrier/eth0", "uplink_lost/eth0"], LINK, || world.carrier_down(0))?;
    carried_by(&agent, "eth0", "eth1")?;
    // The routes are read a moment after the event.
    let told = await_until(LINK, || {
        let detail = missed(&agent, "eth0")?.unwrap_or_default();
        Ok((detail.ends_with("though its own route still stands") != skipped).then_some(()))
    })?;
    ensure!(told.is_some(), "{:?}", missed(&agent, "eth0")?);
    thread::sleep(DOWN);
    let down = down_of_scope(&witness, &agent, "internet")?;
    ensure!(down.is_empty() == skipped, "packets go by {}: {down:?}", if skipped { "eth1" } else { "eth0" });
    witness.after("up", &[], PROBES, || world.carrier_up(0))?;
    Ok(())
}

fn dead_route_skipped() -> Result<()> {
    dead_route(true)
}

fn dead_route_used() -> Result<()> {
    dead_route(false)
}

fn equal_metrics() -> Result<()> {
    let world = uplinks(2)?;
    let gateway = |n| world.gateway_address(n, Family::V4);
    (0..2).try_for_each(|n| world.remove_route(n, Family::V4))?;
    world.node.ip(&format!(
        "route add default nexthop via {} dev eth0 nexthop via {} dev eth1",
        gateway(0),
        gateway(1)
    ))?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    witness.after("degraded", &["uplink_lost/eth1"], LINK, || world.node.ip("link set eth1 down"))?;
    carried_by(&agent, "eth1", "eth0")?;
    witness.after("up", &[], PROBES, || world.node.ip("link set eth1 up"))?;
    Ok(())
}

/// Puts the node's first uplink into a bridge, which gets its address and its route.
fn bridge_over_the_uplink(world: &World) -> Result<()> {
    let prefix = world.node_address(0, Family::V4);
    let gateway = world.gateway_address(0, Family::V4);
    world.node.ip(&format!(
        "addr flush dev eth0
         link add name br0 type bridge
         link set eth0 master br0
         link set br0 up
         addr add {prefix}/24 dev br0
         route add default via {gateway} dev br0"
    ))
}

/// State and first reason's code of a device.
fn device(agent: &Agent<'_>, name: &str) -> Result<(Value, Value)> {
    let status = agent.status()?;
    let found = device_of(&status, name)?;
    Ok((found["state"].clone(), found["reasons"][0]["code"].clone()))
}

fn device_of<'a>(status: &'a Value, name: &str) -> Result<&'a Value> {
    let found = status["devices"].as_array().into_iter().flatten().find(|d| d["name"] == name);
    found.with_context(|| format!("no device {name}: {status}"))
}

fn bridge_follows_its_port() -> Result<()> {
    let world = uplinks(1)?;
    bridge_over_the_uplink(&world)?;
    let agent = Start::new(&world)?.config(UNDAMPED).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    ensure!(device(&agent, "eth0")? == ("up".into(), Value::Null), "a port has no address by design");
    let switch = Switch::new(&world.gateways[0], "lan0")?;
    let (mut took, mut ahead) = (Vec::new(), 0);
    for _ in 0..5 {
        let before = Boot::now();
        switch.set(false)?;
        let status = await_until(LINK, || {
            let status = agent.status()?;
            Ok((status["state"] == "down").then_some(status))
        })?;
        let status = status.with_context(|| format!("not down: {:?}", agent.status()))?;
        let codes: Vec<String> = status["reasons"].as_array().into_iter().flatten().map(said).collect();
        ensure!(codes.starts_with(&["no_carrier/br0".into(), "no_carrier/eth0".into()]), "{codes:?}");
        let since = status["since_boottime_ns"].as_u64().context("no since_boottime_ns")?;
        took.push(Boot::from_nanos(since).since(before));
        ahead += u32::from(device_of(&status, "br0")?["carrier"] == true);
        world.carrier_up(0)?;
        witness.up(PROBES)?;
    }
    took.sort_unstable();
    eprintln!("carrier lost → down, over a bridge: {took:.2?}; {ahead} times of 5 before the kernel said so");
    // It takes the bridge's carrier a second after the port's, or sooner when nothing else has happened lately.
    ensure!(ahead > 0, "the kernel was always first: {took:?}");
    Ok(())
}

/// `code/subject` of a reason.
fn said(reason: &Value) -> String {
    format!(
        "{}/{}",
        reason["code"].as_str().unwrap_or_default(),
        reason["subject"].as_str().unwrap_or_default()
    )
}

fn lost_port() -> Result<()> {
    let world = uplinks(1)?;
    bridge_over_the_uplink(&world)?;
    world.node.ip("link add name lan1 type veth peer name far1
         link set far1 up
         link set lan1 up
         link set lan1 master br0")?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    for port in ["eth0", "lan1"] {
        ensure!(device(&agent, port)?.0 == "up", "{port}: {}", agent.status()?);
    }
    witness.after("degraded", &["port_down/lan1"], LINK, || world.node.ip("link set lan1 down"))?;
    ensure!(device(&agent, "br0")? == ("degraded".into(), "port_down".into()), "{}", agent.status()?);
    ensure!(device(&agent, "lan1")? == ("down".into(), "admin_down".into()), "{}", agent.status()?);
    witness.after("up", &[], LINK, || world.node.ip("link set lan1 up"))?;
    Ok(())
}

fn macvlan() -> Result<()> {
    let world = uplinks(1)?;
    let (own, gateway) = (world.node_address(0, Family::V4), world.gateway_address(0, Family::V4));
    world.node.ip(&format!(
        "addr flush dev eth0
         link add link eth0 name mv0 type macvlan mode bridge
         link set mv0 up
         addr add {own}/24 dev mv0
         route add default via {gateway} dev mv0"
    ))?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    ensure!(device(&agent, "eth0")?.0 == "up", "it carries mv0: {}", agent.status()?);
    witness.after("down", &["no_carrier/mv0", "no_carrier/eth0"], LINK, || world.carrier_down(0))?;
    witness.after("up", &[], PROBES, || world.carrier_up(0))?;
    Ok(())
}
