use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use super::*;
use crate::{
    capability::Capability,
    config::LeftOut,
    health::{AddressStats, Departed, Reason, ReasonCode},
    observation::{
        FailureReason, IfIndex, ProbeDetail, ProbeOutcome, TcpCounters, TcpNamespace, TcpProgram, TcpReading,
        TcpRtt, TcpTotals, TcpUnattributed,
    },
    source::discovery::Report,
    state::{AddressView, DeviceView, OwnCounters, ProbeCounters, TargetView},
    time::{Boot, Moment, Mono, Wall},
};

const HOSTILE: &str = "a\"b\\c\nd{}=,";

/// What an HTTPS probe told that took so many times 1, 2 and 3 ms.
fn detail(ms: u64, status: u16, expires: u64) -> ProbeDetail {
    let phase = |n| Some(Duration::from_millis(ms * n));
    ProbeDetail {
        connect: phase(1),
        tls: phase(2),
        request: phase(3),
        status: Some(status),
        certificate_expires: Some(Wall::from_nanos(expires * 1_000_000_000)),
    }
}

/// A snapshot in which every family has a series.
pub(crate) fn full() -> Snapshot {
    let verdict = Verdict {
        state: State::Degraded,
        since: Moment { boot: Boot::from_nanos(5_000_000_000), ..Moment::default() },
        reasons: vec![
            Reason::new(ReasonCode::Loss, HOSTILE, "10 % of 60"),
            Reason::new(ReasonCode::Loss, HOSTILE, "told twice"),
        ],
        transitions: [1, 2, 3, 4],
    };
    let mut device = DeviceView { name: HOSTILE.into(), verdict: verdict.clone(), ..DeviceView::default() };
    device.link.index = IfIndex(3);
    device.lowers = vec!["eth0".to_owned()];
    device.link.speed_mbps = Some(1000);
    device.link.mac = Some(vec![2, 0, 0xff]);
    device.link.stats.rx_bytes = u64::MAX;
    let on_device =
        TcpCounters { retransmitted_segments: [5, 0, 0, 0, 0], resets_sent: 2, ..Default::default() };
    device.tcp = Some(on_device);
    device.retransmit_ratio = Some(0.0125);
    let elsewhere = TcpCounters { retransmitted_segments: [1, 2, 0, 0, 0], ..Default::default() };
    let reading = TcpReading {
        devices: [(IfIndex(0), elsewhere), (IfIndex(1), elsewhere), (IfIndex(3), on_device)].into(),
        dropped: [("netmon_tcp", 1)].into(),
        programs: [(
            "tcp_send_reset",
            TcpProgram { attached: true, recursion_misses: 3, ..Default::default() },
        )]
        .into(),
        unattributed: TcpUnattributed { retransmitted_segments: 4, resets_sent: 5, ..Default::default() },
        totals: Some(TcpTotals { failed_retransmits: 6, ..Default::default() }),
        rtt: [(IfIndex(3), Arc::new(TcpRtt::default()))].into(),
        drops: [((IfIndex(3), "TCP_CSUM".into()), 7)].into(),
        namespaces: [TcpNamespace {
            name: HOSTILE.into(),
            devices: [(HOSTILE.to_owned(), on_device)].into(),
        }]
        .into(),
        evicted: 8,
        ..Default::default()
    };
    let address = |a: &str, ms: u64| {
        let mut stats = AddressStats::new(true);
        let failed = |reason| ProbeOutcome::Failed { reason, reporter: None };
        let reply = |rtt| ProbeOutcome::Reply {
            rtt,
            stamp: StampSource::Kernel,
            ttl: Some(ms as u8),
            reordered: false,
        };
        let probes = [
            failed(FailureReason::SendError),
            failed(FailureReason::Timeout),
            failed(FailureReason::Timeout),
            reply(Duration::from_micros(40)),
            reply(Duration::from_millis(ms)),
            reply(Duration::from_secs(20)),
            ProbeOutcome::Corrupted,
        ];
        for (second, outcome) in (100..).zip(probes) {
            stats.record(Mono::from_nanos(second * 1_000_000_000), &outcome);
        }
        let detail = ProbeDetail::default();
        AddressView { address: a.parse().unwrap(), state: State::Up, stats: Arc::new(stats), detail }
    };
    let target = TargetView {
        name: HOSTILE.into(),
        method: "icmp",
        verdict: verdict.clone(),
        addresses: vec![address("10.0.0.1", 10), address("fd00::1", 20)],
        ..TargetView::default()
    };
    let web = TargetView {
        name: "web".into(),
        method: "http",
        addresses: vec![
            AddressView { detail: detail(3, 200, 1_900_000_000), ..address("10.0.0.2", 10) },
            AddressView { detail: detail(5, 503, 1_800_000_000), ..address("fd00::2", 10) },
            address("10.0.0.3", 10),
        ],
        look_up: Some(Duration::from_millis(2)),
        ..TargetView::default()
    };
    let connect = Some(Duration::from_millis(7));
    let refused = ProbeDetail { connect, status: Some(5), ..ProbeDetail::default() };
    let resolver = TargetView {
        name: "resolver".into(),
        method: "dns",
        addresses: vec![AddressView { detail: refused, ..address("10.0.0.4", 10) }],
        ..TargetView::default()
    };
    let own = OwnCounters {
        probes_skipped: [("no_socket", 1)].into(),
        receive_drops: 11,
        clock_steps: 12,
        resets_sent: 13,
        unmatched: 14,
        sockets_reopened: 15,
        ..OwnCounters::default()
    };
    Snapshot {
        verdict,
        devices: vec![Arc::new(device)],
        targets: vec![Arc::new(target), Arc::new(web), Arc::new(resolver)],
        tcp: Some(Arc::new(reading)),
        capabilities: Arc::new(vec![
            Capability::works("icmp_v4", "ping socket"),
            Capability::missing("bpf", "", ""),
        ]),
        own,
        at: Moment { mono: Mono::from_nanos(110_000_000_000), ..Moment::default() },
        ..Snapshot::default()
    }
}

