//! `netmon status`, `wait` and `watch` against a served board: exit codes, and what they do when the agent restarts.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

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
    command: Subcommand,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    Status(StatusArgs),
    Wait(WaitArgs),
    Watch(WatchArgs),
}

/// Runs a command line as the binary would.
fn netmon(line: &str, socket: &Path) -> ExitCode {
    let words = std::iter::once("netmon").chain(line.split_whitespace());
    match Line::try_parse_from(words) {
        Ok(line) => match line.command {
            Subcommand::Status(args) => status::run(&args, socket).unwrap(),
            Subcommand::Wait(args) => wait::run(&args, socket).unwrap(),
            Subcommand::Watch(args) => watch::run(&args, socket).unwrap(),
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

/// The binary itself, with an environment of its own.
fn binary(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
    command.args(line.split_whitespace()).env_clear().stdin(Stdio::null());
    command
}

#[test]
fn a_watch_ends_with_its_reader() {
    let mut world = World::new();
    let server = world.serve();
    world.publish(State::Up);
    let line = format!("--socket {} watch", world.socket().display());
    let mut watch = binary(&line).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(watch.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    assert!(first.contains("up"), "{first}");
    drop(reader);
    let deadline = Mono::now() + Duration::from_secs(30);
    let status = loop {
        match watch.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Mono::now() < deadline, "nothing changes, and it watches on for nobody"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
    world.stop(server);
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("netmon.sock");
    let server = |path: &Path| std::os::unix::net::UnixListener::bind(path).unwrap();
    let _somebody = server(&own);
    // The socket is taken: an agent that gets that far says so, by name, and ends before it probes anything.
    let output = binary("run").env("NETMON_SOCKET", &own).env("NETMON_LOG", "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another agent already serves") && said.contains("netmon.sock"), "{said}");
    let output = binary("status").env("NETMON_SOCKET", "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() != Some(2), "{said}");
}

#[test]
fn a_configuration_that_passes_the_check_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netmon.toml");
    let check = |text: &str, line: &str| {
        std::fs::write(&path, text).unwrap();
        let output = binary(&line.replace("FILE", path.to_str().unwrap())).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let exposed = "[agent]\nlisten = [\"0.0.0.0:9817\"]\n";
    let (code, said) = check(exposed, "config check FILE");
    assert!(code == Some(1) && said.contains("0.0.0.0:9817") && said.contains("--insecure"), "{said}");
    assert_eq!(check(exposed, "config check --config FILE --insecure").0, Some(0));
    assert_eq!(check("", "config check FILE").0, Some(0));
    assert_eq!(check("", "config check FILE --config FILE").0, Some(2));
    let (code, said) = check("[agent]\nlissten = []\n", "config check -c FILE");
    assert!(code == Some(1) && said.contains("did you mean `listen`?"), "{said}");
}

#[test]
fn a_full_or_closed_output_changes_no_exit_code_into_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("s");
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    for (line, code) in
        [("status", 69), ("wait", 69), ("watch", 69), ("run --config /nosuch", 1), ("probe a..b", 2)]
    {
        let code_of =
            binary(&format!("--socket {} {line}", nobody.display())).stderr(full()).status().unwrap();
        assert_eq!(code_of.code(), Some(code), "{line}");
    }
    for line in ["config check", "doctor", "doctor --json"] {
        let output =
            binary(&format!("--socket {} {line}", nobody.display())).stdout(full()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.starts_with("netmon: ") && said.contains("No space left"), "{line}: {said}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(binary("config check").stdout(writer).status().unwrap().code(), Some(0));
}
