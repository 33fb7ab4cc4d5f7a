//! One sample: the process, what it says of itself, its files, and what the load has done.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Metrics};

use crate::load::{Load, Receiver};
use crate::process;
use crate::table::{REST, Row, SECONDS, Writer};

/// Counters of the agent's own, all their series together, and their columns.
const OWN: [(&str, &str); 11] = [
    ("netmon_observations_dropped_total", "own_observations_dropped"),
    ("netmon_netlink_overruns_total", "own_netlink_overruns"),
    ("netmon_bpf_dropped_total", "own_bpf_dropped"),
    ("netmon_log_lines_lost_total", "own_log_lines_lost"),
    ("netmon_history_errors_total", "own_history_errors"),
    ("netmon_history_dropped_total", "own_history_dropped"),
    ("netmon_history_changes", "own_history_changes"),
    ("netmon_tcp_retransmitted_segments_total", "own_retransmitted"),
    ("netmon_state_transitions_total", "own_transitions"),
    ("netmon_wait_clients", "own_waiters"),
    ("netmon_event_clients", "own_subscribers"),
];

/// How many series a scrape has.
const SERIES: &str = "series";
/// What the agent has allocated and not freed.
const ALLOCATED: &str = "allocated_kib";
/// Looks at a process at rest beside the first, and from one to the next. After the turn of a minute each address's last hour
/// is held twice for some fifteen seconds, as it is and as it was told last: that is to be over.
const LOOKS: (usize, Duration) = (20, Duration::from_secs(1));

/// Takes samples and writes each at once.
#[derive(Debug)]
pub struct Sampler {
    path: PathBuf,
    table: Option<Writer>,
    start: Mono,
    /// The sample before.
    before: Option<Spent>,
    last: Row,
}

/// CPU time at one moment, all in seconds.
#[derive(Clone, Copy, Debug)]
struct Spent {
    at: f64,
    agent: f64,
    load: f64,
}

impl Sampler {
    /// One that writes to `path`, its times counted from `start`.
    pub fn new(path: &Path, start: Mono) -> Self {
        Self { path: path.to_owned(), table: None, start, before: None, last: Row::new() }
    }

    /// Takes a sample.
    ///
    /// # Errors
    /// When the agent is gone or does not answer, or the sample cannot be written.
    pub fn take(&mut self, agent: &Agent<'_>, load: &Load, receiver: &Receiver, rest: bool) -> Result<()> {
        let mut row = Row::new();
        let now = Mono::now().since(self.start).as_secs_f64();
        row.insert(SECONDS.to_owned(), now);
        row.insert(REST.to_owned(), f64::from(u8::from(rest)));
        // Before the question below, whose connection would count.
        process::sample(agent.pid().as_raw(), &mut row).context("the agent's process")?;
        // At one moment: what is looked at below costs both.
        let spent = Spent { at: now, agent: row["cpu_s"], load: process::own_cpu()? };
        if rest {
            least(agent, &mut row)?;
        }
        // No number for the first: it would be one of the start.
        let share = self.before.map(|b| 100.0 * (spent.agent - b.agent) / (now - b.at));
        let to_load = self.before.map(|b| (spent.agent - b.agent) / (spent.load - b.load).max(1e-3));
        row.insert("cpu_percent".to_owned(), share.unwrap_or(0.0));
        row.insert("cpu_to_load".to_owned(), to_load.unwrap_or(0.0));
        row.insert("load_cpu_s".to_owned(), spent.load);
        self.before = Some(spent);
        files(agent.folder(), &mut row)?;
        let least = [SERIES, ALLOCATED].map(|name| (name, row.remove(name)));
        own(&agent.metrics()?, &mut row);
        for (name, least) in least {
            let now = row.get_mut(name).zip(least);
            now.into_iter().for_each(|(now, least)| *now = now.min(least));
        }
        let counts = load.counts();
        row.extend(counts.into_iter().map(|(name, value)| (name.to_owned(), value)));
        row.insert("webhooks".to_owned(), receiver.taken() as f64);
        self.append(row)
    }

    /// The sample before again, with the counts as they are: of an agent that is gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn last(&mut self, load: &Load) -> Result<()> {
        let mut row = self.last.clone();
        row.insert(SECONDS.to_owned(), Mono::now().since(self.start).as_secs_f64());
        row.extend(load.counts().into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.append(row)
    }

    fn append(&mut self, row: Row) -> Result<()> {
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(Writer::new(&self.path, &row)?),
        };
        table.append(&row)?;
        self.last = row;
        Ok(())
    }
}

fn own(metrics: &Metrics, row: &mut Row) {
    let series = metrics.text.lines().filter(|line| !line.starts_with('#')).count();
    row.insert("series".to_owned(), series as f64);
    row.insert("scrape_bytes".to_owned(), metrics.text.len() as f64);
    if let Some(bytes) = metrics.value("netmon_allocated_bytes", &[]) {
        row.insert(ALLOCATED.to_owned(), bytes / 1024.0);
    }
    for (name, column) in OWN {
        row.insert(column.to_owned(), metrics.sum(name, &[]) + 0.0);
    }
    let told = [("notifier", "hook"), ("result", "delivered")];
    row.insert("hooks".to_owned(), metrics.sum("netmon_notifications_total", &told) + 0.0);
}

/// The least of some looks: what an agent at rest has besides it has for a moment, as a trace its socket. What leaks is there at
/// every look.
fn least(agent: &Agent<'_>, row: &mut Row) -> Result<()> {
    for _ in 0..LOOKS.0 {
        let mut look = Row::new();
        own(&agent.metrics()?, &mut look);
        look.retain(|name, _| name == SERIES || name == ALLOCATED);
        // The connection of the question is over by then.
        thread::sleep(LOOKS.1);
        process::sample(agent.pid().as_raw(), &mut look).context("the agent's process")?;
        for (name, value) in look {
            let least = row.entry(name).or_insert(value);
            *least = least.min(value);
        }
    }
    Ok(())
}

/// Files of the agent: the ledger with its log, and the log with what was put aside.
fn files(folder: &Path, row: &mut Row) -> Result<()> {
    let (mut ledger, mut log, mut logs) = (0, 0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // It may be put aside at this moment.
        let Ok(size) = entry.metadata().map(|m| m.len()) else { continue };
        if name.starts_with("history.db") {
            ledger += size;
        } else if name.starts_with("netmon.log") {
            log += size;
            logs += 1;
        }
    }
    for (column, value) in [("ledger_kib", ledger as f64 / 1024.0), ("log_kib", log as f64 / 1024.0)] {
        row.insert(column.to_owned(), value);
    }
    row.insert("log_files".to_owned(), f64::from(logs));
    Ok(())
}
