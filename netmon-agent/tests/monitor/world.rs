//! The real API server before a board whose snapshots are published by hand; in this process, or in one of its own that
//! can be stopped and killed.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use netmon_agent::{
    health::{State, Subject, Verdict},
    observation::{IfIndex, Link, LinkStats},
    output::api::{self, Options, Server},
    state::{Board, ChangeEvent, DeviceView, Snapshot},
    time::{Boot, Moment, Mono},
};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Far beyond what anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Where a helper process finds the socket.
const SOCKET: &str = "NETMON_TEST_SOCKET";

pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    board: Board,
    socket: PathBuf,
    server: Option<Server>,
    seq: u64,
    verdict: Verdict,
    ended: Arc<AtomicBool>,
    core: Option<JoinHandle<()>>,
}

impl World {
    pub(crate) fn new(socket: &Path, stale_after: Duration) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let now = Moment::now();
        let seq = now.boot.as_nanos() / 1000;
        let board = Board::new(Snapshot { seq, at: now, started: now, ..Snapshot::default() }, stale_after);
        let ended = Arc::new(AtomicBool::new(false));
        let (end, evaluating) = (ended.clone(), board.clone());
        // What the core does though nothing happens.
        let core = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                evaluating.evaluated(Boot::now());
                thread::sleep(Duration::from_millis(10));
            }
        });
        let verdict = Verdict::default();
        let mut world = Self {
            runtime,
            board,
            socket: socket.into(),
            server: None,
            seq,
            verdict,
            ended,
            core: Some(core),
        };
        world.start();
        world
    }

    pub(crate) fn start(&mut self) {
        let heartbeat = Duration::from_millis(50);
        let options = Options { socket: self.socket.clone(), heartbeat, ..Options::default() };
        let _inside = self.runtime.enter();
        self.server = Some(api::start(self.board.clone(), options).unwrap());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn waiters(&self) -> i64 {
        self.server.as_ref().unwrap().own().wait_clients.get()
    }

    pub(crate) fn subscribers(&self) -> i64 {
        self.server.as_ref().unwrap().own().event_clients.get()
    }

    pub(crate) fn publish(&mut self, state: State) {
        let now = Moment::now();
        let previous = self.verdict.state;
        let changed = self.verdict.update(now, state, vec![]);
        self.seq += u64::from(changed);
        let change = ChangeEvent {
            seq: self.seq,
            at: now.boot,
            subject: Subject::Network,
            previous,
            state,
            reasons: vec![],
            diagnosis: None,
        };
        let stats = LinkStats { rx_bytes: self.seq, rx_dropped: 7, ..LinkStats::default() };
        let link = Link {
            index: IfIndex(2),
            mtu: 9000,
            speed_mbps: Some(10_000),
            mac: Some(vec![2, 0, 0, 0, 0, 1]),
            kind: Some("bond".into()),
            carrier_changes: 3,
            stats,
            ..Link::default()
        };
        let device = DeviceView {
            name: "eth0".into(),
            link,
            lowers: vec!["eth1".into(), "eth2".into()],
            addresses: vec![("10.0.0.2".parse().unwrap(), 24)],
            verdict: self.verdict.clone(),
            ..DeviceView::default()
        };
        let snapshot = Snapshot {
            seq: self.seq,
            at: now,
            started: now,
            verdict: self.verdict.clone(),
            devices: vec![Arc::new(device)],
            ..Snapshot::default()
        };
        self.board.publish(snapshot, changed.then_some(change));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        self.ended.store(true, Ordering::Relaxed);
        if let Some(core) = self.core.take() {
            let _ = core.join();
        }
    }
}

/// What a helper process was told by its environment; none in an ordinary run of the tests.
pub(crate) fn socket_told() -> Option<PathBuf> {
    std::env::var_os(SOCKET).map(Into::into)
}

/// One of this program's ignored tests, in a process of its own that is asked line by line.
pub(crate) struct Helper {
    child: Child,
    says: BufReader<ChildStdout>,
    hears: ChildStdin,
}

impl Helper {
    pub(crate) fn start(test: &str, socket: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--ignored", "--nocapture"]).env(SOCKET, socket);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (says, hears) = (BufReader::new(child.stdout.take().unwrap()), child.stdin.take().unwrap());
        let mut helper = Self { child, says, hears };
        assert_eq!(helper.hear(), "ready");
        helper
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.hears, "{line}").unwrap();
    }

    /// What it says next, beside the test runner's own words.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.says.read_line(&mut line).unwrap() > 0, "the helper ended");
            if let Some((_, said)) = line.trim_end().split_once("> ") {
                return said.into();
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Stops it; on return it stands.
    pub(crate) fn stop(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
    }

    pub(crate) fn resume(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a line to whoever started this helper.
pub(crate) fn say(line: &str) {
    // On a line of its own, whatever the test runner has left on the last.
    println!("\n> {line}");
}

pub(crate) fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Mono::now() + LONG;
    while !look() {
        assert!(Mono::now() < deadline, "{what} never came about");
        thread::sleep(Duration::from_millis(1));
    }
}
