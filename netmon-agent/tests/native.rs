//! Native histograms in a real Prometheus: what it reads of a snapshot, with the feature and without.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use netmon_agent::{
    health::{AddressStats, State},
    observation::{ProbeDetail, ProbeOutcome, StampSource},
    output::{api, metrics},
    state::{AddressView, Board, Snapshot, TargetView},
    time::{Moment, Mono},
};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);

/// Round trips of 1 to 100 ms.
fn snapshot() -> Snapshot {
    let mut stats = AddressStats::new(true);
    let now = Moment::now();
    for ms in 1..=100 {
        let rtt = Duration::from_millis(ms);
        let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false };
        stats.record(now.mono, &reply);
    }
    let address = AddressView {
        address: [10, 0, 0, 1].into(),
        state: State::Up,
        stats: Arc::new(stats),
        detail: ProbeDetail::default(),
    };
    let target = TargetView {
        name: "a \"host\"\\".into(),
        method: "icmp",
        addresses: vec![address],
        ..TargetView::default()
    };
    Snapshot { at: now, started: now, targets: vec![Arc::new(target)], ..Snapshot::default() }
}

/// In `PATH`, or where it was only unpacked.
fn prometheus() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debian/usr/bin");
    std::env::split_paths(&path)
        .chain([unpacked.into()])
        .map(|folder| folder.join("prometheus"))
        .find(|file| file.is_file())
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(program: &PathBuf, scraped: SocketAddr, features: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: netmon\n  static_configs:\n  - targets: ['{scraped}']\n"
        );
        fs::write(&config, text).unwrap();
        // Free now, and nobody else's for the moment that it takes.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(features)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, address, folder }
    }

    /// The series that answer an expression; none while it can't be asked.
    fn query(&self, expression: &str) -> Vec<Value> {
        let escaped: String = expression.bytes().map(|b| format!("%{b:02X}")).collect();
        let Ok(mut stream) = TcpStream::connect(self.address) else { return Vec::new() };
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET /api/v1/query?query={escaped} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_err() {
            return Vec::new();
        }
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: Value = serde_json::from_str(body).unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The same, once there is one.
    fn wait_for(&self, expression: &str) -> Value {
        let deadline = Mono::now() + LONG;
        loop {
            if let Some(first) = self.query(expression).into_iter().next() {
                return first;
            }
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(Mono::now() < deadline, "no {expression}: {}", log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn value(&self, expression: &str) -> f64 {
        let series = self.wait_for(expression);
        series["value"][1].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_reads_them() {
    let Some(program) = prometheus() else {
        assert!(std::env::var_os("CI").is_none(), "prometheus is missing: apt install prometheus");
        eprintln!("SKIPPED: no prometheus (apt install prometheus)");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let board = Board::new(snapshot(), LONG * 10);
    let options = api::Options {
        socket: folder.path().join("s"),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        metrics: metrics::Options { native_histograms: true, ..metrics::Options::default() },
        ..api::Options::default()
    };
    let server = runtime.block_on(async { api::start(board, options) }).unwrap();

    let native = Prometheus::start(&program, server.tcp()[0], &["--enable-feature=native-histograms"]);
    let plain = Prometheus::start(&program, server.tcp()[0], &[]);
    assert_eq!(native.value("up == 1"), 1.0);
    let of_target = "{target=\"a \\\"host\\\"\\\\\", probe=\"icmp\"}";
    let series = native.wait_for(&format!("netmon_probe_rtt_seconds{of_target}"));
    assert_eq!(series["histogram"][1]["count"], "100", "{series}");
    assert_eq!(series["histogram"][1]["sum"], "5.05", "{series}");
    for quantile in [0.1, 0.5, 0.9, 0.99] {
        let have = native.value(&format!("histogram_quantile({quantile}, netmon_probe_rtt_seconds)"));
        assert!((have / (quantile / 10.0) - 1.0).abs() < 0.05, "{quantile}: {have}");
    }
    assert!(native.query("netmon_probe_rtt_seconds_bucket").is_empty());
    // All else is there as ever.
    assert_eq!(plain.value("netmon_probe_rtt_seconds_bucket{le=\"0.05\"}"), 50.0);
    let names =
        "count(count by (__name__) ({__name__=~\"netmon_.*\", __name__!~\"netmon_probe_rtt_seconds.*\"}))";
    assert_eq!(native.value(names), plain.value(names));
    for expression in [
        "netmon_probes_total",
        "netmon_probe_rtt_quantile_seconds{quantile=\"0.9\"}",
        "netmon_scheduler_lag_seconds_bucket{le=\"0.25\"}",
        "netmon_wait_wake_seconds_count",
        "netmon_build_info",
    ] {
        assert_eq!(native.value(expression), plain.value(expression), "{expression}");
    }
    drop((native, plain));
    runtime.block_on(server.shutdown());
}
