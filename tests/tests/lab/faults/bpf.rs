//! bpf(2) refused: each hook alone, the maps, all of it; and a map that is full. strace(1) stands for the kernel that says no:
//! of all calls it answers the one that is meant.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, Witness, await_until, binary};
use netmon_tests::lab::{World, find_program, growth};
use netmon_tests::promise;
use serde_json::Value;

use super::{LONG, SOON};

/// Rows of the map of counters (`netmon_ebpf::MAX_COUNTERS`), and more devices than that.
const ROWS: u64 = 1024;
const PAIRS: usize = 560;

/// The calls of a start, in the order of the thread that makes them: where each is, counted from 1.
struct Calls {
    /// A program to its tracepoint.
    attach: Vec<usize>,
    /// A map.
    map: usize,
}

pub fn each_hook() -> Result<()> {
    let world = World::new()?;
    let calls = calls(&world)?;
    let all = hooks(&status_of(&Start::new(&world)?.start()?)?);
    ensure!(calls.attach.len() == all.len(), "{} tracepoints of {all:?}", calls.attach.len());
    let mut lost = BTreeSet::new();
    for at in &calls.attach {
        let refusal = Refusal::of_first(&world, &format!("error=EPERM:when={at}"))?;
        let agent = refusal.start(&world)?;
        let witness = Witness::new(&agent)?;
        witness.up(SOON)?;
        let missing = missing(&agent, &all)?;
        let [name] = &missing[..] else {
            anyhow::bail!("call {at} refused, and these are missing: {missing:?}")
        };
        ensure!(
            status_of(&agent)?["bpf"]["ok"] == true,
            "{name} alone is refused, and all of bpf is missing"
        );
        is_told(&agent, name)?;
        let doctor = refusal.doctor(&world, &agent.socket)?;
        let line = doctor.lines().find(|l| l.contains(&format!(" {name} "))).unwrap_or_default();
        ensure!(line.contains("missing"), "{name}: no word by the doctor: {doctor}");
        witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
        witness.after("up", &[], SOON, || world.carrier_up(0))?;
        lost.insert(name.clone());
    }
    ensure!(lost == all, "refused one by one were {lost:?} of {all:?}");
    promise(
        "bpf-hook-refused",
        format_args!(
            "{} of {} hooks refused, each alone: that one missing in log, doctor and netmon_capability, 0 others",
            lost.len(),
            all.len()
        ),
    );
    Ok(())
}

pub fn none() -> Result<()> {
    without("bpf-refused", "every call to bpf(2) refused", |world| Refusal::of_all(world, "error=EPERM"))
}

pub fn no_maps() -> Result<()> {
    without("bpf-maps-refused", "no memory for a map", |world| {
        Refusal::of_first(world, &format!("error=ENOMEM:when={}", calls(world)?.map))
    })
}

/// All of BPF is lost, and nothing else.
fn without(id: &str, what: &str, refused: impl FnOnce(&World) -> Result<Refusal>) -> Result<()> {
    let world = World::new()?;
    let refusal = refused(&world)?;
    let agent = refusal.start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let capabilities = status_of(&agent)?;
    let lost = lost(&capabilities);
    let expected: BTreeSet<_> = hooks(&capabilities).into_iter().chain(["bpf".to_owned()]).collect();
    ensure!(lost == expected, "{lost:?} are missing, not {expected:?}");
    is_told(&agent, "bpf")?;
    let doctor = refusal.doctor(&world, &agent.socket)?;
    ensure!(doctor.lines().any(|l| l.contains("missing bpf ")), "no word by the doctor: {doctor}");
    witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
    witness.after("up", &[], SOON, || world.carrier_up(0))?;
    let totals = agent.metrics()?.all("netmon_tcp_unattributed", &[]).len();
    ensure!(totals > 0, "not even the kernel's totals");
    promise(
        id,
        format_args!(
            "{what}: {} capabilities missing and told, 0 others; verdicts and the kernel's totals go on",
            lost.len()
        ),
    );
    Ok(())
}

