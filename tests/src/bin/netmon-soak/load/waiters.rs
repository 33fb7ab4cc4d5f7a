//! Programs that wait for a state, each release held against what the wires were.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_agent::time::Boot;
use netmon_client::{Client, Condition, WaitOptions};
use netmon_tests::truth::{Bounds, Release};

use super::{Load, lock, some};

/// What `down` and `up` may take to be seen on a machine that does other things: the kernel tells of a cut at once.
const BOUNDS: Bounds = Bounds { down: Duration::from_millis(500), up: Duration::from_secs(15) };
/// Cuts that ended before that are forgotten: no wait lasts as long.
const REMEMBERED: Duration = Duration::from_secs(120);

/// What is waited for, each by one waiter after the other.
pub(super) fn questions() -> Vec<WaitOptions> {
    use Condition::{Degraded, Down, Up, Usable};
    let one = |condition, device: &str, stable| {
        let device = (!device.is_empty()).then(|| device.to_owned());
        WaitOptions { condition, device, stable: Duration::from_millis(stable), ..WaitOptions::default() }
    };
    vec![
        one(Up, "", 0),
        one(Usable, "", 0),
        one(Down, "", 0),
        one(Degraded, "", 0),
        one(Up, "eth0", 0),
        one(Usable, "", 2_000),
        one(Usable, "eth0", 700),
        one(Down, "", 300),
    ]
}

impl Load {
    /// Waits again and again, for up to five seconds each time.
    pub(super) fn keep_waiting(&self, question: &WaitOptions) -> Result<()> {
        let client = Client::new(&self.socket);
        while let Some(turn) = self.turn() {
            let sent = Boot::now();
            let question = WaitOptions { timeout: Some(some(5_000)), ..question.clone() };
            match client.wait(&question) {
                Ok(waited) if waited.satisfied => {
                    let earliest = sent + Duration::from_secs_f64(waited.waited_seconds);
                    self.judge(&Release { waited_for: question, earliest, latest: Boot::now() });
                }
                Ok(_) => self.count("waits_in_vain", 1.0),
                Err(e) => {
                    eprintln!("netmon-soak: a wait failed: {e}");
                    self.count("failed_waits", 1.0);
                }
            }
            drop(turn);
            self.between(some(400));
        }
        Ok(())
    }

    fn judge(&self, release: &Release) {
        self.count("released", 1.0);
        let mut truth = lock(&self.truth);
        if let Some(fault) = truth.fault(release, BOUNDS) {
            eprintln!("netmon-soak: a wrong release: {fault}: {release:?}");
            self.count("wrong_releases", 1.0);
        }
        truth.forget(release.earliest, REMEMBERED);
    }

    /// Waits for what does not come, and goes away without a word.
    pub(super) fn abandon_waits(&self) -> Result<()> {
        while let Some(turn) = self.turn() {
            let mut stream = UnixStream::connect(&self.socket).context("the agent's socket")?;
            let wait = "GET /v1/wait?state=degraded&stable=1h&timeout=2h HTTP/1.1\r\nHost: netmon\r\n\r\n";
            if stream.write_all(wait.as_bytes()).is_err() {
                self.count("failed_requests", 1.0);
            }
            self.pause(some(1_500));
            self.count("abandoned_waits", 1.0);
            drop((stream, turn));
            self.between(some(200));
        }
        Ok(())
    }
}
