//! Many nodes: which are not well, which targets are bad from where, and the ways between the nodes.

use super::column::Column;
use super::model::{Dashboard, Row, Variable};
use super::panel::Panel;
use super::words::{BAD, FAIR, GOOD, PLAIN, state};

const NODE_URL: &str = "/d/netmon-node?${datasource:queryparam}&${job:queryparam}&var-instance=${__data.fields.Node}&${__url_time_range}";
const BAND_URL: &str = "/d/netmon-node?${datasource:queryparam}&${job:queryparam}&var-instance=${__field.labels.instance}&${__url_time_range}";
const TARGET_URL: &str = "/d/netmon-target?${datasource:queryparam}&${job:queryparam}&var-target=${__data.fields.Target}&${__url_time_range}";
/// The host of an instance: what stands before its port.
const HOST: &str = "\"$1\", \"instance\", \"(.+?)(:[0-9]+)?\"";

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "fleet",
        title: "Fleet",
        description: "All nodes: how many are well, which are not and why, the worst targets, and the ways between nodes that probe one another.",
        variables: vec![
            Variable::several("job", "Job", "label_values(netmon_build_info, job)"),
            Variable::several("instance", "Node", "label_values(netmon_build_info{job=~\"$job\"}, instance)"),
        ],
        rows: vec![now(), nodes(), targets(), between()],
    }
}

fn now() -> Row {
    let count = |state: &str| format!("sum(netmon_state{{@, state=\"{state}\"}})");
    Row {
        title: "Now",
        panels: vec![
            Panel::figure("Nodes", "Nodes whose agent answers.")
                .size(3, 4)
                .query("count(netmon_build_info{@})", ""),
            Panel::figure("Up", "Nodes whose network is up.")
                .size(3, 4)
                .query(count("up"), "")
                .thresholds(GOOD, &[]),
            Panel::figure("Degraded", "Nodes whose network works, with faults.")
                .size(3, 4)
                .query(count("degraded"), "")
                .thresholds(GOOD, &[(1.0, FAIR)]),
            Panel::figure("Down", "Nodes whose network does not work. An agent that can't be scraped for it is not among them.")
                .size(3, 4)
                .query(count("down"), "")
                .thresholds(GOOD, &[(1.0, BAD)]),
            Panel::figure("Unknown", "Nodes whose agent has no verdict: it starts, was suspended, or is starved.")
                .size(3, 4)
                .query(count("unknown"), "")
                .thresholds(GOOD, &[(1.0, FAIR)]),
            Panel::figure("Silent", "Agents that Prometheus can't scrape. Each may be down, or only cut off from here.")
                .size(3, 4)
                .query("count(up{@} == 0) or vector(0)", "")
                .thresholds(GOOD, &[(1.0, BAD)]),
            Panel::figure("Usable", "Part of the time on display in which a node was up or degraded, all nodes in the mean.")
                .size(3, 4)
                .query(
                    "avg(sum by (job, instance) (avg_over_time(netmon_state{@, state=~\"up|degraded\"}[$__range])))",
                    "",
                )
                .ratio()
                .decimals(3)
                .thresholds(BAD, &[(0.99, FAIR), (0.999, GOOD)]),
            Panel::figure("Pairs down", "How often a target is down from a node, of all nodes and their targets.")
                .size(3, 4)
                .query("sum(netmon_target_state{@, state=\"down\"})", "")
                .thresholds(GOOD, &[(1.0, FAIR)]),
        ],
    }
}

fn nodes() -> Row {
    let verdicts = state("netmon_state", "@", "instance");
    Row {
        title: "Nodes",
        panels: vec![
            Panel::bands("State map", "The state of each node, over time; one row a node. A click on one leads to it.")
                .size(24, 10)
                .query(verdicts.clone(), "{{instance}}")
                .states()
                .link("The node", BAND_URL),
            Panel::table("Nodes that are not up", "Each with its state and for how long. A name leads to the node.")
                .size(8, 9)
                .query(format!("{verdicts} != 1"), "")
                .query(
                    format!(
                        "(time() - max by (instance) (netmon_state_changed_timestamp_seconds{{@}})) and on (instance) ({verdicts} != 1)"
                    ),
                    "",
                )
                .without_value("none: all are up")
                .columns(&[
                    Column::new("instance", "Node").link("The node", NODE_URL),
                    Column::new("Value #A", "State").states(),
                    Column::new("Value #B", "For").unit("s"),
                ])
                .greatest_first("State"),
            Panel::bars("Top reasons", "What holds most often now: on how many nodes, devices and targets each reason stands. Empty while all is well.")
                .size(8, 9)
                .query("topk(12, count by (code) (netmon_state_reason{@}))", "{{code}}")
                .without_value("none: all is well"),
            Panel::lines("Reasons", "How often each reason stood, over time.")
                .size(8, 9)
                .query("count by (code) (netmon_state_reason{@})", "{{code}}")
                .stacked()
                .decimals(0)
                .min(0.0),
            Panel::lines("Nodes by state", "How many nodes were in each state.")
                .query("sum by (state) (netmon_state{@})", "{{state}}")
                .stacked()
                .states_as_series()
                .decimals(0)
                .min(0.0),
            Panel::lines(
                "Most sent again",
                "The ten devices of all nodes that have to send most of their TCP segments again.",
            )
            .query("topk(10, max by (instance, device) (netmon_tcp_retransmit_ratio{@}))", "{{instance}} {{device}}")
            .unit("percentunit")
            .min(0.0)
            .thresholds(GOOD, &[(0.02, FAIR), (0.05, BAD)]),
        ],
    }
}

