//! Who uploads, and what became of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_agent::time::Boot;
use netmon_tests::agent::{Agent, await_until};
use netmon_tests::lab::SERVER_V4;

use super::store::BUCKET;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The example: netmon's Retryer around each part.
    Retryer,
    /// object_store's own retries, five attempts, and its time-outs: 30 s a request.
    Plain,
    /// The same, with 10 s a request.
    Hurried,
}

impl Contender {
    pub const ALL: [Self; 3] = [Self::Retryer, Self::Plain, Self::Hurried];

    pub fn name(self) -> &'static str {
        match self {
            Self::Retryer => "Retryer, 5 attempts",
            Self::Plain => "object_store, 5 attempts",
            Self::Hurried => "the same, 10 s a request",
        }
    }

    pub fn key(self) -> &'static str {
        match self {
            Self::Retryer => "retryer",
            Self::Plain => "plain",
            Self::Hurried => "hurried",
        }
    }

    /// Of the line that it uploads through.
    pub fn port(self) -> u16 {
        9000 + self as u16
    }
}

/// Lines with the moment of each, and when there were no more.
type Lines = (Vec<(Boot, String)>, Boot);

/// An upload under way. Ended on drop.
pub struct Upload {
    child: Child,
    lines: Option<JoinHandle<Lines>>,
    error: PathBuf,
}

/// What it wrote, and when it ended.
pub struct Record {
    pub success: bool,
    pub ended: Boot,
    /// When each part was done.
    pub parts: Vec<Boot>,
    pub attempts: u32,
    pub refunded: u32,
    pub wasted: u32,
    /// The last of its words on standard error.
    pub error: String,
}

impl Upload {
    /// Starts it in the node.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(contender: Contender, agent: &Agent<'_>, programs: &Path, file: &Path) -> Result<Self> {
        let program = if contender == Contender::Retryer { "s3-upload" } else { "s3-plain" };
        let error = agent.folder().join(format!("{}.err", contender.key()));
        let mut command = agent.world.node.command(programs.join(program));
        command
            .arg(file)
            .args([BUCKET, contender.key()])
            .env("AWS_ENDPOINT", format!("http://{SERVER_V4}:{}", contender.port()))
            .envs([("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "us-east-1")])
            .envs([("AWS_ACCESS_KEY_ID", "lab"), ("AWS_SECRET_ACCESS_KEY", "lab")])
            .env("NETMON_SOCKET", &agent.socket);
        if contender == Contender::Hurried {
            command.env("AWS_TIMEOUT", "10 seconds");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&error)?);
        let mut child = command.spawn().with_context(|| program.to_owned())?;
        let out = BufReader::new(child.stdout.take().context("its standard output")?);
        let lines = thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok).map(|line| (Boot::now(), line)).collect();
            (lines, Boot::now())
        });
        Ok(Self { child, lines: Some(lines), error })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not come in this time.
    pub fn end(mut self, within: Duration) -> Result<Record> {
        let status = await_until(within, || Ok(self.child.try_wait()?))?.context("an upload without end")?;
        let (lines, ended) = self.lines.take().and_then(|lines| lines.join().ok()).context("its lines")?;
        let is_part = |(at, line): &(Boot, String)| line.starts_with("part ").then_some(*at);
        let last = lines.last().map(|(_, line)| line.as_str()).unwrap_or_default();
        let figure = |name: &str| -> Result<u32> {
            let found = last.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.and_then(|n| n.parse().ok()).with_context(|| format!("no {name} in {last:?}"))
        };
        Ok(Record {
            success: status.success(),
            ended,
            parts: lines.iter().filter_map(is_part).collect(),
            attempts: figure("attempts")?,
            refunded: figure("refunded")?,
            wasted: figure("wasted")?,
            error: fs::read_to_string(&self.error).unwrap_or_default().trim().to_owned(),
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
