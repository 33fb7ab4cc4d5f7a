//! The lab for a person: a world, the agent in it, and one fault after another, with what netmon says to each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Watch, await_until, get};
use netmon_tests::browser;
use netmon_tests::lab::{
    self, Answer, Bulk, Counters, Fault, Place, SERVER_V4, SERVER_V6, Way, What, World, abort_connections,
    growth, refused_connections,
};
use netmon_tests::scenario;
use serde_json::Value;

/// Shows what netmon says when a network breaks: in network namespaces, in under two minutes. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Leave the world and the agent running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Instead, write a picture of the status page as PNG to this file, and one in the dark scheme beside it.
    #[arg(long, value_name = "FILE", conflicts_with = "scenarios")]
    shot: Option<PathBuf>,
    /// Instead, run the scenario files whose name contains this (all without it), in virtual time and in the lab, and
    /// print how long each verdict took.
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = "")]
    scenarios: Option<String>,
    /// How often each.
    #[arg(long, default_value_t = 20, requires = "scenarios")]
    runs: usize,
    /// So many at once in the lab.
    #[arg(long, default_value_t = 2, requires = "scenarios")]
    jobs: usize,
    /// Those marked `slow`, too.
    #[arg(long, requires = "scenarios")]
    slow: bool,
    /// In virtual time alone, which needs no root.
    #[arg(long, requires = "scenarios")]
    only_virtual: bool,
}

