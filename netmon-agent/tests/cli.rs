//! `netmon status`, `wait` and `watch` against a served board: exit codes, and what they do when the agent restarts.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{path::Path, process::ExitCode, thread, time::Duration};

use clap::Parser;
use netmon_agent::{
    cli::{
        status::{self, StatusArgs},
        wait::{self, WaitArgs},
        watch::{self, WatchArgs},
    },
    health::{State, Verdict},
    output::api::{self, Options, Server},
    state::{Board, Snapshot},
    time::{Moment, Mono},
};

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Status(StatusArgs),
    Wait(WaitArgs),
    Watch(WatchArgs),
}

/// Runs a command line as the binary would.
fn netmon(line: &str, socket: &Path) -> ExitCode {
    let words = std::iter::once("netmon").chain(line.split_whitespace());
    match Line::try_parse_from(words) {
        Ok(line) => match line.command {
            Command::Status(args) => status::run(&args, socket).unwrap(),
            Command::Wait(args) => wait::run(&args, socket).unwrap(),
            Command::Watch(args) => watch::run(&args, socket).unwrap(),
        },
        Err(e) => ExitCode::from(u8::try_from(e.exit_code()).unwrap()),
    }
}

struct World {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    board: Board,
    verdict: Verdict,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let board =
            Board::new(Snapshot { at: Moment::now(), ..Snapshot::default() }, Duration::from_secs(600));
        Self { runtime, folder: tempfile::tempdir().unwrap(), board, verdict: Verdict::default() }
    }

    fn serve(&self) -> Server {
        let _inside = self.runtime.enter();
        api::start(self.board.clone(), Options { socket: self.socket(), ..Options::default() }).unwrap()
    }

    fn stop(&self, server: Server) {
        self.runtime.block_on(server.shutdown());
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("s")
    }

    fn publish(&mut self, state: State) {
        let at = Moment::now();
        self.verdict.update(at, state, vec![]);
        self.board.publish(Snapshot { at, verdict: self.verdict.clone(), ..Snapshot::default() }, []);
    }
}

#[test]
fn exit_codes_are_those_that_scripts_rely_on() {
    let mut world = World::new();
    let socket = world.socket();
    for command in ["status", "wait", "watch"] {
        assert_eq!(netmon(command, &socket), ExitCode::from(69), "{command}");
    }
    let server = world.serve();
    world.publish(State::Up);
    for (line, code) in [
        ("status", 0),
        ("status --json", 0),
        ("wait", 0),
        ("wait --state usable --stable 1ms --timeout 30s --spread 10s", 0),
        ("wait --state down --timeout 10ms", 75),
        ("wait --state down --timeout 10ms --timeout-exit-code 9", 9),
        ("wait --state down --timeout 0s", 75),
        ("wait --device nosuch", 2),
        ("wait --target nosuch", 2),
        ("wait --state fine", 2),
        ("wait --timeout soon", 2),
        ("wait --timeout 100d", 2),
        ("wait --timeout-exit-code 255", 2),
    ] {
        assert_eq!(netmon(line, &socket), ExitCode::from(code), "{line}");
    }
    world.stop(server);
}

#[test]
fn a_wait_goes_on_when_the_agent_restarts() {
    let mut world = World::new();
    let server = world.serve();
    world.publish(State::Down);
    let socket = world.socket();
    let waiter = thread::spawn(move || netmon("wait --timeout 60s", &socket));
    let waits = |server: &Server| {
        let deadline = Mono::now() + Duration::from_secs(30);
        while server.own().wait_clients.get() == 0 {
            assert!(Mono::now() < deadline && !waiter.is_finished());
            thread::sleep(Duration::from_millis(2));
        }
    };
    waits(&server);
    world.stop(server);
    let server = world.serve();
    waits(&server);
    world.publish(State::Up);
    assert_eq!(waiter.join().unwrap(), ExitCode::SUCCESS);
    world.stop(server);
}

#[test]
fn a_wait_whose_agent_stays_away_ends_at_the_deadline() {
    let world = World::new();
    let server = world.serve();
    let socket = world.socket();
    let waiter = thread::spawn(move || netmon("wait --timeout 3s", &socket));
    let deadline = Mono::now() + Duration::from_secs(30);
    while server.own().wait_clients.get() == 0 && Mono::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
    world.stop(server);
    assert_eq!(waiter.join().unwrap(), ExitCode::from(69));
}
