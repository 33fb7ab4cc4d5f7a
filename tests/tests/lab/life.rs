//! The agent's own life: its start and end, a standstill, lost events, many waiters.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, Watch, Witness, await_until, get};
use netmon_tests::lab::{Family, Options, World, find_program, run};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("life::sigterm_ends_it_cleanly", sigterm),
    ("life::sigint_ends_it_cleanly", sigint),
    ("life::two_hundred_waiters_are_released_once_each", two_hundred_waiters),
    ("life::a_standstill_is_unknown_and_releases_nobody", standstill),
    ("life::lost_events_are_made_up_for_by_a_dump", lost_events),
    ("life::five_thousand_events_lose_nothing", many_events),
    ("life::watch_resumes_after_a_restart", watch_resumes),
    ("life::a_second_agent_leaves_the_first_alone", second_agent),
    ("life::a_stale_socket_is_replaced", stale_socket),
    ("life::no_privilege_but_open_ping_sockets_is_enough", unprivileged),
    ("life::an_agent_that_takes_too_much_probes_more_slowly_until_it_may_take_more", throttled),
];

const PROBES: Duration = Duration::from_secs(20);

/// A thousandth of a core is less than a few hundred probes a second take, and half a core is more than enough.
fn throttled() -> Result<()> {
    let config = |cpu: f64| {
        let targets: String = (0..400)
            .map(|i| {
                format!("[[target]]\nname = \"own-{i}\"\nhost = \"127.7.{}.{}\"\n", i / 200, i % 200 + 1)
            })
            .collect();
        format!("[limits]\ncpu = {cpu}\n[defaults]\ninterval = \"1s\"\n{targets}")
    };
    let world = World::new()?;
    let agent = Start::new(&world)?.config(&config(0.001)).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let gauge = |name: &str| -> Result<f64> { agent.metrics()?.value(name, &[]).context(name.to_owned()) };
    ensure!(gauge("netmon_throttled")? == 0.0 && gauge("netmon_interval_stretch_ratio")? == 1.0);

    let throttled = await_until(Duration::from_secs(90), || {
        thread::sleep(Duration::from_millis(500));
        Ok((gauge("netmon_throttled")? == 1.0).then_some(()))
    })?;
    ensure!(throttled.is_some(), "not throttled: {:?}", agent.usage()?);
    let stretch = gauge("netmon_interval_stretch_ratio")?;
    ensure!(stretch > 1.0, "stretched by {stretch}");
    let status = agent.status()?;
    let reasons = status["reasons"].as_array().context("no reasons")?;
    let reason = reasons.iter().find(|r| r["code"] == "throttled").context("no reason")?;
    ensure!(status["state"] == "up", "{status}");
    let warned = |l: &str| l.contains("throttled: the agent takes more") && l.contains("WARN");
    ensure!(agent.log.await_line(PROBES, warned).is_some(), "no word of it: {:?}", agent.log.lines());
    // A stretch is a pace: what leaves in ten seconds is as much less.
    let sent = || -> Result<f64> { Ok(agent.metrics()?.sum("netmon_probes_total", &[])) };
    let before = sent()?;
    thread::sleep(Duration::from_secs(10));
    let pace = (sent()? - before) / 10.0;
    ensure!(pace < 400.0 / stretch * 1.5, "{pace} probes a second at a stretch of {stretch}");
    eprintln!("throttled {stretch:.1} times, {pace:.0} probes a second: {reason}");

    fs::write(agent.folder().join("netmon.toml"), config(0.5))?;
    agent.signal(Signal::SIGHUP)?;
    let recovered = await_until(Duration::from_secs(120), || {
        thread::sleep(Duration::from_millis(500));
        Ok((gauge("netmon_throttled")? == 0.0).then_some(()))
    })?;
    ensure!(recovered.is_some(), "still throttled: {}", agent.status()?["reasons"]);
    ensure!(gauge("netmon_interval_stretch_ratio")? == 1.0);
    let left = agent.status()?["reasons"].to_string();
    ensure!(!left.contains("throttled"), "{left}");
    let said = agent.log.await_line(PROBES, |l| l.contains("no longer throttled"));
    ensure!(said.is_some(), "no word of its end: {:?}", agent.log.lines());
    let warnings = agent.log.lines().iter().filter(|l| warned(l)).count();
    ensure!(warnings == 1, "{warnings} warnings of one thing");
    let before = sent()?;
    thread::sleep(Duration::from_secs(5));
    ensure!(sent()? - before > 1_500.0, "the pace is not back");
    Ok(())
}

fn sigterm() -> Result<()> {
    ends_cleanly(Signal::SIGTERM)
}

fn sigint() -> Result<()> {
    ends_cleanly(Signal::SIGINT)
}

