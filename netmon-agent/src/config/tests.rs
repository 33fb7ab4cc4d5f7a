use std::{path::Path, sync::Arc, time::Duration};

use super::{Config, MetricsConfig};
use crate::{
    observation::{DnsQuery, HttpRequest, Method, PathOptions, UdpExpect},
    output::log,
};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("netmon.toml")).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(text: &str, place: &str, words: &str) {
    let error = parse(text).expect_err("must be refused");
    assert!(error.starts_with(&format!("netmon.toml:{place}: ")), "{error}");
    assert!(error.contains(words), "{error}");
}

#[test]
fn nothing_is_needed() {
    let c = parse("").unwrap();
    assert_eq!((c.interval, c.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert!(c.auto_targets && c.netlink);
    assert_eq!(c.metrics, MetricsConfig::default());
    assert_eq!(
        c.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:9817", "[::1]:9817"]
    );
    assert_eq!(c.stale_after(), Duration::from_secs(6));
}

#[test]
fn a_full_file_is_read() {
    let c = parse(
        r#"
        [agent]
        listen = ["127.0.0.1:1234"]
        [defaults]
        interval = "1m30s"
        timeout = "500ms"
        auto_targets = false
        [devices]
        netlink = false
        include = ["eth*"]
        required = ["eth0"]
        [metrics]
        windows = true
        native_histograms = true
        [diagnosis]
        pause = "1m"
        per_minute = 3
        [health]
        stall_gap = "4s"
        [health.quorum]
        backup = 1
        [[target]]
        name = "vcenter"
        host = "vcenter.example.com"
        probe = "tcp"
        port = 443
        scope = "backup"
        [[target]]
        host = "2001:db8::1"
        interval = "1s"
        "#,
    )
    .unwrap();
    assert_eq!(c.targets[0].method, Method::Tcp { port: 443 });
    assert_eq!((c.targets[0].scope.as_str(), c.targets[1].scope.as_str()), ("backup", "custom"));
    assert_eq!((c.targets[1].name.as_str(), c.targets[1].interval), ("2001:db8::1", Duration::from_secs(1)));
    assert_eq!((c.health.quorum["backup"], c.health.stall_gap), (1, Duration::from_secs(4)));
    assert_eq!(c.stale_after(), Duration::from_secs(270));
    assert!(c.metrics.windows && c.metrics.native_histograms && c.health.native_histograms);
    let d = c.diagnosis;
    assert_eq!((d.enabled, d.pause, d.per_minute), (true, Duration::from_secs(60), 3));
    assert_eq!(d.timeout, Duration::from_secs(12));
}

#[test]
fn the_retry_budget_is_within_reason() {
    let c = parse("[retry]\ntokens = 100\nper_second = 0.5\n").unwrap();
    let expected = crate::budget::Settings { tokens: 100, per_second: 0.5, ..Default::default() };
    assert_eq!(c.retry, expected);
    assert_eq!(parse("").unwrap().retry, crate::budget::Settings::default());
    refused("[retry]\ntokens = 10", "2:10", "raise tokens, or lower the cost");
    refused("[retry]\nthrottle = 501", "2:12", "more than the 500 tokens");
    refused("[retry]\nper_second = 0.0", "2:14", "between 0.001 and 10000");
    refused("[retry]\ntoken = 1", "2:1", "did you mean `tokens`?");
}

#[test]
fn outages_are_written_down_unless_told_otherwise() {
    let usual = parse("").unwrap().history.unwrap();
    assert_eq!(usual.path, Path::new("/var/lib/netmon/history.db"));
    assert_eq!((usual.retention, usual.max_size), (Duration::from_secs(90 * 86_400), 64 << 20));
    let other = "[history]\npath = \"/srv/h.db\"\nretention = \"2w\"\nmax_size = \"5MiB\"";
    let other = parse(other).unwrap().history.unwrap();
    assert_eq!(other.path, Path::new("/srv/h.db"));
    assert_eq!((other.retention, other.max_size), (Duration::from_secs(14 * 86_400), 5 << 20));
    assert_eq!(parse("[history]\nenabled = false\npath = \"/srv/h.db\"").unwrap().history, None);
}

#[test]
fn a_log_goes_where_it_is_told_to() {
    let usual = log::Settings { level: Some("info".into()), ..log::Settings::default() };
    assert_eq!(parse("").unwrap().log, usual);
    let sizes = parse("[log]\nfile = \"/n.log\"").unwrap().log;
    assert_eq!((sizes.max_size, sizes.max_files), (Some(10 << 20), Some(5)));
    let text = "[log]\nlevel = \"info,netmon_agent::source=debug\"\nformat = \"json\"\nfile = \"/var/log/n.log\"\n\
                max_size = \"1MiB\"\nmax_files = 9";
    let expected = log::Settings {
        level: Some("info,netmon_agent::source=debug".into()),
        format: Some(log::LogFormat::Json),
        file: Some("/var/log/n.log".into()),
        max_size: Some(1 << 20),
        max_files: Some(9),
    };
    assert_eq!(parse(text).unwrap().log, expected);
    refused("[log]\nlevel = \"info,x=loud\"", "2:9", "it reads like info");
    refused("[log]\nformat = \"jsno\"", "2:10", "did you mean `json`?");
    refused("[log]\nfile = \"n.log\"", "2:8", "leave `file` out");
    refused("[log]\nfile = \"/n.log\"\nformat = \"journald\"", "2:8", "not to both");
    refused("[log]\nmax_files = 2", "2:13", "no log file to limit");
    refused("[log]\nfile = \"/n.log\"\nmax_size = \"1kB\"", "3:12", "16KiB at least");
    refused("[log]\nfile = \"/n.log\"\nmax_size = \"off\"", "3:12", "may fill the disk");
    refused("[log]\nfile = \"/n.log\"\nmax_files = 0", "3:13", "between 1 and 1000");
    refused("[log]\nfiles = \"/n.log\"", "2:1", "did you mean `file`?");
}

#[test]
fn faults_name_their_place_and_the_remedy() {
    refused("[defaults]\nintervall = \"2s\"", "2:1", "did you mean `interval`?");
    refused("[metrics]\nwindow = true", "2:1", "did you mean `windows`?");
    refused("[defualts]\n", "1:2", "did you mean `defaults`?");
    refused("[defaults]\ninterval = \"2 parsecs\"", "2:12", "bad duration");
    refused("[defaults]\ninterval = 2", "2:12", "a duration with its unit");
    refused("[defaults]\ninterval = \"1ms\"", "2:12", "an interval is between 20ms");
    refused("[[target]]\nhost = \"a\"\nprobe = \"tcp\"", "2:8", "add `port = 443`");
    refused("[[target]]\nhost = \"a\"\nprobe = \"smtp\"", "3:9", "known: \"icmp\"");
    refused("[[target]]\nhost = \"a\"\n[[target]]\nhost = \"a\"", "4:8", "is there twice");
    refused("[[target]]\nhost = \"http://a/\"", "2:8", "no host name");
    refused("[[target]]\nhost = \"0.0.0.0\"", "2:8", "127.0.0.1");
    refused("[[target]]\nurl = \"http://[ff02::1]/\"", "2:7", "no host, or of many");
    refused("[[target]]\nhost = \"a\"\nport = 0\nprobe = \"dns\"", "3:8", "port 0");
    refused("[devices]\nexclude = [\"a[\"]", "2:12", "bad pattern");
    refused("[diagnosis]\nper_minute = 0", "2:14", "enabled = false");
    refused("[diagnosis]\npause = \"5s\"", "2:9", "timeout is no longer than pause");
    refused("[diagnosis]\ntimeout = \"40s\"", "2:11", "timeout is no longer than pause");
    refused("[diagnosis]\ntimeout = \"1s\"", "2:11", "between 2s and 1m");
    refused("[diagnosis]\nenable = true", "2:1", "did you mean `enabled`?");
    refused("[history]\npath = \"h.db\"", "2:8", "leave `path` out for /var/lib/netmon/history.db");
    refused("[history]\nretention = \"5m\"", "2:13", "retention is between 1h");
    refused("[history]\nmax_size = \"10kB\"", "2:12", "between 1MiB and 64GiB");
    refused("[history]\nmax_size = \"off\"", "2:12", "enabled = false");
    refused("[history]\nretain = \"90d\"", "2:1", "did you mean `retention`?");
    refused("[health.quorum]\ninternet = 0", "2:12", "quorum of 0");
    refused("[agent]\nlisten = [\"localhost\"]", "2:11", "socket address");
    refused("a = ", "1:5", "");
    refused("[agent]\nsocket = \"\"", "2:10", "leave `socket` out");
    refused("[target]\nhost = \"a\"", "1:1", "[[target]]");
    refused("[[target]]\nname = \"a\"", "1:1", "missing key `host`");
}

#[test]
fn methods_and_ways_are_read() {
    let c = parse(
        r#"
        [[target]]
        host = "192.0.2.1"
        source = "192.0.2.9"
        device = "eth0"
        mark = 0x10
        ttl = 5
        dscp = "EF"
        size = 1472
        dont_fragment = true
        [[target]]
        name = "echo"
        host = "a"
        probe = "udp"
        port = 7
        vrf = "blue"
        dscp = 8
        [[target]]
        name = "closed"
        host = "a"
        probe = "udp"
        port = 33434
        expect = "unreachable"
        [[target]]
        name = "name"
        host = "192.0.2.53"
        probe = "dns"
        query = "example.com"
        record = "aaaa"
        transport = "tcp"
        accept = ["NOERROR", "NXDOMAIN"]
        [[target]]
        url = "https://a.example:8443/health"
        host = "192.0.2.80"
        status = ["2xx", "401"]
        head = true
        verify = false
        "#,
    )
    .unwrap();
    let expected = PathOptions {
        source: Some("192.0.2.9".parse().unwrap()),
        device: Some("eth0".to_owned()),
        mark: 16,
        ttl: Some(5),
        dscp: 46,
        size: Some(1472),
        dont_fragment: true,
        family: None,
    };
    assert_eq!(*c.targets[0].path, expected);
    assert_eq!(c.targets[1].method, Method::Udp { port: 7, expect: UdpExpect::Echo });
    assert_eq!((c.targets[1].path.device.as_deref(), c.targets[1].path.dscp), (Some("blue"), 8));
    assert_eq!(c.targets[2].method, Method::Udp { port: 33434, expect: UdpExpect::Unreachable });
    let query =
        DnsQuery { port: 53, name: "example.com".to_owned(), record: 28, tcp: true, accept: vec![0, 3] };
    assert_eq!(c.targets[3].method, Method::Dns(Arc::new(query)));
    let (name, host) = (&c.targets[4].name, &c.targets[4].host);
    assert_eq!((name.as_str(), host.as_str()), ("https://a.example:8443/health", "192.0.2.80"));
    let request = HttpRequest {
        tls: true,
        port: 8443,
        host: "a.example".to_owned(),
        path: "/health".to_owned(),
        head: true,
        status: vec![200..=299, 401..=401],
        verify: false,
        ca_file: None,
    };
    assert_eq!(c.targets[4].method, Method::Http(Arc::new(request)));
}

#[test]
fn faults_of_methods_and_ways_name_their_place() {
    let host = "[[target]]\nhost = \"a\"\n";
    for (line, column, words) in [
        ("probe = \"udp\"", "2:8", "add `port"),
        ("probe = \"http\"", "2:8", "needs a URL"),
        ("query = \"b\"", "3:9", "of dns targets"),
        ("url = \"https://u@a/\"", "3:7", "a user's name"),
        ("url = \"http://a/\"\nverify = false", "4:10", "for https"),
        ("device = \"a b\"", "3:10", "1 to 15 bytes"),
        ("device = \"a\"\nvrf = \"b\"", "4:7", "leave `vrf` out"),
        ("ttl = 0", "3:7", "1 to 255"),
        ("ttl = 256", "3:7", ""),
        ("dscp = 64", "3:8", "0 to 63"),
        ("dscp = \"AF5\"", "3:8", "\"AF41\""),
        ("size = 10", "3:8", "24 to 65507"),
        ("probe = \"tcp\"\nport = 1\nsize = 100", "5:8", "has no size"),
        ("probe = \"dns\"\nquery = \"a..b\"", "4:9", "a label is empty"),
        ("probe = \"dns\"\nrecord = \"b\"", "4:10", "\"AAAA\""),
        ("probe = \"dns\"\naccept = []", "4:10", "leave `accept` out"),
        ("probe = \"dns\"\naccept = [\"x\"]", "4:11", "NXDOMAIN"),
        ("probe = \"dns\"\ntransport = \"x\"", "4:13", "\"udp\" or \"tcp\""),
        ("probe = \"udp\"\nport = 7\nexpect = \"x\"", "5:10", "unreachable"),
        ("url = \"http://a/\"\nstatus = [\"9\"]", "4:11", "\"2xx\""),
        ("url = \"http://a/\"\nport = 80", "4:8", "in its URL"),
        ("sizee = 100", "3:1", "did you mean `size`?"),
    ] {
        refused(&format!("{host}{line}"), column, words);
    }
    let long = format!("url = \"http://a/{}\"", "x".repeat(128));
    refused(&format!("{host}{long}"), "3:7", "give the target a `name`");
    let v4 = "[[target]]\nhost = \"192.0.2.1\"\nsource = \"::1\"";
    refused(v4, "3:10", "of one family");
}

#[test]
fn thresholds_are_read_by_name() {
    let c = parse(
        "[health]\nloss_ratio = 0.1\nloss_left = 2\nretransmit_segments = 1000\nflap_max = \"10m\"\nrto_pause = \"9s\"",
    )
    .unwrap();
    let h = c.health;
    assert_eq!((h.loss_ratio, h.loss_left, h.retransmit_segments), (0.1, 2, 1000));
    assert_eq!((h.flap_max, h.rto_pause), (Duration::from_secs(600), Duration::from_secs(9)));
    let c = parse("[health]\nburst = [\"100ms\", \"1s\"]\nstale_intervals = 5\nlatency_recent = 5").unwrap();
    assert_eq!(c.health.burst, [100, 1000].map(Duration::from_millis));
    assert_eq!((c.stale_after(), c.health.latency_recent), (Duration::from_secs(10), 5));
}

#[test]
fn every_threshold_has_a_key_and_every_key_stands_in_the_documents() {
    let of = |text: &'static str, head: &str, before: &str| -> Vec<&'static str> {
        let body = text.split_once(head).and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
        let name =
            |line: &'static str| line.trim().strip_prefix(before)?.split_once(": ").map(|(name, _)| name);
        body.lines().filter_map(name).collect()
    };
    let keys = of(include_str!("health.rs"), "struct Health {", "pub(super) ");
    let thresholds = of(include_str!("../health/settings.rs"), "struct Settings {", "pub ");
    let elsewhere = ["required", "preferred", "native_histograms"];
    let missing: Vec<_> = thresholds.iter().filter(|t| !keys.contains(t) && !elsewhere.contains(t)).collect();
    assert!(thresholds.len() > 30 && missing.is_empty(), "no key for {missing:?}");
    let table = include_str!("../../../docs/HEALTH.md");
    let untold: Vec<_> = keys.iter().filter(|key| !table.contains(&format!("`{key}`"))).collect();
    assert!(untold.is_empty(), "not in the table of the rules: {untold:?}");
}

#[test]
fn the_documents_sample_names_the_defaults() {
    let page = include_str!("../../../docs/CONFIGURATION.md");
    let mut samples = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole = samples.find(|sample| sample.starts_with("[agent]")).unwrap();
    let mut c = parse(whole).unwrap();
    assert_eq!(std::mem::take(&mut c.health.quorum)["internet"], 2);
    assert_eq!(c.health, parse("").unwrap().health);
}

#[test]
fn thresholds_must_fit_together() {
    refused("[health]\nloss_ratio = nan", "2:14", "between 0.001 and 0.9");
    refused("[health]\nflap_suppress = -1", "2:17", "");
    refused("[health]\nflap_suppress = 1000", "2:17", "flap_reuse is smaller than flap_suppress");
    refused("[health]\nflap_reuse = 3000", "2:14", "never be used again below 3000");
    refused("[health]\nflap_half_life = \"10m\"", "2:18", "nothing is ever suppressed");
    refused("[health]\nloss_left = 8", "2:13", "entered at 8 lost of 60");
    refused("[health]\nretransmit_ratio = 0.9\nretransmit_segments = 8", "3:23", "even if all of 8 segments");
    refused("[health]\nprogress_window = \"3s\"", "2:19", "progress_stale is no shorter");
    refused("[health]\nretransmit_window = \"6m\"", "2:21", "no shorter than retransmit_window");
    refused("[health]\nlate_tick = \"4s\"", "2:13", "late_tick is shorter than stall_gap");
    refused("[health]\nloss_samples = 61", "2:16", "between 10 and 60");
    refused("[health]\nloss_ratio = 0.9\nconfidence = 5", "2:14", "no loss of 60 probes is surely more");
    refused(
        "[health]\nretransmit_cluster = 100\nretransmit_ratio = 0.5",
        "3:20",
        "even if all of 400 segments",
    );
    refused("[health]\nburst = []", "2:9", "for one lost packet");
    refused("[health]\nburst = [\"1s\", \"1s\"]", "2:9", "increase");
    refused("[health]\nburst = [\"31s\"]", "2:9", "within 30 s");
    refused("[health]\nloss_rate = 0.1", "2:1", "did you mean `loss_ratio`?");
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netmon.toml");
    std::fs::write(&path, b"[agent]\nsocket = \"/\xff\"\n").unwrap();
    let error = Config::load(Some(&path)).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}:2:12: ", path.display())), "{error}");
    assert!(!error.one_line().contains('\n') && error.one_line().contains("UTF-8"));
}

#[test]
fn a_log_tells_a_fault_in_one_line() {
    let error = Config::parse("[agent]\nlissten = 1\n", Path::new("netmon.toml")).unwrap_err();
    assert_eq!(error.one_line(), "netmon.toml:2:1: unknown key `lissten`; did you mean `listen`?");
}

#[test]
fn the_caret_stands_under_the_fault() {
    let error = parse("[devices]\n\n  inclde = [\"*\"]\n").unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[2], "3 |   inclde = [\"*\"]");
    assert_eq!(lines[3], "  |   ^^^^^^");
}

