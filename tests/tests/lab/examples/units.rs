//! The unit files under a real systemd.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Systemd, UNITS, await_until};
use netmon_tests::lab::World;

use super::example;

/// Far beyond what anything here takes, even on a loaded machine.
pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) const AGENT: &str = "netmon.service";

/// `CAP_PERFMON` and `CAP_BPF` of capabilities(7).
const CAPABILITIES: u64 = 1 << 38 | 1 << 39;

/// Valid and tight; every capability of the agent with two of the kernel's, which it gives up; reload, a crash, the end.
pub fn agent() -> Result<()> {
    let world = World::new()?;
    let systemd = Systemd::start(&world, &[("backup", ""), ("export", ""), ("tunnel", "")])?;
    let files =
        UNITS.map(|folder| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)));
    let mut units = Vec::new();
    for file in files.into_iter().flatten().flatten() {
        // A template is verified as one of its instances.
        units.push(file?.file_name().to_string_lossy().replace('@', "@usable"));
    }
    ensure!(units.len() >= 6, "{units:?}");
    let verify = systemd.command("systemd-analyze").args(["verify", "--man=no"]).args(&units).output()?;
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    ensure!(verify.status.success() && said.is_empty(), "{}: {said}", verify.status);
    // Of 10; what is left is the host's network and its users, the two capabilities and bpf(2).
    let security = ["security", "--no-pager", "--threshold=15", AGENT];
    let security = systemd.command("systemd-analyze").args(security).output()?;
    let said = String::from_utf8_lossy(&security.stdout).into_owned();
    ensure!(security.status.success(), "{said}");
    eprintln!("{}", said.lines().last().unwrap_or_default());

    start(&systemd, AGENT)?;
    let status = systemd.get("/v1/status")?.json()?;
    let capabilities = status["agent"]["capabilities"].as_object().context("no capabilities")?;
    let missing: Vec<_> = capabilities.iter().filter(|(_, c)| c["ok"] != true).collect();
    ensure!(missing.is_empty(), "{missing:?}");
    let pid = systemd.property(AGENT, "MainPID")?;
    let own = fs::read_to_string(systemd.path("/proc").join(&pid).join("status"))?;
    let field =
        |name: &str| own.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    // It was started with two, as a unit can't be without a bounding set, and holds none by now.
    for (name, due) in
        [("CapBnd:", CAPABILITIES), ("CapEff:", 0), ("CapPrm:", 0), ("CapInh:", 0), ("CapAmb:", 0)]
    {
        ensure!(u64::from_str_radix(&field(name), 16)? == due, "{own}");
    }
    ensure!((&*field("NoNewPrivs:"), &*field("Seccomp:")) == ("1", "2"), "{own}");
    let uid: u32 = field("Uid:").split_whitespace().next().context("no uid")?.parse()?;
    ensure!(uid != 0, "the agent is root");
    for (path, mode) in [("", 0o750), ("/netmon.sock", 0o660)] {
        let found = fs::metadata(systemd.path(&format!("/run/netmon{path}")))?;
        ensure!(
            (found.mode() & 0o777, found.uid()) == (mode, uid),
            "{path}: {:o} {}",
            found.mode(),
            found.uid()
        );
    }

    ensure!(systemd.systemctl(&["reload", AGENT])?.1, "{}", systemd.said());
    let heard = await_until(LONG, || Ok(systemd.said().contains("configuration read anew").then_some(())))?;
    ensure!(heard.is_some(), "no reload: {}", systemd.said());
    // It says itself when it is done, and how it is.
    systemd.await_property(AGENT, "ActiveState", "active", LONG)?;
    systemd.await_property(AGENT, "StatusText", "up", LONG)?;

    ensure!(systemd.systemctl(&["kill", "--signal=SIGKILL", AGENT])?.1, "kill");
    systemd.await_property(AGENT, "NRestarts", "1", LONG)?;
    systemd.await_property(AGENT, "ActiveState", "active", LONG)?;
    // Active is ready: what comes behind it is answered at once.
    let up = systemd.command("netmon").args(["wait", "--state", "up", "--timeout", "30s"]).output()?;
    ensure!(up.status.success(), "after a crash: {}: {}", up.status, String::from_utf8_lossy(&up.stderr));

    ensure!(systemd.systemctl(&["stop", AGENT])?.1, "stop");
    let ended = ["Result", "ActiveState"].map(|name| systemd.property(AGENT, name).unwrap_or_default());
    ensure!(ended == ["success", "inactive"], "{ended:?}: {}", systemd.said());
    ensure!(!systemd.path("/run/netmon/netmon.sock").exists(), "its socket is left");
    Ok(())
}

