//! `netmon retry` with the real agent and real outages.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{ECHO, SERVER_V4, World};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("retry::an_upload_that_a_lost_link_cut_is_repeated_at_no_charge", lost_link),
    ("retry::an_upload_that_silence_cut_is_excused_when_the_silence_is_known", silence),
    ("retry::an_outage_stretches_the_delay_after_a_failure", paused_delay),
    ("retry::a_command_that_must_stand_still_does_and_goes_on", stands_still),
    ("retry::an_agent_that_is_killed_meanwhile_is_found_again", killed_agent),
    ("retry::exit_codes_tell_whose_fault_it_was", exit_codes),
];

const PROBES: Duration = Duration::from_secs(20);
/// Many times what any of these take.
const LONG: Duration = Duration::from_secs(90);

/// Sends a line every tenth of a second, for so many, and wants each back within two seconds, as an upload wants its
/// acknowledgements. Its attempts and its progress stand in files.
fn upload(lines: usize) -> String {
    format!(
        "echo >> attempts; exec 3<>/dev/tcp/{SERVER_V4}/{ECHO} || exit 1; for i in $(seq {lines}); do \
         echo piece $i >&3; read -t 2 line <&3 || exit 1; echo $i > progress; sleep 0.1; done"
    )
}

/// A `netmon retry` under way, in a folder of its own.
struct Job {
    child: Child,
    folder: PathBuf,
}

