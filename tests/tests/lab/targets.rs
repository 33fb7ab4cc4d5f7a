//! Targets of all kinds: refused, unreachable, by TCP, by name, and probed without an agent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, Witness, await_until, binary};
use netmon_tests::lab::{Answer, Code, Records, World};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("targets::a_refusing_gateway_is_told_as_unreachable", refusing_gateway),
    ("targets::a_closed_port_is_told_as_refused", closed_port),
    ("targets::a_name_is_resolved_and_its_loss_told", by_name),
    ("targets::a_name_with_ipv6_only_is_up", ipv6_only),
    ("targets::a_dead_resolver_takes_no_target_down_and_delays_no_probe", dead_resolver),
    ("targets::a_name_is_looked_up_as_soon_as_there_is_a_way", way_appears),
    ("targets::a_name_is_followed_to_its_new_address", followed),
    ("targets::a_source_that_suits_no_address_is_told", unsuited_source),
    ("targets::a_new_resolver_is_a_target_at_once", new_resolver),
    ("targets::sighup_adds_and_removes_targets_and_a_bad_file_changes_nothing", reload),
    ("targets::probe_measures_without_an_agent", probe),
];

const PROBES: Duration = Duration::from_secs(20);

fn refusing_gateway() -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let mut fault = None;
    witness.after("degraded", &["target_down/1.1.1.1"], PROBES, || {
        fault = Some(world.refuse(0, Code::AdminProhibited, Some("1.1.1.1".parse()?))?);
        Ok(())
    })?;
    let reason = target(&agent.status()?, "1.1.1.1")?["reasons"][0].clone();
    ensure!(reason["code"] == "unreachable", "{reason}");
    witness.after("up", &[], PROBES, || fault.context("a fault")?.mend())?;
    Ok(())
}

fn closed_port() -> Result<()> {
    let world = World::new()?;
    let config = "[defaults]\ninterval = \"500ms\"\n\
                  [[target]]\nname = \"open\"\nhost = \"203.0.113.10\"\nprobe = \"tcp\"\nport = 443\n\
                  [[target]]\nname = \"closed\"\nhost = \"2001:db8:113::10\"\nprobe = \"tcp\"\nport = 81\n";
    let agent = Start::new(&world)?.config(config).start()?;
    ensure!(agent.cli_code(&["wait", "--target", "open", "--timeout", "20s"])? == 0, "{}", agent.status()?);
    let wait = ["wait", "--target", "closed", "--state", "down", "--timeout", "20s"];
    ensure!(agent.cli_code(&wait)? == 0, "{}", agent.status()?);
    let reason = target(&agent.status()?, "closed")?["reasons"][0].clone();
    ensure!(reason["code"] == "refused", "{reason}");
    Ok(())
}

fn by_name() -> Result<()> {
    let world = World::new()?;
    let config = "[[target]]\nname = \"named\"\nhost = \"server.example\"\n";
    let agent = Start::new(&world)?.config(config).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let named = target(&agent.status()?, "named")?;
    let mut addresses: Vec<_> =
        named["addresses"].as_array().into_iter().flatten().map(|a| a["address"].clone()).collect();
    addresses.sort_by_key(Value::to_string);
    ensure!(addresses == ["2001:db8:113::10", "203.0.113.10"], "{addresses:?}");

    let second = Start::new(&world)?.config(&format!("[agent]\nlisten = []\n{config}"));
    world.resolver.answer(Answer::Servfail);
    let second = second.start()?;
    let wait = ["wait", "--target", "named", "--state", "down", "--timeout", "30s"];
    ensure!(second.cli_code(&wait)? == 0, "{}", second.status()?);
    let reason = target(&second.status()?, "named")?["reasons"][0].clone();
    ensure!(reason["code"] == "dns", "{reason}");
    world.resolver.answer(Answer::Yes);
    let wait = ["wait", "--target", "named", "--state", "up", "--timeout", "15s"];
    ensure!(second.cli_code(&wait)? == 0, "a name that resolves late is not probed: {}", second.status()?);
    Ok(())
}

/// One target by name, probed once a second; on its own, so that nothing else looks up or is probed.
const NAMED: &str =
    "[defaults]\ninterval = \"1s\"\n[[target]]\nname = \"named\"\nhost = \"server.example\"\n";

fn ipv6_only() -> Result<()> {
    let world = World::new()?;
    world.resolver.records(Records { v4: None, ..Records::default() });
    let agent = Start::new(&world)?.config(NAMED).start()?;
    await_named(&agent, "up", &["2001:db8:113::10"])?;
    ensure!(target(&agent.status()?, "named")?["reasons"] == Value::Array(Vec::new()), "{}", agent.status()?);
    Ok(())
}

