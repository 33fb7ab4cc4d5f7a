//! What the agent holds once it runs: nothing, on any thread, and all of its work goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::sandbox::{Held, landlock_supported, of_process};
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{Bulk, Options, Place, SERVER_V4, Way, What, World, growth};
use netmon_tests::promise;
use nix::sys::signal::Signal;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("privilege::root_gives_all_of_it_up_and_works_on", root),
    ("privilege::two_capabilities_are_enough_and_are_given_up", two_capabilities),
    ("privilege::a_mark_keeps_one_capability_and_says_so", mark),
    ("privilege::raw_sockets_are_opened_while_they_may_be", raw),
    ("privilege::off_it_keeps_all_and_says_so", off),
];

const PATIENCE: Duration = Duration::from_secs(60);
/// An ordinary user with what the unit gives.
const TWO: [&str; 7] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all,+bpf,+perfmon",
    "--ambient-caps=-all,+bpf,+perfmon",
    "--bounding-set=-all,+bpf,+perfmon",
];

fn root() -> Result<()> {
    works(&[], 0)
}

fn two_capabilities() -> Result<()> {
    works(&TWO, 0xc0_0000_0000)
}

/// With everything that writes, runs or reads anew, started behind this program; `bounding` may be left at most.
fn works(behind: &[&str], bounding: u64) -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let folder = start.folder().to_owned();
    // What the agent writes is not where its configuration is: else a reload would bring no command.
    let (told, state) = (folder.join("told"), folder.join("state"));
    let log = state.join("netmon.log");
    fs::create_dir(&state)?;
    let config = |mark: &str| {
        format!(
            "[defaults]\nauto_targets = false\n[history]\npath = \"{}\"\n\
             [[target]]\nhost = \"{SERVER_V4}\"\n\
             [[notify.command]]\nname = \"hook\"\ncommand = [\"sh\", \"-c\", \"(echo {mark}; grep -E '^(Cap(Eff|Prm|Inh|Amb)|NoNewPrivs|Uid)' /proc/self/status) >>{}\"]\n",
            state.join("history.db").display(),
            told.display()
        )
    };
    if !behind.is_empty() {
        for folder in [&folder, &state] {
            nix::unistd::chown(folder, Some(65534.into()), Some(65534.into()))?;
        }
    }
    let log_file = log.to_str().context("a path")?;
    let to_a_file =
        ["--log-file", log_file, "--log-max-size", "16KiB", "--log-level", "info,netmon_agent=debug"];
    let mut agent = start.config(&config("first")).behind(behind).arguments(&to_a_file).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PATIENCE)?;
    shut(&agent, bounding)?;
    capabilities_are(&agent, true, &["privileges", "no_new_privs", "seccomp", "hooks", "bpf"])?;
    capabilities_are(&agent, landlock_supported(), &["landlock"])?;

    counts_as_the_kernel(&world, &agent)?;

    await_line(&told, "first")?;
    fs::write(folder.join("netmon.toml"), config("second"))?;
    agent.signal(Signal::SIGHUP)?;
    witness.after("down", &["no_carrier/eth0"], PATIENCE, || world.carrier_down(0))?;
    await_line(&told, "second")?;
    witness.after("up", &[], PATIENCE, || world.carrier_up(0))?;
    // Whoever runs hooks has no more than they do.
    let text = fs::read_to_string(&told)?;
    for line in text.lines().filter(|line| line.starts_with("Cap")) {
        ensure!(line.ends_with("0000000000000000"), "a hook has privileges: {text}");
    }
    ensure!(text.contains("NoNewPrivs:\t1") && !text.contains("NoNewPrivs:\t0"), "{text}");

    let history = await_until(PATIENCE, || {
        let output = agent.cli_output(&["history", "--json"])?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let ended = |o: &serde_json::Value| o["subject"] == "network" && !o["end"].is_null();
        Ok(said["outages"].as_array().is_some_and(|all| all.iter().any(ended)).then_some(()))
    })?;
    history.context("the outage is not in the history")?;

    // The log is put aside, again and again, and goes on.
    let aside = PathBuf::from(format!("{log_file}.1"));
    let turned = await_until(PATIENCE, || {
        agent.signal(Signal::SIGHUP)?;
        std::thread::sleep(Duration::from_millis(50));
        Ok(aside.exists().then_some(()))
    })?;
    turned.with_context(|| format!("no log was put aside: {:?}", fs::metadata(&log)))?;
    await_until(PATIENCE, || Ok(fs::metadata(&log).is_ok_and(|m| m.len() > 0).then_some(())))?
        .context("the log does not go on")?;

    // Threads that came meanwhile hold no more.
    shut(&agent, bounding)?;
    let doctor = agent.cli_output(&["doctor"])?;
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(said.contains("CapEff 0") && said.contains("Its threads") && said.contains("landlock"), "{said}");
    let hooks = runner(&agent)?;
    ensure!(agent.stop()?.success(), "it did not end well");
    ensure!(!agent.socket.exists(), "the socket's file is left");
    ensure!(!hooks.exists(), "{} is left", hooks.display());
    Ok(())
}

/// Every thread of the agent, and of who runs its commands, is shut in.
fn shut(agent: &Agent<'_>, bounding: u64) -> Result<()> {
    let threads = of_process(agent.pid().as_raw() as u32)?;
    ensure!(threads.len() > 3, "{threads:?}");
    for thread in &threads {
        ensure!(thread.held == [0; 4] && thread.bounding & !bounding == 0, "{thread:?}");
        ensure!(thread.no_new_privs && thread.seccomp == 2, "{thread:?}");
    }
    promise(
        "privileges-after-start",
        format_args!(
            "{} threads, each with 0 capabilities, no_new_privs and a filter of system calls",
            threads.len()
        ),
    );
    ensure!(Held(threads).tell().iter().all(|c| c.ok));
    Ok(())
}

