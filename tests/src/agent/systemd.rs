//! A real systemd in the node of a world, first process of a namespace of its own, with the project's own unit files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::http::{self, Response};
use super::log::Log;
use super::{await_until, binary};
use crate::lab::{World, find_program, run};

/// Far beyond what systemd needs to start, even on a loaded machine.
pub(super) const START: Duration = Duration::from_secs(60);

/// Where the workspace is.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Folders of unit files, from the workspace's root.
pub const UNITS: [&str; 2] = ["netmon-agent/packaging/systemd", "netmon-agent/client/examples/systemd"];

/// Begins in the node's network and a mount namespace of `ip netns exec`; ends as systemd in all others of its own.
///
/// What systemd and its units write lies on file systems in memory, so nothing of the machine is touched: `/run`, `/tmp`,
/// `/var`, `/usr/local/bin`. The folders that it needs are bound into the new `/run` before they are out of sight.
const SCRIPT: &str = r#"
set -eu
name=$1 folder=$2 netmon=$3 packaging=$4 examples=$5
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$name"
sh -euc 'echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"; shift; exec unshare "$@"' - "$name" \
    --pid --mount --uts --ipc --cgroup --fork --kill-child --mount-proc sh -euc '
    mount -t tmpfs tmpfs /mnt
    mkdir -p /mnt/units/packaging /mnt/units/examples "/mnt${1#/run}"
    touch /mnt/netmon-binary
    mount --bind "$1" "/mnt${1#/run}"
    mount --bind "$2" /mnt/netmon-binary
    mount --bind "$3" /mnt/units/packaging
    mount --bind "$4" /mnt/units/examples
    mount --make-private /mnt
    mount --no-mtab --move /mnt /run
    for folder in /tmp /var /usr/local/bin; do mount -t tmpfs tmpfs "$folder"; done
    mkdir -p -m 1777 /var/lib /var/tmp
    ln -s /run/netmon-binary /usr/local/bin/netmon
    for script in "$1"/bin/*; do [ -e "$script" ] && ln -s "$script" /usr/local/bin/; done
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec env -i container=nmt PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_LOG_TARGET=console \
        SYSTEMD_UNIT_PATH="$5" \
        /lib/systemd/systemd --system --unit=basic.target --show-status=0
' - "$folder" "$netmon" "$packaging" "$examples" "$folder/units:$6" || true
for try in 1 2 3 4 5 6 7 8 9 10; do
    find "/sys/fs/cgroup/$name" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done
"#;

/// Where the units' folders are bound to.
const BOUND: &str = "/run/units/packaging:/run/units/examples";

/// The targets that every unit has by default, with nothing of the machine's in them.
const TARGETS: [&str; 7] =
    ["basic", "sysinit", "shutdown", "multi-user", "network-online", "sockets", "timers"];

/// A running systemd. It ends, with all it started, on drop.
#[derive(Debug)]
pub struct Systemd<'a> {
    _world: &'a World,
    folder: PathBuf,
    init: Pid,
    _script: Script,
}

/// The script around it. What it has started ends with it, and it then takes away what it made.
#[derive(Debug)]
pub(super) struct Script {
    child: Child,
    init: Option<Pid>,
}

impl Script {
    /// Starts it, and waits until its systemd is there.
    ///
    /// # Errors
    /// When there is none within a minute: with what it said.
    pub(super) fn start(world: &World, command: &mut Command) -> Result<(Self, Log, Pid)> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().context("starting systemd")?;
        let mut script = Self { child, init: None };
        let log = Log::follow(script.child.stderr.take().context("its standard error")?);
        let init = await_until(START, || {
            if let Some(status) = script.child.try_wait()? {
                anyhow::bail!("systemd ended with {status}: {}", log.lines().join("\n"));
            }
            first_process(world)
        })?;
        let init = init.with_context(|| format!("no systemd after {START:?}: {}", log.lines().join("\n")))?;
        script.init = Some(init);
        Ok((script, log, init))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // The kernel ends the whole namespace with its first process; and where that is not known yet, with its parent, which
        // is the script's one child.
        let script = self.child.id().to_string();
        let of_script = |pid: &Pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|l| l.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == script))
        };
        let ended = self.init.map_or_else(|| processes().filter(of_script).collect(), |init| vec![init]);
        for pid in ended {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

impl<'a> Systemd<'a> {
    /// Starts it, with `scripts` – name and text – below `/usr/local/bin`, beside the `netmon` under test.
    ///
    /// # Errors
    /// Without systemd, or when it does not come up within a minute.
    pub fn start(world: &'a World, scripts: &[(&str, &str)]) -> Result<Self> {
        ensure!(Path::new("/lib/systemd/systemd").exists(), "no systemd here: apt-get install systemd");
        let folder = world.node.folder()?;
        for name in ["units/service.d", "bin"] {
            fs::create_dir_all(folder.join(name))?;
        }
        for name in TARGETS {
            fs::write(folder.join(format!("units/{name}.target")), "[Unit]\nDefaultDependencies=no\n")?;
        }
        let said = folder.join("said");
        let output =
            format!("[Service]\nStandardOutput=append:{0}\nStandardError=append:{0}\n", said.display());
        fs::write(folder.join("units/service.d/output.conf"), output)?;
        for (name, text) in scripts {
            fs::write(folder.join("bin").join(name), text)?;
        }
        run(Command::new("chmod").arg("-R").arg("a+rX,u+x").arg(folder.join("bin")), "")?;
        add_user(world, &folder)?;

        let units = UNITS.map(|folder| Path::new(WORKSPACE).join(folder));
        let mut command = world.node.command("sh");
        command
            .args(["-c", SCRIPT, "systemd", world.node.name()])
            .arg(&folder)
            .arg(binary()?)
            .args(&units)
            .arg(BOUND);
        let (script, log, init) = Script::start(world, &mut command)?;
        let systemd = Self { _world: world, folder, init, _script: script };
        let running =
            await_until(START, || Ok(systemd.systemctl(&["is-active", "basic.target"])?.1.then_some(())))?;
        ensure!(running.is_some(), "systemd does not answer: {}", log.lines().join("\n"));
        Ok(systemd)
    }

    /// A command inside, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.init.to_string());
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--", program]);
        // For systemd-analyze, which reads the files itself.
        command.env("SYSTEMD_UNIT_PATH", self.unit_path()).stdin(Stdio::null());
        command
    }

    /// `systemctl` to its end: what it wrote, and whether it was content.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<(String, bool)> {
        let output = self.command("systemctl").args(["--no-pager"]).args(arguments).output()?;
        Ok((text(&output), output.status.success()))
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        Ok(self.systemctl(&["show", "--value", "--property", name, unit])?.0)
    }

    /// Waits until a property of a unit has this value.
    ///
    /// # Errors
    /// When it has not within `within`: with all that is known of the unit.
    pub fn await_property(&self, unit: &str, name: &str, value: &str, within: Duration) -> Result<()> {
        let reached = await_until(within, || Ok((self.property(unit, name)? == value).then_some(())))?;
        reached.with_context(|| {
            let status = self.systemctl(&["status", "--full", unit]).map(|s| s.0).unwrap_or_default();
            format!("{name} of {unit} is not {value} after {within:?}:\n{status}\n{}", self.said())
        })
    }

    /// The number outside of a process that has this one inside.
    pub fn outside(&self, inside: &str) -> Result<Pid> {
        let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(self.init);
        let is = |pid: &Pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
            ids.split_whitespace().last() == Some(inside) && namespace(*pid) == own
        };
        processes().find(is).with_context(|| format!("no process {inside} inside"))
    }

    /// Writes a file that everybody inside may read, and tells where it is.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Gives a unit a drop-in and has systemd read it.
    pub fn drop_in(&self, unit: &str, text: &str) -> Result<()> {
        let folder = self.folder.join("units").join(format!("{unit}.d"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("trial.conf"), text)?;
        ensure!(self.systemctl(&["daemon-reload"])?.1, "daemon-reload");
        Ok(())
    }

    /// Takes it away again.
    pub fn no_drop_in(&self, unit: &str) -> Result<()> {
        fs::remove_dir_all(self.folder.join("units").join(format!("{unit}.d")))?;
        ensure!(self.systemctl(&["daemon-reload"])?.1, "daemon-reload");
        Ok(())
    }

    /// `GET path` of the agent at its default socket.
    pub fn get(&self, path: &str) -> Result<Response> {
        http::get(&self.path("/run/netmon/netmon.sock"), path, START)
    }

    fn unit_path(&self) -> String {
        format!("{}/units:{BOUND}", self.folder.display())
    }

    /// A path as it is seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// All that units wrote so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }
}

/// The agent's user, made by the project's own file for systemd-sysusers, for those who look in the node's `/etc`.
fn add_user(world: &World, folder: &Path) -> Result<()> {
    let sysusers =
        find_program("systemd-sysusers").context("no systemd-sysusers: apt-get install systemd")?;
    let root = folder.join("root");
    fs::create_dir_all(root.join("etc"))?;
    for file in ["passwd", "group"] {
        fs::copy(Path::new("/etc").join(file), root.join("etc").join(file))?;
    }
    let file = Path::new(WORKSPACE).join("netmon-agent/packaging/sysusers.d/netmon.conf");
    let text = fs::read_to_string(&file)?;
    // Its own reading of `--root` looks for the file there as well.
    run(Command::new(sysusers).arg("--root").arg(&root).args(["--inline", "--"]).args(entries(&text)), "")?;
    for file in ["passwd", "group"] {
        fs::copy(root.join("etc").join(file), world.node.etc()?.join(file))?;
    }
    Ok(())
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|l| !l.starts_with('#') && !l.is_empty())
}

/// The process in the node that is the first of another namespace of processes (`NSpid` of proc_pid_status(5)).
fn first_process(world: &World) -> Result<Option<Pid>> {
    let network = world.node.inode()?;
    Ok(processes().find(|pid| {
        let inside = fs::metadata(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|m| std::os::unix::fs::MetadataExt::ino(&m) == network);
        let systemd =
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mut ids = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or("").split_whitespace();
        inside && systemd && ids.nth(1) == Some("1")
    }))
}

/// All processes of the machine.
fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

pub(super) fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