fn dead_resolver() -> Result<()> {
    let world = World::new()?;
    world.resolver.records(Records { ttl: 5, ..Records::default() });
    let config = format!("{NAMED}[[target]]\nname = \"never\"\nhost = \"late.example\"\n");
    let agent = Start::new(&world)?.config(NAMED).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    world.resolver.answer(Answer::Silence);
    std::fs::write(agent.folder().join("netmon.toml"), config)?;
    agent.signal(Signal::SIGHUP)?;
    // A name that never resolved says so; so does the one that is resolved, when its time is over.
    let reason_of = |name: &str| -> Result<Value> {
        let status = agent.status()?;
        Ok(target(&status, name).map(|t| t["reasons"][0].clone()).unwrap_or_default())
    };
    let told = await_until(PROBES, || {
        let (never, named) = (reason_of("never")?, reason_of("named")?);
        Ok((never["code"] == "dns" && named["code"] == "dns").then(|| named["detail"].to_string()))
    })?;
    let told = told.with_context(|| format!("no word on the resolver: {:?}", agent.status()))?;
    ensure!(told.contains("the resolver 10.77.1.1 does not answer"), "{told}");
    ensure!(target(&agent.status()?, "never")?["state"] == "down", "{}", agent.status()?);

    let count = |family: &str| Ok::<_, anyhow::Error>(agent.metrics()?.sum(family, &[("target", "named")]));
    let (begun, before) = (Mono::now(), count("netmon_probes_total")?);
    std::thread::sleep(Duration::from_secs(10));
    let probes = count("netmon_probes_total")? - before;
    let expected = Mono::now().since(begun).as_secs_f64() * 2.0;
    ensure!((probes - expected).abs() <= 3.0, "{probes} probes of two addresses, not {expected}");
    ensure!(count("netmon_probe_failures_total")? == 0.0, "a probe was lost");
    let named = target(&agent.status()?, "named")?;
    ensure!(named["state"] == "up" && named["reasons"][0]["code"] == "dns", "{named}");
    let addresses = named["addresses"].as_array().map(Vec::len);
    ensure!(addresses == Some(2), "{named}");

    world.resolver.answer(Answer::Yes);
    ensure!(agent.cli_code(&["wait", "--target", "never", "--timeout", "90s"])? == 0, "{}", agent.status()?);
    Ok(())
}

fn way_appears() -> Result<()> {
    let world = World::new()?;
    world.delete_device(0)?;
    let agent = Start::new(&world)?.config(NAMED).start()?;
    let told = await_until(PROBES, || {
        let reasons = target(&agent.status()?, "named")?["reasons"].clone();
        let explained = reasons[0]["code"] == "explained_by_link" && reasons[1]["code"] == "dns";
        Ok(explained.then(|| reasons[1]["detail"].to_string()))
    })?;
    let told = told.context("no word on the resolver")?;
    ensure!(told.contains("can't ask the resolver 10.77.1.1"), "{told}");
    // By now sixteen seconds lie between one try and the next: at 0, 1, 3, 7, 15 and 31 s.
    std::thread::sleep(Duration::from_secs(18));
    world.create_device(0)?;
    let wait = ["wait", "--target", "named", "--state", "up", "--timeout", "7s"];
    ensure!(agent.cli_code(&wait)? == 0, "it waited for its turn: {}", agent.status()?);
    Ok(())
}

fn followed() -> Result<()> {
    let world = World::new()?;
    world.resolver.records(Records { v6: None, ttl: 5, ..Records::default() });
    let agent = Start::new(&world)?.config(NAMED).start()?;
    await_named(&agent, "up", &["203.0.113.10"])?;
    let since = target(&agent.status()?, "named")?["since_boottime_ns"].clone();
    let asked = world.resolver.queries();
    world.resolver.records(Records { v4: Some("8.8.4.4".parse()?), v6: None, ttl: 5 });
    await_named(&agent, "up", &["8.8.4.4"])?;
    ensure!(world.resolver.queries() > asked, "it was not asked for");
    std::thread::sleep(Duration::from_secs(3));
    let named = target(&agent.status()?, "named")?;
    ensure!(named["state"] == "up" && named["since_boottime_ns"] == since, "it was up all the time: {named}");
    let metrics = agent.metrics()?;
    let infos = metrics.all("netmon_target_info", &[("target", "named")]);
    ensure!(infos.len() == 1, "{infos:?}");
    ensure!(metrics.value("netmon_target_info", &[("target", "named"), ("address", "8.8.4.4")]).is_some());
    Ok(())
}

fn unsuited_source() -> Result<()> {
    let world = World::new()?;
    world.resolver.records(Records { v6: None, ..Records::default() });
    let agent = Start::new(&world)?.config(&format!("{NAMED}source = \"fd00::1\"\n")).start()?;
    let told = await_until(PROBES, || {
        let named = target(&agent.status()?, "named")?;
        Ok((named["state"] == "down").then(|| named["reasons"][0].clone()))
    })?;
    let reason = told.with_context(|| format!("no verdict: {:?}", agent.status()))?;
    let said = reason["detail"].to_string();
    ensure!(reason["code"] == "dns" && said.contains("can be reached from fd00::1"), "{reason}");
    Ok(())
}

