//! The agent as a process: started inside the node, asked over its socket, ended by a signal.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use netmon_agent::time::Mono;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::binary;
use super::http::{self, Response};
use super::log::Log;
use super::metrics::Metrics;
use crate::lab::World;

/// Far beyond what any answer may take, even on a loaded machine.
const ANSWER: Duration = Duration::from_secs(10);

/// How an agent is started. The default is the way a stranger starts it: no configuration at all.
#[derive(Debug)]
pub struct Start<'a> {
    world: &'a World,
    program: Option<PathBuf>,
    config: Option<String>,
    before: Vec<String>,
    arguments: Vec<String>,
    folder: PathBuf,
    socket: PathBuf,
}

/// A running agent. Ended on drop.
#[derive(Debug)]
pub struct Agent<'a> {
    /// The world it looks at.
    pub world: &'a World,
    /// Its socket.
    pub socket: PathBuf,
    /// What it writes to standard error.
    pub log: Log,
    /// When it was started.
    pub started: Mono,
    child: Child,
    folder: PathBuf,
}

impl<'a> Start<'a> {
    /// A start inside the node of `world`.
    pub fn new(world: &'a World) -> Result<Self> {
        let folder = world.node.folder()?;
        let socket = folder.join("netmon.sock");
        Ok(Self {
            world,
            program: None,
            config: None,
            before: Vec::new(),
            arguments: Vec::new(),
            folder,
            socket,
        })
    }

    /// Of this program in place of the one under test.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// With this text as its configuration.
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// Behind another program, such as `setpriv` with its arguments, that ends by executing the agent.
    pub fn behind(mut self, program: &[&str]) -> Self {
        self.before = program.iter().map(|&p| p.to_owned()).collect();
        self
    }

    /// With more arguments after `netmon run`.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// The folder that holds the socket and the configuration.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// With its socket at another place.
    pub fn at(mut self, socket: &Path) -> Self {
        self.socket = socket.to_owned();
        self
    }

    /// Where its socket will be.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The command line, for those who start it themselves.
    pub fn command(&self) -> Result<Command> {
        let mut line = self.before.clone();
        let program = match &self.program {
            Some(program) => program,
            None => binary()?,
        };
        line.extend([
            program.display().to_string(),
            "run".to_owned(),
            "--log-format".to_owned(),
            "json".to_owned(),
        ]);
        line.extend(["--socket".to_owned(), self.socket().display().to_string()]);
        if let Some(config) = &self.config {
            let path = self.folder.join("netmon.toml");
            fs::write(&path, config)?;
            line.extend(["--config".to_owned(), path.display().to_string()]);
        }
        line.extend(self.arguments.iter().cloned());
        let mut command = self.world.node.command(&line[0]);
        command.args(&line[1..]).env_remove("NETMON_SOCKET").stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it and waits until its socket answers.
    ///
    /// # Errors
    /// When it ends before that, or does not answer in ten seconds.
    pub fn start(self) -> Result<Agent<'a>> {
        let mut agent = self.spawn()?;
        agent.await_answer()?;
        Ok(agent)
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> Result<Agent<'a>> {
        let mut command = self.command()?;
        let started = Mono::now();
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("starting the agent")?;
        let log = Log::follow(child.stderr.take().context("its standard error")?);
        Ok(Agent { world: self.world, socket: self.socket, log, started, child, folder: self.folder })
    }

    /// Runs it to its end, for starts that must fail: its status and what it wrote to standard error.
    pub fn fail(self) -> Result<(ExitStatus, String)> {
        let mut agent = self.spawn()?;
        let status = agent.await_end(ANSWER)?;
        // The end of the pipe may come a moment after the end of the process.
        agent.log.await_line(Duration::from_millis(200), |_| false);
        Ok((status, agent.log.lines().join("\n")))
    }
}

impl<'a> Agent<'a> {
    /// Starts one with no configuration.
    pub fn start(world: &'a World) -> Result<Self> {
        Start::new(world)?.start()
    }

    /// Its process id: `ip netns exec` and what stands before it replace themselves by the agent.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Its folder, for files of the trial.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `GET path` over its socket.
    pub fn get(&self, path: &str) -> Result<Response> {
        http::get(&self.socket, path, ANSWER)
    }

    /// The snapshot.
    pub fn status(&self) -> Result<Value> {
        self.get("/v1/status")?.json()
    }

    /// The metrics, over the socket.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.get("/metrics")?.body)
    }

    /// `GET path` over TCP from inside the node, at the default address.
    pub fn get_tcp(&self, path: &str) -> Result<Response> {
        self.world.node.run(|| {
            let stream = TcpStream::connect(("127.0.0.1", 9817)).context("127.0.0.1:9817")?;
            stream.set_read_timeout(Some(ANSWER))?;
            http::request(stream, path)
        })?
    }

    /// Waits until `count` waiters or more are held.
    pub fn await_waiters(&self, count: usize) -> Result<()> {
        self.await_gauge("netmon_wait_clients", count)
    }

    /// Waits until `count` clients or more follow the changes.
    pub fn await_followers(&self, count: usize) -> Result<()> {
        self.await_gauge("netmon_event_clients", count)
    }

    fn await_gauge(&self, name: &str, least: usize) -> Result<()> {
        let reached = await_until(ANSWER, || {
            let now = self.metrics()?.value(name, &[]).with_context(|| format!("no {name}"))?;
            Ok((now >= least as f64).then_some(()))
        })?;
        reached.with_context(|| format!("{name} is below {least} after {ANSWER:?}"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("{signal} to {}", self.pid()))
    }

    /// Ends it by SIGTERM and waits for it.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.await_end(ANSWER)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn await_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = await_until(within, || Ok(self.child.try_wait()?))?;
        ended.with_context(|| format!("the agent still runs after {within:?}"))
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    fn await_answer(&mut self) -> Result<()> {
        let answered = await_until(ANSWER, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status}: {}", self.log.lines().join("\n"));
            }
            Ok(self.get("/v1/status").ok().filter(|r| r.status == 200).map(drop))
        })?;
        answered.with_context(|| format!("no answer on {} within {ANSWER:?}", self.socket.display()))
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Looks every five milliseconds until `look` finds something; `None` when `within` has passed.
pub fn await_until<T>(within: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Mono::now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Mono::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}