/// A line of a job each time it runs.
const RUNS: &str = "#!/bin/sh\necho ran >>/run/\"${0##*/}\"\n";

pub fn jobs() -> Result<()> {
    const BACKUP: &str = "backup.service";
    const EXPORT: &str = "export.service";
    const WAIT: &str = "netmon-wait@usable.service";
    let world = World::new()?;
    let systemd = Systemd::start(&world, &[("backup", RUNS), ("export", RUNS)])?;
    let ran =
        |job: &str| fs::read_to_string(systemd.path("/run").join(job)).map_or(0, |text| text.lines().count());

    // Without an agent that could answer: skipped, which is no failure. systemd forgets a unit that is inactive, and only
    // that, so there is no result to be read.
    systemd.drop_in(AGENT, "[Service]\nExecStart=\nExecStart=false\nRestart=no\n")?;
    start(&systemd, BACKUP)?;
    ensure!(systemd.property(BACKUP, "ActiveState")? == "inactive" && ran("backup") == 0);
    ensure!(systemd.said().contains("no netmon agent answers"), "{}", systemd.said());
    // From here on with the target that the export asks for.
    let config = systemd.write(
        "netmon.toml",
        "[[target]]\nname = \"vcenter\"\nhost = \"203.0.113.10\"\nprobe = \"tcp\"\nport = 443\n",
    )?;
    let run = format!("[Service]\nExecStart=\nExecStart=netmon run --config {}\n", config.display());
    systemd.drop_in(AGENT, &run)?;

    // Each brings the agent up itself, and runs when that has a verdict.
    for (unit, job) in [(BACKUP, "backup"), (EXPORT, "export")] {
        start(&systemd, unit)?;
        ensure!(ran(job) == 1, "{unit}: {}", systemd.said());
    }
    // Done and forgotten, so that it waits anew for the next one.
    systemd.await_property(WAIT, "ActiveState", "inactive", LONG)?;

    world.carrier_down(0)?;
    let down = systemd.command("netmon").args(["wait", "--state", "down", "--timeout", "20s"]).status()?;
    ensure!(down.success(), "not down: {}", systemd.get("/v1/status")?.body);
    // The line of the file, with another deadline.
    let text = fs::read_to_string(example("systemd/backup.service"))?;
    let line = text.lines().find(|l| l.starts_with("ExecCondition=")).context("no ExecCondition")?;
    let soon = line.replace("--timeout 10m", "--timeout 2s");
    ensure!(soon != line, "{line}");
    systemd.drop_in(BACKUP, &format!("[Service]\nExecCondition=\n{soon}\n"))?;
    start(&systemd, BACKUP)?;
    let state = systemd.property(BACKUP, "ActiveState")?;
    ensure!(state == "inactive" && ran("backup") == 1, "{state}: {}", systemd.said());
    ensure!(systemd.said().contains("not usable: down"), "not why: {}", systemd.said());
    systemd.no_drop_in(BACKUP)?;

    // Requires=: without the network within the limit it does not start, and says so.
    systemd.drop_in(WAIT, "[Service]\nEnvironment=NETMON_WAIT_TIMEOUT=2s\n")?;
    ensure!(!systemd.systemctl(&["start", EXPORT])?.1 && ran("export") == 1, "{}", systemd.said());
    ensure!(systemd.property(WAIT, "ExecMainStatus")? == "75", "{}", systemd.said());
    ensure!(systemd.said().contains("no_carrier"), "not why: {}", systemd.said());
    systemd.no_drop_in(WAIT)?;

    // As the files are, both wait until the link is back.
    ensure!(systemd.systemctl(&["start", "--no-block", BACKUP, EXPORT])?.1, "{}", systemd.said());
    systemd.await_property(BACKUP, "ActiveState", "activating", LONG)?;
    systemd.await_property(WAIT, "ActiveState", "activating", LONG)?;
    await_waiters(&systemd, 2)?;
    thread::sleep(Duration::from_secs(1));
    ensure!((ran("backup"), ran("export")) == (1, 1), "run while the link is down: {}", systemd.said());
    world.carrier_up(0)?;
    let both = await_until(LONG, || Ok(((ran("backup"), ran("export")) == (2, 2)).then_some(())))?;
    ensure!(both.is_some(), "not run: {}", systemd.said());
    systemd.await_property(BACKUP, "ActiveState", "inactive", LONG)?;
    systemd.await_property(EXPORT, "ActiveState", "inactive", LONG)
}