fn ends_cleanly(signal: Signal) -> Result<()> {
    let world = World::new()?;
    let mut agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(PROBES)?;
    let programs = bpf_programs(&agent)?;
    ensure!(
        !programs.is_empty(),
        "the agent holds no BPF program: {}",
        agent.status()?["agent"]["capabilities"]
    );
    let socket = agent.socket.clone();
    let waiter = thread::spawn(move || get(&socket, "/v1/wait?state=down&timeout=60s", PROBES));
    // The command waits on for an agent that may come back, as one that is restarted does.
    let patient = agent.cli_spawn(&["wait", "--state", "down", "--timeout", "3s"])?;
    agent.await_waiters(2)?;
    let before = Mono::now();
    agent.signal(signal)?;
    let status = agent.await_end(Duration::from_secs(5))?;
    let took = Mono::now().since(before);
    ensure!(status.code() == Some(0), "{signal}: {status}");
    let answer = waiter.join().map_err(|_| anyhow::anyhow!("the waiter panicked"))??;
    ensure!(
        answer.status == 503 && answer.headers.contains_key("retry-after"),
        "{}: {}",
        answer.status,
        answer.body
    );
    let waited = patient.wait_with_output()?;
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    ensure!(matches!(waited.status.code(), Some(69 | 75)), "netmon wait: {}: {said}", waited.status);
    ensure!(!said.trim().is_empty(), "netmon wait does not say why it gave up");
    ensure!(!agent.socket.exists(), "the socket is left");
    let left =
        await_until(Duration::from_secs(5), || Ok(programs.is_disjoint(&loaded_programs()?).then_some(())))?;
    ensure!(left.is_some(), "programs {programs:?} are still loaded");
    eprintln!("{signal}: ended in {took:.2?}, {} BPF programs gone", programs.len());
    Ok(())
}

/// Ids of the BPF programs that the agent's descriptors hold, by its links and by themselves.
fn bpf_programs(agent: &Agent<'_>) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", agent.pid()))? {
        // A descriptor may be closed between the listing and the reading.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        ids.extend(text.lines().filter_map(|l| l.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
    }
    Ok(ids)
}

fn loaded_programs() -> Result<BTreeSet<u32>> {
    let bpftool = find_program("bpftool").context("bpftool is not installed: apt-get install bpftool")?;
    let text = run(std::process::Command::new(bpftool).args(["--json", "prog", "show"]), "")?;
    let programs: Vec<Value> = serde_json::from_str(&text)?;
    Ok(programs.iter().filter_map(|p| p["id"].as_u64()).map(|id| id as u32).collect())
}

fn two_hundred_waiters() -> Result<()> {
    const WAITERS: usize = 200;
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(PROBES)?;
    let socket = agent.socket.clone();
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let socket = socket.clone();
            // The connection is closed by the agent after its answer, so what was read is all there ever was.
            thread::spawn(move || get(&socket, "/v1/wait?state=down&timeout=60s", Duration::from_secs(70)))
        })
        .collect();
    agent.await_waiters(WAITERS)?;
    let before = Mono::now();
    world.carrier_down(0)?;
    for waiter in waiters {
        let answer = waiter.join().map_err(|_| anyhow::anyhow!("a waiter panicked"))??;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let json = answer.json()?;
        ensure!(json["satisfied"] == true && json["state"] == "down", "{json}");
    }
    eprintln!("{WAITERS} waiters released {:.2?} after the carrier was taken", Mono::now().since(before));
    let metrics = agent.metrics()?;
    ensure!(metrics.value("netmon_wait_clients", &[]) == Some(0.0), "waiters are left");
    Ok(())
}

fn standstill() -> Result<()> {
    const STANDSTILL: Duration = Duration::from_secs(5);
    const STABLE: Duration = Duration::from_secs(7);
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let patient = agent.cli_spawn(&["wait", "--state", "up", "--stable", "7s", "--timeout", "60s"])?;
    agent.await_waiters(1)?;
    let stable_since = Mono::now();
    agent.signal(Signal::SIGSTOP)?;
    // What the kernel queues for it meanwhile is no answer: a client gives up, and is not released.
    let code = agent.cli_code(&["wait", "--state", "up", "--timeout", "1s"])?;
    ensure!(matches!(code, 69 | 75), "released by an agent that stands still: {code}");
    thread::sleep(STANDSTILL.saturating_sub(Mono::now().since(stable_since)));
    let continued = Mono::now();
    agent.signal(Signal::SIGCONT)?;
    let unknown = witness.watch().expect(PROBES, |c| {
        c["kind"] == "state" && c["state"] == "unknown" && c["reasons"][0]["code"] == "stalled"
    });
    ensure!(unknown.is_some(), "the standstill was not unknown: {:?}", witness.watch().changes()?);
    witness.up(PROBES)?;
    let up_again = Mono::now().since(continued);
    let released = patient.wait_with_output()?;
    let waited = Mono::now().since(continued);
    ensure!(released.status.code() == Some(0), "the patient waiter: {}", released.status);
    ensure!(
        waited >= STABLE,
        "released {waited:?} after the standstill, {STABLE:?} of stability were asked for"
    );
    eprintln!("after a standstill of {STANDSTILL:?}: unknown, up after {up_again:.2?}");
    Ok(())
}

