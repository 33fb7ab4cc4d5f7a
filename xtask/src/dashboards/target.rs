//! One target, from one node or from many.

use super::column::Column;
use super::model::{Dashboard, Row, Variable};
use super::panel::Panel;
use super::words::{BAD, FAIR, GOOD, PLAIN, state};

/// What was chosen.
const OF: &str = "@, target=\"$target\"";

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "target",
        title: "Target",
        description: "One target: its state from every node that probes it, loss, round trips, and what else the probes tell.",
        variables: vec![
            Variable::several("job", "Job", "label_values(netmon_build_info, job)"),
            Variable::several("instance", "Node", "label_values(netmon_build_info{job=~\"$job\"}, instance)"),
            Variable::one("target", "Target", "label_values(netmon_target_state{@}, target)"),
        ],
        rows: vec![now(), loss(), round_trips(), more()],
    }
}

fn now() -> Row {
    let quantile = |q: &str| format!("max(netmon_probe_rtt_quantile_seconds{{{OF}, quantile=\"{q}\"}})");
    Row {
        title: "Now",
        panels: vec![
            Panel::figure("State", "The worst state that any of the chosen nodes finds the target in.")
                .query(format!("max({})", state("netmon_target_state", OF, "instance")), "")
                .states(),
            Panel::figure("Down from", "From how many of the chosen nodes the target is down.")
                .query(format!("sum(netmon_target_state{{{OF}, state=\"down\"}})"), "")
                .thresholds(GOOD, &[(1.0, BAD)]),
            Panel::figure("Usable", "Part of the time on display in which the target was up or degraded, all nodes in the mean.")
                .query(
                    format!("avg(sum by (instance) (avg_over_time(netmon_target_state{{{OF}, state=~\"up|degraded\"}}[$__range])))"),
                    "",
                )
                .ratio()
                .decimals(3)
                .thresholds(BAD, &[(0.99, FAIR), (0.999, GOOD)]),
            Panel::figure("Lost", "Part of the probes of the last minute that were lost, of the worst node.")
                .query(format!("max(netmon_probe_loss_ratio{{{OF}}})"), "")
                .ratio()
                .decimals(1)
                .thresholds(GOOD, &[(0.01, FAIR), (0.05, BAD)]),
            Panel::figure("Round trip, half", "Half of the round trips of the last minute were shorter, of the worst node.")
                .query(quantile("0.5"), "")
                .unit("s"),
            Panel::figure("Round trip, 99 %", "Of 100 round trips of the last minute 99 were shorter, of the worst node.")
                .query(quantile("0.99"), "")
                .unit("s"),
            Panel::bands("State, by node", "What each node finds, over time. One row red is that node's way; all rows red are the target.")
                .size(16, 8)
                .query(state("netmon_target_state", OF, "instance"), "{{instance}}")
                .states(),
            Panel::table("Addresses", "What the name stands for, how it is probed, and in which scope it counts.")
                .size(8, 8)
                .query(format!("max by (instance, address, family, probe, scope) (netmon_target_info{{{OF}}})"), "")
                .columns(&[
                    Column::new("instance", "Node"),
                    Column::new("address", "Address"),
                    Column::new("probe", "Probe"),
                    Column::new("scope", "Scope"),
                ]),
        ],
    }
}

fn loss() -> Row {
    let rate = |family: &str, by: &str| format!("sum by ({by}) (rate({family}{{{OF}}}[$__rate_interval]))");
    Row {
        title: "Loss",
        panels: vec![
            Panel::lines("Lost, by node", "Part of the probes of the last minute that were lost.")
                .query(format!("max by (instance) (netmon_probe_loss_ratio{{{OF}}})"), "{{instance}}")
                .ratio()
                .thresholds(GOOD, &[(0.05, BAD)]),
            Panel::lines("Failures, by reason", "Probes a second that failed, all nodes together, by what was heard instead of an answer.")
                .query(rate("netmon_probe_failures_total", "reason"), "{{reason}}")
                .stacked()
                .unit("cps")
                .min(0.0),
            Panel::lines(
                "Lost in a row",
                "How many probes a burst of losses took, in the mean and at most of 99 %: single losses are congestion or radio, long bursts are a route or a link.",
            )
            .query(
                format!(
                    "sum(rate(netmon_probe_loss_burst_length_sum{{{OF}}}[$__range])) / sum(rate(netmon_probe_loss_burst_length_count{{{OF}}}[$__range]))"
                ),
                "mean",
            )
            .query(
                format!("histogram_quantile(0.99, sum by (le) (rate(netmon_probe_loss_burst_length_bucket{{{OF}}}[$__range])))"),
                "99 %",
            )
            .min(0.0),
            Panel::lines(
                "Probes that say nothing of the target",
                "Probes a second that could not be sent from here, or prove nothing since the agent itself ran late. No loss, but blindness.",
            )
            .query(rate("netmon_probe_send_errors_total", "instance"), "{{instance}} not sent")
            .query(rate("netmon_probe_inconclusive_total", "instance"), "{{instance}} inconclusive")
            .unit("cps")
            .min(0.0),
        ],
    }
}

