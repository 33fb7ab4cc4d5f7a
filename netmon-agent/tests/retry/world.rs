//! An agent's API on a socket, whose state the test publishes, and the real binary that asks it.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use netmon_agent::{
    budget,
    health::{Reason, ReasonCode, State, Subject, Verdict},
    output::api::{self, Options, Server},
    state::{Board, ChangeEvent, Snapshot},
    time::{Moment, Mono},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Far beyond what anything here takes, also on a loaded machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Delays of no length, so that a test is about something else.
pub const QUICK: &str = "--initial 1ms --max-delay 1ms --jitter none";

pub struct World {
    runtime: tokio::runtime::Runtime,
    pub folder: tempfile::TempDir,
    core: Arc<Core>,
    core_thread: Option<JoinHandle<()>>,
    server: Option<Server>,
}

/// What stands for the agent's core: it evaluates now and then, or its word would be too old to release anybody.
struct Core {
    board: Board,
    state: Mutex<(Verdict, u64)>,
    ended: AtomicBool,
}

impl Core {
    fn publish(&self, state: Option<State>) {
        let mut kept = self.state.lock().unwrap();
        let (now, previous) = (Moment::now(), kept.0.state);
        let state = state.unwrap_or(previous);
        let reasons = match state {
            State::Down => vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier")],
            _ => vec![],
        };
        let changed = kept.0.update(now, state, reasons.clone());
        kept.1 += u64::from(changed);
        let seq = kept.1;
        let snapshot =
            Snapshot { seq, at: now, started: now, verdict: kept.0.clone(), ..Snapshot::default() };
        let change = ChangeEvent {
            seq,
            at: now.boot,
            subject: Subject::Network,
            previous,
            state,
            reasons,
            diagnosis: None,
        };
        self.board.publish(snapshot, changed.then_some(change));
    }
}

impl World {
    /// One whose network is in this state.
    pub fn new(state: State) -> Self {
        let mut world = Self::without_agent();
        world.publish(state);
        world.start(budget::Settings::default());
        world
    }

    /// One whose agent keeps so small a retry budget.
    pub fn with_budget(retry: budget::Settings) -> Self {
        let mut world = Self::without_agent();
        world.publish(State::Up);
        world.start(retry);
        world
    }

    pub fn without_agent() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let first = Snapshot { seq: 100, at: Moment::now(), started: Moment::now(), ..Snapshot::default() };
        let board = Board::new(first, Duration::from_secs(600));
        let state = Mutex::new((Verdict::default(), 100));
        let core = Arc::new(Core { board, state, ended: AtomicBool::new(false) });
        let own = core.clone();
        let core_thread = thread::spawn(move || {
            while !own.ended.load(Ordering::Relaxed) {
                own.publish(None);
                thread::sleep(Duration::from_millis(100));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        Self { runtime, folder, core, core_thread: Some(core_thread), server: None }
    }

    pub fn start(&mut self, retry: budget::Settings) {
        let _inside = self.runtime.enter();
        let heartbeat = Duration::from_millis(100);
        let options = Options { socket: self.path("socket"), heartbeat, retry, ..Options::default() };
        self.server = Some(api::start(self.core.board.clone(), options).unwrap());
    }

    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }

    pub fn publish(&self, state: State) {
        self.core.publish(Some(state));
    }

    /// Who waits at the agent now.
    pub fn waiters(&self) -> i64 {
        self.server.as_ref().unwrap().own().wait_clients.get()
    }

    /// Who follows its changes now.
    pub fn followers(&self) -> i64 {
        self.server.as_ref().unwrap().own().event_clients.get()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the command wrote to this file, nothing where there is none.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// How many attempts there were, where the script says `$ONE`.
    pub fn attempts(&self) -> usize {
        self.file("attempts").lines().count()
    }

    /// `netmon retry OPTIONS -- sh -c SCRIPT` in the folder, with `$ONE` for what counts an attempt.
    pub fn retry(&self, options: &str, script: &str) -> Command {
        let script = script.replace("$ONE", "echo $NETMON_ATTEMPT >> attempts");
        let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
        command.arg("--socket").arg(self.path("socket")).arg("retry").args(options.split_whitespace());
        command.args(["--", "sh", "-c", &script]).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// The same to its end: its exit code (128 and the signal where one killed it) and what it said.
    pub fn run(&self, options: &str, script: &str) -> (i32, String) {
        let _ = std::fs::remove_file(self.path("attempts"));
        let output = self.retry(options, script).output().unwrap();
        (code(output.status), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The same, left running.
    pub fn spawn(&self, options: &str, script: &str) -> Job {
        let mut command = self.retry(&format!("--log-format json {options}"), script);
        Job(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until a file has this in it.
    pub fn until(&self, name: &str, text: &str) {
        until(&format!("{text:?} in {name}"), || self.file(name).contains(text));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        self.core.ended.store(true, Ordering::Relaxed);
        let _ = self.core_thread.take().map(JoinHandle::join);
    }
}

/// A running `netmon retry`, ended on drop.
pub struct Job(Child);

impl Job {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    /// Its exit code, and its lines.
    pub fn end(mut self) -> (i32, Vec<serde_json::Value>) {
        let mut status = None;
        until("its end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        // The command's shell has a word to say of its own there, too.
        let lines = said
            .lines()
            .filter(|l| l.starts_with('{'))
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")));
        (code(status.unwrap()), lines.collect())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Mono::now() + LONG;
    while !done() {
        assert!(Mono::now() < deadline, "{what} never came");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The state letter of a process; none when it is gone, or dead and only not asked after by init.
pub fn process_state(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
}
