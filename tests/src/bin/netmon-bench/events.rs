//! A witness of retransmissions that is not ours: the kernel's own ring buffer of trace events, and its statistics of
//! BPF programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::Agent;

const TRACEFS: &str = "/sys/kernel/tracing";
const EVENT: &str = "events/tcp/tcp_retransmit_skb";
const PREFIX: &str = "netmon-bench-";

/// An instance of tracefs of its own that records retransmissions, in every network namespace. Removed on drop.
#[derive(Debug)]
pub struct Events(PathBuf);

impl Events {
    /// Records from now on; with `filter`, only what it picks (the kernel's `Documentation/trace/events.rst`).
    ///
    /// # Errors
    /// Without tracefs, or when the kernel refuses the filter.
    pub fn record(role: &str, filter: Option<&str>) -> Result<Self> {
        sweep();
        let name = format!("{PREFIX}{}-{role}", std::process::id());
        let folder = Path::new(TRACEFS).join("instances").join(name);
        fs::create_dir(&folder)
            .with_context(|| format!("{}: mount -t tracefs tracefs {TRACEFS}", folder.display()))?;
        let events = Self(folder);
        // What is overwritten is counted too, so the least buffer will do.
        events.write("buffer_size_kb", "64")?;
        if let Some(filter) = filter {
            events.write(&format!("{EVENT}/filter"), filter)?;
        }
        events.write(&format!("{EVENT}/enable"), "1")?;
        Ok(events)
    }

    /// Events so far.
    pub fn count(&self) -> Result<u64> {
        let mut sum = 0;
        for cpu in fs::read_dir(self.0.join("per_cpu"))? {
            let stats = fs::read_to_string(cpu?.path().join("stats"))?;
            let lines = stats.lines().filter_map(|line| line.split_once(": "));
            let counted = lines.filter(|(name, _)| ["entries", "overrun", "dropped events"].contains(name));
            for (_, value) in counted {
                sum += value.trim().parse::<u64>().with_context(|| stats.clone())?;
            }
        }
        Ok(sum)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.0.join(file), text).with_context(|| format!("{file}: {text}"))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(folder: &Path) {
    let _ = fs::write(folder.join(EVENT).join("enable"), "0");
    if let Err(e) = fs::remove_dir(folder) {
        eprintln!("netmon-bench: {} is left: {e}", folder.display());
    }
}

/// Removes what benches left that were ended by a signal.
fn sweep() {
    for entry in fs::read_dir(Path::new(TRACEFS).join("instances")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&entry.path());
        }
    }
}

/// A filter that picks what interrupts the threads of the first process called `name`; `None` when it has none.
pub fn interrupting_init(name: &str) -> Option<String> {
    let mut threads = Vec::new();
    for thread in fs::read_dir("/proc/1/task").into_iter().flatten().flatten() {
        if fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name) {
            threads.push(format!("common_pid == {}", thread.file_name().to_string_lossy()));
        }
    }
    (!threads.is_empty()).then(|| threads.join(" || "))
}

/// The kernel's statistics of BPF programs, on for as long as this lives.
#[derive(Debug)]
pub struct Statistics(String);

impl Statistics {
    const FILE: &str = "/proc/sys/kernel/bpf_stats_enabled";

    /// Switches them on.
    ///
    /// # Errors
    /// Without root.
    pub fn on() -> Result<Self> {
        let before = fs::read_to_string(Self::FILE).context(Self::FILE)?;
        fs::write(Self::FILE, "1").context(Self::FILE)?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(e) = fs::write(Self::FILE, &self.0) {
            eprintln!("netmon-bench: {} was {}: {e}", Self::FILE, self.0.trim());
        }
    }
}

/// Runs, run time in nanoseconds and misses of the BPF programs that a process holds, and bytes of its maps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Programs.
    pub programs: u64,
    /// How often they ran.
    pub runs: u64,
    /// For how long.
    pub run_ns: u64,
    /// Kernel memory of maps, bytes.
    pub map_bytes: u64,
    /// Maps.
    pub maps: u64,
}

impl Held {
    /// Reads `/proc/PID/fdinfo`; what two descriptors name counts once.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn by(pid: u32) -> Result<Self> {
        let mut held = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
                line.and_then(|value| value.trim().parse::<u64>().ok())
            };
            if let (Some(id), Some(runs)) = (field("prog_id"), field("run_cnt"))
                && seen.insert(("prog", id))
            {
                held.programs += 1;
                held.runs += runs;
                held.run_ns += field("run_time_ns").unwrap_or(0);
            }
            if let (Some(id), Some(bytes)) = (field("map_id"), field("memlock"))
                && seen.insert(("map", id))
            {
                held.maps += 1;
                held.map_bytes += bytes;
            }
        }
        Ok(held)
    }

    /// Of an agent.
    ///
    /// # Errors
    /// When it is gone, or holds no program.
    pub fn by_agent(agent: &Agent<'_>) -> Result<Self> {
        let held = Self::by(agent.pid().as_raw() as u32)?;
        ensure!(
            held.programs > 0,
            "the agent holds no program: {}",
            agent.status()?["agent"]["capabilities"]
        );
        Ok(held)
    }
}