pub fn full_map() -> Result<()> {
    let world = World::new()?;
    let config = "[defaults]\nauto_targets = false\n[[target]]\nhost = \"203.0.113.10\"\n";
    let agent = Start::new(&world)?.config(config).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let mut lines = String::new();
    for i in 0..PAIRS {
        // Writing to a String can't fail.
        let _ = write!(
            lines,
            "link add name vethfull{i} type veth peer name vethfull{i}b\nlink set vethfull{i} up\nlink set vethfull{i}b up\n"
        );
    }
    for i in 0..2 * PAIRS {
        let end = if i % 2 == 0 { "" } else { "b" };
        let (high, low, pair) = (i >> 8, i & 255, i / 2);
        let _ = writeln!(lines, "route add 198.19.{high}.{low}/32 dev vethfull{pair}{end} src 10.77.1.2");
    }
    world.node.ip(&lines)?;
    let before = (agent.metrics()?, world.counters()?);
    // One open on each: nobody answers, and it is given up at once.
    world.node.run(|| {
        (0..2 * PAIRS).for_each(|i| {
            let to = ([198, 19, (i >> 8) as u8, (i & 255) as u8], 9);
            let _ = TcpStream::connect_timeout(&to.into(), Duration::from_millis(1));
        });
    })?;
    let dropped = await_until(LONG, || {
        thread::sleep(Duration::from_millis(300));
        let now = agent.metrics()?.sum("netmon_bpf_dropped_total", &[]);
        Ok((now > 0.0).then_some(now))
    })?;
    let dropped = dropped.context("more devices than rows, and nothing is counted as dropped")?;
    // Nothing is lost in silence: what is laid to no device is what the kernel has beyond.
    let settled = await_until(SOON, || {
        thread::sleep(Duration::from_millis(300));
        let (now, kernel) = (agent.metrics()?, world.counters()?);
        let grown = |name: &str, labels: &[(&str, &str)]| now.sum(name, labels) - before.0.sum(name, labels);
        let counted = grown("netmon_tcp_opens_total", &[("direction", "active")]);
        let rest = grown("netmon_tcp_unattributed", &[("counter", "active_opens")]);
        let truth = growth(&before.1, &kernel, "TcpActiveOpens") as f64;
        Ok((rest > 0.0 && counted + rest == truth).then_some((counted, rest, truth)))
    })?;
    let now = agent.metrics()?;
    let (_, rest, truth) = settled.with_context(|| {
        format!(
            "opens {}, unattributed {}, the kernel's {}",
            now.sum("netmon_tcp_opens_total", &[]),
            now.sum("netmon_tcp_unattributed", &[]),
            world.counters().map(|c| growth(&before.1, &c, "TcpActiveOpens")).unwrap_or_default()
        )
    })?;
    witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
    promise(
        "bpf-map-full",
        format_args!(
            "{} devices, {ROWS} rows: {truth} opens in the kernel, {rest} of them told as laid to no device, {dropped} events \
             counted as dropped, verdicts go on",
            2 * PAIRS
        ),
    );
    Ok(())
}

/// What is refused, and how programs are started so.
struct Refusal(Vec<String>);

impl Refusal {
    /// Of the first thread, which does all but verify programs.
    fn of_first(world: &World, injected: &str) -> Result<Self> {
        let log = world.node.folder()?.join("strace.log");
        Ok(Self(strace(&log, &["-e", &format!("inject=bpf:{injected}")])?))
    }

    /// Of every thread, and of no other call it need stop at.
    fn of_all(world: &World, injected: &str) -> Result<Self> {
        let Self(mut line) = Self::of_first(world, injected)?;
        line.splice(1..1, ["-f", "--seccomp-bpf"].map(str::to_owned));
        Ok(Self(line))
    }