pub(crate) fn reported() -> Vec<Arc<Reported>> {
    let connection = Reported {
        client: "c\"\\".into(),
        label: "c\"\\@1000".into(),
        name: "link{}".into(),
        state: netmon_client::wire::ConnectionState::Connected,
        reconnects: 3,
        uptime_ratio: Some(0.5),
        ..Reported::default()
    };
    vec![Arc::new(connection)]
}

pub(crate) fn own() -> Own {
    let own = Own::new();
    own.notify.know(HOSTILE);
    own.exports.know();
    own
}

fn text(format: Format) -> String {
    String::from_utf8(bytes(format)).unwrap()
}

fn bytes(format: Format) -> Vec<u8> {
    let options = Options { windows: true, native_histograms: true, lean: false };
    let own = own();
    let report = Report {
        mechanism: "file_sd",
        name: "racks\"".to_owned(),
        targets: 3,
        documents: 1,
        problems: Vec::new(),
        answered: true,
        failures: 2,
        succeeded: None,
    };
    own.discovered.show(&[report]);
    own.discovered.show_left_out(&LeftOut { duplicates: 4, ..LeftOut::default() });
    render(&full(), &reported(), false, WallOffset::default(), &own, options, format)
}

#[test]
fn the_series_of_a_source_that_is_none_any_more_go() {
    let own = Own::new();
    let report = |name: &str| Report {
        mechanism: "http_sd",
        name: name.to_owned(),
        targets: 1,
        documents: 1,
        problems: vec!["x".to_owned()],
        answered: true,
        failures: 5,
        succeeded: None,
    };
    let shown = |own: &Own| {
        let options = Options::default();
        let text = render(&full(), &[], false, WallOffset::default(), own, options, Format::Text);
        parse(&String::from_utf8(text).unwrap()).1
    };
    own.discovered.show(&[report("a"), report("b")]);
    own.discovered.show(&[report("b")]);
    own.discovered.show_left_out(&LeftOut { duplicates: 4, ..LeftOut::default() });
    let samples = shown(&own);
    let labels = [("source", "b"), ("mechanism", "http_sd")];
    assert_eq!(value(&samples, "netmon_discovery_failures_total", &labels), 5.0);
    assert!(!samples.keys().any(|(_, labels)| labels.get("source").is_some_and(|s| s == "a")));
    let of_duplicates = [("reason", "duplicate")];
    assert_eq!(value(&samples, "netmon_discovery_targets_left_out", &of_duplicates), 4.0);
    own.discovered.show(&[]);
    own.discovered.show_left_out(&LeftOut::default());
    assert!(!shown(&own).keys().any(|(name, _)| name.starts_with("netmon_discovery_")));
}

