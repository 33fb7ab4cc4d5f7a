//! A whole Debian in the node of a world: a root of its own, from which a real systemd boots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

use super::await_until;
use super::http::{self, Response};
use super::systemd::{START, Script, text};
use crate::lab::World;

/// Begins in the node's network; ends as systemd in all namespaces of its own, in a layer in memory over the root, which stays
/// as it is. `/opt/files` has what is to be installed.
///
/// Of the kernel's settings only those of the network may be written, which are the node's own; and what reaches beyond a
/// namespace – clocks, modules, raw devices, the kernel's log – is not among its capabilities.
const SCRIPT: &str = r#"
set -eu
name=$1 root=$2 files=$3 resolv=$4
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$name"
sh -euc 'echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"; shift; exec unshare "$@"' - "$name" \
    --pid --mount --uts --ipc --cgroup --fork --kill-child sh -euc '
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
    cd /mnt/root
    cp "$3" etc/resolv.conf
    mkdir -p opt/files
    mount --bind -o ro "$2" opt/files
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount --bind proc/sys/net proc/sys/net
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs dev
    for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    for folder in dev/shm run tmp; do mount -t tmpfs tmpfs $folder; done
    pivot_root . media
    umount -l /media
    exec env -i container=nmt PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_LOG_TARGET=console \
        setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-sys_boot,-syslog,-wake_alarm,-mac_admin,-mac_override \
        /lib/systemd/systemd --system --unit=multi-user.target --show-status=0
' - "$root" "$files" "$resolv" || true
for try in 1 2 3 4 5 6 7 8 9 10; do
    find "/sys/fs/cgroup/$name" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done
"#;

/// A running Debian. It ends, with all it started and wrote, on drop.
#[derive(Debug)]
pub struct Machine<'a> {
    _world: &'a World,
    init: Pid,
    _script: Script,
}

impl<'a> Machine<'a> {
    /// Boots `root`, with `files` below `/opt/files`.
    ///
    /// # Errors
    /// When it is not up within a minute.
    pub fn boot(world: &'a World, root: &Path, files: &[PathBuf]) -> Result<Self> {
        ensure!(root.join("lib/systemd/systemd").exists(), "{} has no systemd", root.display());
        let folder = world.node.folder()?.join("files");
        fs::create_dir_all(&folder)?;
        for file in files {
            let name = file.file_name().with_context(|| file.display().to_string())?;
            fs::copy(file, folder.join(name)).with_context(|| file.display().to_string())?;
        }
        let mut command = world.node.command("sh");
        command.args(["-c", SCRIPT, "machine", world.node.name()]).arg(root).arg(&folder);
        command.arg(world.node.etc()?.join("resolv.conf"));
        let (script, log, init) = Script::start(world, &mut command)?;
        let machine = Self { _world: world, init, _script: script };
        let running = await_until(START, || {
            Ok(machine.output("systemctl", &["is-active", "multi-user.target"])?.1.then_some(()))
        })?;
        ensure!(running.is_some(), "it does not come up: {}", log.lines().join("\n"));
        Ok(machine)
    }

    /// A command inside, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.init.to_string());
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", program]);
        command
    }

    /// A program inside, to its end: what it wrote, and whether it was content.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<(String, bool)> {
        let output = self.command(program).args(arguments).output()?;
        Ok((text(&output), output.status.success()))
    }

    /// Likewise, and it has to be content.
    ///
    /// # Errors
    /// When it is not: with what it wrote.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let (said, content) = self.output(program, arguments)?;
        ensure!(content, "{program} {}: {said}", arguments.join(" "));
        Ok(said)
    }

    /// One property of a unit.
    ///
    /// # Errors
    /// When systemctl can't be run.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        self.run("systemctl", &["show", "--value", "--property", name, unit])
    }

    /// `GET path` of the agent at its default socket.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(&self, path: &str) -> Result<Response> {
        http::get(&self.path("/run/netmon/netmon.sock"), path, START)
    }

    /// A path as it is seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }
}