impl Job {
    fn start(agent: &Agent<'_>, options: &[&str], script: &str) -> Result<Self> {
        let folder = agent.world.node.folder()?;
        let line = [&["retry", "--log-format", "json"][..], options, &["--", "bash", "-c", script]].concat();
        let mut command = agent.cli(&line)?;
        command.current_dir(&folder).stderr(File::create(folder.join("log"))?);
        Ok(Self { child: command.spawn()?, folder })
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn attempts(&self) -> usize {
        self.file("attempts").lines().count()
    }

    /// Lines of the log so far.
    fn lines(&self) -> Vec<Value> {
        self.file("log").lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn await_progress(&self) -> Result<()> {
        let begun = await_until(LONG, || Ok((!self.file("progress").is_empty()).then_some(())))?;
        begun.with_context(|| format!("the upload makes no progress: {}", self.file("log")))
    }

    fn await_line(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = await_until(LONG, || Ok(self.lines().into_iter().find(&wanted)))?;
        found.with_context(|| format!("no such line: {}", self.file("log")))
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let ended = await_until(LONG, || Ok(self.child.try_wait()?))?;
        ended.with_context(|| format!("it does not end: {}", self.file("log")))
    }

    fn succeeds(&mut self, attempts: usize) -> Result<()> {
        let status = self.end()?;
        let log = self.file("log");
        ensure!(status.code() == Some(0), "{status}: {log}");
        ensure!(self.attempts() == attempts, "{} attempts: {log}", self.attempts());
        Ok(())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn world_with_agent(work: impl FnOnce(&World, &mut Agent<'_>) -> Result<()>) -> Result<()> {
    let world = World::new()?;
    let mut agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(PROBES)?;
    // `--stable` looks back, and the network has only just come up.
    thread::sleep(Duration::from_secs(2));
    work(&world, &mut agent)
}

fn lost_link() -> Result<()> {
    world_with_agent(|world, agent| {
        let options = ["--attempts", "1", "--stable", "1s"];
        let mut job = Job::start(agent, &options, &upload(40))?;
        job.await_progress()?;
        world.carrier_down(0)?;
        let cut = job.await_line(|l| l["msg"] == "attempt")?;
        ensure!(cut["refunded"] == true && cut["class"] == "outage" && cut["next"] == "network", "{cut}");
        agent.await_waiters(1)?;
        thread::sleep(Duration::from_secs(5));
        ensure!(job.attempts() == 1, "it tried within the outage");
        world.carrier_up(0)?;
        job.succeeds(2)
    })
}

fn silence() -> Result<()> {
    world_with_agent(|world, agent| {
        let options = ["--attempts", "1", "--stable", "1s"];
        let mut job = Job::start(agent, &options, &upload(60))?;
        job.await_progress()?;
        thread::sleep(Duration::from_secs(3));
        // It fails two seconds from now, and the agent knows after four on average.
        let hole = world.blackhole()?;
        let cut = job.await_line(|l| l["msg"] == "attempt")?;
        ensure!(cut["refunded"] == true && cut["class"] == "outage", "{cut}");
        hole.mend()?;
        job.succeeds(2)
    })
}

fn paused_delay() -> Result<()> {
    world_with_agent(|world, agent| {
        let script = format!("echo >> attempts; test $NETMON_ATTEMPT = 2 || exit 75; {}", upload(1));
        let options = ["--initial", "3s", "--jitter", "none", "--stable", "1s"];
        let mut job = Job::start(agent, &options, &script)?;
        let failed = job.await_line(|l| l["msg"] == "attempt")?;
        ensure!(failed["next"] == "backoff" && failed["refunded"] == false, "{failed}");
        world.carrier_down(0)?;
        agent.await_waiters(1)?;
        thread::sleep(Duration::from_secs(6));
        ensure!(job.attempts() == 1, "the delay ended within the outage");
        world.carrier_up(0)?;
        // The script counts the second one twice.
        job.succeeds(3)
    })
}

fn stands_still() -> Result<()> {
    world_with_agent(|world, agent| {
        // Every piece has ten minutes to come back: the outage alone would not fail it.
        let script = upload(40).replace("-t 2", "-t 600");
        let mut job = Job::start(agent, &["--on-down", "pause", "--stable", "1s"], &script)?;
        job.await_progress()?;
        world.carrier_down(0)?;
        job.await_line(|l| l["msg"] == "paused")?;
        let stood = job.file("progress");
        thread::sleep(Duration::from_secs(2));
        ensure!(job.file("progress") == stood, "it goes on from {stood}");
        world.carrier_up(0)?;
        job.await_line(|l| l["msg"] == "resumed")?;
        job.succeeds(1)
    })
}

fn killed_agent() -> Result<()> {
    world_with_agent(|world, agent| {
        let options = ["--attempts", "1", "--stable", "1s"];
        let job = Job::start(agent, &options, &upload(400))?;
        job.await_progress()?;
        agent.signal(Signal::SIGKILL)?;
        agent.await_end(Duration::from_secs(5))?;
        job.await_line(|l| l["msg"] == "agent_lost")?;
        let second = Start::new(world)?.at(&agent.socket).start()?;
        job.await_line(|l| l["msg"] == "agent_back")?;
        Witness::new(&second)?.up(PROBES)?;
        world.carrier_down(0)?;
        let cut = job.await_line(|l| l["msg"] == "attempt")?;
        ensure!(cut["refunded"] == true, "{cut}");
        world.carrier_up(0)?;
        // It lasts forty seconds, and what it was to do the second time is not the point.
        let again = await_until(LONG, || Ok((job.attempts() == 2).then_some(())))?;
        ensure!(again.is_some(), "it is not begun anew: {}", job.file("log"));
        Ok(())
    })
}

fn exit_codes() -> Result<()> {
    world_with_agent(|world, agent| {
        let ends = |options: &[&str], script: &str, code: i32, attempts: usize| -> Result<()> {
            let mut job = Job::start(agent, options, script)?;
            let (status, log) = (job.end()?, job.file("log"));
            let said = (status.code(), job.attempts());
            ensure!(said == (Some(code), attempts), "{options:?}: {status}, {} attempts: {log}", said.1);
            Ok(())
        };
        ends(&["--max-time", "2s", "--stable", "0s"], "echo >> attempts; sleep 1000", 124, 1)?;
        ends(&["--target", "nosuch"], "echo >> attempts", 125, 0)?;
        ends(&["--socket", "/nonexistent"], "echo >> attempts", 69, 0)?;
        world.carrier_down(0)?;
        ensure!(agent.cli_code(&["wait", "--state", "down", "--timeout", "20s"])? == 0);
        ends(&["--max-time", "3s"], "echo >> attempts", 75, 0)?;
        // A target behind the lost link is lost with it.
        let gateway = world.gateway_address(0, netmon_tests::lab::Family::V4).to_string();
        ends(&["--max-time", "2s", "--target", &format!("gateway-{gateway}")], "echo >> attempts", 75, 0)?;
        // It is a resolver as well, and which of the two is meant has to be said.
        ends(&["--max-time", "2s", "--target", &gateway], "echo >> attempts", 125, 0)?;
        ends(&["--no-agent-ok", "--socket", "/nonexistent"], "echo >> attempts", 0, 1)
    })
}
