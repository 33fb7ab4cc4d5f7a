//! `netmon top` on a terminal (script(1) makes one): it follows the agent, over restarts, and gives the terminal back.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

mod terminal;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use netmon_agent::{
    health::{Reason, ReasonCode, State, Subject, Verdict},
    output::api::{self, Options, Server},
    state::{Board, ChangeEvent, DeviceView, Snapshot, TargetView},
    time::{Moment, Mono},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use terminal::{LONG, Terminal};

/// An agent's board, served.
struct World {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    board: Board,
    server: Option<Server>,
    seq: u64,
    verdict: Verdict,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let first = Snapshot { at: Moment::now(), started: Moment::now(), seq: 100, ..Snapshot::default() };
        let board = Board::new(first, Duration::from_secs(600));
        let mut world = Self { runtime, folder, board, server: None, seq: 100, verdict: Verdict::default() };
        world.start();
        world
    }

    fn start(&mut self) {
        let _inside = self.runtime.enter();
        let options =
            Options { socket: self.socket(), heartbeat: Duration::from_millis(50), ..Options::default() };
        self.server = Some(api::start(self.board.clone(), options).unwrap());
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn publish(&mut self, state: State) {
        let at = Moment::now();
        let previous = self.verdict.state;
        let why = match state {
            State::Up => vec![],
            _ => vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier")],
        };
        let changed = self.verdict.update(at, state, why.clone());
        self.seq += u64::from(changed);
        let (seq, verdict) = (self.seq, self.verdict.clone());
        let subject = Subject::Network;
        let change =
            ChangeEvent { seq, at: at.boot, subject, previous, state, reasons: why, diagnosis: None };
        let device = DeviceView { name: "eth0".into(), verdict: verdict.clone(), ..DeviceView::default() };
        let target = TargetView { name: "gw".into(), verdict: verdict.clone(), ..TargetView::default() };
        let snapshot = Snapshot {
            seq,
            at,
            started: at,
            verdict,
            devices: vec![device.into()],
            targets: vec![target.into()],
            ..Snapshot::default()
        };
        self.board.publish(snapshot, changed.then_some(change));
    }
}

fn state_of(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('-')
}

fn await_state(pid: i32, wanted: impl Fn(char) -> bool) {
    let deadline = Mono::now() + LONG;
    while !wanted(state_of(pid)) {
        assert!(Mono::now() < deadline, "{pid} is {:?}", state_of(pid));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_follows_the_agent_over_a_restart_and_gives_the_terminal_back() {
    let mut world = World::new();
    world.publish(State::Up);
    let Some(mut terminal) = Terminal::run(&world.socket()) else { return };
    let pid = terminal.pid();
    terminal.see("up for", |screen| screen[0].contains("up for"));
    terminal.see("the panes", |screen| {
        let has = |start: &str| screen.iter().any(|line| line.starts_with(start));
        has("DEVICES 1") && has("eth0") && has("TARGETS 1") && has("gw") && has("EVENTS")
    });
    assert!(terminal.is_other_screen());

    world.publish(State::Down);
    terminal
        .see("down", |screen| screen[0].contains("down for") && screen[1].contains("no_carrier eth0 (R2)"));
    terminal.see("the event", |screen| screen.iter().any(|l| l.contains("down     network  no_carrier")));

    world.stop();
    terminal.see("unknown", |screen| {
        screen[0].contains("unknown for") && screen[1].contains("no word from the agent")
    });
    world.start();
    world.publish(State::Up);
    terminal.see("up again", |screen| screen[0].contains("up for"));

    terminal.type_keys(b"/nosuch\r");
    terminal.see("filtered", |screen| screen.iter().any(|line| line.starts_with("TARGETS 0/1")));
    terminal.type_keys(b"\x1b");
    terminal.see("everything", |screen| screen.iter().any(|line| line.starts_with("TARGETS 1 ")));

    terminal.type_keys(b"\x1a");
    await_state(pid, |state| state == 'T');
    terminal.await_screen("the shell's screen", |terminal| !terminal.is_other_screen());
    kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
    terminal.await_screen("its own again", Terminal::is_other_screen);
    terminal.see("up still", |screen| screen[0].contains("up for"));

    terminal.type_keys(b"q");
    terminal.see("the end", |screen| screen.iter().any(|line| line.contains("code 0")));
    assert!(!terminal.is_other_screen() && terminal.is_cursor_shown() && terminal.is_cooked());
    world.stop();
}

#[test]
fn a_signal_ends_it_with_the_terminal_as_it_was() {
    let mut world = World::new();
    world.publish(State::Degraded);
    let Some(mut terminal) = Terminal::run(&world.socket()) else { return };
    let pid = terminal.pid();
    terminal.see("degraded", |screen| screen[0].contains("degraded for"));
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    terminal.see("the end", |screen| screen.iter().any(|line| line.contains("code 143")));
    assert!(!terminal.is_other_screen() && terminal.is_cursor_shown() && terminal.is_cooked());
    world.stop();
}

#[test]
fn where_nobody_answers_it_says_so_and_draws_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut terminal) = Terminal::run(&folder.path().join("s")) else { return };
    terminal.see("the end", |screen| screen.iter().any(|line| line.contains("code 69")));
    assert!(!terminal.is_other_screen());
}

#[test]
fn without_a_terminal_it_names_what_needs_none() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
    command.arg("top").env_clear().env("TERM", "xterm").stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("not both a terminal")
            && said.contains("`netmon status`")
            && said.contains("`netmon watch`")
    );
}