fn round_trips() -> Row {
    let quantile =
        |q: &str| format!("max by (instance) (netmon_probe_rtt_quantile_seconds{{{OF}, quantile=\"{q}\"}})");
    Row {
        title: "Round trips",
        panels: vec![
            Panel::lines("Round trips, by node", "Quantiles of the round trips of the last minute.")
                .query(quantile("0.5"), "{{instance}} half")
                .query(quantile("0.9"), "{{instance}} 90 %")
                .query(quantile("0.99"), "{{instance}} 99 %")
                .unit("s")
                .min(0.0),
            Panel::heatmap(
                "How they are spread",
                "How many round trips a second fell into each bucket, all nodes together. Two bands are two ways. Empty with lean = true and with native histograms.",
            )
            .query(format!("sum by (le) (rate(netmon_probe_rtt_seconds_bucket{{{OF}}}[$__rate_interval]))"), "{{le}}"),
            Panel::lines("Jitter, by node", "How much a round trip differs from the one before, smoothed as by RFC 3550.")
                .query(format!("max by (instance) (netmon_probe_jitter_seconds{{{OF}}})"), "{{instance}}")
                .unit("s")
                .min(0.0),
            Panel::lines(
                "Phases",
                "How long each phase of the last probe took, of the slowest node: looking up the name, connecting, TLS, the request. Only what the probe has: none for ICMP to an address.",
            )
            .query(format!("max by (phase) (netmon_probe_phase_duration_seconds{{{OF}}})"), "{{phase}}")
            .stacked()
            .unit("s")
            .min(0.0),
        ],
    }
}

fn more() -> Row {
    let rate = |family: &str| format!("sum(rate({family}{{{OF}}}[$__rate_interval]))");
    Row {
        title: "What else the answers tell",
        panels: vec![
            Panel::lines(
                "Strange answers",
                "Answers a second that came after the time-out, twice, out of order, or with another payload than was sent. Each points at a network in trouble even where nothing is lost.",
            )
            .query(rate("netmon_probe_late_total"), "late")
            .query(rate("netmon_probe_duplicates_total"), "twice")
            .query(rate("netmon_probe_reordered_total"), "out of order")
            .query(rate("netmon_probe_corrupted_total"), "corrupted")
            .unit("cps")
            .min(0.0),
            Panel::lines(
                "Time to live, by node",
                "Time to live of the last answer: it changes when the way back does. Only of probes that see it (ICMP, UDP, DNS).",
            )
            .query(format!("min by (instance) (netmon_probe_reply_ttl{{{OF}}})"), "{{instance}}")
            .query(
                format!("sum by (instance) (increase(netmon_probe_ttl_changes_total{{{OF}}}[$__rate_interval]))"),
                "{{instance}} changes",
            )
            .decimals(0)
            .min(0.0),
            Panel::figure("HTTP status", "The status of the last answer, the highest of all nodes. Only of HTTP probes.")
                .size(8, 4)
                .query(format!("max(netmon_probe_http_status_code{{{OF}}})"), "")
                .without_value("no HTTP probe")
                .unit("none")
                .thresholds(PLAIN, &[(200.0, GOOD), (400.0, FAIR), (500.0, BAD)]),
            Panel::figure("DNS answer", "The response code of the last answer, the highest of all nodes. Only of DNS probes.")
                .size(8, 4)
                .query(format!("max(netmon_probe_dns_rcode{{{OF}}})"), "")
                .without_value("no DNS probe")
                .words(&[
                    (0, "no error", GOOD),
                    (1, "malformed", FAIR),
                    (2, "server failure", BAD),
                    (3, "no such name", FAIR),
                    (5, "refused", BAD),
                ]),
            Panel::figure(
                "Certificate",
                "Time left to the first certificate of the chain that expires. Only of HTTPS probes.",
            )
            .size(8, 4)
            .query(format!("min(netmon_probe_certificate_expiry_timestamp_seconds{{{OF}}}) - time()"), "")
            .without_value("no HTTPS probe")
            .unit("s")
            .decimals(0)
            .thresholds(BAD, &[(172_800.0, FAIR), (1_209_600.0, GOOD)]),
        ],
    }
}
