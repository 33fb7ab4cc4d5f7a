//! Targets that are found: documents that tell of them, and what names lead to.

use std::{cell::LazyCell, fmt::Write as _, path::Path};

use arbitrary::Arbitrary;
use netmon_agent::{
    config::{Config, Format, Template},
    observation::Family,
};
use serde_json::{Map, Value, json};

use super::{config::told, parts};

thread_local! {
    static TEMPLATES: LazyCell<Vec<Template>> = LazyCell::new(usual);
}

const PATH: &str = "netmon.toml";
/// What begins an input that is settings, a NUL, and a document.
const SETTINGS: u8 = b's';
/// What begins one that is choices of both.
const MADE: u8 = b'm';

/// Settings of a source, and what is found by it.
#[derive(Arbitrary, Debug)]
struct Source {
    settings: Vec<(u8, u8)>,
    groups: Vec<Group>,
    /// Written as YAML alone can be.
    as_yaml: bool,
    services: Vec<(Word, u16)>,
    name: Word,
}

#[derive(Arbitrary, Debug)]
struct Group {
    targets: Vec<Word>,
    labels: Vec<(u8, Word)>,
    odd: Option<u8>,
}

#[derive(Arbitrary, Debug)]
enum Word {
    Usual(u8),
    Any(String),
}

const WORDS: [&str; 32] = [
    "192.0.2.1:9100",
    "web",
    "web:80",
    "[2001:db8::1]:443",
    "[::1]",
    "::1",
    "fe80::1%eth0",
    "https://example.org/x",
    "http://[::1]:8080/",
    "ftp://a/",
    "a:0",
    "a:x",
    "[::1",
    "[::1]x",
    "[a]:1",
    "",
    "a b",
    "b\u{fc}cher.example",
    "10s",
    "250ms",
    "1h",
    "soon",
    "tcp",
    "http",
    "dns",
    "icmp",
    "udp",
    "9100",
    "0",
    "racks",
    "a\u{1b}[31m",
    "x..y",
];

/// Lines of settings, several of each kind that a source may have.
const SETTING: [&str; 29] = [
    "probe = 'icmp'",
    "probe = 'tcp'",
    "probe = 'http'",
    "probe = 'dns'",
    "probe = 'udp'",
    "port = 9100",
    "port = 0",
    "port = 53",
    "scheme = 'https'",
    "scheme = 'gopher'",
    "path = '/health'",
    "path = 'health'",
    "scope = 'racks'",
    "interval = '5s'",
    "interval = '1h'",
    "timeout = '1s'",
    "timeout = '2m'",
    "source = '::1'",
    "source = '127.0.0.1'",
    "accept = ['NXDOMAIN']",
    "query = 'example.org'",
    "record = 'AAAA'",
    "verify = false",
    "status = ['2xx']",
    "expect = 'unreachable'",
    "size = 100",
    "dscp = 'EF'",
    "refresh = '1m'",
    "name = 'files'",
];

/// What begins with it is netmon's.
const LABELS: [&str; 8] = ["name", "scope", "probe", "port", "interval", "timeout", "prob", "x\n"];

impl Word {
    fn text(&self) -> &str {
        match self {
            Self::Usual(which) => WORDS[usize::from(*which) % WORDS.len()],
            Self::Any(text) => text,
        }
    }
}

impl Source {
    fn settings(&self) -> String {
        let mut out = String::new();
        for (which, more) in &self.settings {
            // Each key once, for else it is no TOML.
            let line = SETTING[usize::from(*which) % SETTING.len()];
            let key = line.split(' ').next().unwrap_or_default();
            if !out.lines().any(|line| line.starts_with(key)) || more % 32 == 0 {
                let _ = writeln!(out, "{line}");
            }
        }
        out
    }