fn targets() -> Row {
    let down = "sum by (target) (netmon_target_state{@, state=\"down\"})";
    Row {
        title: "Worst targets",
        panels: vec![
            Panel::table(
                "Down from",
                "Targets that are down, from how many of the nodes that probe them. From all: the target. From one: that node or its way.",
            )
            .size(8, 9)
            .query(format!("{down} > 0"), "")
            .query(format!("sum by (target) (netmon_target_state{{@}}) and on (target) ({down} > 0)"), "")
            .without_value("none is down")
            .columns(&[
                Column::new("target", "Target").link("The target", TARGET_URL),
                Column::new("Value #A", "Down from").thresholds(BAD, &[]),
                Column::new("Value #B", "Probed by"),
            ])
            .greatest_first("Down from"),
            Panel::table("Most lost", "The 20 pairs of node and target that lost most of their probes in the last minute.")
                .size(8, 9)
                .query("topk(20, max by (instance, target) (netmon_probe_loss_ratio{@}) > 0)", "")
                .without_value("nothing is lost")
                .columns(&[
                    Column::new("target", "Target").link("The target", TARGET_URL),
                    Column::new("instance", "Node").link("The node", NODE_URL),
                    Column::new("Value", "Lost")
                        .unit("percentunit")
                        .thresholds(GOOD, &[(0.01, FAIR), (0.05, BAD)]),
                ])
                .greatest_first("Lost"),
            Panel::table("Slowest", "The 20 pairs of node and target with the longest round trips: 99 of 100 of the last minute were shorter.")
                .size(8, 9)
                .query(
                    "topk(20, max by (instance, target) (netmon_probe_rtt_quantile_seconds{@, quantile=\"0.99\"}))",
                    "",
                )
                .columns(&[
                    Column::new("target", "Target").link("The target", TARGET_URL),
                    Column::new("instance", "Node").link("The node", NODE_URL),
                    Column::new("Value", "Round trip, 99 %").unit("s"),
                ])
                .greatest_first("Round trip, 99 %"),
        ],
    }
}

/// Targets that are nodes: those that have the name of a node's host. `from` is the host that probes, `target` the other.
fn pairs(values: &str) -> String {
    let nodes = format!("label_replace(netmon_build_info{{job=~\"$job\"}}, \"target\", {HOST})");
    format!("max by (from, target) (label_replace(({values}) and on (target) {nodes}, \"from\", {HOST}))")
}

fn between() -> Row {
    let matrix = |title, description: &'static str, values: &str| {
        Panel::table(title, description).size(8, 10).query(pairs(values), "").matrix("from", "target")
    };
    Row {
        title: "Between nodes that probe one another",
        panels: vec![
            matrix(
                "State",
                "The row probes the column. A target stands here when it has the name of a node: its instance without the port. A red row is a node that reaches nobody, a red column one that nobody reaches, a lone red field one way.",
                &state("netmon_target_state", "@", "instance, target"),
            )
            .states(),
            matrix("Lost", "Part of the probes of the last minute that the row lost to the column.", "netmon_probe_loss_ratio{@}")
                .ratio()
                .decimals(1)
                .thresholds(GOOD, &[(0.01, FAIR), (0.05, BAD)]),
            matrix(
                "Round trip",
                "The middle round trip of the last minute from the row to the column. The shade tells fields apart, not good from bad.",
                "netmon_probe_rtt_quantile_seconds{@, quantile=\"0.5\"}",
            )
            .unit("s")
            .thresholds("#1f60c4", &[(0.001, "#3274d9"), (0.01, "#5794f2"), (0.1, "#8ab8ff"), (0.5, PLAIN)]),
        ],
    }
}