/// Far longer than any verdict may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// For the audience to read.
const PAUSE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(filter) = &arguments.scenarios {
        return match repeat(filter, &arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(e) => {
                eprintln!("netmon-lab: {e:#}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(why) = lab::obstacle() {
        eprintln!("netmon-lab: {why}");
        return ExitCode::FAILURE;
    }
    let done = match &arguments.shot {
        Some(path) => {
            lab::clean_up_on_signals().map_err(Into::into).and_then(|()| browser::picture::take(path))
        }
        None => show(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("netmon-lab: {e:#}\n{}", netmon_tests::agent::logs_of_this_thread());
            ExitCode::FAILURE
        }
    }
}

fn repeat(filter: &str, arguments: &Arguments) -> Result<bool> {
    lab::clean_up_on_signals()?;
    scenario::repeat::run(&scenario::repeat::Options {
        filter: filter.to_owned(),
        runs: arguments.runs,
        jobs: arguments.jobs,
        slow: arguments.slow,
        only_virtual: arguments.only_virtual,
    })
}

fn show(arguments: &Arguments) -> Result<()> {
    lab::clean_up_on_signals()?;
    let world = World::new()?;
    println!(
        "A world of network namespaces: node – gateway – internet, which owns 8.8.8.8, 1.1.1.1 and 8.8.4.4."
    );
    println!("`netmon run`, with no configuration, starts in the node.\n");
    let mut agent = Agent::start(&world)?;
    let mut stage = Stage::open(&agent)?;
    stage.verdict("up", "", agent.started, "start")?;
    stage.status()?;

    stage.counters(&world)?;
    let cable = "The cable is pulled at the far end (carrier loss)";
    stage.scene(cable, "down", "no_carrier", || world.carrier_down(0), |()| world.carrier_up(0))?;
    stage.scene(
        "`ip link set eth0 down`",
        "down",
        "admin_down",
        || world.admin_down(0),
        |()| world.admin_up(0),
    )?;
    let mute = || {
        world.resolver.answer(Answer::Silence);
        Ok(())
    };
    let speak = |()| {
        world.resolver.answer(Answer::Yes);
        Ok(())
    };
    stage.scene("The resolver alone no longer answers", "degraded", "target_down", mute, speak)?;
    let behind = "All behind the gateway is silent; the gateway still answers";
    stage.scene(behind, "degraded", "scope_down", || world.blackhole_behind(), Fault::mend)?;
    let silent = "A blackhole: the link is up, and nothing comes back";
    stage.scene(silent, "down", "scope_down", || world.blackhole(), Fault::mend)?;

    if arguments.keep {
        stage.keep(&world)?;
    }
    drop(stage);
    let status = agent.stop()?;
    ensure!(status.success(), "the agent ended with {status}");
    println!("SIGTERM: the agent ended with {status}. The world is gone.");
    Ok(())
}

/// What the audience sees.
struct Stage<'a> {
    agent: &'a Agent<'a>,
    watch: Watch,
    shown: usize,
}

impl<'a> Stage<'a> {
    fn open(agent: &'a Agent<'a>) -> Result<Self> {
        Ok(Self { agent, watch: Watch::start(agent, &[])?, shown: 0 })
    }

    /// One fault, until netmon says `expected` for this reason, and its end, until all is well again.
    fn scene<T>(
        &mut self,
        title: &str,
        expected: &str,
        reason: &str,
        break_it: impl FnOnce() -> Result<T>,
        mend_it: impl FnOnce(T) -> Result<()>,
    ) -> Result<()> {
        println!("\n── {title}");
        let broken = Mono::now();
        let fault = break_it()?;
        self.verdict(expected, reason, broken, "the break")?;
        let mended = Mono::now();
        mend_it(fault)?;
        self.verdict("up", "", mended, "the repair")
    }

    /// Waits for a verdict as `netmon wait` does, and says how long it took and why it is so.
    fn verdict(&mut self, expected: &str, reason: &str, since: Mono, what: &str) -> Result<()> {
        let path = format!("/v1/wait?state={expected}&timeout={}s", PATIENCE.as_secs());
        let answer = get(&self.agent.socket, &path, PATIENCE + Duration::from_secs(5))?.json()?;
        let took = Mono::now().since(since);
        ensure!(answer["satisfied"] == true, "no `{expected}` within {PATIENCE:?} of {what}: {answer}");
        // Targets fall one by one: the first makes the verdict, the last may complete its reasons.
        let complete = await_until(PATIENCE, || {
            let reasons = self.agent.status()?["reasons"].as_array().cloned().unwrap_or_default();
            let found = reason.is_empty() || reasons.iter().any(|r| r["code"] == reason);
            Ok(found.then_some(reasons))
        })?;
        self.changes()?;
        println!("   {expected}, {} after {what}", spoken(took));
        for reason in complete.with_context(|| format!("`{expected}` never had the reason {reason}"))? {
            println!("      {}: {}", text(&reason["code"]), text(&reason["detail"]));
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }

    /// Prints the changes that `netmon watch` has told since the last call.
    fn changes(&mut self) -> Result<()> {
        let all = self.watch.changes()?;
        for change in &all[self.shown..] {
            let (kind, subject) = (text(&change["kind"]), text(&change["subject"]));
            // Of `2026-01-31T12:34:56.789Z` the time of day.
            let at = text(&change["at"]).get(11..23).unwrap_or_default();
            println!("   {at}  {kind:<6} {subject:<28} {}", text(&change["state"]));
        }
        self.shown = all.len();
        Ok(())
    }

    fn status(&self) -> Result<()> {
        let output = self.agent.cli_output(&["status"])?;
        println!();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("   | {line}");
        }
        Ok(())
    }

    /// Loss under two uploads: netmon's counters beside the kernel's own.
    fn counters(&mut self, world: &World) -> Result<()> {
        println!("\n── 20 % of what the node sends is lost while it uploads; then it resets 60 connections");
        println!("              retransmitted segments      resets sent");
        println!("                netmon       kernel     netmon     kernel");
        let before = (self.read()?, world.counters()?);
        let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(20.0))?;
        let bulk = Bulk::start(world, &[SERVER_V4.into(), SERVER_V6.into()])?;
        for _ in 0..4 {
            std::thread::sleep(Duration::from_secs(1));
            self.compare(world, &before)?;
        }
        bulk.stop();
        fault.mend()?;
        abort_connections(world, 40)?;
        refused_connections(world, 20)?;
        std::thread::sleep(Duration::from_millis(1500));
        self.compare(world, &before)?;
        let (seen, true_) = self.compare(world, &before)?;
        if seen < true_ {
            println!(
                "   {} segments reached no program; netmon_tcp_unattributed tells of them",
                true_ - seen
            );
        }
        self.changes()?;
        println!("   {}: counted, not judged", text(&self.agent.status()?["state"]));
        Ok(())
    }

    fn compare(&self, world: &World, before: &((f64, f64), Counters)) -> Result<(f64, f64)> {
        let (now, kernel) = (self.read()?, world.counters()?);
        let grown = |name| growth(&before.1, &kernel, name);
        let (segments, resets) = (now.0 - before.0.0, now.1 - before.0.1);
        let true_ = grown("TcpRetransSegs");
        println!("            {segments:>10} {true_:>12} {resets:>10} {:>10}", grown("TcpOutRsts"));
        Ok((segments, true_ as f64))
    }

    fn read(&self) -> Result<(f64, f64)> {
        let metrics = self.agent.metrics()?;
        let resets = metrics.sum("netmon_tcp_resets_total", &[("direction", "sent")]);
        Ok((metrics.sum("netmon_tcp_retransmitted_segments_total", &[]), resets))
    }

    fn keep(&self, world: &World) -> Result<()> {
        let (node, socket) = (world.node.name(), self.agent.socket.display());
        println!("\nAll is left standing; Ctrl-C removes it. In another terminal, as root:");
        println!("   ip netns exec {node} bash        # the node: break it as you like");
        println!("   export NETMON_SOCKET={socket}     # then: netmon status, netmon watch, netmon wait");
        loop {
            std::thread::park();
        }
    }
}

fn spoken(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{:.1} ms", s * 1000.0),
        s => format!("{s:.2} s"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
