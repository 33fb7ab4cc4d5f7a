use std::path::Path;

use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::config::schema;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("t")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// What is shown is read as the same configuration, and shown as the same text.
fn comes_back(config: &Config) -> Config {
    let shown = config.to_toml().unwrap();
    let again = parse(&shown);
    assert_eq!(again.to_toml().unwrap(), shown);
    // What followed from the targets is written out now.
    assert_eq!(again.limits, config.limits);
    assert_eq!(Config { open: config.open, ..again.clone() }, *config, "{shown}");
    again
}

/// Lines that go together, by table.
const LINES: [(&str, &[&str]); 12] = [
    (
        "agent",
        &[
            "listen = []",
            "web_config_file = \"/etc/x.yml\"",
            "socket = \"/run/\\\"x\\\".sock\"",
            "max_probes_per_second = 123456",
            "sandbox = \"log\"",
        ],
    ),
    ("limits", &["cpu = \"off\"", "memory = 12345678"]),
    ("defaults", &["interval = \"1m30s\"", "timeout = \"1ms\"", "auto_targets = false"]),
    (
        "devices",
        &[
            "netlink = false",
            "include = [\"eth{0,1}\", \"[a-c]*\"]",
            "exclude = []",
            "required = [\"eth0\"]",
            "preferred = [\"\u{e9}\\t\"]",
        ],
    ),
    (
        "kernel",
        &[
            "namespaces = \"all\"",
            "rtt_samples = true",
            "drop_reasons = [\"SKB_DROP_REASON_NO_SOCKET\", \"TCP_CSUM\"]",
            "btf = \"/b\"",
        ],
    ),
    ("metrics", &["windows = true", "native_histograms = true", "lean = true"]),
    ("diagnosis", &["enabled = false", "pause = \"1h\"", "per_minute = 60", "timeout = \"2500ms\""]),
    ("retry", &["tokens = 1000000", "transient = 13", "throttle = 1", "per_second = 0.1"]),
    (
        "otlp",
        // Without the first there is nothing that the others are of.
        &[
            "endpoint = \"https://[::1]/x?y\"\nheaders = { a = \"b\", \"c-d\" = \"\" }\nheader_files = { e = \"/f\" }\ninterval = \"1h\"\ntimeout = \"1s\"\nca_file = \"/c\"\nresource = { \"a.b\" = \"\\n\" }",
        ],
    ),
    (
        "history",
        &["enabled = false", "path = \"/srv/a b.db\"", "retention = \"1h1s\"", "max_size = \"1500kB\""],
    ),
    (
        "health",
        &[
            "settle = \"1s\"",
            "burst = [\"1ms\", \"29s\"]",
            "confidence = 2.0",
            "latency_recent = 3",
            "flap_max = \"59m\"",
            "late_tick = \"11ms\"",
        ],
    ),
    ("health.quorum", &["a = 1", "\"b c\" = 99", "\"\\u001b\" = 3"]),
];

/// Targets, each with keys that go with it.
const TARGETS: [(&str, &[&str]); 6] = [
    (
        "host = \"10.0.0.1\"\nname = \"a\"",
        &[
            "source = \"10.0.0.2\"",
            "vrf = \"red\"",
            "ttl = 1",
            "dscp = \"AF41\"",
            "size = 100",
            "dont_fragment = true",
        ],
    ),
    ("host = \"fe80::1\"\nname = \"b\\nc\"", &[]),
    (
        "host = \"h\"\nname = \"c\"\nprobe = \"tcp\"\nport = 1",
        &["mark = 4294967295", "device = \"eth0\"", "scope = \"s\""],
    ),
    ("host = \"h\"\nname = \"d\"\nprobe = \"udp\"\nport = 7", &["expect = \"unreachable\"", "size = 16"]),
    (
        "host = \"h\"\nname = \"e\"\nprobe = \"dns\"",
        &[
            "query = \"x.example.\"",
            "record = \"99\"",
            "transport = \"tcp\"",
            "accept = [\"REFUSED\", \"noerror\"]",
            "port = 5353",
        ],
    ),
    (
        "url = \"https://[::1]:8443/x?y\"\nname = \"f\"",
        &[
            "status = [\"2xx\", \"404\"]",
            "verify = false",
            "ca_file = \"/c\"",
            "head = true",
            "host = \"127.0.0.1\"",
            "interval = \"1s1ms\"",
        ],
    ),
];

