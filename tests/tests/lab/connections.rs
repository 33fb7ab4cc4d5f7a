//! A daemon that holds a TCP connection, an outage, and what the agent shows of both.

use std::env;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{SERVER_V4, World, growth};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] =
    &[("connections::a_daemons_connection_outlives_outage_and_agent_and_goes_with_the_daemon", daemon)];

/// Far beyond what any step may take on a loaded machine.
const LONG: Duration = Duration::from_secs(60);
/// As long as the daemon's own time-out, twice: the connection is lost in it. README's figures are of 20 such.
const OUTAGE: Duration = Duration::from_secs(10);
/// How many outages the trial makes; more, for the figures.
const ROUNDS: &str = "NETMON_RECONNECTS";
const STATE: &str = "netmon_client_connection_state";
const LABELS: [(&str, &str); 2] = [("client", "lab"), ("connection", "echo")];

/// The client's own example, as a process in the node. Ended on drop.
struct Daemon(Child);

impl Daemon {
    fn start(world: &World, agent: &Agent<'_>) -> Result<Self> {
        let mut command = world.node.command(env!("CARGO_BIN_EXE_netmon-holder"));
        command.args([&format!("{SERVER_V4}:7"), "lab"]).env("NETMON_SOCKET", &agent.socket);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting the daemon")?;
        Ok(Self(child))
    }

    /// `ip netns exec` has become the daemon.
    fn kill(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn daemon() -> Result<()> {
    let world = World::new()?;
    let mut agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(LONG)?;
    let mut daemon = Daemon::start(&world, &agent)?;
    await_connection(&agent, "connected", 0)?;
    let metrics = agent.metrics()?;
    ensure!(metrics.state(STATE, &LABELS) == Some("connected"), "{}", metrics.text);
    ensure!(metrics.all(STATE, &LABELS).len() == 5, "no state set: {}", metrics.text);

    let rounds = env::var(ROUNDS).ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let all = (1..=rounds).map(|round| outage(&world, &agent, round)).collect::<Result<Vec<_>>>()?;
    let figures = |of: fn(&Outage) -> Duration| all.iter().map(of).collect();
    told("link back to connected", figures(|outage| outage.from_link));
    told("link back to verdict", figures(|outage| outage.from_link - outage.from_verdict));
    told("verdict to connected", figures(|outage| outage.from_verdict));
    eprintln!("attempts within {rounds} outages: {}", all.iter().map(|outage| outage.attempts).sum::<u64>());
    ensure!(all.iter().all(|outage| outage.attempts == 0), "an attempt within an outage");
    let state = agent.metrics()?;
    ensure!(state.state(STATE, &LABELS) == Some("connected"), "{}", state.text);
    ensure!(state.sum("netmon_client_connection_reconnects_total", &LABELS) == f64::from(rounds));

    // The next agent is told without being asked.
    let socket = agent.socket.clone();
    agent.stop()?;
    let agent = Start::new(&world)?.at(&socket).start()?;
    await_connection(&agent, "connected", rounds)?;
    let page = agent.get("/")?.body;
    ensure!(page.contains("data-key=\"c:0:lab:echo\"") && page.contains("</svg>connected</b>"), "{page}");
    let screen = agent.cli_output(&["status"])?.stdout;
    let screen = String::from_utf8_lossy(&screen);
    ensure!(screen.contains("lab/echo"), "{screen}");

    daemon.kill()?;
    let gone = await_until(LONG, || {
        let metrics = agent.metrics()?;
        Ok(metrics.all(STATE, &[]).is_empty().then_some(()))
    })?;
    ensure!(gone.is_some(), "the killed daemon's connection is still there");
    ensure!(agent.status()?["connections"] == serde_json::json!([]), "{}", agent.status()?);
    Ok(())
}

/// What became of one.
struct Outage {
    /// From the link's return until the connection was there again.
    from_link: Duration,
    /// The same from the agent's verdict.
    from_verdict: Duration,
    /// TCP connections that the node began between: the daemon alone does.
    attempts: u64,
}

fn outage(world: &World, agent: &Agent<'_>, round: u32) -> Result<Outage> {
    world.carrier_down(0)?;
    let began = Mono::now();
    let down = await_until(LONG, || Ok((agent.status()?["state"] == "down").then_some(())))?;
    down.context("the network is not down")?;
    let before = world.counters()?;
    await_connection(agent, "disconnected", round - 1)?;
    thread::sleep(OUTAGE.saturating_sub(Mono::now().since(began)));
    let attempts = growth(&before, &world.counters()?, "TcpActiveOpens");
    world.carrier_up(0)?;
    let back = Mono::now();
    let usable = await_until(LONG, || {
        let status = agent.status()?;
        Ok((status["state"] == "up" || status["state"] == "degraded").then(Mono::now))
    })?;
    let usable = usable.context("the network is not back")?;
    await_connection(agent, "connected", round)?;
    let now = Mono::now();
    Ok(Outage { from_link: now.since(back), from_verdict: now.since(usable), attempts })
}

fn await_connection(agent: &Agent<'_>, state: &str, reconnects: u32) -> Result<()> {
    let there = await_until(LONG, || {
        let status = agent.status()?;
        let as_wished = |c: &Value| c["state"] == state && c["reconnects"] == reconnects;
        Ok(connection(&status).is_some_and(as_wished).then_some(()))
    })?;
    there.with_context(|| {
        format!("not {state} after {reconnects} reconnects: {}", agent.status().unwrap_or_default())
    })
}

fn connection(status: &Value) -> Option<&Value> {
    let all = status["connections"].as_array()?;
    all.iter().find(|c| c["client"] == "lab" && c["name"] == "echo" && c["uid"] == 0)
}

fn told(what: &str, mut all: Vec<Duration>) {
    all.sort_unstable();
    if let [first, .., last] = all[..] {
        let middle = all[all.len() / 2];
        eprintln!("{what}: least {first:.2?}, median {middle:.2?}, most {last:.2?} of {}", all.len());
    }
}
