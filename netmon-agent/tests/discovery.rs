//! The real agent finds its targets in files and at a server. All are addresses of loopback.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use netmon_agent::time::Mono;
use netmon_client::{
    Client,
    wire::{Status, TargetChange, TargetSpec},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Nothing but what is found is probed.
const QUIET: &str = "[agent]\nlisten = []\n[defaults]\nauto_targets = false\ninterval = \"200ms\"\ntimeout = \"150ms\"\n\
                     [history]\nenabled = false\npath = \"@/history.db\"\n[diagnosis]\nenabled = false\n";

struct Agent {
    child: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    /// With these sources, in which `@` is the folder, after `prepare` has put there what they name.
    fn start(sources: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        configure(folder.path(), sources);
        let at = |name: &str| folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
        command.arg("run").arg("--config").arg(at("netmon.toml")).arg("--socket").arg(at("s"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(at("log")).unwrap());
        Self { child: command.spawn().unwrap(), folder }
    }

    fn configure(&self, sources: &str) {
        configure(self.folder.path(), sources);
    }

    fn reload(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGHUP).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn status(&self) -> Option<Status> {
        Client::new(self.at("s")).status().ok()
    }

    /// The state of each target by name.
    fn targets(&self) -> BTreeMap<String, String> {
        let all = self.status().map(|status| status.targets).unwrap_or_default();
        all.into_iter().map(|t| (t.name, t.state.as_str().to_owned())).collect()
    }

    fn metrics(&self) -> String {
        let mut stream = UnixStream::connect(self.at("s")).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// The value of a series of which this is the whole name.
    fn value(&self, series: &str) -> Option<f64> {
        let text = self.metrics();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until it is so.
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Mono::now();
        while !is_so(self) {
            let log = || fs::read_to_string(self.at("log")).unwrap_or_default();
            assert!(Mono::now().since(begun) < LONG, "not {what}: {:?}\n{}", self.targets(), log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_up(&self, names: &[&str]) {
        let expected: BTreeMap<String, String> =
            names.iter().map(|n| ((*n).to_owned(), "up".to_owned())).collect();
        self.until(&format!("up: {names:?}"), |agent| agent.targets() == expected);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(folder: &Path, sources: &str) {
    let text = format!("{QUIET}{sources}").replace('@', &folder.display().to_string());
    fs::write(folder.join("netmon.toml"), text).unwrap();
}

fn groups(targets: &[&str], labels: &[(&str, &str)]) -> String {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    serde_json::json!([{ "targets": targets, "labels": labels }]).to_string()
}

/// As whoever writes such a file should: whole, and then under its name.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

const FILES: &str = "[[discovery.file_sd]]\nname = \"rack\"\nfiles = [\"@/*.json\"]\nscope = \"rack\"\n";

#[test]
fn a_file_that_changes_changes_the_targets_and_no_others() {
    let agent = Agent::start(FILES, |folder| {
        put(&folder.join("a.json"), &groups(&["127.0.0.1", "127.0.0.2:9100"], &[("job", "node")]));
    });
    agent.until_up(&["127.0.0.1", "127.0.0.2"]);
    let status = agent.status().unwrap();
    assert!(status.targets.iter().all(|t| t.scope == "rack"));
    let capability = &status.agent.capabilities["discovery"];
    assert!(capability.ok && capability.detail.starts_with("2 targets found"), "{capability:?}");
    let probes =
        |name: &str| agent.value(&format!("netmon_probes_total{{target=\"{name}\",probe=\"icmp\"}}"));
    let since = |name: &str| {
        let status = agent.status().unwrap();
        status.targets.iter().find(|t| t.name == name).map(|t| format!("{:?}", t.since))
    };
    agent.until("probed", |_| probes("127.0.0.1").is_some_and(|n| n >= 5.0));
    let (before, was_up_since) = (probes("127.0.0.1").unwrap(), since("127.0.0.1"));
    assert!(probes("127.0.0.2").is_some());

    put(&agent.at("a.json"), &groups(&["127.0.0.3", "127.0.0.1"], &[]));
    agent.until_up(&["127.0.0.1", "127.0.0.3"]);
    assert!(
        probes("127.0.0.1").unwrap() >= before && since("127.0.0.1") == was_up_since,
        "it was begun anew"
    );
    let metrics = agent.metrics();
    assert!(!metrics.contains("127.0.0.2"), "the series of a target that is gone stay");
    assert!(metrics.contains("netmon_probe_replies_total{target=\"127.0.0.3\",probe=\"icmp\"}"));
    let of_source = |family: &str| agent.value(&format!("{family}{{mechanism=\"file_sd\",source=\"rack\"}}"));
    assert_eq!(of_source("netmon_discovery_targets"), Some(2.0));
    assert_eq!(of_source("netmon_discovery_last_refresh_successful"), Some(1.0));
    assert_eq!(of_source("netmon_discovery_failures_total"), Some(0.0));
    assert!(of_source("netmon_discovery_last_success_timestamp_seconds").is_some_and(|t| t > 1e9));

    // A bad one changes nothing but what says so.
    put(&agent.at("a.json"), "[{\"targets\": [\"127.0.0.4\", 5]}]");
    agent.until("told", |_| of_source("netmon_discovery_last_refresh_successful") == Some(0.0));
    assert_eq!(of_source("netmon_discovery_failures_total"), Some(1.0));
    assert_eq!(of_source("netmon_discovery_targets"), Some(2.0));
    agent.until_up(&["127.0.0.1", "127.0.0.3"]);
    let log = fs::read_to_string(agent.at("log")).unwrap();
    assert!(log.contains("a.json:1:28: a target is a text"), "{log}");
    agent.until("a capability", |agent| {
        let status = agent.status().unwrap();
        let missing = &status.agent.capabilities["discovery"];
        !missing.ok && missing.detail.contains("a.json:1:28")
    });
    assert_eq!(
        agent.value("netmon_config_last_reload_successful"),
        Some(1.0),
        "the configuration itself is well"
    );

    // Another configuration keeps all that, and one without sources takes it away.
    let read = agent.value("netmon_config_last_reload_success_timestamp_seconds").unwrap();
    agent.configure(&FILES.replace("\"rack\"\n", "\"shelf\"\n"));
    agent.reload();
    agent.until("of another scope", |agent| {
        let all = agent.status().map(|s| s.targets).unwrap_or_default();
        all.len() == 2 && all.iter().all(|t| t.scope == "shelf")
    });
    assert!(agent.value("netmon_config_last_reload_success_timestamp_seconds").unwrap() > read);
    assert!(!agent.metrics().contains("source=\"rack\""));
    agent.configure("");
    agent.reload();
    agent.until("gone", |agent| agent.status().is_some_and(|s| s.targets.is_empty()));
    assert!(!agent.metrics().contains("source=\"shelf\""));
}

#[test]
fn what_is_added_stands_in_place_of_what_is_found() {
    let agent = Agent::start(FILES, |folder| {
        put(&folder.join("a.json"), &groups(&["127.0.0.1", "127.0.0.2"], &[]));
    });
    agent.until_up(&["127.0.0.1", "127.0.0.2"]);
    let client = Client::new(agent.at("s"));
    let scope = |name: &str| {
        let status = agent.status().unwrap();
        status.targets.into_iter().find(|t| t.name == name).map(|t| t.scope)
    };
    let duplicates = || agent.value("netmon_discovery_targets_left_out{reason=\"duplicate\"}");
    assert_eq!(duplicates(), Some(0.0));
    let of = |scope: &str| TargetSpec {
        host: Some("127.0.0.9".to_owned()),
        scope: Some(scope.to_owned()),
        persist: true,
        ..TargetSpec::default()
    };
    assert_eq!(client.put_target("127.0.0.1", &of("hand")).unwrap(), TargetChange::Added);
    assert_eq!(scope("127.0.0.1").as_deref(), Some("hand"));
    agent.until("counted", |_| duplicates() == Some(1.0));
    let said = client.delete_target("127.0.0.2").unwrap_err().to_string();
    assert!(said.contains("found by discovery"), "{said}");

    // Neither what is found next nor a reload takes it away; a file that has the name does.
    put(&agent.at("a.json"), &groups(&["127.0.0.3", "127.0.0.1"], &[]));
    agent.until_up(&["127.0.0.1", "127.0.0.3"]);
    let read = || agent.value("netmon_config_last_reload_success_timestamp_seconds").unwrap();
    let before = read();
    agent.reload();
    agent.until("read anew", |_| read() > before);
    assert_eq!(scope("127.0.0.1").as_deref(), Some("hand"));
    assert!(fs::read_to_string(agent.at("targets.json")).unwrap().contains("hand"));
    client.delete_target("127.0.0.1").unwrap();
    assert_eq!(scope("127.0.0.1").as_deref(), Some("rack"), "the found one is back");
    agent.until("counted", |_| duplicates() == Some(0.0));
    client.put_target("127.0.0.3", &of("hand")).unwrap();
    agent.configure(&format!("{FILES}[[target]]\nhost = \"127.0.0.3\"\nscope = \"file\"\n"));
    agent.reload();
    agent.until("of the file", |_| scope("127.0.0.3").as_deref() == Some("file"));
    assert!(client.added_targets().unwrap().is_empty());
}

#[test]
fn a_server_tells_of_targets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The agent probes it, too: whoever connects without a question is let go.
    let body = Arc::new(Mutex::new(groups(&[&format!("127.0.0.1:{port}")], &[("__netmon_name", "door")])));
    let served = Arc::clone(&body);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, served) = (stream.unwrap(), Arc::clone(&served));
            thread::spawn(move || {
                if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                    let body = served.lock().unwrap().clone();
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                    let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                }
            });
        }
    });
    let text = format!(
        "[[discovery.http_sd]]\nurl = \"http://127.0.0.1:{port}/sd\"\nrefresh_interval = \"1s\"\nprobe = \"tcp\"\n"
    );
    let agent = Agent::start(&text, |_| ());
    agent.until_up(&["door"]);
    *body.lock().unwrap() = groups(&[&format!("127.0.0.2:{port}"), &format!("127.0.0.1:{port}")], &[]);
    let both = [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")];
    agent.until("both", |agent| agent.targets().keys().eq(both.iter()));
    let found = "netmon_discovery_targets{mechanism=\"http_sd\",source=\"http_sd-1\"}";
    agent.until("told", |agent| agent.value(found) == Some(2.0));
}

#[test]
fn the_check_of_a_configuration_asks_its_sources_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    configure(folder.path(), FILES);
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
        let output = command.args(["config", "check"]).arg(at("netmon.toml")).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    fs::write(at("a.json"), "[{\"targets\": [\"127.0.0.1\"]}, {\"targets\": 1}]").unwrap();
    let (code, said) = check(&[]);
    assert!(code == Some(0) && said.contains("sources of targets: 1"), "{code:?} {said}");
    let (code, said) = check(&["--discovery"]);
    assert!(code == Some(1) && said.contains("a.json:1:42: `targets` is a list of texts"), "{code:?} {said}");
    fs::write(at("a.json"), groups(&["127.0.0.1", "127.0.0.2"], &[])).unwrap();
    let (code, said) = check(&["--discovery"]);
    assert!(code == Some(0) && said.contains("file_sd rack: targets found: 2, in 1"), "{code:?} {said}");
}

/// What Prometheus reads in a document, netmon reads too.
#[test]
fn documents_are_those_of_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let json = "[{\"targets\": [\"127.0.0.1:9100\", \"[::1]:9100\"], \"labels\": {\"env\": \"x\", \"__netmon_scope\": \"s\"}}]";
    let yaml = "- targets:\n  - 127.0.0.2:9100\n  - &a 127.0.0.3:9100\n  labels: {env: y, port: 1}\n- targets: ['127.0.0.4:9100']\n  labels:\n";
    fs::write(at("a.json"), json).unwrap();
    fs::write(at("b.yml"), yaml).unwrap();
    let files = format!("[\"{0}/*.json\", \"{0}/*.yml\"]", folder.path().display());
    let text = format!("[[discovery.file_sd]]\nfiles = {files}\nprobe = \"tcp\"\n");
    let config = netmon_agent::config::Config::parse(&text, Path::new("t")).unwrap();
    let news = netmon_agent::source::discovery::State::new(Arc::new(config)).news();
    assert!(news.reports[0].is_well(), "{:?}", news.reports);
    let mut ours: Vec<String> = news.config.targets.iter().map(|t| t.name.clone()).collect();

    let prometheus = format!("scrape_configs:\n- job_name: x\n  file_sd_configs:\n  - files: {files}\n");
    fs::write(at("prometheus.yml"), prometheus).unwrap();
    let mut command = Command::new("promtool");
    command.args(["check", "service-discovery", "--timeout=3s"]).arg(at("prometheus.yml")).arg("x");
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => {
            eprintln!("SKIPPED: promtool: {e}; it is in Debian's package prometheus");
            assert!(std::env::var_os("CI").is_none(), "promtool is needed in CI");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&said);
    let address =
        |target: &serde_json::Value| target["discoveredLabels"]["__address__"].as_str().map(str::to_owned);
    let mut theirs: Vec<String> = found.as_array().unwrap().iter().filter_map(address).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 5);
}
