//! Those who read: subscribers to events, Prometheus, people; and daemons that report their connections.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::lab::World;

use super::requests::exchange;
use super::{Load, some};

/// Far beyond what any answer may take.
const ANSWER: Duration = Duration::from_secs(10);
const OPENMETRICS: &str = "Accept: application/openmetrics-text; version=1.0.0\r\n";
/// What is asked for, by turns.
const SCRAPES: [(&str, &str); 8] = [
    ("GET /metrics", ""),
    ("GET /metrics", "Accept-Encoding: gzip\r\n"),
    ("GET /metrics", OPENMETRICS),
    ("GET /", "Accept-Encoding: gzip\r\n"),
    ("GET /v1/status", ""),
    ("GET /v1/status?only=devices", ""),
    ("GET /v1/history?since=10m", ""),
    ("GET /healthz", ""),
];

impl Load {
    /// A request a second: over TCP what is served there, by turns with the socket.
    pub(super) fn scrape(&self, world: &World) -> Result<()> {
        let mut turns = (0..).zip(SCRAPES.into_iter().cycle());
        while let (Some(turn), Some((n, (request, headers)))) = (self.turn(), turns.next()) {
            let over_tcp = n / SCRAPES.len() % 2 == 1 && !request.contains("/v1/");
            let start = Mono::now();
            let answered = if over_tcp {
                world.node.run(|| self.ask_tcp(request, headers))?
            } else {
                self.ask(request, headers, "").map(|(status, body)| (status, body.len()))
            };
            let took = Mono::now().since(start).as_secs_f64() * 1e3;
            self.count("scrapes", 1.0);
            let most = self.counts()["slowest_scrape_ms"];
            self.count("slowest_scrape_ms", (took - most).max(0.0));
            if !matches!(answered, Ok((200, length)) if length > 0) {
                eprintln!("netmon-soak: missed: {request} {headers:?}: {answered:?}");
                self.count("missed_scrapes", 1.0);
            }
            if n % 5 == 0 {
                self.expect("POST /v1/retry-budget?kind=transient", "", &[200, 409]);
            }
            drop(turn);
            self.between(Duration::from_secs(1));
        }
        Ok(())
    }

    /// One request on a connection of its own.
    pub(super) fn ask(&self, request: &str, headers: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        exchange(&mut self.connect()?, request, headers, body)
    }

    /// One request that is to be answered by one of `statuses`; others are counted.
    pub(super) fn expect(&self, request: &str, body: &str, statuses: &[u16]) {
        let answered = self.ask(request, "", body);
        if !matches!(&answered, Ok((status, _)) if statuses.contains(status)) {
            let said = answered.map(|(status, body)| (status, String::from_utf8_lossy(&body).into_owned()));
            eprintln!("netmon-soak: failed: {request}: {said:?}");
            self.count("failed_requests", 1.0);
        }
    }

    fn ask_tcp(&self, request: &str, headers: &str) -> Result<(u16, usize)> {
        let stream = TcpStream::connect(("127.0.0.1", 9817))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let (status, body) = exchange(&mut BufReader::new(stream), request, headers, "")?;
        Ok((status, body.len()))
    }

    fn connect(&self) -> Result<BufReader<UnixStream>> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(BufReader::new(stream))
    }

    /// Follows the events for a while, then goes, and comes again from where it was.
    pub(super) fn subscribe(&self) -> Result<()> {
        let mut last = String::new();
        while let Some(turn) = self.turn() {
            match self.follow(&mut last) {
                Ok(bytes) => self.count("event_bytes", bytes as f64),
                Err(e) => self.failed("a stream of events", &e),
            }
            self.count("subscriptions", 1.0);
            drop(turn);
            self.between(some(500));
        }
        Ok(())
    }

    fn follow(&self, last: &mut String) -> Result<usize> {
        let mut stream = self.connect()?.into_inner();
        let path = if rand::random_bool(0.5) { "/v1/events" } else { "/v1/events?connections=1" };
        let resumed = if last.is_empty() { String::new() } else { format!("Last-Event-ID: {last}\r\n") };
        write!(stream, "GET {path} HTTP/1.1\r\nHost: netmon\r\n{resumed}\r\n")?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let end = Mono::now() + some(4_000);
        let (mut buffer, mut bytes) = (vec![0; 16 * 1024], 0);
        while Mono::now() < end && !self.is_over() {
            let Ok(n) = stream.read(&mut buffer) else { continue };
            ensure!(n > 0, "the agent ended it");
            bytes += n;
            let text = String::from_utf8_lossy(&buffer[..n]);
            if let Some(id) = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back() {
                id.clone_into(last);
            }
        }
        Ok(bytes)
    }

    /// Reports connections and their changes; half of them are taken back, the others go with their reporter.
    pub(super) fn report_connections(&self, reporter: usize) -> Result<()> {
        let mut next = 0_u64;
        while let Some(turn) = self.turn() {
            let names: Vec<String> = (next..next + 5).map(|n| format!("{reporter}-{n}")).collect();
            next += 5;
            if let Err(e) = self.report(&names) {
                self.failed("a report", &e);
            }
            drop(turn);
            self.between(some(1_000));
        }
        Ok(())
    }

    fn report(&self, names: &[String]) -> Result<()> {
        let mut stream = self.connect()?;
        for state in ["connecting", "connected", "error"] {
            for name in names {
                let body = format!("{{\"client\":\"soak\",\"state\":\"{state}\"}}");
                let (status, said) =
                    exchange(&mut stream, &format!("PUT /v1/connections/{name}"), "", &body)?;
                // One new name a second and 50 reports are what a reporter may.
                if [429, 503].contains(&status) {
                    self.pause(Duration::from_millis(500));
                    continue;
                }
                ensure!(status / 100 == 2, "{name}: {status} {}", String::from_utf8_lossy(&said));
                self.count("connections", 1.0);
                self.pause(Duration::from_millis(100));
            }
        }
        if rand::random_bool(0.5) {
            for name in names {
                let request = format!("DELETE /v1/connections/{name}");
                let (status, _) = exchange(&mut stream, &request, "", "").context("taking back")?;
                ensure!(status / 100 == 2 || [404, 429].contains(&status), "{request}: {status}");
            }
        }
        Ok(())
    }

    fn failed(&self, what: &str, e: &anyhow::Error) {
        eprintln!("netmon-soak: failed: {what}: {e:#}");
        self.count("failed_requests", 1.0);
    }
}
