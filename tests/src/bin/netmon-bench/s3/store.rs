//! An S3 server of its own in the lab's internet: moto, from PyPI.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::await_until;
use netmon_tests::lab::Netns;

/// Python takes its time to start.
const PATIENCE: Duration = Duration::from_secs(60);
pub const BUCKET: &str = "backup";

/// The server. Ended on drop.
pub struct Store<'a> {
    netns: &'a Netns,
    child: Child,
    log: PathBuf,
    /// Where it listens, in its namespace.
    pub at: SocketAddr,
}

impl<'a> Store<'a> {
    /// Starts it, with an empty bucket.
    ///
    /// # Errors
    /// It ends, or does not listen in a minute.
    pub fn start(netns: &'a Netns, program: &Path, folder: &Path) -> Result<Self> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        let log = folder.join("moto.log");
        let out = File::create(&log)?;
        let mut command = netns.command(program);
        command.args(["-H", &at.ip().to_string(), "-p", &at.port().to_string()]).env("HOME", folder);
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        let mut store = Self { netns, child, log, at };
        let listens = await_until(PATIENCE, || {
            ensure!(store.child.try_wait()?.is_none(), "moto ended: {}", store.said());
            Ok(netns.run(|| TcpStream::connect(at).is_ok())?.then_some(()))
        })?;
        listens.with_context(|| format!("moto does not listen: {}", store.said()))?;
        let (status, body) = store.ask("PUT", &format!("/{BUCKET}"))?;
        ensure!(status.contains(" 200 "), "no bucket: {status}: {}", String::from_utf8_lossy(&body));
        Ok(store)
    }

    /// The object's bytes.
    ///
    /// # Errors
    /// There is no such object.
    pub fn object(&self, key: &str) -> Result<Vec<u8>> {
        let (status, body) = self.ask("GET", &format!("/{BUCKET}/{key}"))?;
        ensure!(status.contains(" 200 "), "no object {key}: {status}");
        Ok(body)
    }

    /// How often each part of an object was taken, by the server's own log.
    pub fn parts(&self, key: &str) -> BTreeMap<u32, u32> {
        let mut taken = BTreeMap::new();
        for line in self.said().lines().filter(|line| line.contains("\" 200 ")) {
            let asked = line.split(&format!("\"PUT /{BUCKET}/{key}?")).nth(1).unwrap_or_default();
            let number = asked.split("partNumber=").nth(1).unwrap_or_default();
            if let Ok(number) = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse()
            {
                *taken.entry(number).or_default() += 1;
            }
        }
        taken
    }

    /// What it wrote.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The status line of the answer, and its body. It asks nobody for signatures.
    fn ask(&self, method: &str, path: &str) -> Result<(String, Vec<u8>)> {
        let answer = self.netns.run(|| -> Result<Vec<u8>> {
            let mut stream = TcpStream::connect(self.at)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(
                stream,
                "{method} {path} HTTP/1.0\r\nHost: s3.amazonaws.com\r\nContent-Length: 0\r\n\r\n"
            )?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        })??;
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("no header in moto's answer")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        Ok((head.lines().next().unwrap_or_default().to_owned(), answer[end + 4..].to_vec()))
    }
}

impl Drop for Store<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
