//! Clients of the socket that are slow, silent or hostile, by the hundred, while the agent goes about its work.

use std::fmt;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, Witness, get};
use netmon_tests::lab::World;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] =
    &[("clients::hostile_ones_cost_only_themselves", hostile_ones_cost_only_themselves)];

const PROBES: Duration = Duration::from_secs(20);
/// Each of the two spells that are compared.
const SPELL: Duration = Duration::from_secs(12);
/// Far beyond what an answer takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two of what one client does.
const PAUSE: Duration = Duration::from_millis(2);

/// What a client does to the socket, again and again.
type Deed = fn(&Path) -> std::io::Result<()>;

const DEEDS: [(&str, Deed); 7] = [
    ("connects and goes", |socket| UnixStream::connect(socket).map(drop)),
    ("talks nonsense", |socket| {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(&[0x16, 3, 1, 0, b'\r', b'\n', 0xff, b'\r', b'\n', b'\r', b'\n'])?;
        swallow(&mut stream)
    }),
    ("has a header without end", |socket| {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(64 << 10)).as_bytes())?;
        swallow(&mut stream)
    }),
    ("waits and goes", |socket| {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /v1/wait?state=down HTTP/1.1\r\nHost: x\r\n\r\n")
    }),
    ("asks half and ends its side", |socket| {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /v1/wa")?;
        stream.shutdown(Shutdown::Write)?;
        swallow(&mut stream)
    }),
    ("asks a hundred times and reads nothing", |socket| {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        let asked = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        stream.write_all(asked.as_bytes())?;
        thread::sleep(Duration::from_millis(500));
        Ok(())
    }),
    ("dribbles", |socket| {
        let mut stream = UnixStream::connect(socket)?;
        for byte in b"GET /v1/status" {
            stream.write_all(&[*byte])?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }),
];

/// The pace of the probes over a while.
#[derive(Debug)]
struct Pace {
    probes: f64,
    late: f64,
    mean_lag: Duration,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { probes, late, mean_lag } = self;
        write!(f, "{probes:.0} probes, late by {mean_lag:.2?} on average, {late} ticks by more than 0.1 s")
    }
}

fn hostile_ones_cost_only_themselves() -> Result<()> {
    const TARGETS: usize = 60;
    /// Clients of each kind, at it all the time.
    const EACH: usize = 8;
    let targets: String =
        (1..=TARGETS).map(|n| format!("[[target]]\nname = \"own-{n}\"\nhost = \"127.8.0.{n}\"\n")).collect();
    let world = World::new()?;
    let agent =
        Start::new(&world)?.config(&format!("[defaults]\ninterval = \"500ms\"\n{targets}")).start()?;
    Witness::new(&agent)?.up(PROBES)?;
    let quiet = pace(&agent, || {
        thread::sleep(SPELL);
        Ok(())
    })?;

    let waiter = agent.cli_spawn(&["wait", "--state", "down", "--timeout", "120s"])?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut asked, mut longest) = (0, Duration::ZERO);
    let loud = thread::scope(|scope| {
        for (_, deed) in DEEDS.iter().flat_map(|deed| [deed; EACH]) {
            let (socket, stop, done) = (&agent.socket, &stop, &done);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // It may well be sent away, or cut.
                    let _ = deed(socket);
                    done.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            });
        }
        let watched = pace(&agent, || {
            let end = Mono::now() + SPELL;
            while Mono::now() < end {
                let before = Mono::now();
                let state = get(&agent.socket, "/v1/status", PATIENCE)?.json()?["state"].clone();
                longest = longest.max(Mono::now().since(before));
                ensure!(state == "up", "it became {state}");
                asked += 1;
                thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        // Before anything else: a scope ends with its threads.
        stop.store(true, Ordering::Relaxed);
        watched
    })?;
    let done = done.into_inner();
    eprintln!(
        "{done} hostile deeds in {SPELL:?}; {asked} good questions, the slowest took {longest:.1?}\n\
         quiet: {quiet}\nloud:  {loud}"
    );
    ensure!(done > 1_000, "that was no crowd: {done}");
    ensure!(loud.probes > 0.8 * quiet.probes, "the probes lost their pace: {loud}; when quiet: {quiet}");
    // Whoever waits in good faith is served, and nobody else is left.
    world.carrier_down(0)?;
    let code = waiter.wait_with_output()?.status.code();
    ensure!(code == Some(0), "the waiter in good faith: {code:?}");
    let left = netmon_tests::agent::await_until(PROBES, || {
        Ok((agent.metrics()?.value("netmon_wait_clients", &[]) == Some(0.0)).then_some(()))
    })?;
    ensure!(left.is_some(), "waiters are left: {:?}", agent.metrics()?.value("netmon_wait_clients", &[]));
    Ok(())
}

/// What the probes did while `during` ran, over the same time.
fn pace(agent: &Agent<'_>, during: impl FnOnce() -> Result<()>) -> Result<Pace> {
    let (before, start) = (agent.metrics()?, Mono::now());
    during()?;
    let (after, took) = (agent.metrics()?, Mono::now().since(start));
    let grown = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let lag = "netmon_scheduler_lag_seconds";
    let (sum, ticks) = (grown(&format!("{lag}_sum"), &[]), grown(&format!("{lag}_count"), &[]));
    Ok(Pace {
        probes: grown("netmon_probes_total", &[]) * SPELL.as_secs_f64() / took.as_secs_f64(),
        late: ticks - grown(&format!("{lag}_bucket"), &[("le", "0.1")]),
        mean_lag: Duration::from_secs_f64(sum.max(0.0) / ticks.max(1.0)),
    })
}

/// Reads what comes, for a moment.
fn swallow(stream: &mut UnixStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
