//! Who tries again, and how.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use netmon_agent::time::{Boot, Mono};
use netmon_client::Monitor;
use netmon_client::retry::{Policy, Retryer, Statistics};
use netmon_tests::agent::Agent;
use netmon_tests::lab::{ECHO, SERVER_V4};
use serde_json::Value;

use super::upload::{Entry, Upload, read};

/// Far beyond what a contender may take after the outage.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// A loop that doubles its delay.
    Plain,
    /// `netmon retry` as it comes.
    Command,
    /// The same, in a hurry: as soon as the network is up.
    Hasty,
    /// The client's `Retryer`, in a process of its own.
    InProcess,
}

/// What a contender did.
pub struct Record {
    diary: PathBuf,
    /// Attempts that failed and were charged.
    charged: u32,
    ended: Boot,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub success: bool,
    pub attempts: u32,
    pub wasted: u32,
    /// From the link's return to the first piece acknowledged.
    pub resumed: Option<Duration>,
    /// From the outage's begin to giving up.
    pub gave_up: Option<Duration>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { success, attempts, wasted, resumed, .. } = self;
        let word = if *success { "done" } else { "failed" };
        write!(f, "{word} in {attempts}, {wasted} wasted")?;
        resumed.map_or(Ok(()), |d| write!(f, ", resumed after {:.2} s", d.as_secs_f64()))
    }
}

impl Record {
    /// Judged by when the link was cut and came back.
    pub fn outcome(&self, cut: Boot, back: Boot) -> Outcome {
        let entries = read(&self.diary);
        let count = |wanted| entries.iter().filter(|(entry, _)| *entry == wanted).count();
        let success = count(Entry::Done) > 0;
        let resumed = entries.iter().rev().find(|(entry, at)| *entry == Entry::First && *at > back);
        Outcome {
            success,
            attempts: count(Entry::Start) as u32,
            wasted: self.charged,
            resumed: resumed.map(|(_, at)| at.since(back)),
            gave_up: (!success).then(|| self.ended.since(cut)),
        }
    }
}

impl Contender {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Command, Self::Hasty, Self::InProcess];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain loop",
            Self::Command => "netmon retry",
            Self::Hasty => "netmon retry --stable 0s --no-spread",
            Self::InProcess => "Retryer",
        }
    }

    /// Tries until it succeeds or gives up.
    pub fn run(self, agent: &Agent<'_>, attempts: u32, pieces: usize) -> Result<Record> {
        let folder = agent.world.node.folder()?;
        let diary = folder.join("diary");
        let upload = Upload { server: (SERVER_V4, ECHO).into(), pieces, diary: diary.clone() };
        let charged = match self {
            Self::Plain => plain(agent, attempts, &upload)?,
            Self::Command => command(agent, attempts, &upload, &folder, &[])?,
            Self::Hasty => command(agent, attempts, &upload, &folder, &["--stable", "0s", "--no-spread"])?,
            Self::InProcess => other_process(agent, attempts, &upload, &folder)?,
        };
        Ok(Record { diary, charged, ended: Boot::now() })
    }
}

/// What everybody writes who has not thought of outages.
fn plain(agent: &Agent<'_>, attempts: u32, upload: &Upload) -> Result<u32> {
    let exe = std::env::current_exe()?;
    let mut delay = Duration::from_secs(1);
    for attempt in 1..=attempts {
        let mut command = agent.world.node.command(&exe);
        if command.args(upload.arguments()).stderr(Stdio::null()).status()?.success() {
            return Ok(attempt - 1);
        }
        if attempt < attempts {
            thread::sleep(delay);
            delay *= 2;
        }
    }
    Ok(attempts)
}

fn command(agent: &Agent<'_>, attempts: u32, upload: &Upload, folder: &Path, more: &[&str]) -> Result<u32> {
    let exe = std::env::current_exe()?;
    let most = attempts.to_string();
    let line =
        [&["retry", "--log-format", "json", "--retry-on", "1", "--attempts", &most][..], more].concat();
    let mut command = agent.cli(&line)?;
    let log = folder.join("log");
    command.arg("--").arg(exe).args(upload.arguments()).stderr(File::create(&log)?);
    await_end(&mut command)?;
    let text = fs::read_to_string(&log)?;
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = lines.rfind(|l| l["msg"] == "attempt");
    // What is left takes into account what was refunded later.
    let left = last.and_then(|l| l["left"].as_u64()).with_context(|| format!("no attempt: {text}"))?;
    Ok(attempts - left as u32)
}

fn other_process(agent: &Agent<'_>, attempts: u32, upload: &Upload, folder: &Path) -> Result<u32> {
    let exe = std::env::current_exe()?;
    let out = folder.join("statistics");
    let mut command = agent.world.node.command(&exe);
    command.args(["retry-in-process", "--attempts", &attempts.to_string(), "--socket"]).arg(&agent.socket);
    // The first word is the other program's.
    command.args(&upload.arguments()[1..]).stdout(File::create(&out)?).stderr(Stdio::null());
    await_end(&mut command)?;
    let text = fs::read_to_string(&out)?;
    text.trim().parse().with_context(|| format!("no figure: {text:?}"))
}

fn await_end(command: &mut Command) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let deadline = Mono::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Mono::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
        }
        ensure!(Mono::now() < deadline, "{command:?} does not end");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The Retryer's process.
#[derive(Args, Clone, Debug)]
pub struct InProcess {
    #[command(flatten)]
    upload: Upload,
    #[arg(long)]
    attempts: u32,
    #[arg(long)]
    socket: PathBuf,
}

/// Runs one transfer by the Retryer, and prints how many failures were charged.
///
/// # Errors
/// No thread for the monitor.
pub fn in_process(arguments: &InProcess) -> Result<()> {
    let policy = Policy { attempts: Some(arguments.attempts), ..Policy::default() };
    let retryer = Retryer::new(policy)?.monitor(Monitor::connect(&arguments.socket)?);
    let statistics = std::sync::Arc::new(std::sync::Mutex::new(Statistics::default()));
    let told = statistics.clone();
    let retryer = retryer.on_finish(move |report| {
        *told.lock().unwrap_or_else(|e| e.into_inner()) = report.statistics;
    });
    let done = retryer.run(|_| arguments.upload.run()).is_ok();
    let s = *statistics.lock().unwrap_or_else(|e| e.into_inner());
    println!("{}", s.attempts - s.refunds - u32::from(done));
    Ok(())
}
