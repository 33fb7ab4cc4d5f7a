//! What the agent costs.

use std::fs;

use anyhow::{Context, Result};

use super::Agent;

/// CPU time, context switches and memory of a process, all its threads together, as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, nanoseconds (`/proc/PID/task/*/schedstat`).
    pub cpu_ns: u64,
    /// Context switches, voluntary and not.
    pub switches: u64,
    /// Threads.
    pub threads: u64,
    /// Resident memory, KiB.
    pub resident_kib: u64,
    /// The part of it that no file stands behind, KiB.
    pub anonymous_kib: u64,
}

/// The same of one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadUsage {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Context switches.
    pub switches: u64,
}

impl Agent<'_> {
    /// What it has cost so far.
    pub fn usage(&self) -> Result<Usage> {
        let threads = self.thread_usage()?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        Ok(Usage {
            cpu_ns: threads.iter().map(|t| t.cpu_ns).sum(),
            switches: threads.iter().map(|t| t.switches).sum(),
            threads: threads.len() as u64,
            resident_kib: field(&status, "VmRSS")?,
            anonymous_kib: field(&status, "RssAnon")?,
        })
    }

    /// The same by thread, in the order they were started.
    pub fn thread_usage(&self) -> Result<Vec<ThreadUsage>> {
        let mut threads = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let task = task?.path();
            let times = fs::read_to_string(task.join("schedstat"))?;
            let status = fs::read_to_string(task.join("status"))?;
            let id = task.file_name().and_then(|id| id.to_str()?.parse().ok()).context("task")?;
            threads.push(ThreadUsage {
                id,
                name: fs::read_to_string(task.join("comm"))?.trim_end().to_owned(),
                cpu_ns: times.split(' ').next().and_then(|t| t.parse().ok()).context("schedstat")?,
                switches: field(&status, "voluntary_ctxt_switches")?
                    + field(&status, "nonvoluntary_ctxt_switches")?,
            });
        }
        Ok(threads)
    }
}

fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    let value = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("no {name} in {status}"))
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_the_one_of_its_whole_name() {
        let status = "VmRSS:\t   12 kB\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "VmRSS").unwrap(), 12);
        assert_eq!(field(status, "voluntary_ctxt_switches").unwrap(), 3);
        assert!(field(status, "VmR").is_err());
    }
}