/// The same of notifiers, the kinds mixed.
const NOTIFIERS: [(&str, &str, &[&str]); 5] = [
    (
        "webhook",
        "url = \"https://h.example/x%20y?z=1#f\"",
        &[
            "name = \"c \\\" d\"",
            "secret_file = \"/s\"",
            "authorization_file = \"/a\"",
            "ca_file = \"/c\"",
            "allow_private = true",
            "allow = [\"10.1.2.3/16\", \"::1\", \"192.0.2.1\"]",
            "timeout = \"1s1ms\"",
            "max_age = \"7d\"",
            "insecure = true",
        ],
    ),
    (
        "command",
        "command = [\"/bin/a\", \"{state}\", \"{{state}}\", \"{\", \"\"]",
        &["timeout = \"1h\"", "subjects = [\"device:eth{0,1}\", \"target:\\u00e9*\"]", "after = \"1d\""],
    ),
    (
        "webhook",
        "url = \"http://[::1]:8080\"\ninsecure = true\nallow = [\"::1\"]",
        &["secret_env = \"V\"", "states = [\"unknown\", \"up\"]", "queue = 10000"],
    ),
    (
        "webhook",
        "name = \"text\"\nurl = \"https://h.example:444/\"\nbody = \"{{id}} {id} {\\n}\"\ncontent_type = \"text/plain\"",
        &["initial = false", "after = \"1ms\""],
    ),
    ("command", "name = \"b\"\ncommand = [\"a\"]", &["initial = false", "queue = 1"]),
];

/// Sources of targets, each with keys that go with it.
const SOURCES: [(&str, &[&str]); 8] = [
    (
        "file_sd]]\nfiles = [\"/a/*.json\", \"/b.yml\"]",
        &[
            "name = \"file_sd-2\"",
            "refresh_interval = \"1m\"",
            "probe = \"icmp\"",
            "scope = \"s\"",
            "interval = \"1m\"",
            "timeout = \"2s\"",
            "vrf = \"red\"",
            "source = \"::1\"",
            "mark = 5",
            "ttl = 1",
            "dscp = \"EF\"",
            "size = 100",
            "dont_fragment = true",
        ],
    ),
    ("file_sd]]\nfiles = [\"/c.yaml\"]", &["device = \"eth0\""]),
    (
        "http_sd]]\nurl = \"https://a.example/x\"\nprobe = \"http\"\nscheme = \"https\"",
        &[
            "path = \"/h\"",
            "head = true",
            "status = [\"204\"]",
            "verify = true",
            "ca_file = \"/c\"",
            "url_ca_file = \"/d\"",
            "bearer_token_file = \"/t\"",
            "refresh_interval = \"5s\"",
        ],
    ),
    (
        "http_sd]]\nurl = \"http://[::1]:80/x\"\nusername = \"u\"\npassword_file = \"/p\"\nprobe = \"udp\"",
        &["expect = \"unreachable\"", "port = 7"],
    ),
    ("http_sd]]\nurl = \"http://a.example\"\nprobe = \"http\"", &["path = \"/i\""]),
    (
        "dns_sd]]\nnames = [\"_a._tcp.example\", \"b\"]\nprobe = \"tcp\"",
        &["type = \"SRV\"", "name = \"dns_sd-2\""],
    ),
    (
        "dns_sd]]\nnames = [\"a.example\"]\ntype = \"A\"\nprobe = \"tcp\"\nport = 1",
        &["source = \"127.0.0.1\""],
    ),
    (
        "dns_sd]]\nnames = [\"a.example\"]\ntype = \"AAAA\"\nprobe = \"dns\"",
        &["port = 5353", "query = \"q\"", "record = \"MX\"", "transport = \"tcp\"", "accept = [\"REFUSED\"]"],
    ),
];

fn some(lines: &'static [&'static str]) -> impl Strategy<Value = String> {
    subsequence(lines.to_vec(), 0..=lines.len()).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_the_same(
        tables in LINES.map(|(name, lines)| some(lines).prop_map(move |text| format!("[{name}]\n{text}\n"))),
        targets in TARGETS.map(|(base, lines)| {
            let target = some(lines).prop_map(move |text| format!("[[target]]\n{base}\n{text}\n"));
            prop::option::of(target).prop_map(Option::unwrap_or_default)
        }),
        notifiers in NOTIFIERS.map(|(table, base, lines)| {
            let notifier = some(lines).prop_map(move |text| format!("[[notify.{table}]]\n{base}\n{text}\n"));
            prop::option::of(notifier).prop_map(Option::unwrap_or_default)
        }),
        most in prop::option::of(1..100_000_u32),
        sources in SOURCES.map(|(base, lines)| {
            let source = some(lines).prop_map(move |text| format!("[[discovery.{base}\n{text}\n"));
            prop::option::of(source).prop_map(Option::unwrap_or_default)
        }),
    ) {
        let most = most.map(|n| format!("[discovery]\nmax_targets = {n}\n")).unwrap_or_default();
        // A control character makes no name.
        let targets = targets.concat().replace("b\\nc", "b c");
        let (notifiers, sources) = (notifiers.concat(), sources.concat());
        comes_back(&parse(&format!("{}{most}{sources}{targets}{notifiers}", tables.concat())));
    }
}

