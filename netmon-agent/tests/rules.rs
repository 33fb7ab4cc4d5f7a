//! The alerting rules in `dashboards/` against `promtool` and against the catalogue of what the agent exposes.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use netmon_agent::output::metrics::catalogue;

fn rules() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "dashboards", "rules"].iter().collect()
}

#[test]
fn every_metric_in_a_rule_is_exposed() {
    let text = std::fs::read_to_string(rules().join("netmon.yml")).unwrap();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let used: BTreeSet<&str> = text.split(|c| !word(c)).filter(|w| w.starts_with("netmon_")).collect();
    assert!(used.len() >= 8, "{used:?}");
    let known: BTreeSet<&str> = catalogue::ALL.iter().map(|f| f.name).collect();
    assert!(used.is_subset(&known), "not exposed: {:?}", used.difference(&known));
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let text = std::fs::read_to_string(rules().join("netmon.yml")).unwrap();
    let tests = std::fs::read_to_string(rules().join("netmon_test.yml")).unwrap();
    for alert in text.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")) {
        for word in ["fires", "is silent"] {
            assert!(tests.contains(&format!("- name: {alert} {word}")), "no test that {alert} {word}");
        }
    }
    for what in [["check", "rules", "netmon.yml"], ["test", "rules", "netmon_test.yml"]] {
        let done = match Command::new("promtool").args(what).current_dir(rules()).output() {
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
