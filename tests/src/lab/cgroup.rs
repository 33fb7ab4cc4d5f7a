//! A bound on a process's memory: a control group of its own, removed on drop.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::netns;

/// Where control groups are, the first with one hierarchy a controller.
const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";

/// A group with a bound. Whoever goes beyond it is killed by the kernel, which counts that.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    is_v1: bool,
}

impl MemoryGroup {
    /// A new one for `bytes`, whatever stands behind them but files of the disk that can be dropped. Where the machine has swap,
    /// none of it.
    ///
    /// # Errors
    /// Where this process may make no group, or no memory may be bounded: in a container, as a rule.
    pub fn new(bytes: u64) -> Result<Self> {
        let name = netns::unique("memory");
        if Path::new(V1).join("memory.limit_in_bytes").exists() {
            let group = Self { folder: Path::new(V1).join(name), is_v1: true };
            fs::create_dir(&group.folder).with_context(|| group.folder.display().to_string())?;
            group.write("memory.limit_in_bytes", &bytes)?;
            return Ok(group);
        }
        let controllers = fs::read_to_string(Path::new(V2).join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|c| c == "memory") {
            bail!("no control groups with a bound on memory");
        }
        // In force already where a service manager has asked for it.
        let _ = fs::write(Path::new(V2).join("cgroup.subtree_control"), "+memory");
        let group = Self { folder: Path::new(V2).join(name), is_v1: false };
        fs::create_dir(&group.folder).with_context(|| group.folder.display().to_string())?;
        group.write("memory.max", &bytes)?;
        // Without swap there is no such file.
        let _ = group.write("memory.swap.max", &0);
        Ok(group)
    }

    /// Takes a process in, with what it will take from now on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn add(&self, pid: Pid) -> Result<()> {
        self.write("cgroup.procs", &pid)
    }

    /// The most that was taken at any moment, bytes; none where the kernel does not tell (before Linux 5.19).
    pub fn peak(&self) -> Option<u64> {
        let name = if self.is_v1 { "memory.max_usage_in_bytes" } else { "memory.peak" };
        fs::read_to_string(self.folder.join(name)).ok()?.trim().parse().ok()
    }

    /// How many were killed for want of memory.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn killed(&self) -> Result<u64> {
        let name = if self.is_v1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.folder.join(name)).with_context(|| name.to_owned())?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|n| n.trim().parse().ok()).with_context(|| format!("no oom_kill in {text}"))
    }

    fn write(&self, name: &str, value: &impl ToString) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, value.to_string()).with_context(|| path.display().to_string())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // It may be removed once its processes have been waited for, which is a moment after their end.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("lab: {} is left", self.folder.display());
    }
}