    fn start<'a>(&self, world: &'a World) -> Result<Agent<'a>> {
        let before: Vec<&str> = self.0.iter().map(String::as_str).collect();
        Start::new(world)?.behind(&before).start()
    }

    /// What `netmon doctor` says of this machine under the same refusal.
    fn doctor(&self, world: &World, socket: &Path) -> Result<String> {
        let mut command = world.node.command(&self.0[0]);
        command.args(&self.0[1..]).arg(binary()?).arg("doctor").env("NETMON_SOCKET", socket);
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // Of the agent that runs it is told in its own words; here it is this machine that is asked.
        Ok(said.split("The running agent").next().unwrap_or_default().to_owned())
    }
}

/// strace as a grandchild, so that who is started is who is traced.
fn strace(log: &Path, more: &[&str]) -> Result<Vec<String>> {
    let strace = find_program("strace").context("strace is not installed: apt-get install strace")?;
    let mut line = vec![strace.display().to_string()];
    line.extend(["-D", "-qq", "-e", "trace=bpf", "-e", "signal=none", "-o"].map(str::to_owned));
    line.push(log.display().to_string());
    line.extend(more.iter().map(|&m| m.to_owned()));
    Ok(line)
}

/// What a start asks of the kernel.
fn calls(world: &World) -> Result<Calls> {
    let log = world.node.folder()?.join("calls.log");
    let before = strace(&log, &[])?;
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let mut agent = Start::new(world)?.behind(&before).start()?;
    agent.stop()?;
    let text = fs::read_to_string(&log)?;
    let own: Vec<&str> = text.lines().filter(|l| l.starts_with("bpf(")).collect();
    let places = |what: &str| -> Vec<usize> {
        own.iter().enumerate().filter(|(_, l)| l.contains(what)).map(|(at, _)| at + 1).collect()
    };
    let attach = places("BPF_RAW_TRACEPOINT_OPEN, {raw_tracepoint={name=\"")
        .into_iter()
        .filter(|at| !own[at - 1].contains("= -1"))
        .collect();
    let map = *places("BPF_MAP_CREATE").last().with_context(|| format!("no map: {text}"))?;
    Ok(Calls { attach, map })
}

fn status_of(agent: &Agent<'_>) -> Result<Value> {
    Ok(agent.status()?["agent"]["capabilities"].clone())
}

/// Names of the events of the kernel's.
fn hooks(capabilities: &Value) -> BTreeSet<String> {
    names(capabilities, |_| true)
        .into_iter()
        .filter(|name| name.starts_with("tcp_") || name.starts_with("inet_sock"))
        .collect()
}

fn names(capabilities: &Value, wanted: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let all = capabilities.as_object().into_iter().flatten();
    all.filter(|(_, c)| wanted(c)).map(|(name, _)| name.clone()).collect()
}

/// What is missing, but for a history, which has no place here.
fn lost(capabilities: &Value) -> BTreeSet<String> {
    let mut lost = names(capabilities, |c| c["ok"] == false);
    lost.remove("history");
    lost
}

/// Those of them that are missing.
fn missing(agent: &Agent<'_>, hooks: &BTreeSet<String>) -> Result<Vec<String>> {
    let lost = lost(&status_of(agent)?);
    ensure!(lost.is_subset(hooks), "{lost:?} are missing");
    Ok(lost.into_iter().collect())
}

/// In the log, once, and in the metrics.
fn is_told(agent: &Agent<'_>, name: &str) -> Result<()> {
    let warned = |l: &str| l.contains("WARN") && l.contains(&format!("\"capability\":\"{name}\""));
    ensure!(agent.log.await_line(SOON, warned).is_some(), "no line for {name}: {:?}", agent.log.lines());
    let value = agent.metrics()?.value("netmon_capability", &[("name", name)]);
    ensure!(value == Some(0.0), "netmon_capability of {name} is {value:?}");
    Ok(())
}
