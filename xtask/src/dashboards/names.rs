//! Whether expressions name only what the agent exposes: families, and labels that they have.

use std::collections::BTreeSet;

use super::catalogue::{self, Family, Kind};

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The families that an expression names.
///
/// # Errors
/// What is no family of the catalogue, or no label of its family.
pub fn used(expression: &str) -> Result<BTreeSet<&'static str>, String> {
    let mut found = BTreeSet::new();
    for (name, rest) in ours(expression) {
        let (family, suffix) = family(name).ok_or_else(|| format!("no such family: {name}"))?;
        for label in selected(rest) {
            let le = label == "le" && suffix == "_bucket";
            if !le && !ADDED.contains(&label) && !family.labels.contains(&label) {
                return Err(format!("{name} has no label {label}"));
            }
        }
        found.insert(family.name);
    }
    Ok(found)
}

/// Each name of ours, with what follows it.
fn ours(expression: &str) -> impl Iterator<Item = (&str, &str)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts = expression
        .char_indices()
        .filter(move |(at, c)| word(*c) && !expression[..*at].chars().next_back().is_some_and(word));
    starts.filter_map(move |(at, _)| {
        let rest = &expression[at..];
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        (name.starts_with("netmon_") || name.starts_with("process_")).then_some((name, &rest[end..]))
    })
}

/// The family of a series, and what the series has behind the family's name.
fn family(series: &str) -> Option<(&'static Family, &str)> {
    let by_name = |name: &str| catalogue::ALL.iter().find(|f| f.name == name);
    by_name(series).map(|f| (f, "")).or_else(|| {
        let of = |suffix| Some((by_name(series.strip_suffix(suffix)?)?, suffix));
        SUFFIXES.into_iter().find_map(of).filter(|(f, _)| f.kind == Kind::Histogram)
    })
}

/// The labels of a selector, when the text begins with one. None of our values holds a brace or a comma.
fn selected(rest: &str) -> impl Iterator<Item = &str> {
    let inner = rest.strip_prefix('{').and_then(|r| r.split_once('}')).map_or("", |(inner, _)| inner);
    let name = |matcher: &'_ str| matcher.find(['=', '!']);
    inner.split(',').filter_map(move |matcher| Some(matcher[..name(matcher)?].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_labels_are_held_against_the_catalogue() {
        let known = "sum by (le) (rate(netmon_probe_rtt_seconds_bucket{job=~\"$job\", le!=\"1\"}[5m])) / netmon_state";
        assert_eq!(
            used(known).unwrap().into_iter().collect::<Vec<_>>(),
            ["netmon_probe_rtt_seconds", "netmon_state"]
        );
        assert!(used("netmon:recorded + node_x{a=\"b\"}").unwrap().is_empty());
        for (wrong, what) in [
            ("netmon_stat", "no such family: netmon_stat"),
            ("netmon_state_bucket", "no such family: netmon_state_bucket"),
            ("netmon_state{device=\"x\"}", "netmon_state has no label device"),
            ("netmon_probe_rtt_seconds_sum{le=\"1\"}", "netmon_probe_rtt_seconds_sum has no label le"),
        ] {
            assert_eq!(used(wrong).unwrap_err(), what);
        }
    }
}
