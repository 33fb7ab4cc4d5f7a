//! The agent's log: to a file, to a file that takes nothing, to systemd's journal.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

mod netns;

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixDatagram},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use netmon_client::State;
use netns::alone;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// An agent without anything to do, and with this under `[log]`.
fn agent(folder: &Path, log: &str) -> Child {
    let config = folder.join("netmon.toml");
    let rest = "[agent]\nlisten = []\n[defaults]\nauto_targets = false\n[history]\nenabled = false\n[log]\n";
    fs::write(&config, format!("{rest}{log}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
    command.arg("--socket").arg(folder.join("s")).args(["run", "--config"]).arg(&config).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until it answers that it knows the state of the network; it says so in its log before anybody can read it.
fn await_verdict(folder: &Path) {
    let client = netmon_client::Client::new(folder.join("s"));
    for _ in 0..3000 {
        if client.status().is_ok_and(|status| status.state != State::Unknown) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it never had a verdict");
}

/// Ends it: what it wrote to standard error.
fn ended(child: Child) -> String {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_file_has_everything_to_the_last_line() {
    alone("a_file_has_everything_to_the_last_line", || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/netmon.log");
        let log = format!("file = {path:?}\nformat = \"json\"\nmax_size = \"16KiB\"\nmax_files = 2");
        let child = agent(folder.path(), &log);
        await_verdict(folder.path());
        assert_eq!(ended(child), "");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().any(|line| line["message"].as_str().unwrap().ends_with(" runs")), "{text}");
        // What was decided at the same moment may come after it.
        assert!(lines.iter().any(|line| line["message"] == "SIGTERM: ending"), "{text}");
    });
}

#[test]
fn a_full_disk_ends_no_agent_and_loses_no_line() {
    alone("a_full_disk_ends_no_agent_and_loses_no_line", || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netmon.log");
        symlink("/dev/full", &path).unwrap();
        let child = agent(folder.path(), &format!("file = {path:?}"));
        await_verdict(folder.path());
        let said = ended(child);
        assert_eq!(said.matches("can't be written: No space left on device").count(), 1, "{said}");
        assert!(said.contains(" runs ") && said.contains("SIGTERM: ending"), "{said}");
    });
}

#[test]
fn the_journal_is_spoken_to_in_its_own_protocol() {
    alone("the_journal_is_spoken_to_in_its_own_protocol", || {
        // A journal of this test's own, where the machine's would be.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::create_dir_all("/run/systemd/journal").unwrap();
        let journal = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (sender, heard) = channel();
        // Nobody must wait for a journal that is not read.
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(n) = journal.recv(&mut buffer) {
                let _ = sender.send(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
        });
        let hear = |words: &str| loop {
            let entry = heard.recv_timeout(LONG).expect(words);
            if entry.contains(words) {
                return entry;
            }
        };
        let child = agent(folder.path(), "format = \"journald\"");
        hear(" runs");
        // The network of this namespace has nothing: it is down, and the message says why.
        let entry = hear("network is down: ");
        for field in ["NETMON_STATE", "NETMON_REASONS", "SYSLOG_IDENTIFIER", "PRIORITY", "CODE_FILE"] {
            assert!(entry.contains(field), "{field}: {entry:?}");
        }
        assert_eq!(ended(child), "");
        hear("SIGTERM: ending");
    });
}

/// Ends with the test, stopped or not, whatever becomes of the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where Debian and Fedora have it.
const JOURNALD: &str = "/usr/lib/systemd/systemd-journald";

/// systemd's own, with its files in this test's `/run`. It is stopped while the agent starts: nobody waits for it.
#[test]
fn the_real_journal_has_what_was_logged_while_it_was_stopped() {
    alone("the_real_journal_has_what_was_logged_while_it_was_stopped", || {
        if !Path::new(JOURNALD).exists() {
            assert!(std::env::var_os("CI").is_none(), "systemd-journald is needed in CI");
            return eprintln!("SKIPPED: no {JOURNALD}");
        }
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::create_dir_all("/run/systemd/journald.conf.d").unwrap();
        let quiet =
            "[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nForwardToSyslog=no\nForwardToWall=no\n";
        fs::write("/run/systemd/journald.conf.d/test.conf", quiet).unwrap();
        let mut command = Command::new(JOURNALD);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let journald = Killed(command.spawn().unwrap());
        let socket = Path::new("/run/systemd/journal/socket");
        let waited = (0..3000).find(|_| {
            thread::sleep(Duration::from_millis(10));
            socket.exists()
        });
        assert!(waited.is_some(), "journald has no socket");
        let signal = |signal| kill(Pid::from_raw(journald.0.id() as i32), signal).unwrap();
        signal(Signal::SIGSTOP);
        let folder = tempfile::tempdir().unwrap();
        // What does not fit into the socket waits in the agent.
        let child = agent(folder.path(), "format = \"journald\"\nlevel = \"trace\"");
        await_verdict(folder.path());
        signal(Signal::SIGCONT);
        assert_eq!(ended(child), "");
        let read = |filter: &str| {
            let options = ["--directory=/run/log/journal", "--output=json", "--all", filter];
            let output = Command::new("journalctl").args(options).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        };
        let mut entries = Vec::new();
        // It may still be at work on the last.
        for _ in 0..3000 {
            entries = read("SYSLOG_IDENTIFIER=netmon");
            if entries.iter().any(|entry| entry["MESSAGE"] == "SIGTERM: ending") {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let find = |start: &str| {
            let found = entries.iter().find(|e| e["MESSAGE"].as_str().is_some_and(|m| m.starts_with(start)));
            found.unwrap_or_else(|| panic!("no {start:?} in {entries:?}"))
        };
        let down = find("network is down: ");
        assert_eq!((&down["NETMON_STATE"], &down["PRIORITY"]), (&"down".into(), &"4".into()), "{down}");
        assert_eq!(down["TARGET"], "netmon_agent::output::log", "{down}");
        find("SIGTERM: ending");
        assert!(!entries.iter().any(|e| e["MESSAGE"].as_str().is_some_and(|m| m.contains("lines lost"))));
    });
}

#[test]
fn where_there_is_no_journal_standard_error_takes_its_place() {
    alone("where_there_is_no_journal_standard_error_takes_its_place", || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let child = agent(folder.path(), "format = \"journald\"");
        await_verdict(folder.path());
        let said = ended(child);
        assert!(said.contains("no journal to log to") && said.contains("SIGTERM: ending"), "{said}");
    });
}
