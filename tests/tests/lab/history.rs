//! The outage ledger: what the agent writes down of outages that really were, and that nothing harms the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::history::{Reader, Records};
use netmon_agent::time::{Mono, Wall};
use netmon_tests::agent::{Agent, Start, Watch, Witness, await_until};
use netmon_tests::lab::{Options, World, find_program, run};
use netmon_tests::promise;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("history::an_outage_has_its_cause_its_place_and_who_waited", outage),
    ("history::the_place_of_a_silent_gateway_is_told", place),
    ("history::a_full_disk_harms_the_history_alone_and_recovers", full_disk),
    ("history::killed_at_any_moment_it_is_whole_and_loses_no_more_than_a_batch", killed),
    ("history::without_a_directory_the_agent_runs_and_says_so_once", no_directory),
];

const UP: Duration = Duration::from_secs(30);
/// R4's five seconds, a look of twelve, and a machine that runs other trials.
const FOUND: Duration = Duration::from_secs(60);

fn config(path: &Path) -> String {
    format!("[history]\npath = \"{}\"\n", path.display())
}

fn v4_only() -> Result<World> {
    World::with(Options { ipv6: false, ..Options::default() })
}

/// `netmon history --json` by this agent.
fn told(agent: &Agent<'_>, more: &[&str]) -> Result<Value> {
    let output = agent.cli_output(&[&["history", "--json"], more].concat())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "netmon history: {}: {said}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn outages(history: &Value) -> impl Iterator<Item = &Value> {
    history["outages"].as_array().into_iter().flatten()
}

/// The first outage of `subject` that satisfies `wanted`, once it is there.
fn await_outage(agent: &Agent<'_>, subject: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let found = await_until(FOUND, || {
        thread::sleep(Duration::from_millis(100));
        let history = told(agent, &[])?;
        Ok(outages(&history).find(|o| o["subject"] == subject && wanted(o)).cloned())
    })?;
    found.with_context(|| format!("no such outage of {subject}: {}", told(agent, &[]).unwrap_or_default()))
}

