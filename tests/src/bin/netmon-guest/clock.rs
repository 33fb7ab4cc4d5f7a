//! The whole agent while the wall clock of its machine is set a year ahead, and back: durations, waits, the history.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use netmon_agent::config::Config;
use netmon_agent::source::bpf;
use netmon_agent::time::{Boot, Mono, Wall};
use netmon_client::{Client, Condition, HistoryOptions, WaitOptions};
use netmon_tests::agent::{Metrics, get};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::init::is_guest;
use crate::pair::{Pair, TOPOLOGIES};
use crate::probe::set_clock;
use crate::report::{Case, Line, say};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Longer than an emulated machine takes for anything here.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long each clock is left as it is before anything else happens.
const REST: Duration = Duration::from_secs(3);
/// How long the link is cut while the clock is wrong.
const CUT: Duration = Duration::from_secs(4);
/// What an emulated machine may add to that.
const SLOW: Duration = Duration::from_secs(4);
/// What one waiter asks to hold while the clock is set.
const STABLE: Duration = Duration::from_secs(10);

/// The agent itself, as `netmon run` would have it.
pub fn agent(config: &Path, socket: PathBuf) -> Result<()> {
    let loaded = Config::load(Some(config))?;
    let prepared = netmon_agent::agent::prepare(netmon_agent::agent::Options {
        config: loaded,
        config_path: Some(config.to_owned()),
        socket,
        insecure: false,
        log_file: None,
        kernel: bpf::Options::default(),
    })?;
    Ok(netmon_agent::agent::run(prepared)?)
}

/// All of it.
pub fn suite() -> Result<()> {
    ensure!(is_guest(), "the clock of a machine that others use is not to be stepped: run it as a guest");
    let pair = Pair::new()?;
    pair.lay(&TOPOLOGIES[0])?;
    pair.ip(&pair.node, "route add default via 10.98.1.2")?;
    let folder = pair.node.folder()?;
    let clock = Clock { wall: Wall::now(), mono: Mono::now() };
    let agent = Agent::start(&pair, &folder)?;
    let client = Client::new(&agent.socket);
    let up = client.wait(&WaitOptions { timeout: Some(PATIENCE), ..WaitOptions::up() })?;
    ensure!(up.satisfied, "not up: {:?}", client.status()?);
    let up_since = Mono::now();
    // By the clock that neither steps nor stands still.
    let came_up = serde_json::to_value(client.status()?)?["since_boottime_ns"].as_u64();
    let came_up = Boot::from_nanos(came_up.context("no since_boottime_ns")?);

    // Set and set back, and nothing happens.
    let before = agent.metrics()?;
    let uptime = client.status()?.agent.uptime_seconds;
    let (early, patient) = (Waiter::start(&agent, down()), Waiter::start(&agent, stable()));
    let mut steps = 0;
    for offset in [Offset::Ahead, Offset::Behind, Offset::None] {
        clock.set(offset)?;
        steps += 1;
        thread::sleep(REST);
        let status = client.status()?;
        ensure!(status.state.as_str() == "up", "{offset:?}: {}", status.state.as_str());
        let ran = status.agent.uptime_seconds - uptime;
        let passed = Mono::now().since(up_since).as_secs_f64();
        ensure!((ran - passed).abs() < 10.0, "{offset:?}: the agent says {ran} s, {passed} s have passed");
    }
    let after = agent.metrics()?;
    let changes = |m: &Metrics| m.sum("netmon_state_transitions_total", &[]);
    let changed = (changes(&after) - changes(&before)) as u64;
    tell("the clock set by a year, thrice", "transitions", 0, changed);
    let probed = after.sum("netmon_probes_total", &[]) - before.sum("netmon_probes_total", &[]);
    ensure!(probed > 5.0, "{probed} probes were sent meanwhile");
    let released = early.released()?.is_some();
    tell("who waits for what did not happen", "releases", 0, released.into());
    let waited = (patient.began + patient.after(PATIENCE)?).since(came_up);
    let wrong = waited < STABLE || waited > STABLE + 2 * SLOW;
    tell("who waits for ten stable seconds", "wrong", 0, wrong.into());

    // A true outage under each wrong clock.
    let mut true_ones = Vec::new();
    for offset in [Offset::Ahead, Offset::Behind] {
        clock.set(offset)?;
        steps += 1;
        thread::sleep(REST);
        let waiter = Waiter::start(&agent, down());
        thread::sleep(Duration::from_secs(1));
        let (told, really, cut) = (Wall::now(), clock.now(), Mono::now());
        pair.ip(&pair.peer, "link set vb down")?;
        waiter.after(PATIENCE)?;
        thread::sleep(CUT.saturating_sub(Mono::now().since(cut)));
        pair.ip(&pair.peer, "link set vb up")?;
        let up = client.wait(&WaitOptions { timeout: Some(PATIENCE), ..WaitOptions::up() })?;
        ensure!(up.satisfied, "{offset:?}: not up again: {:?}", client.status()?);
        true_ones.push(Outage { told, really, lasted: Mono::now().since(cut) });
    }
    // The last batch.
    thread::sleep(REST);
    clock.set(Offset::None)?;
    steps += 1;
    // At once: no sign of life is written yet by the clock as it is now, and it is told by that all the same.
    let worst = outages(&client, &true_ones)?;
    let transitions = changes(&agent.metrics()?) - changes(&after);
    agent.stop()?;
    ensure!(transitions >= 4.0, "{transitions} changes of two outages");
    say(&Line::Promise {
        id: "wall-clock",
        figure: format!(
            "the clock set by a year {steps} times: {changed} changes of state, {} wrong releases, who waited for {STABLE:.0?} of \
             stability went on after {:.1} s, outages in the history are off by {:.1} s at most",
            u8::from(released) + u8::from(wrong),
            waited.as_secs_f64(),
            worst.as_secs_f64()
        ),
    });
    Ok(())
}