/// The process that runs the agent's commands.
fn runner(agent: &Agent<'_>) -> Result<PathBuf> {
    let pid = agent.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child = children.split_whitespace().next().context("nobody to run commands")?;
    let name = fs::read_to_string(format!("/proc/{child}/comm"))?;
    ensure!(name.trim_end() == "netmon-hooks", "{name}");
    for thread in of_process(child.parse()?)? {
        ensure!(thread.held == [0; 4] && thread.no_new_privs, "{thread:?}");
    }
    Ok(Path::new("/proc").join(child))
}

fn capabilities_are(agent: &Agent<'_>, ok: bool, names: &[&str]) -> Result<()> {
    let all = agent.status()?["agent"]["capabilities"].clone();
    let metrics = agent.metrics()?;
    for name in names {
        ensure!(all[name]["ok"] == ok, "{name}: {all}");
        let value = metrics.value("netmon_capability", &[("name", name)]);
        ensure!(value == Some(if ok { 1.0 } else { 0.0 }), "{name}: {value:?}");
    }
    Ok(())
}

/// Segments are sent again for a while, and the agent counts those that the kernel does.
fn counts_as_the_kernel(world: &World, agent: &Agent<'_>) -> Result<()> {
    let reading = || -> Result<(f64, netmon_tests::lab::Counters)> {
        let metrics = agent.metrics()?;
        let devices = metrics.sum("netmon_tcp_retransmitted_segments_total", &[]);
        Ok((devices, world.counters()?))
    };
    let before = reading()?;
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(5.0))?;
    let bulk = Bulk::start(world, &[SERVER_V4.into()])?;
    std::thread::sleep(Duration::from_secs(2));
    bulk.stop();
    fault.mend()?;
    let mut last = (0.0, 0);
    let same = await_until(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = reading()?;
        last = (now.0 - before.0, growth(&before.1, &now.1, "TcpRetransSegs"));
        Ok((last.0 == last.1 as f64 && last.1 > 10).then_some(()))
    })?;
    same.with_context(|| format!("netmon and the kernel counted {last:?}"))?;
    eprintln!("segments sent again, by netmon and by the kernel: {last:?}");
    Ok(())
}

fn await_line(file: &Path, line: &str) -> Result<()> {
    let has = || fs::read_to_string(file).is_ok_and(|text| text.lines().any(|l| l == line));
    await_until(PATIENCE, || Ok(has().then_some(())))?
        .with_context(|| format!("no line {line:?}: {:?}", fs::read_to_string(file)))
}

fn mark() -> Result<()> {
    let world = World::new()?;
    let config = format!(
        "[defaults]\nauto_targets = false\n[[target]]\nhost = \"{SERVER_V4}\"\nprobe = \"tcp\"\nport = {}\nmark = 7\n",
        netmon_tests::lab::ECHO
    );
    let agent = Start::new(&world)?.config(&config).start()?;
    Witness::new(&agent)?.up(PATIENCE)?;
    capabilities_are(&agent, false, &["privileges"])?;
    capabilities_are(&agent, true, &["seccomp", "no_new_privs"])?;
    let detail = agent.status()?["agent"]["capabilities"]["privileges"]["detail"].to_string();
    ensure!(detail.contains("CAP_NET_") && detail.contains("mark"), "{detail}");
    for thread in of_process(agent.pid().as_raw() as u32)? {
        // CAP_NET_ADMIN is 12 and CAP_NET_RAW 13 (linux/capability.h).
        let [effective, permitted, inheritable, ambient] = thread.held;
        ensure!(effective == permitted && [1 << 12, 1 << 13].contains(&effective), "{thread:?}");
        ensure!(inheritable == 0 && ambient == 0 && thread.bounding == 0, "{thread:?}");
    }
    Ok(())
}

fn raw() -> Result<()> {
    let world = World::with(Options { ping_sockets: false, ..Options::default() })?;
    let config = format!("[defaults]\nauto_targets = false\n[[target]]\nhost = \"{SERVER_V4}\"\ndscp = 46\n");
    let agent = Start::new(&world)?.config(&config).start()?;
    Witness::new(&agent)?.up(PATIENCE)?;
    shut(&agent, 0)?;
    let target = agent.status()?["targets"][0].clone();
    ensure!(target["probe"] == "icmp" && target["state"] == "up", "{target}");
    // By ICMP indeed, on its own way.
    let fault = world.lose(Place::Wan(0), Way::Both, What::Echo)?;
    let wait = ["wait", "--target", &SERVER_V4.to_string(), "--state", "down", "--timeout", "60s"];
    ensure!(agent.cli_code(&wait)? == 0, "not by ICMP: {}", agent.status()?);
    fault.mend()
}

fn off() -> Result<()> {
    let world = World::new()?;
    let agent = Start::new(&world)?.config("[agent]\nsandbox = \"off\"\n").start()?;
    capabilities_are(&agent, false, &["privileges", "no_new_privs", "seccomp", "landlock"])?;
    let open = of_process(agent.pid().as_raw() as u32)?;
    ensure!(open.iter().all(|thread| thread.seccomp == 0 && thread.held[0] != 0), "{open:?}");
    let warned = agent.log.lines().iter().any(|line| line.contains("WARN") && line.contains("sandbox"));
    ensure!(warned, "no word of it: {:?}", agent.log.lines());
    Ok(())
}