fn outage() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let path = start.folder().join("history.db");
    let mut agent = start.config(&config(&path)).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(UP)?;
    witness.after("down", &["no_carrier/eth0"], UP, || world.carrier_down(0))?;
    let named = agent.cli_spawn(&["wait", "--state", "up", "--timeout", "60s", "--job", "nightly backup"])?;
    // By the kernel's name of who asks.
    let url = "http://localhost/v1/wait?state=usable&timeout=60s";
    let curl = find_program("curl").map(|curl| {
        world.node.command(curl).args(["-sS", "--unix-socket"]).arg(&agent.socket).arg(url).spawn()
    });
    let expected = 1 + usize::from(curl.is_some());
    agent.await_waiters(expected)?;
    thread::sleep(Duration::from_secs(1));
    let lasts = await_outage(&agent, "network", |o| o["end"].is_null())?;
    ensure!(lasts["state"] == "down" && lasts["end_seen"] == false, "{lasts}");
    witness.after("up", &[], UP, || world.carrier_up(0))?;
    ensure!(named.wait_with_output()?.status.success());

    let jobs = |o: &Value| -> Vec<String> {
        let all = o["waited"].as_array().into_iter().flatten();
        all.filter_map(|j| j["job"].as_str().map(str::to_owned)).collect()
    };
    let down = await_outage(&agent, "network", |o| o["state"] == "down" && jobs(o).len() >= expected)?;
    if let Some(curl) = curl {
        ensure!(curl?.wait()?.success() && jobs(&down).contains(&"curl".to_owned()), "{down}");
    }
    eprintln!("{down}");
    ensure!(jobs(&down).contains(&"nightly backup".to_owned()), "{down}");
    ensure!(down["waited"][0]["uid"] == 0 && down["waited"][0]["longest_seconds"].as_f64() >= Some(1.0));
    ensure!(down["start_seen"] == true && down["end_seen"] == true, "{down}");
    ensure!(down["diagnosis"]["where"] == "link", "{down}");
    let cause = down["reasons"].as_array().into_iter().flatten().any(|r| r["code"] == "no_carrier");
    ensure!(cause && down["seconds"].as_f64() >= Some(1.0), "{down}");
    // Of the device alone, and by time.
    let device = told(&agent, &["--subject", "device:eth0"])?;
    ensure!(outages(&device).count() > 0 && outages(&device).all(|o| o["kind"] == "device"), "{device}");
    ensure!(device["summary"]["subject"] == "eth0" && device["summary"]["outages"] == 1, "{device}");
    let none = told(&agent, &["--until", "2001-01-02", "--since", "2001-01-01"])?;
    ensure!(outages(&none).count() == 0 && none["summary"]["up_seconds"] == 0.0, "{none}");
    ensure!(none["summary"]["availability"].is_null(), "what nobody saw is not available: {none}");
    ensure!(agent.cli_code(&["history", "--since", "soon"])? == 2);

    for arguments in [["history", "--csv"].as_slice(), &["history"]] {
        let output = agent.cli_output(arguments)?;
        let text = String::from_utf8(output.stdout)?;
        eprintln!("{text}");
        ensure!(output.status.success() && text.contains("no_carrier eth0") && text.contains("link"));
        ensure!(text.contains("nightly"), "{text}");
    }
    let metrics = agent.metrics()?;
    ensure!(metrics.value("netmon_history_errors_total", &[]) == Some(0.0));
    ensure!(metrics.value("netmon_capability", &[("name", "history")]) == Some(1.0));
    ensure!(agent.get_tcp("/v1/history?subject=network")?.json()?["summary"]["outages"] == 1);

    // Without an agent the file is read, if it is named.
    agent.stop()?;
    let file = path.display().to_string();
    let read = told(&agent, &["--file", &file])?;
    let ended = outages(&read).find(|o| o["subject"] == "network" && o["state"] == "down");
    ensure!(ended.is_some_and(|o| o["start"] == down["start"] && o["end"] == down["end"]), "{read}");
    let nobody = agent.cli_code(&["history"])?;
    let installed = Path::new("/var/lib/netmon/history.db").exists();
    ensure!(nobody == 69 || installed, "no agent, no file: {nobody}");
    // Another agent goes on where this one ended.
    let second = Start::new(&world)?.config(&config(&path)).start()?;
    Witness::new(&second)?.up(UP)?;
    let both = told(&second, &["--subject", "network"])?;
    ensure!(outages(&both).any(|o| o["start"] == down["start"]), "{both}");
    Ok(())
}

fn place() -> Result<()> {
    let world = v4_only()?;
    let start = Start::new(&world)?;
    let path = start.folder().join("history.db");
    let agent = start.config(&config(&path)).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(UP)?;
    let mut fault = None;
    witness.after("degraded", &["target_down"], UP, || {
        fault = Some(world.blackhole_behind()?);
        Ok(())
    })?;
    // Found by a look, seconds after the change that told of the outage.
    let seen = |o: &Value| o["diagnosis"]["where"] == "path" && o["diagnosis"]["took_ms"].as_u64() > Some(0);
    let whole = await_outage(&agent, "network", seen)?;
    ensure!(whole["state"] == "degraded" && whole["end"].is_null(), "{whole}");
    ensure!(whole["diagnosis"]["last_hop"]["addresses"][0] == "10.77.1.1", "{whole}");
    let name = whole["diagnosis"]["target"].as_str().context("the target that showed it")?;
    let target = await_outage(&agent, name, seen)?;
    ensure!(target["state"] == "down" && target["kind"] == "target", "{target}");
    witness.after("up", &[], UP, || fault.context("a fault")?.mend())?;
    let over = await_outage(&agent, name, |o| o["end_seen"] == true)?;
    ensure!(over["diagnosis"]["where"] == "path", "it stays told: {over}");
    Ok(())
}

/// A small disk, unmounted on drop.
pub struct Disk(PathBuf);