/// One that really was.
struct Outage {
    /// When it began by the clock as it was.
    told: Wall,
    /// And by one that was never set.
    really: Wall,
    lasted: Duration,
}

/// Holds the history against what really was; the largest difference of a duration.
fn outages(client: &Client, true_ones: &[Outage]) -> Result<Duration> {
    let options = HistoryOptions { subject: Some("network".to_owned()), ..HistoryOptions::default() };
    let history = serde_json::to_value(client.history(&options)?)?;
    let all = history["outages"].as_array().context("no outages")?;
    let down: Vec<_> = all.iter().filter(|o| o["state"] == "down").collect();
    tell("outages in the history", "outages", true_ones.len() as u64, down.len() as u64);
    let mut worst = Duration::ZERO;
    for Outage { told, really, lasted } in true_ones {
        // To seconds: an emulated machine may take some over the change itself.
        let is_at = |o: &&&Value, key: &str, wall: &Wall| {
            let wanted = UNIX_EPOCH + Duration::from_nanos(wall.as_nanos());
            let at = o[key].as_str().and_then(|at| humantime::parse_rfc3339(at).ok());
            at.is_some_and(|at| {
                at.duration_since(wanted)
                    .or_else(|_| wanted.duration_since(at))
                    .is_ok_and(|off| off < 2 * SLOW)
            })
        };
        // The history tells both: when it was, and what the clock said then.
        let mine = down.iter().find(|o| is_at(o, "start", really) && is_at(o, "start_told", told));
        let Some(mine) = mine else {
            bail!("no outage of {told:?}, which really was {really:?}, among {down:?}")
        };
        let seconds = Duration::from_secs_f64(mine["seconds"].as_f64().context("no duration")?);
        worst = worst.max(seconds.abs_diff(*lasted));
    }
    tell("durations of outages", "wrong", 0, (worst > SLOW).into());
    Ok(worst)
}

