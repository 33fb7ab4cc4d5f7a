//! The reference of metrics, as Markdown: each family of the catalogue, with a query where it helps.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::catalogue::{self, Family, Kind};

/// Headings, and what the names of their families begin with. The longest beginning wins.
const SECTIONS: [(&str, &[&str]); 9] = [
    ("State", &["netmon_state", "netmon_device_state", "netmon_target_state"]),
    ("Links", &["netmon_link_", "netmon_default_route"]),
    ("TCP, by device", &["netmon_tcp_", "netmon_skb_"]),
    ("TCP of other network namespaces", &["netmon_netns_"]),
    ("Targets and probes", &["netmon_target_", "netmon_probe", "netmon_probes_total"]),
    (
        "Programs that wait, hold connections, try again",
        &["netmon_wait_", "netmon_client_", "netmon_event", "netmon_retry_"],
    ),
    ("History", &["netmon_history_"]),
    (
        "The agent itself",
        &[
            "netmon_",
            "netmon_probes_skipped",
            "netmon_probe_receive_",
            "netmon_probe_unmatched",
            "netmon_probe_resets",
            "netmon_probe_sockets",
        ],
    ),
    ("The process", &["process_"]),
];

/// Queries that show what a family is for.
const EXAMPLES: [(&str, &str); 21] = [
    ("netmon_state", "netmon_state{state=\"down\"} == 1"),
    ("netmon_state_transitions_total", "increase(netmon_state_transitions_total{state=\"down\"}[1d])"),
    ("netmon_state_changed_timestamp_seconds", "time() - netmon_state_changed_timestamp_seconds"),
    ("netmon_state_reason", "count by (code) (netmon_state_reason)"),
    ("netmon_device_state", "sum by (instance) (netmon_device_state{state=\"down\"})"),
    ("netmon_target_state", "sum by (target) (netmon_target_state{state=\"down\"})"),
    (
        "netmon_link_receive_bytes_total",
        "8 * rate(netmon_link_receive_bytes_total[5m]) / (8 * netmon_link_speed_bytes)",
    ),
    (
        "netmon_link_stack_info",
        "sum by (lower) (netmon_link_stack_info * on (instance, device) group_left sum by (instance, device) (rate(netmon_tcp_retransmitted_segments_total[5m])))",
    ),
    (
        "netmon_tcp_retransmitted_segments_total",
        "sum by (instance, device) (rate(netmon_tcp_retransmitted_segments_total[5m]))",
    ),
    ("netmon_tcp_resets_total", "sum by (instance, direction) (rate(netmon_tcp_resets_total[5m]))"),
    (
        "netmon_tcp_rtt_seconds",
        "histogram_quantile(0.99, sum by (device, le) (rate(netmon_tcp_rtt_seconds_bucket{phase=\"handshake\"}[5m])))",
    ),
    (
        "netmon_probes_total",
        "sum by (target) (rate(netmon_probe_failures_total[5m])) / sum by (target) (rate(netmon_probes_total[5m]))",
    ),
    (
        "netmon_probe_rtt_seconds",
        "histogram_quantile(0.9, sum by (target, le) (rate(netmon_probe_rtt_seconds_bucket[5m])))",
    ),
    ("netmon_probe_rtt_quantile_seconds", "netmon_probe_rtt_quantile_seconds{quantile=\"0.99\"}"),
    ("netmon_probe_loss_ratio", "topk(10, netmon_probe_loss_ratio)"),
    (
        "netmon_probe_loss_burst_length",
        "rate(netmon_probe_loss_burst_length_sum[1h]) / rate(netmon_probe_loss_burst_length_count[1h])",
    ),
    (
        "netmon_probe_certificate_expiry_timestamp_seconds",
        "(netmon_probe_certificate_expiry_timestamp_seconds - time()) / 86400",
    ),
    (
        "netmon_target_info",
        "netmon_probe_loss_ratio * on (instance, target, probe) group_left (scope) max by (instance, target, probe, scope) (netmon_target_info)",
    ),
    (
        "netmon_scheduler_lag_seconds",
        "histogram_quantile(0.99, sum by (instance, le) (rate(netmon_scheduler_lag_seconds_bucket[5m])))",
    ),
    ("netmon_capability", "netmon_capability == 0"),
    ("process_cpu_seconds_total", "rate(process_cpu_seconds_total{job=\"netmon\"}[5m])"),
];

/// The text; `uses` names the dashboards and rules that ask for a family.
pub fn markdown(uses: &BTreeMap<&'static str, Vec<String>>) -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         <!-- Made by `cargo xtask dashboards` from netmon-agent/src/output/metrics/catalogue.rs. Do not edit. -->\n\n\
         Everything that `/metrics` exposes. Prometheus adds `job` and `instance`. `device` is an interface's name, as\n\
         node_exporter has it; state sets have a series for each of `unknown`, `up`, `degraded` and `down`, of which one is 1.\n\
         Of a histogram there are `_bucket{le}`, `_sum` and `_count`. A target's series are gone with it. What is marked with a\n\
         dashboard or an alert is asked for there.\n",
    );
    for (section, _) in SECTIONS {
        let families: Vec<&Family> =
            catalogue::ALL.iter().filter(|f| section_of(f.name) == section).collect();
        let _ = write!(
            text,
            "\n## {section}\n\n| name | type | labels | unit | what it is | used in |\n|---|---|---|---|---|---|\n"
        );
        for family in &families {
            let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
            let used = uses.get(family.name).map(|all| all.join(", ")).unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} |",
                family.name,
                kind(family.kind),
                labels.join(", "),
                family.unit().unwrap_or("–"),
                family.help.replace('|', "\\|"),
                used,
            );
        }
        let examples = families.iter().filter_map(|f| EXAMPLES.iter().find(|(name, _)| *name == f.name));
        let examples: Vec<String> = examples.map(|(_, query)| format!("    {query}\n")).collect();
        if !examples.is_empty() {
            let _ = write!(text, "\nFor example:\n\n{}", examples.concat());
        }
    }
    text
}

/// Every example, to be held against the catalogue.
pub fn examples() -> impl Iterator<Item = &'static str> {
    EXAMPLES.into_iter().map(|(_, query)| query)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Info => "info (always 1)",
        other => other.as_str(),
    }
}

fn section_of(name: &str) -> &'static str {
    let fits = SECTIONS.iter().flat_map(|(section, starts)| {
        starts.iter().filter(|start| name.starts_with(**start)).map(move |start| (start.len(), *section))
    });
    fits.max().map_or("", |(_, section)| section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_stands_once_and_every_example_is_of_one() {
        let text = markdown(&BTreeMap::new());
        for family in catalogue::ALL {
            assert_eq!(text.matches(&format!("\n| `{}` |", family.name)).count(), 1, "{}", family.name);
        }
        for (name, query) in EXAMPLES {
            assert!(catalogue::ALL.iter().any(|f| f.name == name), "{name}");
            assert!(query.contains(name), "{query}");
        }
    }
}