impl Disk {
    /// An empty one, mounted at `path`.
    pub fn new(path: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&path)?;
        let options = format!("size={size}");
        mount(Some("netmon-lab"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no room on it.
    pub fn fill(&self) -> Result<()> {
        let filled = fs::write(self.0.join("ballast"), vec![1; 64 << 20]);
        ensure!(filled.is_err(), "the disk is larger than it should be");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open there keeps it until it ends.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn full_disk() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let disk = Disk::new(start.folder().join("disk"), "1m")?;
    let path = disk.0.join("history.db");
    let agent = start.config(&config(&path)).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(UP)?;
    await_until(UP, || Ok(path.exists().then_some(())))?.context("no history")?;
    disk.fill()?;
    let errors = || -> Result<f64> {
        agent.metrics()?.value("netmon_history_errors_total", &[]).context("no netmon_history_errors_total")
    };
    // More than the log has in store.
    let mut flaps = 0;
    let failing = await_until(Duration::from_secs(120), || {
        flaps += 1;
        witness.after("down", &["no_carrier/eth0"], UP, || world.carrier_down(0))?;
        witness.after("up", &[], UP, || world.carrier_up(0))?;
        Ok((errors()? > 0.0).then_some(()))
    })?;
    failing.with_context(|| format!("{flaps} flaps on a full disk are no error"))?;
    let history = |agent: &Agent<'_>| -> Result<Value> {
        Ok(agent.status()?["agent"]["capabilities"]["history"].clone())
    };
    ensure!(history(&agent)?["ok"] == false, "{}", history(&agent)?);
    ensure!(history(&agent)?["remedy"].as_str().is_some_and(|r| r.contains("make room")));
    let before = errors()?;
    thread::sleep(Duration::from_secs(7));
    ensure!(errors()? > before, "it is not tried again");
    // Nothing else suffers.
    witness.after("down", &["no_carrier/eth0"], UP, || world.carrier_down(0))?;
    witness.after("up", &[], UP, || world.carrier_up(0))?;
    let warned = agent.log.lines().iter().filter(|l| l.contains("history can't be written")).count();
    ensure!(warned == 1, "{warned} warnings of one thing");
    ensure!(told(&agent, &["--subject", "network"]).is_ok(), "what is written can't be read");

    fs::remove_file(disk.0.join("ballast"))?;
    let recovered = await_until(UP, || Ok((history(&agent)?["ok"] == true).then_some(())))?;
    recovered.with_context(|| format!("no recovery: {:?}", agent.log.lines()))?;
    // What was held meanwhile is written, every outage.
    let all = await_until(UP, || {
        let told = told(&agent, &["--subject", "network"])?;
        Ok((told["summary"]["outages"] == flaps + 1).then_some(()))
    })?;
    all.with_context(|| format!("{flaps} flaps and one: {}", told(&agent, &[]).unwrap_or_default()))?;
    ensure!(agent.metrics()?.value("netmon_history_dropped_total", &[]) == Some(0.0));
    promise(
        "disk-full-history",
        format_args!(
            "full after {flaps} outages: {} errors counted, {} outages in the history at the end",
            errors()?,
            flaps + 1
        ),
    );
    drop(agent);
    whole(&path)
}

/// How often the agent is killed; more with `NETMON_KILLS`.
const KILLS: usize = 20;
/// Whatever was told so long before the end is in the file: several batches, on a machine that runs other trials.
const WRITTEN: Duration = Duration::from_secs(1);

/// What is told of a change, beside its number.
type What = (String, String, String);

/// Kills agents at random moments while outages come and go. What an agent told those who follow it is in the file, in one
/// piece from its first change on, but for the last batch; and nothing is there that was not told.
fn killed() -> Result<()> {
    let kills = match std::env::var("NETMON_KILLS") {
        Ok(text) => text.parse().with_context(|| format!("NETMON_KILLS={text}"))?,
        Err(_) => KILLS,
    };
    let world = v4_only()?;
    let folder = world.node.folder()?;
    let path = folder.join("history.db");
    let mut before: Vec<(i64, u64, What)> = Vec::new();
    let (mut kept, mut lost, mut late) = (0, 0, 0);
    for n in 0..kills {
        let mut agent = Start::new(&world)?.config(&config(&path)).start()?;
        let watch = Watch::start(&agent, &[])?;
        let until = Mono::now() + Duration::from_millis(rand::random_range(0..3000));
        while Mono::now() < until {
            world.carrier_down(0)?;
            thread::sleep(Duration::from_millis(rand::random_range(0..150)));
            world.carrier_up(0)?;
            thread::sleep(Duration::from_millis(rand::random_range(0..150)));
        }
        let waits = rand::random::<bool>();
        let early = if waits { changes(&watch)? } else { BTreeMap::new() };
        thread::sleep(if waits { WRITTEN } else { Duration::ZERO });
        agent.signal(Signal::SIGKILL)?;
        agent.await_end(UP)?;
        let told = changes(&watch)?;

        let records = whole_records(&path).with_context(|| format!("after kill {n}"))?;
        let written: Vec<(i64, u64, What)> = records
            .changes
            .iter()
            .map(|c| {
                let what = (c.subject.kind().into(), c.subject.name().into(), c.state.to_string());
                (c.run, c.seq, what)
            })
            .collect();
        ensure!(written.starts_with(&before), "kill {n}: what an earlier run wrote is another now");
        let mut fresh = written[before.len()..].to_vec();
        // A target that is taken out of the plan is no change that anybody is told of.
        fresh.dedup_by_key(|(_, seq, _)| *seq);
        if fresh.is_empty() && early.is_empty() {
            late += 1;
            continue;
        }
        let numbers: Vec<u64> = fresh.iter().map(|(_, seq, _)| *seq).collect();
        ensure!(numbers.windows(2).all(|w| w[0] + 1 == w[1]), "kill {n}: a change is missing: {numbers:?}");
        // Before the watch began, and after it was last heard of, nobody was told.
        let bounds = told.first_key_value().zip(told.last_key_value()).map(|((a, _), (b, _))| *a..=*b);
        for (_, seq, what) in
            fresh.iter().filter(|(_, seq, _)| bounds.as_ref().is_some_and(|b| b.contains(seq)))
        {
            ensure!(told.get(seq) == Some(what), "kill {n}: {seq} is {what:?}, told was {:?}", told.get(seq));
        }
        let last = numbers.last().copied().unwrap_or(0);
        let missing = early.keys().filter(|seq| **seq > last).count();
        ensure!(missing == 0, "kill {n}: {missing} changes of a second ago are not written");
        kept += fresh.len();
        lost += told.keys().filter(|seq| **seq > last).count();
        before = written;
    }
    promise(
        "ledger-batch",
        format_args!(
            "{kills} kills: {kept} changes kept, {lost} of last batches lost, {late} runs without a batch"
        ),
    );
    ensure!(kept > kills, "nothing was tried: {kept} changes");
    Ok(())
}

/// What was told so far, by number.
fn changes(watch: &Watch) -> Result<BTreeMap<u64, What>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = watch.changes()?.into_iter().filter(|c| c["kind"] != "gap").filter_map(|c| {
        Some((c["seq"].as_u64()?, (text(&c["kind"]), text(&c["subject"]), text(&c["state"]))))
    });
    Ok(all.collect())
}

/// What is written, of a file that SQLite finds whole.
fn whole_records(path: &Path) -> Result<Records> {
    whole(path)?;
    Ok(Reader::new(path).load(Wall::default())?)
}

/// By SQLite's own program where it is installed, else by the library.
fn whole(path: &Path) -> Result<()> {
    if let Some(sqlite) = find_program("sqlite3") {
        let said = run(Command::new(sqlite).arg(path).arg("PRAGMA integrity_check;"), "")?;
        ensure!(said.trim() == "ok", "integrity_check: {said}");
    }
    Ok(Reader::new(path).check()?)
}

fn no_directory() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let path = start.folder().join("no/history.db");
    let agent = start.config(&config(&path)).start()?;
    Witness::new(&agent)?.up(UP)?;
    let missing = agent.status()?["agent"]["capabilities"]["history"].clone();
    ensure!(missing["ok"] == false && missing["remedy"].as_str().is_some_and(|r| r.contains("install -d")));
    let said = agent.log.lines().iter().filter(|l| l.contains("no history")).count();
    ensure!(said == 1, "said {said} times: {:?}", agent.log.lines());
    let answer = agent.get("/v1/history")?;
    ensure!(
        answer.status == 404 && answer.body.contains("no directory"),
        "{}: {}",
        answer.status,
        answer.body
    );
    ensure!(agent.cli_code(&["history"])? == 1);
    let metrics = agent.metrics()?;
    ensure!(metrics.value("netmon_capability", &[("name", "history")]) == Some(0.0));
    Ok(())
}
