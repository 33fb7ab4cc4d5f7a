//! What the service manager does for the agent, and the agent for it: the socket, the target, the watchdog.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Systemd, await_until};
use netmon_tests::lab::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::units::{AGENT, LONG, await_waiters, start};

/// Who comes before the agent starts it; who comes while it is gone waits for it. The target is reached with the network,
/// left with the last who wants it, and a hook command has none of the agent's capabilities.
pub fn socket_and_target() -> Result<()> {
    const SOCKET: &str = "netmon.socket";
    const TARGET: &str = "netmon-online.target";
    const BACKUP: &str = "backup.service";
    let world = World::new()?;
    let systemd = Systemd::start(&world, &[("backup", "#!/bin/sh\necho ran >>/run/backup\n")])?;
    let ran = || fs::read_to_string(systemd.path("/run/backup")).map_or(0, |text| text.lines().count());
    let hook = "grep -h -e ^Cap -e ^NoNewPrivs /proc/self/status >/run/netmon/told.$NETMON_STATE";
    let config = systemd
        .write("netmon.toml", &format!("[[notify.command]]\ncommand = [\"sh\", \"-c\", \"{hook}\"]\n"))?;
    let run = format!("[Service]\nExecStart=\nExecStart=netmon run --config {}\n", config.display());
    systemd.drop_in(AGENT, &run)?;

    start(&systemd, SOCKET)?;
    ensure!(systemd.property(AGENT, "ActiveState")? == "inactive", "nobody has asked yet");
    let up = systemd.command("netmon").args(["wait", "--state", "up", "--timeout", "60s"]).output()?;
    ensure!(up.status.success(), "{}: {}\n{}", up.status, text(&up.stderr), systemd.said());
    ensure!(systemd.property(AGENT, "ActiveState")? == "active");
    let told = await_until(LONG, || Ok(fs::read_to_string(systemd.path("/run/netmon/told.up")).ok()))?;
    let told = told.with_context(|| format!("no hook was run: {}", systemd.said()))?;
    for name in ["CapPrm", "CapEff", "CapAmb"] {
        ensure!(told.contains(&format!("{name}:\t0000000000000000")), "{told}");
    }
    ensure!(told.contains("NoNewPrivs:\t1"), "{told}");

    // Its socket is there while it is not, and what comes meanwhile is answered.
    for _ in 0..3 {
        let main = systemd.outside(&systemd.property(AGENT, "MainPID")?)?;
        ensure!(systemd.systemctl(&["kill", "--signal=SIGKILL", AGENT])?.1, "kill");
        let gone = await_until(LONG, || Ok((!Path::new(&format!("/proc/{main}")).exists()).then_some(())))?;
        ensure!(gone.is_some(), "it lives on");
        let status = systemd.get("/v1/status")?;
        ensure!(status.status == 200, "{}", status.body);
    }
    ensure!(systemd.systemctl(&["stop", AGENT])?.1, "stop");
    ensure!(systemd.path("/run/netmon/netmon.sock").exists(), "its socket went with it");
    ensure!(systemd.get("/v1/status")?.status == 200, "it is not started anew");

    world.carrier_down(0)?;
    let down = systemd.command("netmon").args(["wait", "--state", "down", "--timeout", "20s"]).status()?;
    ensure!(down.success(), "not down: {}", systemd.get("/v1/status")?.body);
    let wants = format!("[Unit]\nWants={TARGET}\nAfter={TARGET}\n[Service]\nExecCondition=\n");
    systemd.drop_in(BACKUP, &wants)?;
    ensure!(systemd.systemctl(&["start", "--no-block", BACKUP])?.1, "{}", systemd.said());
    await_waiters(&systemd, 1)?;
    thread::sleep(Duration::from_millis(500));
    ensure!(ran() == 0, "run while the link is down: {}", systemd.said());
    let status = await_until(LONG, || {
        let shown = systemd.property(AGENT, "StatusText")?;
        Ok((shown.starts_with("down: ") && shown.contains("carrier")).then_some(()))
    })?;
    ensure!(status.is_some(), "not why: {}", systemd.property(AGENT, "StatusText")?);
    world.carrier_up(0)?;
    let done = await_until(LONG, || Ok((ran() == 1).then_some(())))?;
    ensure!(done.is_some(), "not run: {}", systemd.said());
    // Nobody wants it any more, so the next one waits anew.
    systemd.await_property(TARGET, "ActiveState", "inactive", LONG)?;
    ensure!(systemd.systemctl(&["stop", SOCKET, AGENT])?.1, "stop");
    ensure!(!systemd.path("/run/netmon/netmon.sock").exists(), "its socket is left");
    Ok(())
}

/// Stops one thread of a process, as a debugger does, until it is ended: no signal does that.
const STOP: &str = r"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
for request in (0x4206, 0x4207): # PTRACE_SEIZE, PTRACE_INTERRUPT
    if libc.ptrace(request, int(sys.argv[1]), 0, 0) != 0:
        sys.exit(f'ptrace: {ctypes.get_errno()}')
for _ in range(2): # that it stands still, and its end, without which the process has none
    os.waitpid(int(sys.argv[1]), 0x40000000) # __WALL
";

/// While everything turns the agent lives on; with its probe engine stopped it answers, and is begun anew all the same.
pub fn watchdog() -> Result<()> {
    let world = World::new()?;
    let systemd = Systemd::start(&world, &[])?;
    // Of what it probes, nothing is due for longer than the watchdog's time.
    let config = systemd.write("netmon.toml", "[defaults]\nauto_targets = false\ninterval = \"1h\"\n")?;
    let run = format!(
        "[Service]\nWatchdogSec=2s\nExecStart=\nExecStart=netmon run --config {}\n",
        config.display()
    );
    systemd.drop_in(AGENT, &run)?;
    start(&systemd, AGENT)?;
    thread::sleep(Duration::from_secs(6));
    ensure!(systemd.property(AGENT, "NRestarts")? == "0", "{}", systemd.said());

    let main = systemd.outside(&systemd.property(AGENT, "MainPID")?)?;
    let mut tasks = fs::read_dir(format!("/proc/{main}/task"))?.flatten();
    let is_probe = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "probe")
    };
    let probe = tasks.find(is_probe).context("no thread of that name")?.file_name();
    let mut debugger =
        Command::new("python3").args(["-c", STOP]).arg(&probe).stderr(Stdio::inherit()).spawn()?;
    let restarted = systemd.await_property(AGENT, "NRestarts", "1", LONG);
    let _ = kill(Pid::from_raw(debugger.id() as i32), Signal::SIGKILL);
    debugger.wait()?;
    restarted?;
    ensure!(systemd.said().contains("the probe engine has not turned"), "not why: {}", systemd.said());
    systemd.await_property(AGENT, "ActiveState", "active", LONG)?;
    ensure!(systemd.get("/v1/status")?.status == 200);
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