/// Prints a comparison.
fn tell(case: &str, figure: &'static str, expected: u64, ours: u64) {
    let wrong = if expected == ours { String::new() } else { format!("{expected} expected") };
    let case = case.to_owned();
    say(&Line::Case(Case { suite: "clock", case, figure, kernel: expected, ours, wrong, ..Case::default() }));
}

/// Where the wall clock stands.
#[derive(Clone, Copy, Debug)]
enum Offset {
    None,
    Ahead,
    Behind,
}

/// The true time: what has passed on the clock that never steps.
struct Clock {
    wall: Wall,
    mono: Mono,
}

impl Clock {
    fn now(&self) -> Wall {
        self.wall + Mono::now().since(self.mono)
    }

    fn set(&self, offset: Offset) -> Result<()> {
        let now = self.now();
        set_clock(match offset {
            Offset::None => now,
            Offset::Ahead => now + YEAR,
            Offset::Behind => Wall::from_nanos(now.as_nanos() - YEAR.as_nanos() as u64),
        })
    }
}

fn down() -> WaitOptions {
    WaitOptions { condition: Condition::Down, ..WaitOptions::default() }
}

fn stable() -> WaitOptions {
    WaitOptions { stable: STABLE, timeout: Some(PATIENCE), ..WaitOptions::up() }
}

/// Somebody who waits, on a thread of its own.
struct Waiter {
    began: Boot,
    heard: mpsc::Receiver<Result<Duration, String>>,
}

impl Waiter {
    fn start(agent: &Agent, options: WaitOptions) -> Self {
        let (client, began) = (Client::new(&agent.socket), Boot::now());
        let (tell, heard) = mpsc::channel();
        thread::spawn(move || {
            let said = match client.wait(&options) {
                Ok(waited) if waited.satisfied => Ok(Boot::now().since(began)),
                Ok(_) => Err("not in time".to_owned()),
                Err(e) => Err(e.to_string()),
            };
            // Whoever listened may be done.
            let _ = tell.send(said);
        });
        Self { began, heard }
    }

    /// After how long it was released, if it was.
    fn released(&self) -> Result<Option<Duration>> {
        match self.heard.try_recv() {
            Ok(Ok(after)) => Ok(Some(after)),
            Ok(Err(why)) => bail!("the wait ended otherwise: {why}"),
            Err(_) => Ok(None),
        }
    }

    /// After how long it was released, which must be within `patience`.
    fn after(&self, patience: Duration) -> Result<Duration> {
        match self.heard.recv_timeout(patience) {
            Ok(Ok(after)) => Ok(after),
            Ok(Err(why)) => bail!("the wait ended otherwise: {why}"),
            Err(_) => bail!("not released in {:?}", Boot::now().since(self.began)),
        }
    }
}

/// The agent in the node, as a process.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(pair: &Pair, folder: &Path) -> Result<Self> {
        let (config, socket) = (folder.join("netmon.toml"), folder.join("netmon.sock"));
        let text = format!(
            "[defaults]\ninterval = \"500ms\"\nauto_targets = false\n[health]\nrecovery_interval = \"200ms\"\n\
             [history]\npath = \"{}\"\n[[target]]\nname = \"peer\"\nhost = \"10.98.1.2\"\n",
            folder.join("history.db").display()
        );
        std::fs::write(&config, text)?;
        let child = pair.node.run(|| {
            let mut command = Command::new("/proc/self/exe");
            command.arg("agent").arg(&config).arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().context("starting the agent")
        })??;
        let mut agent = Self { child, socket };
        let deadline = Mono::now() + PATIENCE;
        while Client::new(&agent.socket).status().is_err() {
            if let Some(status) = agent.child.try_wait()? {
                bail!("the agent ended with {:?}", status.code());
            }
            ensure!(Mono::now() < deadline, "no answer within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(100));
        }
        Ok(agent)
    }

    fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&get(&self.socket, "/metrics", PATIENCE)?.body)
    }

    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the agent ended with {:?}", status.code());
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
