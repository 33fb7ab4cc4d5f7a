//! The rules in `dashboards/` against `promtool`, against the catalogue of what the agent exposes, and against the runbook.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use netmon_agent::output::metrics::catalogue::{self, Kind};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "dashboards"].iter().collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(folder().join(path)).unwrap()
}

/// In `PATH`, or where it was only unpacked.
fn promtool() -> PathBuf {
    let unpacked = folder().join("../target/debian/usr/bin/promtool");
    if unpacked.is_file() { unpacked.canonicalize().unwrap() } else { "promtool".into() }
}

/// Files of rules, and of their tests.
fn rule_files(tests: bool) -> Vec<String> {
    let entries = fs::read_dir(folder().join("rules")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with("_test.yml") == tests).collect()
}

/// Each alert by name, with the lines that say it.
fn alerts() -> BTreeMap<String, String> {
    let text = read("rules/netmon.yml");
    let rules = text.split("- alert: ").skip(1);
    rules
        .map(|rule| rule.split_once('\n').unwrap())
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

#[test]
fn every_metric_that_is_named_is_exposed() {
    let mut texts: Vec<String> = rule_files(false)
        .iter()
        .chain(&rule_files(true))
        .map(|name| read(Path::new("rules").join(name)))
        .collect();
    texts.extend(["README.md", "RUNBOOK.md"].map(read));
    let text = texts.concat();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let used: BTreeSet<&str> = text.split(|c| !word(c)).filter(|w| w.starts_with("netmon_")).collect();
    assert!(used.len() >= 30, "{used:?}");
    let known: BTreeSet<String> = catalogue::ALL
        .iter()
        .flat_map(|f| {
            let suffixes =
                if f.kind == Kind::Histogram { &["", "_bucket", "_sum", "_count"][..] } else { &[""] };
            suffixes.iter().map(|suffix| format!("{}{suffix}", f.name))
        })
        .collect();
    let unknown: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "not exposed: {unknown:?}");
}

#[test]
fn every_alert_says_how_bad_it_is_since_when_and_what_to_do() {
    let alerts = alerts();
    assert!(alerts.len() >= 30, "{}", alerts.len());
    for (name, rule) in &alerts {
        assert!(name.starts_with("Netmon"), "{name}");
        let one = |key: &str| {
            let key = format!("{key}: ");
            rule.lines()
                .find_map(|line| line.trim().strip_prefix(&key))
                .unwrap_or_else(|| panic!("{name} has no {key}"))
        };
        assert!(["critical", "warning", "info"].contains(&one("severity")), "{name}");
        let minutes = one("for").trim_end_matches(['m', 'h']);
        assert!(minutes.parse::<u32>().is_ok(), "{name}: for {minutes}");
        assert!(one("summary").len() > 10 && one("description").len() > 20, "{name}");
        let section = format!("\"dashboards/RUNBOOK.md#{}\"", name.to_lowercase());
        assert_eq!(one("runbook_url"), section, "{name}");
    }
}

#[test]
fn alerts_and_sections_of_the_runbook_are_one_to_one() {
    let text = read("RUNBOOK.md");
    let sections: Vec<(&str, &str)> =
        text.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let named: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    let alerts = alerts();
    let missing: Vec<_> = alerts.keys().filter(|alert| !named.contains(&alert.as_str())).collect();
    assert!(missing.is_empty(), "no section for {missing:?}");
    let anchors: BTreeSet<String> = named.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(anchors.len(), named.len(), "a section stands twice");
    for (name, body) in sections {
        assert!(alerts.contains_key(name), "no alert for the section {name}");
        for part in ["**Means**", "**Confirm**", "**Remedy**"] {
            assert!(body.contains(part), "{name}: no {part}");
        }
        for link in body.split("](#").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            assert!(anchors.contains(link), "{name}: no section {link}");
        }
    }
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let tests: String = rule_files(true).iter().map(|name| read(Path::new("rules").join(name))).collect();
    for alert in alerts().keys() {
        for word in ["fires", "is silent"] {
            assert!(tests.contains(&format!("- name: {alert} {word}")), "no test that {alert} {word}");
        }
    }
    let recorded = read("rules/recording.yml");
    for series in recorded.lines().filter_map(|line| line.trim().strip_prefix("- record: ")) {
        assert!(
            tests.contains(&format!("{series}{{")) || tests.contains(&format!("round({series},")),
            "no test of {series}"
        );
    }
    for (what, tested) in [("check", false), ("test", true)] {
        let files = rule_files(tested);
        let done = match Command::new(promtool())
            .args([what, "rules"])
            .args(files)
            .current_dir(folder().join("rules"))
            .output()
        {
            Ok(done) => done,
            Err(e) => {
                eprintln!("SKIPPED: promtool: {e}; it is in Debian's package prometheus");
                assert!(std::env::var_os("CI").is_none(), "promtool is needed in CI");
                return;
            }
        };
        let said =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
    }
}
