//! What every dashboard has to keep to.

use std::collections::BTreeSet;

use super::*;

fn panels(json: &Value) -> impl Iterator<Item = &Value> {
    json["panels"].as_array().unwrap().iter().filter(|p| p["type"] != "row")
}

#[test]
fn what_is_committed_is_what_is_made() {
    check().unwrap();
}

#[test]
fn every_panel_says_what_it_is_and_in_which_unit() {
    for (name, json) in dashboards() {
        for panel in panels(&json) {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty(), "{name}");
            assert!(panel["description"].as_str().unwrap().ends_with('.'), "{name}: {title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{name}: {title} asks nothing");
        }
    }
}

#[test]
fn identities_are_unique_and_panels_do_not_overlap() {
    let uids: BTreeSet<String> = dashboards().iter().map(|(_, d)| d["uid"].to_string()).collect();
    assert_eq!(uids.len(), 4);
    for (name, json) in dashboards() {
        let all = json["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = all.iter().map(|p| p["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), all.len(), "{name}");
        let mut fields = BTreeSet::new();
        for place in all.iter().map(|p| &p["gridPos"]) {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| place[key].as_u64().unwrap());
            assert!(x + w <= 24, "{name}: {place}");
            for field in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(fields.insert(field), "{name}: two panels at {field:?}");
            }
        }
    }
}

#[test]
fn every_query_is_of_what_was_chosen() {
    for (name, json) in dashboards() {
        for panel in panels(&json) {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
            for query in panel["targets"].as_array().unwrap() {
                let expression = query["expr"].as_str().unwrap();
                assert_eq!(query["datasource"]["uid"], "${datasource}", "{name}: {expression}");
                for (at, _) in expression.match_indices("netmon_") {
                    let selector = expression[at..].split_once('}').unwrap().0;
                    // All nodes are named in a matrix, whichever are chosen.
                    let all = selector.starts_with("netmon_build_info");
                    assert!(selector.contains("job=~\"$job\""), "{name}: {expression}");
                    assert!(all || selector.contains("instance=~\"$instance\""), "{name}: {expression}");
                }
            }
        }
    }
}

#[test]
fn counters_are_asked_for_their_growth_alone() {
    for (name, json) in dashboards() {
        for expression in panels(&json).flat_map(expressions) {
            for (at, _) in expression.match_indices("_total{") {
                let start = expression[..at].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let before = start.map_or("", |start| &expression[..=start]);
                assert!(before.ends_with("rate(") || before.ends_with("increase("), "{name}: {expression}");
            }
            // A fixed range would be empty where Prometheus scrapes more rarely.
            for range in expression.split('[').skip(1) {
                let name = range.split(']').next().unwrap();
                assert!(
                    ["$__rate_interval", "$__range"].contains(&name) || name.contains('-'),
                    "{expression}"
                );
            }
        }
    }
}

#[test]
fn links_lead_to_dashboards_that_there_are() {
    let all: BTreeSet<String> =
        dashboards().iter().map(|(_, d)| d["uid"].as_str().unwrap().to_owned()).collect();
    let mut links = 0;
    for (name, json) in dashboards() {
        let text = json.to_string();
        for link in text.split("\"/d/").skip(1) {
            let uid = link.split('?').next().unwrap();
            assert!(all.contains(uid), "{name}: {uid}");
            links += 1;
        }
    }
    assert!(links >= 8, "{links}");
}

#[test]
fn rules_are_read_with_the_whole_of_their_expressions() {
    let rules = rules().unwrap();
    assert!(rules.iter().all(|(name, expression)| expression.len() > 4 && !name.is_empty()), "{rules:?}");
    assert!(rules.iter().any(|(_, expression)| expression.trim().lines().count() > 1));
}
