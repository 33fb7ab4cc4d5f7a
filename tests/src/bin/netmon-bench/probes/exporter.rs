//! An exporter of other people that runs in a namespace, asked over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use netmon_tests::lab::Netns;

/// It ends with its owner.
pub struct Exporter<'a> {
    netns: &'a Netns,
    child: Child,
    port: u16,
}

impl<'a> Exporter<'a> {
    /// Starts it, told to listen at this port of loopback alone, and waits until it answers.
    pub fn start(netns: &'a Netns, command: &mut Command, port: u16) -> Result<Self> {
        let shown = command.get_program().display().to_string();
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = netns.run(|| command.spawn())?.with_context(|| format!("starting {shown}"))?;
        let exporter = Self { netns, child, port };
        for _ in 0..300 {
            if exporter.get("/metrics").is_ok() {
                return Ok(exporter);
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("{shown} does not answer")
    }

    /// The body of an answer, its header before it.
    pub fn get(&self, path: &str) -> Result<String> {
        self.netns.run(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut body = String::new();
            stream.read_to_string(&mut body)?;
            Ok(body)
        })?
    }

    /// CPU time of all its threads, those that ended included.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the name, which may hold anything but ends at the last parenthesis: fields 14 and 15 of proc(5).
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks: u64 = fields.get(11..13).context("stat")?.iter().map(|f| f.parse().unwrap_or(0)).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Its memory with no file behind it, bytes.
    pub fn anonymous(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).context("RssAnon")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

impl Drop for Exporter<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