pub fn daemon() -> Result<()> {
    const TUNNEL: &str = "tunnel.service";
    let world = World::new()?;
    world.carrier_down(0)?;
    let systemd =
        Systemd::start(&world, &[("tunnel", "#!/bin/sh\necho ran >>/run/tunnel\nexec sleep infinity\n")])?;
    let ran = || fs::read_to_string(systemd.path("/run/tunnel")).map_or(0, |text| text.lines().count());
    ensure!(systemd.systemctl(&["start", "--no-block", TUNNEL])?.1);
    await_waiters(&systemd, 1)?;
    ensure!(ran() == 0, "started without a network");
    world.carrier_up(0)?;
    ensure!(
        await_until(LONG, || Ok((ran() == 1).then_some(())))?.is_some(),
        "not started: {}",
        systemd.said()
    );
    systemd.await_property(TUNNEL, "ActiveState", "active", LONG)?;

    world.carrier_down(0)?;
    let down = systemd.command("netmon").args(["wait", "--state", "down", "--timeout", "20s"]).status()?;
    ensure!(down.success(), "not down: {}", systemd.get("/v1/status")?.body);
    ensure!(systemd.systemctl(&["kill", TUNNEL])?.1, "kill");
    systemd.await_property(TUNNEL, "NRestarts", "1", LONG)?;
    await_waiters(&systemd, 1)?;
    thread::sleep(Duration::from_secs(1));
    ensure!(ran() == 1, "started while the link is down");
    world.carrier_up(0)?;
    ensure!(
        await_until(LONG, || Ok((ran() == 2).then_some(())))?.is_some(),
        "not started: {}",
        systemd.said()
    );
    Ok(())
}

pub(super) fn start(systemd: &Systemd<'_>, unit: &str) -> Result<()> {
    let (said, content) = systemd.systemctl(&["start", unit])?;
    ensure!(content, "{said}\n{}\n{}", systemd.systemctl(&["status", "--full", unit])?.0, systemd.said());
    Ok(())
}

/// Waits until so many are held by the agent.
pub(super) fn await_waiters(systemd: &Systemd<'_>, count: usize) -> Result<()> {
    let held = await_until(LONG, || {
        let metrics = systemd.get("/metrics").map(|r| r.body).unwrap_or_default();
        let now = metrics.lines().find_map(|l| l.strip_prefix("netmon_wait_clients ")?.parse::<f64>().ok());
        Ok((now.unwrap_or(0.0) >= count as f64).then_some(()))
    })?;
    held.with_context(|| format!("fewer than {count} wait: {}", systemd.said()))
}
