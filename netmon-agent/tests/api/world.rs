//! A server on a socket of its own, and what every test needs.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use netmon_agent::{
    health::{Reason, ReasonCode, State, Subject, Verdict},
    output::api::{self, Options, Server},
    state::{Board, ChangeEvent, DeviceView, Snapshot, TargetView},
    time::{Moment, Mono},
};
use netmon_client::{Client, Condition, WaitOptions};

/// Far beyond what anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Of a state that is never stale within a test.
pub(crate) const FRESH: Duration = Duration::from_secs(600);

pub(crate) struct World {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) board: Board,
    pub(crate) server: Option<Server>,
    pub(crate) seq: u64,
    pub(crate) verdict: Verdict,
}

impl World {
    pub(crate) fn new(stale_after: Duration) -> Self {
        Self::with(stale_after, |_| {})
    }

    pub(crate) fn with(stale_after: Duration, change: impl FnOnce(&mut Options)) -> Self {
        raise_descriptor_limit();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let first = Snapshot { seq: 100, at: Moment::now(), started: Moment::now(), ..Snapshot::default() };
        let board = Board::new(first, stale_after);
        let mut world = Self { runtime, folder, board, server: None, seq: 100, verdict: Verdict::default() };
        world.start(change);
        world
    }

    pub(crate) fn start(&mut self, change: impl FnOnce(&mut Options)) {
        let mut options = Options {
            socket: self.socket(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            heartbeat: Duration::from_millis(50),
            ..Options::default()
        };
        change(&mut options);
        let _inside = self.runtime.enter();
        self.server = Some(api::start(self.board.clone(), options).unwrap());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("netmon.sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.socket())
    }

    pub(crate) fn publish(&mut self, state: State) {
        let now = Moment::now();
        let previous = self.verdict.state;
        let reasons = match state {
            State::Up => vec![],
            _ => vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier")],
        };
        let changed = self.verdict.update(now, state, reasons.clone());
        self.seq += u64::from(changed);
        let subject = Subject::Network;
        let change =
            ChangeEvent { seq: self.seq, at: now.boot, subject, previous, state, reasons, diagnosis: None };
        let device =
            DeviceView { name: "eth0".into(), verdict: self.verdict.clone(), ..DeviceView::default() };
        let target = TargetView { name: "gw".into(), verdict: self.verdict.clone(), ..TargetView::default() };
        let snapshot = Snapshot {
            seq: self.seq,
            at: now,
            started: now,
            verdict: self.verdict.clone(),
            devices: vec![Arc::new(device)],
            targets: vec![Arc::new(target)],
            ..Snapshot::default()
        };
        self.board.publish(snapshot, changed.then_some(change));
    }

    pub(crate) fn waiters(&self) -> i64 {
        self.server.as_ref().unwrap().own().wait_clients.get()
    }

    pub(crate) fn subscribers(&self) -> i64 {
        self.server.as_ref().unwrap().own().event_clients.get()
    }

    /// Another agent in place of this one, which knows nothing of it and whose numbers start at `seq`.
    pub(crate) fn restart_as_new(&mut self, seq: u64) {
        self.stop();
        let first = Snapshot { seq, at: Moment::now(), started: Moment::now(), ..Snapshot::default() };
        self.board = Board::new(first, self.board.stale_after());
        (self.seq, self.verdict) = (seq, Verdict::default());
        self.start(|_| {});
    }

    /// Sends a request as it stands and returns all that comes until the server closes.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let _ = stream.write_all(request.as_bytes());
        read_all(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn read_all(stream: &mut impl Read) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Mono::now() + LONG;
    while !condition() {
        assert!(Mono::now() < deadline, "{what} never came about");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn wait_for(condition: Condition, stable: u64, timeout: Duration) -> WaitOptions {
    let stable = Duration::from_millis(stable);
    WaitOptions { condition, stable, timeout: Some(timeout), ..WaitOptions::default() }
}

/// Room for many connections: each takes a descriptor at both ends, which are in this process.
pub(crate) fn raise_descriptor_limit() {
    let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.min(16_384);
    if soft < wanted {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    }
}