fn lost_events() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let overruns = |agent: &Agent<'_>| -> Result<f64> {
        agent
            .metrics()?
            .value("netmon_netlink_overruns_total", &[])
            .context("no netmon_netlink_overruns_total")
    };
    let before = overruns(&agent)?;
    // Nobody reads while the agent is stopped: this overruns a receive buffer of any sane size. The last change is
    // among the lost ones, so that only a dump can show it. Short of three seconds, it is no standstill by R14.
    agent.signal(Signal::SIGSTOP)?;
    let stopped = Mono::now();
    world.storm(40_000)?;
    world.remove_address(0, Family::V4)?;
    let busy = Mono::now().since(stopped);
    agent.signal(Signal::SIGCONT)?;
    let continued = Mono::now();
    let code = agent.cli_code(&["wait", "--state", "down", "--timeout", "20s"])?;
    let took = Mono::now().since(continued);
    ensure!(code == 0, "the lost change was never seen: {}", agent.status()?);
    let grown = overruns(&agent)? - before;
    ensure!(grown >= 1.0, "no overrun was counted in {busy:?}");
    let seen = agent.status()?;
    ensure!(
        seen["reasons"].as_array().is_some_and(|r| r.iter().any(|r| r["code"] == "no_address")),
        "{seen}"
    );
    eprintln!("40,000 events in {busy:.2?}: {grown} overruns, truth restored {took:.2?} after");
    witness.after("up", &[], PROBES, || world.configure_uplink(0))?;
    Ok(())
}

fn many_events() -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    world.storm(5_000)?;
    let seen = agent.status()?;
    ensure!(seen["state"] == "up", "a storm of addresses elsewhere: {seen}");
    witness.after("down", &["no_carrier/eth0"], Duration::from_secs(3), || world.carrier_down(0))?;
    Ok(())
}

fn watch_resumes() -> Result<()> {
    let world = World::new()?;
    let mut first = Agent::start(&world)?;
    Witness::new(&first)?.up(PROBES)?;
    let watch = Watch::start(&first, &[])?;
    world.carrier_down(0)?;
    let down = |c: &Value| c["kind"] == "state" && c["state"] == "down";
    ensure!(watch.expect(PROBES, down).is_some(), "watch does not tell: {:?}", watch.changes()?);
    first.stop()?;
    let second = Start::new(&world)?.at(&first.socket).start()?;
    ensure!(second.cli_code(&["wait", "--state", "down", "--timeout", "20s"])? == 0, "{}", second.status()?);
    world.carrier_up(0)?;
    let up =
        watch.expect(PROBES, |c| c["kind"] == "state" && c["state"] == "up" && c["previous"] != "unknown");
    ensure!(up.is_some(), "watch did not resume: {:?}", watch.changes()?);
    let numbers: Vec<_> = watch.changes()?.iter().filter_map(|c| c["seq"].as_u64()).collect();
    ensure!(numbers.is_sorted_by(|a, b| a < b), "numbers of changes repeat or fall: {numbers:?}");
    drop(second);
    Ok(())
}

fn second_agent() -> Result<()> {
    let world = World::new()?;
    let first = Agent::start(&world)?;
    let (status, said) = Start::new(&world)?.at(&first.socket).fail()?;
    ensure!(status.code().is_some_and(|c| c != 0), "the second one: {status}");
    ensure!(said.contains(&first.socket.display().to_string()), "it does not say which socket: {said}");
    ensure!(first.status()?["schema"] == 1, "the first one no longer answers");
    Ok(())
}

fn stale_socket() -> Result<()> {
    let world = World::new()?;
    let mut first = Agent::start(&world)?;
    first.signal(Signal::SIGKILL)?;
    let status = first.await_end(Duration::from_secs(5))?;
    ensure!(status.signal() == Some(9), "{status}");
    ensure!(first.socket.exists(), "nothing stale is there to replace");
    let second = Start::new(&world)?.at(&first.socket).start()?;
    Witness::new(&second)?.up(PROBES)?;
    Ok(())
}

fn unprivileged() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    nix::unistd::chown(start.folder(), Some(65534.into()), Some(65534.into()))?;
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ];
    let agent = start.behind(&nobody).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let capabilities = agent.status()?["agent"]["capabilities"].clone();
    let bpf_missing = capabilities.as_object().context("no capabilities")?.iter().find(|(name, c)| {
        name.starts_with("bpf") && c["ok"] == false && c["remedy"].as_str().is_some_and(|r| !r.is_empty())
    });
    ensure!(bpf_missing.is_some(), "no word on BPF and its remedy: {capabilities}");
    witness.after("down", &["no_carrier/eth0"], Duration::from_secs(3), || world.carrier_down(0))?;
    ensure!(Path::new(&agent.socket).exists(), "no socket");
    Ok(())
}