pub(crate) type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// Reads a text back; a series that comes twice, or a line that can't be read, fails.
pub(crate) fn parse(text: &str) -> (BTreeMap<String, String>, Samples) {
    let (mut types, mut samples) = (BTreeMap::new(), Samples::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        }
        if line.starts_with('#') {
            continue;
        }
        let split = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(split);
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, after) = rest.trim_start_matches(',').split_once("=\"").unwrap();
                let (mut value, mut chars) = (String::new(), after.char_indices());
                let end = loop {
                    match chars.next().unwrap() {
                        (i, '"') => break i,
                        (_, '\\') => value.push(match chars.next().unwrap().1 {
                            'n' => '\n',
                            c @ ('\\' | '"') => c,
                            c => panic!("escape {c}"),
                        }),
                        (_, c) => value.push(c),
                    }
                };
                assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
                rest = &after[end + 1..];
            }
            rest = &rest[1..];
        }
        let value = rest.trim().parse().unwrap();
        assert!(samples.insert((name.to_owned(), labels), value).is_none(), "{line} twice");
    }
    (types, samples)
}

fn value(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    *samples.get(&(name.to_owned(), labels)).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn what_the_probe_engine_counts_of_itself_is_published() {
    let (_, samples) = parse(&text(Format::Text));
    for (name, expected) in [
        ("netmon_probe_receive_drops_total", 11.0),
        ("netmon_clock_steps_total", 12.0),
        ("netmon_probe_resets_sent_total", 13.0),
        ("netmon_probe_unmatched_total", 14.0),
        ("netmon_probe_sockets_reopened_total", 15.0),
    ] {
        assert_eq!(value(&samples, name, &[]), expected, "{name}");
    }
}

#[test]
fn what_is_rendered_is_what_the_catalogue_says() {
    let (types, samples) = parse(&text(Format::Text));
    let rendered: BTreeSet<&str> = types.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = catalogue::ALL.iter().map(|f| f.name).collect();
    assert_eq!(listed.len(), catalogue::ALL.len(), "a name stands twice in the catalogue");
    // The process's limit is told only where there is one.
    let optional = BTreeSet::from(["process_max_fds"]);
    let missing: Vec<_> = listed.difference(&rendered).filter(|n| !optional.contains(**n)).collect();
    assert!(
        missing.is_empty() && rendered.is_subset(&listed),
        "{missing:?} {:?}",
        rendered.difference(&listed)
    );

    for family in catalogue::ALL {
        assert!(!family.help.contains(['\\', '"', '\n']) && family.help.ends_with('.'), "{}", family.name);
        let suffixes: &[&str] = if family.kind == catalogue::Kind::Histogram { &["_sum"] } else { &[""] };
        for (name, labels) in samples.keys() {
            if suffixes.iter().any(|s| *name == format!("{}{s}", family.name)) {
                let have: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
                assert_eq!(have, family.labels.iter().copied().collect(), "{name}");
            }
        }
    }
}

#[test]
fn values_come_back() {
    let (_, samples) = parse(&text(Format::Text));
    let get = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    let target = [("target", HOSTILE), ("probe", "icmp")];
    let with = |name, value| [target[0], target[1], (name, value)];
    assert_eq!(get("netmon_state", &[("state", "degraded")]), 1.0);
    assert_eq!(get("netmon_state", &[("state", "up")]), 0.0);
    assert_eq!(get("netmon_state_transitions_total", &[("state", "down")]), 4.0);
    assert_eq!(get("netmon_state_changed_timestamp_seconds", &[]), 5.0);
    assert_eq!(get("netmon_state_reason", &[("code", "loss"), ("subject", HOSTILE)]), 1.0);
    assert_eq!(get("netmon_link_speed_bytes", &[("device", HOSTILE)]), 125e6);
    assert_eq!(get("netmon_probes_total", &target), 12.0);
    assert_eq!(get("netmon_probe_replies_total", &target), 6.0);
    assert_eq!(get("netmon_probe_failures_total", &with("reason", "timeout")), 4.0);
    assert_eq!(get("netmon_probe_send_errors_total", &target), 2.0);
    assert_eq!(get("netmon_probe_rtt_seconds_bucket", &with("le", "0.00005")), 2.0);
    assert_eq!(get("netmon_probe_rtt_seconds_bucket", &with("le", "10")), 4.0);
    assert_eq!(get("netmon_probe_rtt_seconds_bucket", &with("le", "+Inf")), 6.0);
    assert_eq!(get("netmon_probe_rtt_seconds_count", &target), 6.0);
    // Of the worse address.
    let near = |have: f64, want: f64, off: f64| assert!((have / want - 1.0).abs() <= off, "{have} {want}");
    near(get("netmon_probe_rtt_quantile_seconds", &with("quantile", "0.5")), 0.02, 0.001);
    near(get("netmon_probe_rtt_quantile_seconds", &with("quantile", "0.99")), 20.0, 0.001);
    for window in ["5m", "1h"] {
        let labels = [target[0], target[1], ("window", window), ("quantile", "0.5")];
        near(get("netmon_probe_rtt_window_seconds", &labels), 0.02, 0.012);
        assert_eq!(get("netmon_probe_window_loss_ratio", &with("window", window)), 0.4);
    }
    assert_eq!(get("netmon_probe_loss_ratio", &target), 0.4);
    assert_eq!(get("netmon_probe_corrupted_total", &target), 2.0);
    assert_eq!(get("netmon_probe_reply_ttl", &target), 10.0);
    assert_eq!(get("netmon_probe_ttl_changes_total", &target), 0.0);
    assert_eq!(get("netmon_capability", &[("name", "bpf")]), 0.0);
    assert_eq!(get("netmon_wait_requests_total", &[("result", "satisfied")]), 0.0);
    assert!(!text(Format::Text).contains("reason=\"send_error\""));
}

#[test]
fn what_former_addresses_counted_stays_in_the_sums() {
    let counters = ProbeCounters { concluded: 9, replies: 7, ..ProbeCounters::default() };
    let departed = Some(Arc::new(Departed { counters, ..Departed::default() }));
    let mut snapshot = full();
    let web = TargetView { departed, ..(*snapshot.targets[1]).clone() };
    snapshot.targets[1] = Arc::new(web);
    let rendered = |snapshot: &Snapshot| {
        let walls = WallOffset::default();
        let text = render(snapshot, &[], false, walls, &own(), Options::default(), Format::Text);
        parse(&String::from_utf8(text).unwrap()).1
    };
    let (before, after) = (rendered(&full()), rendered(&snapshot));
    let more = |name: &str| {
        let web = [("target", "web"), ("probe", "http")];
        value(&after, name, &web) - value(&before, name, &web)
    };
    assert_eq!((more("netmon_probes_total"), more("netmon_probe_replies_total")), (9.0, 7.0));
    assert_eq!(more("netmon_probe_late_total"), 0.0);
}

#[test]
fn longer_windows_are_for_those_who_ask() {
    let text =
        render(&full(), &reported(), false, WallOffset::default(), &own(), Options::default(), Format::Text);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("netmon_probe_rtt_quantile_seconds{") && !text.contains("window"), "{text}");
}