#[test]
fn every_key_with_a_default_is_shown_and_none_twice() {
    let config = parse("");
    comes_back(&config);
    let shown: serde_json::Value = toml::from_str(&config.to_toml().unwrap()).unwrap();
    assert_eq!(shown, config.to_json().unwrap());
    // What has no value of its own.
    let without = [
        "agent.web_config_file",
        "agent.socket",
        "kernel.btf",
        "log.format",
        "log.file",
        "log.max_size",
        "log.max_files",
    ];
    let is_list = |table: &str| table == "target" || table.contains('.');
    // That is shown whole where it has an endpoint, else not at all.
    let tables = schema::tables();
    for (table, keys) in tables.iter().filter(|(table, _)| !is_list(table) && *table != "otlp") {
        for key in keys.iter().filter(|key| !schema::is_table(table, key)) {
            let is_there = shown[table].get(key).is_some();
            assert_eq!(is_there, !without.contains(&&*format!("{table}.{key}")), "{table}.{key}");
        }
    }
}

#[test]
fn every_key_of_a_notifier_is_shown_but_what_it_has_not() {
    let webhook = "[notify.webhook]\nurl = \"https://a.example/t0k3n\"";
    for (table, text, without) in [
        ("command", "[notify.command]\ncommand = [\"a\"]", &[][..]),
        (
            "webhook",
            webhook,
            &["body", "content_type", "secret_file", "secret_env", "authorization_file", "ca_file"][..],
        ),
    ] {
        let shown = comes_back(&parse(text)).to_json().unwrap();
        let shown = shown["notify"][table].as_array().unwrap();
        let all = schema::tables();
        let (_, keys) = all.iter().find(|(name, _)| *name == format!("notify.{table}")).unwrap();
        let left: Vec<&str> = keys.iter().copied().filter(|key| shown[0].get(key).is_none()).collect();
        assert_eq!((shown.len(), left.as_slice()), (1, without), "{table}");
    }
}

/// A secret is never in what is shown: where it is said to be stands there, and a URL that holds one is no configuration.
#[test]
fn secrets_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cr3t").unwrap();
    let place = file.display();
    let text = format!(
        "[notify.webhook]\nurl = \"https://a.example/\"\nsecret_file = \"{place}\"\nauthorization_file = \"{place}\""
    );
    let shown = comes_back(&parse(&text)).to_toml().unwrap();
    assert_eq!((shown.matches(&place.to_string()).count(), shown.contains("s3cr3t")), (2, false), "{shown}");
    let url = "[notify.webhook]\nurl = \"https://user:s3cr3t@a.example/\"";
    let said = Config::parse(url, Path::new("t")).unwrap_err().one_line();
    assert!(said.contains("authorization_file") && !said.contains("s3cr3t"), "{said}");
}

#[test]
fn many_targets_show_the_limits_that_they_bring() {
    let all: String =
        (0..5000).map(|i| format!("[[target]]\nhost = \"10.0.{}.{}\"\n", i / 250, i % 250)).collect();
    let config = parse(&format!("[defaults]\ninterval = \"1s\"\n{all}"));
    let again = comes_back(&config);
    assert!(again.limits.cpu.unwrap() > 0.2);
}

/// What is read of the same documents stays the same, too.
#[test]
fn a_source_that_is_shown_finds_the_same() {
    let document = r#"[{"targets": ["a:1", "[::1]:2"]}, {"targets": ["https://b/c", "http://b/d"]},
        {"targets": ["c"], "labels": {"__netmon_probe": "tcp", "__netmon_port": "3", "__netmon_name": "n"}}]"#;
    let path = Path::new("x.json");
    for settings in [
        "",
        "probe = \"http\"\nscheme = \"https\"\npath = \"/h\"",
        "probe = \"http\"\nhead = true",
        "ttl = 3",
    ] {
        let config = parse(&format!("[[discovery.file_sd]]\nfiles = [\"/a.json\"]\n{settings}"));
        let again = comes_back(&config);
        let read = |config: &Config| {
            let template = &config.discovery.sources[0].template;
            template.read(document, crate::config::Format::Json, path).unwrap()
        };
        assert_eq!(read(&again), read(&config), "{settings}");
        assert_eq!(read(&config).targets.len(), 5);
    }
}