fn new_resolver() -> Result<()> {
    const LOCAL: &str = "dns-fe80::77%eth0";
    let world = World::new()?;
    let agent = Start::new(&world)?.config("").start()?;
    Witness::new(&agent)?.up(PROBES)?;
    let text = "nameserver 10.77.1.1\nnameserver fe80::77%eth0\n";
    std::fs::write(world.node.etc()?.join("resolv.conf"), text)?;
    let seen = await_until(Duration::from_secs(4), || Ok(target(&agent.status()?, LOCAL).ok()))?;
    ensure!(seen.is_some(), "{}", agent.status()?);
    // Nobody is there, on the link that the file names.
    let wait = ["wait", "--target", LOCAL, "--state", "down", "--timeout", "20s"];
    ensure!(agent.cli_code(&wait)? == 0, "{}", agent.status()?);
    Ok(())
}

/// Waits until the target by name has this state and these addresses.
fn await_named(agent: &Agent<'_>, state: &str, addresses: &[&str]) -> Result<()> {
    let reached = await_until(PROBES, || {
        let named = target(&agent.status()?, "named")?;
        let all = named["addresses"].as_array().into_iter().flatten();
        let all: Vec<_> = all.filter_map(|a| a["address"].as_str()).collect();
        Ok((named["state"] == state && all == addresses).then_some(()))
    })?;
    ensure!(reached.is_some(), "not {state} at {addresses:?}: {}", agent.status()?);
    Ok(())
}

fn reload() -> Result<()> {
    let world = World::new()?;
    let agent =
        Start::new(&world)?.config("[[target]]\nname = \"old\"\nhost = \"203.0.113.10\"\n").start()?;
    Witness::new(&agent)?.up(PROBES)?;
    let file = agent.folder().join("netmon.toml");
    let probes = |name: &str| -> Result<Option<f64>> {
        Ok(agent.metrics()?.value("netmon_probes_total", &[("target", name)]))
    };
    let before = probes("8.8.8.8")?.context("no series of 8.8.8.8")?;
    std::fs::write(&file, "[[target]]\nname = \"new\"\nhost = \"203.0.113.10\"\n")?;
    agent.signal(Signal::SIGHUP)?;
    ensure!(agent.log.await_line(PROBES, |l| l.contains("SIGHUP")).is_some(), "no word on the reload");
    let changed = await_until(PROBES, || {
        let status = agent.status()?;
        Ok((target(&status, "new").is_ok() && target(&status, "old").is_err()).then_some(()))
    })?;
    ensure!(changed.is_some(), "{}", agent.status()?);
    ensure!(probes("old")?.is_none(), "the series of a removed target stay");
    ensure!(probes("8.8.8.8")?.is_some_and(|n| n >= before), "an unchanged target lost its counters");

    std::fs::write(&file, "[[target]]\nname = \"bad\"\nhots = \"203.0.113.10\"\n")?;
    agent.signal(Signal::SIGHUP)?;
    let said = agent.log.await_line(PROBES, |l| l.contains("hots"));
    ensure!(said.is_some(), "no word on the bad file: {:?}", agent.log.lines());
    ensure!(target(&agent.status()?, "new").is_ok(), "a bad file changed the targets");
    Ok(())
}

fn probe() -> Result<()> {
    let world = World::new()?;
    let probe = |arguments: &[&str]| -> Result<(Option<i32>, Vec<Value>)> {
        let output = world.node.command(binary()?).arg("probe").args(arguments).arg("--json").output()?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let objects = lines
            .lines()
            .map(|l| serde_json::from_str(l).with_context(|| l.to_owned()))
            .collect::<Result<_>>()?;
        Ok((output.status.code(), objects))
    };
    for arguments in [
        &["8.8.8.8", "2001:4860:4860::8888", "--icmp"][..],
        &["8.8.8.8", "--tcp", "443"],
        &["10.77.1.1", "--dns"],
    ] {
        let (code, objects) = probe(&[arguments, &["-c", "3", "-i", "100ms"]].concat())?;
        let hosts = arguments.iter().filter(|a| a.contains('.') || a.contains(':')).count();
        ensure!(code == Some(0), "{arguments:?}: {code:?}: {objects:?}");
        ensure!(objects.len() == 3 * hosts + 1, "{arguments:?}: {} objects", objects.len());
        let (summary, each) = objects.split_last().context("no summary")?;
        ensure!(summary["summary"] == true && summary["rtt_ns"].is_null(), "{summary}");
        ensure!(
            each.iter().all(|o| o["rtt_ns"].as_u64().is_some_and(|rtt| rtt > 0)),
            "{arguments:?}: {each:?}"
        );
    }
    let _fault = world.blackhole_behind()?;
    let (code, objects) =
        probe(&["8.8.8.8", "10.77.1.1", "-c", "2", "-i", "100ms", "-W", "300ms", "--icmp"])?;
    ensure!(code == Some(1), "one host of two is silent: {code:?}");
    let lost = objects
        .iter()
        .filter(|o| o["target"] == "8.8.8.8" && o["failure"] == "timeout" && o["rtt_ns"].is_null());
    ensure!(lost.count() == 2, "{objects:?}");
    Ok(())
}

fn target(status: &Value, name: &str) -> Result<Value> {
    let mut all = status["targets"].as_array().into_iter().flatten();
    all.find(|t| t["name"] == name).cloned().with_context(|| format!("no target {name}"))
}
