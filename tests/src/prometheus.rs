//! A real Prometheus inside a namespace.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{await_until, request};
use crate::lab::{Netns, find_program};

/// Far beyond what any answer may take, even on a loaded machine.
const ANSWER: Duration = Duration::from_secs(20);
/// Likewise its start.
const START: Duration = Duration::from_secs(30);
const PORT: u16 = 9090;

/// The process. Ended on drop.
#[derive(Debug)]
pub struct Prometheus<'a> {
    netns: &'a Netns,
    log: PathBuf,
    child: Child,
}

/// A series over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels, the name among them.
    pub labels: Vec<(String, String)>,
    /// Seconds since 1970 and values; none that is not a number.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// The value of a label; empty where there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Its value at `at`: the last one, of a second before at most.
    pub fn at(&self, at: f64) -> Option<f64> {
        let mut before = self.points.iter().rev().filter(|(time, _)| *time <= at);
        before.next().filter(|(time, _)| at - time <= 1.0).map(|(_, value)| *value)
    }
}

impl<'a> Prometheus<'a> {
    /// Starts it with this configuration, its files in `folder`, and waits until it answers.
    ///
    /// # Errors
    /// When the program is not there, refuses the configuration, or does not answer in half a minute.
    pub fn start(netns: &'a Netns, folder: &Path, configuration: &str) -> Result<Self> {
        let program =
            find_program("prometheus").context("prometheus is not installed: apt-get install prometheus")?;
        let (config, log) = (folder.join("prometheus.yml"), folder.join("prometheus.log"));
        fs::write(&config, configuration)?;
        let child = netns
            .command(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("starting prometheus")?;
        let mut prometheus = Self { netns, log, child };
        let ready = await_until(START, || {
            let ended = prometheus.child.try_wait()?;
            ensure!(ended.is_none(), "prometheus has ended: {}", prometheus.log());
            Ok(prometheus.get("/api/v1/query?query=1").ok())
        })?;
        ready.with_context(|| format!("prometheus does not answer: {}", prometheus.log()))?;
        Ok(prometheus)
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What an expression is now.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>> {
        self.series(&format!("/api/v1/query?query={}", escaped(expression)))
    }

    /// What it was, second by second.
    pub fn range(&self, expression: &str, from: f64, to: f64) -> Result<Vec<Series>> {
        let query = escaped(expression);
        self.series(&format!("/api/v1/query_range?query={query}&start={from:.3}&end={to:.3}&step=1"))
    }

    /// Waits until an expression has a series; its first.
    ///
    /// # Errors
    /// When it has none after `within`.
    pub fn await_one(&self, expression: &str, within: Duration) -> Result<Series> {
        let found = await_until(within, || {
            std::thread::sleep(Duration::from_millis(100));
            Ok(self.query(expression)?.into_iter().next())
        })?;
        found.with_context(|| format!("{expression}: nothing after {within:?}"))
    }

    /// Waits until an expression has no series any more.
    ///
    /// # Errors
    /// When it still has one after `within`.
    pub fn await_none(&self, expression: &str, within: Duration) -> Result<()> {
        let gone = await_until(within, || {
            std::thread::sleep(Duration::from_millis(100));
            Ok(self.query(expression)?.is_empty().then_some(()))
        })?;
        gone.with_context(|| format!("{expression}: still there after {within:?}"))
    }

    /// The `data` of an answer.
    ///
    /// # Errors
    /// What it says itself, where it refuses.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.netns.run(|| -> Result<Value> {
            let stream = TcpStream::connect(("127.0.0.1", PORT))?;
            stream.set_read_timeout(Some(ANSWER))?;
            request(stream, path)?.json()
        })??;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    fn series(&self, path: &str) -> Result<Vec<Series>> {
        let data = self.get(path)?;
        // The answer to a number alone is no list of series.
        let found = match data["resultType"].as_str() {
            Some("scalar") => {
                vec![Series { labels: Vec::new(), points: point(&data["result"]).into_iter().collect() }]
            }
            _ => data["result"].as_array().context("no result")?.iter().map(series).collect(),
        };
        Ok(found.into_iter().filter(|s| !s.points.is_empty()).collect())
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn series(value: &Value) -> Series {
    let labels = value["metric"].as_object().into_iter().flatten();
    let points = value["values"].as_array().map_or_else(|| vec![&value["value"]], |all| all.iter().collect());
    Series {
        labels: labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect(),
        points: points.into_iter().filter_map(point).collect(),
    }
}

fn point(pair: &Value) -> Option<(f64, f64)> {
    let value: f64 = pair[1].as_str()?.parse().ok()?;
    value.is_finite().then_some((pair[0].as_f64()?, value))
}

fn escaped(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}