    fn document(&self) -> String {
        let mut out = Vec::new();
        for Group { targets, labels, odd } in &self.groups {
            let mut map = Map::new();
            for (which, value) in labels {
                let key = match which % 16 {
                    of_ours @ 0..8 => format!("__netmon_{}", LABELS[usize::from(of_ours)]),
                    other => format!("label{other}"),
                };
                map.insert(key, value.text().into());
            }
            let targets: Vec<&str> = targets.iter().map(Word::text).collect();
            out.push(match odd.map(|odd| odd % 8) {
                Some(0) => json!({ "targets": targets, "labels": null }),
                Some(1) => json!({ "targets": targets, "label": map }),
                Some(2) => json!({ "targets": [targets], "labels": map }),
                Some(3) => json!({ "targets": targets, "labels": [map] }),
                Some(4) => json!([targets]),
                Some(5) => json!({ "targets": null }),
                Some(6) => json!({ "labels": map }),
                _ => json!({ "targets": targets, "labels": map }),
            });
        }
        let out = Value::from(out);
        if self.as_yaml { format!("# of a program\n---\n{out}\n") } else { out.to_string() }
    }
}

/// What is said of targets that are found, in different ways.
fn usual() -> Vec<Template> {
    let settings = [
        "",
        "probe = 'tcp'\nport = 9100\n",
        "probe = 'http'\nscope = 'racks'\n",
        "probe = 'dns'\ninterval = '1m'\ntimeout = '3s'\n",
    ];
    settings.map(|settings| template(settings).expect("a configuration")).into()
}

/// The same of these settings, where they are some; shown, they are as they were.
fn template(settings: &str) -> Option<Template> {
    let text = format!("[[discovery.file_sd]]\nfiles = ['/a.json']\n{settings}");
    let parse = |text: &str| match Config::parse(text, Path::new(PATH)) {
        Ok(config) => Some(config),
        Err(error) => {
            told(&error, text);
            None
        }
    };
    let config = parse(&text)?;
    let shown = config.to_toml().expect("a configuration of text");
    let again = parse(&shown).unwrap_or_else(|| panic!("{text}\nis shown as\n{shown}"));
    assert!(config.discovery == again.discovery, "{text}\nis another in\n{shown}");
    Some(config.discovery.sources.into_iter().next()?.template)
}

/// A document of file_sd or http_sd: what is found can be printed and probed, and JSON, which YAML is as well, means the same
/// in both where both take it. What names lead to is held to the same.
pub fn discovery(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    match *first {
        SETTINGS => {
            let [settings, document] = parts(rest);
            let Some(template) = template(&String::from_utf8_lossy(settings)) else { return };
            read(&template, &String::from_utf8_lossy(document));
        }
        MADE => {
            let made = Source::arbitrary_take_rest(arbitrary::Unstructured::new(rest));
            let Ok(source) = made else { return };
            let Some(template) = template(&source.settings()) else { return };
            read(&template, &source.document());
            for (host, port) in source.services.iter().take(8) {
                found(template.of_service(host.text(), *port));
            }
            for family in [Family::V4, Family::V6] {
                found(template.of_name(source.name.text(), family));
            }
        }
        _ => TEMPLATES.with(|templates| {
            let template = &templates[usize::from(first / 2) % templates.len()];
            read(template, &String::from_utf8_lossy(rest));
        }),
    }
}

/// A target by DNS.
fn found(target: Result<netmon_agent::config::TargetConfig, String>) {
    match target {
        Ok(target) => check(&target),
        Err(said) => assert!(!said.is_empty(), "a refusal without a word"),
    }
}

fn check(target: &netmon_agent::config::TargetConfig) {
    let words = [&target.name, &target.host, &target.scope];
    assert!(words.iter().all(|word| !word.chars().any(char::is_control)), "{target:?}");
    assert!(!target.name.is_empty() && !target.host.is_empty() && target.timeout <= target.interval);
}

fn read(template: &Template, document: &str) {
    check(template.sample());
    let read = |format| template.read(document, format, Path::new("sd."));
    let (json, yaml) = (read(Format::Json), read(Format::Yaml));
    for found in [&json, &yaml] {
        match found {
            Ok(found) => found.targets.iter().for_each(check),
            Err(error) => told(error, document),
        }
    }
    // Escapes and line breaks within texts are where the two languages differ.
    let odd = document.contains(['\\', '\t', '\r', '\u{7f}']) || !document.is_ascii();
    if let (Ok(json), Ok(yaml), false) = (&json, &yaml, odd) {
        assert!(json == yaml, "YAML has another meaning: {:?} and {:?}", json.targets, yaml.targets);
    }
}
