//! A Debian root of its own: this machine's, on which nothing that is written stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{await_until, binary};
use netmon_tests::lab::Netns;

/// Far longer than it may take.
const LONG: Duration = Duration::from_secs(60);
/// An overlay above this machine's root, in a mount namespace that goes with this process. `/run` and what netmon keeps are
/// empty, as after an installation.
const MAKE: &str = "set -e; mount --make-rprivate /; mount -t tmpfs none \"$1\"; cd \"$1\"; mkdir upper work root; \
    mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root; \
    for folder in proc sys dev; do mount --rbind /$folder root/$folder; done; mount -t tmpfs none root/run; \
    rm -rf root/var/lib/netmon root/etc/netmon; cp /etc/resolv.conf /etc/hosts root/etc/; touch root/run/made; \
    exec sleep infinity";

/// The root, for as long as this lives.
pub struct Root {
    keeper: Child,
    folder: PathBuf,
}

impl Root {
    /// Makes one in a network namespace.
    ///
    /// # Errors
    /// Where no overlay can be mounted.
    pub fn new(node: &Netns) -> Result<Self> {
        let folder = node.folder()?;
        let mut command = node.command("unshare");
        command.args(["--mount", "sh", "-c", MAKE, "sh"]).arg(&folder);
        let keeper = command.stdin(Stdio::null()).spawn().context("unshare")?;
        let mut root = Self { keeper, folder };
        let made = await_until(LONG, || {
            ensure!(root.keeper.try_wait()?.is_none(), "a root of its own can't be made here");
            let look = root.command("test -e /run/made").stderr(Stdio::null()).status()?;
            Ok(look.success().then_some(()))
        })?;
        made.context("a root of its own is not made")?;
        Ok(root)
    }

    /// A shell's command line, inside.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.keeper.id().to_string(), "--mount", "--net"]);
        // The folder is looked up in that mount namespace.
        command.arg("chroot").arg(self.folder.join("root")).args(["sh", "-c", line]);
        command.env_remove("NETMON_SOCKET").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Installs a package.
    pub fn install(&self, deb: &Path) -> Result<()> {
        let deb = fs::canonicalize(deb).with_context(|| deb.display().to_string())?;
        // policy-rc.d: nothing is to be started by the package itself, as there is no systemd.
        let line = format!(
            "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && \
             apt-get -o APT::Sandbox::User=root install --quiet --yes --no-install-recommends {}",
            deb.display()
        );
        self.done(&line)
    }

    /// Puts the program where a package would.
    pub fn put_in_place(&self) -> Result<()> {
        self.done(&format!("cp {} /usr/local/bin/netmon", binary()?.display()))
    }

    /// What netmon.service starts, as root and with the folders that the unit has made.
    pub fn start_agent(&self) -> Result<Agent> {
        let line = "mkdir -p /run/netmon /var/lib/netmon && exec netmon run --log-file /run/netmon/log";
        let child = self.command(line).stdin(Stdio::null()).spawn().context("starting the agent")?;
        let mut agent = Agent(child);
        let answers = await_until(LONG, || {
            let ended = agent.0.try_wait()?;
            ensure!(ended.is_none(), "the agent has ended: {ended:?}");
            Ok(self.command("netmon status --json").output()?.status.success().then_some(()))
        })?;
        answers.context("the agent does not answer")?;
        Ok(agent)
    }

    fn done(&self, line: &str) -> Result<()> {
        let output = self.command(line).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// The agent; it ends with its owner.
pub struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