#[test]
fn lean_is_half_the_series_and_the_same_sums() {
    let rendered = |lean| {
        let options = Options { lean, ..Options::default() };
        let text = render(&full(), &reported(), false, WallOffset::default(), &own(), options, Format::Text);
        parse(&String::from_utf8(text).unwrap()).1
    };
    let (usual, lean) = (rendered(false), rendered(true));
    let probes = lean.iter().filter(|((_, labels), _)| labels.contains_key("probe"));
    probes.for_each(|(series, value)| assert_eq!(usual.get(series), Some(value), "{series:?}"));
    let of_targets = |samples: &Samples| samples.keys().filter(|(_, l)| l.contains_key("probe")).count();
    assert!(of_targets(&lean) * 2 <= of_targets(&usual), "{} of {}", of_targets(&lean), of_targets(&usual));
}

#[test]
fn a_failure_that_a_method_can_not_have_is_no_series() {
    let (_, samples) = parse(&text(Format::Text));
    let has = |probe: &str, reason: &str| {
        samples.keys().any(|(name, labels)| {
            name == "netmon_probe_failures_total" && labels["probe"] == probe && labels["reason"] == reason
        })
    };
    assert!(has("http", "tls") && has("dns", "nxdomain") && has("icmp", "ttl_exceeded"));
    assert!(!has("icmp", "tls") && !has("http", "nxdomain") && !has("dns", "http_status"));
}