#[test]
fn a_flood_is_refused_at_the_target_that_is_too_many() {
    assert_eq!(parse("").unwrap().max_probes, 10_000);
    let many = |cap: &str, n: usize| {
        let all: String =
            (0..n).map(|i| format!("[[target]]\nhost = \"10.0.{}.{}\"\n", i / 250, i % 250)).collect();
        format!("[agent]\n{cap}\n[defaults]\ninterval = \"20ms\"\n{all}")
    };
    assert!(parse(&many("", 200)).is_ok());
    // Four lines come before the targets, and each of those has two.
    refused(&many("", 250), "406:8", "max_probes_per_second = 10000, and all of them for 12500");
    refused(&many("", 250), "406:8", "set `max_probes_per_second = 12500` in [agent]");
    assert!(parse(&many("max_probes_per_second = 12500", 250)).is_ok());
    refused(&many("max_probes_per_second = 49", 1), "6:8", "max_probes_per_second = 49");
    refused("[agent]\nmax_probes_per_second = 0", "2:25", "would probe nothing");
    refused("[agent]\nmax_probes_per_second = -1", "2:25", "");
}

#[test]
fn limits_are_of_cpu_and_memory_and_can_be_switched_off() {
    let limits = |text: &str| parse(&format!("[limits]\n{text}")).map(|c| (c.limits.cpu, c.limits.memory));
    let usual = (Some(0.05), Some(100_000_000));
    assert_eq!(limits(""), Ok(usual));
    assert_eq!(limits("cpu = 0.001\nmemory = \"64MiB\""), Ok((Some(0.001), Some(64 << 20))));
    assert_eq!(limits("cpu = 2\nmemory = 50000000"), Ok((Some(2.0), Some(50_000_000))));
    assert_eq!(limits("cpu = 0\nmemory = 0"), Ok((None, None)));
    assert_eq!(limits("cpu = \"off\"\nmemory = \"off\""), Ok((None, None)));
    for (text, place, words) in [
        ("cpu = -0.1", "2:7", "0.05 is 5 %"),
        ("cpu = nan", "2:7", "no part of a core"),
        ("cpu = \"5%\"", "2:7", "such as 0.05"),
        ("memory = \"much\"", "2:10", "such as \"100MB\""),
        ("memory = -5", "2:10", "such as \"100MB\""),
        ("mem = 1", "2:1", "did you mean `memory`?"),
    ] {
        refused(&format!("[limits]\n{text}"), place, words);
    }
}
