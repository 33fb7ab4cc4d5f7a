//! Colours and words of values, the same on every dashboard.

use serde_json::{Map, Value, json};

/// Of what works.
pub const GOOD: &str = "green";
/// Of what works with faults.
pub const FAIR: &str = "orange";
/// Of what does not work.
pub const BAD: &str = "red";
/// Of what is not known, or says nothing of good and bad.
pub const PLAIN: &str = "#808080";

/// A value, its word, its colour.
pub type Word = (u8, &'static str, &'static str);

/// The four states by their numbers on dashboards: [`state`] makes them.
pub const STATES: [Word; 4] =
    [(0, "unknown", PLAIN), (1, "up", GOOD), (2, "degraded", FAIR), (3, "down", BAD)];

/// Of what should be 1.
pub const YES: [Word; 2] = [(0, "no", BAD), (1, "yes", GOOD)];

/// One number of a state set, by [`STATES`]: the set has a series a state, of which one is 1.
pub fn state(family: &str, chosen: &str, by: &str) -> String {
    format!(
        "sum by ({by}) ({family}{{{chosen}, state=\"up\"}} or 2 * {family}{{{chosen}, state=\"degraded\"}} \
         or 3 * {family}{{{chosen}, state=\"down\"}})"
    )
}

/// Grafana's form of words.
pub fn mappings(words: &[Word]) -> Value {
    let options: Map<String, Value> = words
        .iter()
        .map(|(value, text, color)| {
            (value.to_string(), json!({ "text": text, "color": color, "index": value }))
        })
        .collect();
    json!([{ "type": "value", "options": options }])
}

/// Grafana's form of thresholds: the colour at first, and from each value on.
pub fn thresholds(first: &str, from: &[(f64, &str)]) -> Value {
    let steps: Vec<Value> = [json!({ "color": first, "value": null })]
        .into_iter()
        .chain(from.iter().map(|(value, color)| json!({ "color": color, "value": value })))
        .collect();
    json!({ "mode": "absolute", "steps": steps })
}

/// Grafana's form of where a click leads.
pub fn links(title: &str, url: &str) -> Value {
    json!([{ "title": title, "url": url, "targetBlank": false }])
}