#[test]
fn of_a_targets_addresses_the_worst_is_told_and_what_is_not_known_is_left_out() {
    let (_, samples) = parse(&text(Format::Text));
    let web = [("target", "web"), ("probe", "http")];
    let resolver = [("target", "resolver"), ("probe", "dns")];
    let phase = |of: [(&'static str, &'static str); 2], phase| {
        value(&samples, "netmon_probe_phase_duration_seconds", &[of[0], of[1], ("phase", phase)])
    };
    assert_eq!((phase(web, "connect"), phase(web, "tls"), phase(web, "request")), (0.005, 0.01, 0.015));
    assert_eq!(phase(web, "resolve"), 0.002);
    assert_eq!(value(&samples, "netmon_probe_http_status_code", &web), 503.0);
    assert_eq!(value(&samples, "netmon_probe_certificate_expiry_timestamp_seconds", &web), 1_800_000_000.0);
    assert_eq!(
        (phase(resolver, "connect"), value(&samples, "netmon_probe_dns_rcode", &resolver)),
        (0.007, 5.0)
    );
    let count = |name: &str| samples.keys().filter(|(n, _)| n == name).count();
    assert_eq!(count("netmon_probe_phase_duration_seconds"), 5);
    for name in ["http_status_code", "dns_rcode", "certificate_expiry_timestamp_seconds"] {
        assert_eq!(count(&format!("netmon_probe_{name}")), 1, "{name}");
    }
}

#[test]
fn segments_over_all_devices_are_the_kernels_total() {
    let (_, samples) = parse(&text(Format::Text));
    let sum: f64 = samples
        .iter()
        .filter(|((name, _), _)| name == "netmon_tcp_retransmitted_segments_total")
        .map(|(_, value)| value)
        .sum();
    assert_eq!(sum, 15.0);
}

#[test]
fn a_stale_state_reads_unknown() {
    let text =
        render(&full(), &reported(), true, WallOffset::default(), &own(), Options::default(), Format::Text);
    let text = String::from_utf8(text).unwrap();
    let (_, samples) = parse(&text);
    assert_eq!(value(&samples, "netmon_state", &[("state", "unknown")]), 1.0);
    assert_eq!(value(&samples, "netmon_state", &[("state", "degraded")]), 0.0);
    assert_eq!(value(&samples, "netmon_state_stale", &[]), 1.0);
}

#[test]
fn both_formats_hold_the_same_series() {
    let keys = |format| {
        parse(&text(format)).1.into_keys().filter(|(_, l)| !l.contains_key("le")).collect::<Vec<_>>()
    };
    assert_eq!(keys(Format::Text), keys(Format::OpenMetrics));
}

#[test]
fn what_is_compressed_is_the_same_exposition() {
    let mut snapshot = full();
    // More than is compressed at once.
    let one =
        |n| Arc::new(TargetView { name: format!("target-{n}").into(), ..(*snapshot.targets[0]).clone() });
    let many: Vec<_> = (0..200).map(one).collect();
    snapshot.targets.extend(many);
    let walls = WallOffset::default();
    let render = |writer| render(&snapshot, &[], false, walls, &own(), Options::default(), writer);
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        let (plain, packed) = (render(Writer::new(format)), render(Writer::compressed(format)));
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut back).unwrap();
        assert!(plain.len() > 200_000 && packed.len() * 4 < plain.len(), "{} {}", packed.len(), plain.len());
        // The agent's own come last, and the process goes on meanwhile.
        let of_targets = plain.windows(15).position(|w| w == b"netmon_throttle").unwrap();
        assert!(plain[..of_targets] == back[..of_targets], "{format:?}");
    }
}

#[test]
fn promtool_finds_nothing() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = promtool else {
        assert!(std::env::var_os("CI").is_none(), "promtool is missing: apt install prometheus");
        eprintln!("SKIPPED: no promtool (apt install prometheus)");
        return;
    };
    child.stdin.take().unwrap().write_all(text(Format::Text).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// What may be another at the next look, whatever is rendered.
pub(crate) fn is_volatile(name: &str) -> bool {
    name.starts_with("process_") || [catalogue::LOG_LOST.name, catalogue::ALLOCATED.name].contains(&name)
}

#[test]
fn protobuf_holds_the_same_series() {
    let keep = |samples: Samples| -> Samples {
        samples.into_iter().filter(|((name, _), _)| !is_volatile(name)).collect()
    };
    let told = keep(protobuf::tests::series(&bytes(Format::Protobuf)));
    assert_eq!(told, keep(parse(&text(Format::Text)).1));
}
