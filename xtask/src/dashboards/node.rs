//! One node: what its network is like, and why.

use super::column::Column;
use super::model::{Dashboard, Row, Variable};
use super::panel::Panel;
use super::words::{BAD, FAIR, GOOD, PLAIN, state};

const TARGET_URL: &str = "/d/netmon-target?${datasource:queryparam}&${job:queryparam}&var-instance=${instance}&var-target=${__data.fields.Target}&${__url_time_range}";

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "node",
        title: "Node",
        description: "One machine's network: the verdict with its reasons, the links, TCP as the kernel counts it, and every target.",
        variables: vec![
            Variable::several("job", "Job", "label_values(netmon_build_info, job)"),
            Variable::one("instance", "Node", "label_values(netmon_build_info{job=~\"$job\"}, instance)"),
            Variable::several("device", "Device", "label_values(netmon_device_state{@}, device)"),
            Variable::several("target", "Target", "label_values(netmon_target_state{@}, target)"),
            // node_exporter has another port: what both have in common is the host before it.
            Variable::hidden("host", "label_values(netmon_build_info{@}, instance)", "/^(.+?)(?::[0-9]+)?$/"),
        ],
        rows: vec![now(), links(), tcp(), targets(), neighbours()],
    }
}

fn now() -> Row {
    let all = "sum(avg_over_time(netmon_state{@, state=~\"up|degraded\"}[$__range]))";
    Row {
        title: "Now",
        panels: vec![
            Panel::figure("Network", "The verdict on this machine's network as a whole.")
                .query(state("netmon_state", "@", "instance"), "{{instance}}")
                .states(),
            Panel::figure("For", "How long the network has been in this state.")
                .query("time() - max(netmon_state_changed_timestamp_seconds{@})", "")
                .unit("s")
                .decimals(0),
            Panel::figure("Usable", "Part of the time on display in which the network was up or degraded.")
                .query(all, "")
                .ratio()
                .decimals(3)
                .thresholds(BAD, &[(0.99, FAIR), (0.999, GOOD)]),
            Panel::figure("Devices down", "Watched devices that are down.")
                .query("sum(netmon_device_state{@, state=\"down\"})", "")
                .thresholds(GOOD, &[(1.0, FAIR)]),
            Panel::figure("Targets down", "Targets that do not answer.")
                .query("sum(netmon_target_state{@, state=\"down\"})", "")
                .thresholds(GOOD, &[(1.0, BAD)]),
            Panel::figure(
                "Sent again",
                "Part of the TCP segments sent in the last 30 s that had to be sent again, of the worst device. Nothing where too few were sent to tell.",
            )
            .query("max(netmon_tcp_retransmit_ratio{@})", "")
            .ratio()
            .decimals(2)
            .without_value("too little sent")
            .thresholds(GOOD, &[(0.02, FAIR), (0.05, BAD)]),
            Panel::table(
                "Reasons",
                "Why any state is not up, by the agent's own codes; the subject is a device, a target or a scope. Empty while all is well.",
            )
            .size(8, 8)
            .query("max by (code, subject) (netmon_state_reason{@})", "")
            .without_value("none: all is well")
            .columns(&[Column::new("code", "Code"), Column::new("subject", "Subject")]),
            Panel::bands("Network and devices", "The state of the whole and of each device, over time.")
                .size(16, 8)
                .query(state("netmon_state", "@", "instance"), "the whole")
                .query(state("netmon_device_state", "@, device=~\"$device\"", "device"), "{{device}}")
                .states(),
        ],
    }
}

fn links() -> Row {
    let of =
        |family: &str, factor: &str| format!("max by (device) ({family}{{@, device=~\"$device\"}}){factor}");
    let rate = |family: &str, factor: &str| {
        format!("max by (device) (rate({family}{{@, device=~\"$device\"}}[$__rate_interval])){factor}")
    };
    Row {
        title: "Links",
        panels: vec![
            Panel::table("Devices", "What each watched device is, and what stands on it.")
                .size(24, 7)
                .query(state("netmon_device_state", "@, device=~\"$device\"", "device"), "")
                .query(
                    "time() - max by (device) (netmon_device_state_changed_timestamp_seconds{@, device=~\"$device\"})",
                    "",
                )
                .query(of("netmon_link_speed_bytes", " * 8"), "")
                .query(of("netmon_link_mtu_bytes", ""), "")
                .query("sum by (device) (netmon_default_route{@, device=~\"$device\"})", "")
                .query(
                    "max by (device, kind, operstate, mac, master) (netmon_link_info{@, device=~\"$device\"})",
                    "",
                )
                .columns(&[
                    Column::new("device", "Device"),
                    Column::new("Value #A", "State").states(),
                    Column::new("Value #B", "For").unit("s"),
                    Column::new("operstate", "Operational state"),
                    Column::new("Value #C", "Speed").unit("bps"),
                    Column::new("Value #D", "MTU").unit("none"),
                    Column::new("Value #E", "Default routes"),
                    Column::new("kind", "Kind"),
                    Column::new("master", "Part of"),
                    Column::new("mac", "MAC"),
                ]),
            Panel::lines("Traffic", "Bits received, and below the axis bits sent, by device.")
                .query(rate("netmon_link_receive_bytes_total", " * 8"), "{{device}} received")
                .query(rate("netmon_link_transmit_bytes_total", " * 8"), "{{device}} sent")
                .below("/ sent$/")
                .unit("bps"),
            Panel::lines(
                "Errors and drops",
                "Packets a second that a device or its driver damaged or dropped. Errors point at cable, optics or duplex; drops at a queue that is full.",
            )
            .query(rate("netmon_link_receive_errs_total", ""), "{{device}} receive errors")
            .query(rate("netmon_link_transmit_errs_total", ""), "{{device}} transmit errors")
            .query(rate("netmon_link_receive_drop_total", ""), "{{device}} receive drops")
            .query(rate("netmon_link_transmit_drop_total", ""), "{{device}} transmit drops")
            .unit("pps")
            .min(0.0),
            Panel::lines("Carrier changes", "How often a device gained or lost its carrier, per interval.")
                .query(
                    "max by (device) (increase(netmon_link_carrier_changes_total{@, device=~\"$device\"}[$__rate_interval]))",
                    "{{device}}",
                )
                .strokes()
                .decimals(0)
                .min(0.0),
            Panel::bands("Default routes", "Whether a default route of the family stands on the device.")
                .query(
                    "max by (device, family) (netmon_default_route{@, device=~\"$device\"})",
                    "{{device}} {{family}}",
                )
                .words(&[(0, "none", PLAIN), (1, "there", GOOD)]),
            Panel::lines(
                "Packets that the kernel dropped, by reason",
                "Packets a second that the kernel dropped for the reasons that drop_reasons of [kernel] asks for. Empty where it asks for none.",
            )
            .size(24, 6)
            .query(
                "sum by (device, reason) (rate(netmon_skb_drops_total{@, device=~\"$device|n/a\"}[$__rate_interval]))",
                "{{device}} {{reason}}",
            )
            .unit("pps")
            .min(0.0),
        ],
    }
}

fn tcp() -> Row {
    let rate = |family: &str, more: &str, by: &str| {
        format!("sum by ({by}) (rate({family}{{@, {more}device=~\"$device|n/a\"}}[$__rate_interval]))")
    };
    let quantile = |q: f64, phase: &str| {
        let buckets =
            format!("rate(netmon_tcp_rtt_seconds_bucket{{@, phase=\"{phase}\"}}[$__rate_interval])");
        format!("histogram_quantile({q}, sum by (le) ({buckets}))")
    };
    Row {
        title: "TCP, as the kernel counts it",
        panels: vec![
            Panel::lines(
                "Segments sent again, by kind",
                "TCP segments a second that were sent again: after a time-out (rto), by fast retransmit, as a probe of the tail (tlp), of a handshake (syn, synack). Time-outs hurt most. What no device has is unattributed.",
            )
            .query(rate("netmon_tcp_retransmitted_segments_total", "", "kind"), "{{kind}}")
            .stacked()
            .unit("pps")
            .min(0.0),
            Panel::lines(
                "Part sent again, by device",
                "Part of the segments sent in the last 30 s that were sent again. From 2 % on the agent may call the device degraded.",
            )
            .query("max by (device) (netmon_tcp_retransmit_ratio{@, device=~\"$device\"})", "{{device}}")
            .unit("percentunit")
            .min(0.0)
            .thresholds(GOOD, &[(0.02, FAIR), (0.05, BAD)]),
            Panel::lines(
                "Resets and failed connects",
                "Resets a second that were sent, connections that a peer's reset ended, and connects that failed.",
            )
            .query(rate("netmon_tcp_resets_total", "", "direction"), "resets {{direction}}")
            .query(rate("netmon_tcp_failed_connects_total", "", "job"), "failed connects")
            .unit("cps")
            .min(0.0),
            Panel::lines(
                "Connections opened",
                "Connects that came to an end, established or not (active), and connections accepted (passive), a second.",
            )
            .query(rate("netmon_tcp_opens_total", "", "direction"), "{{direction}}")
            .unit("cps")
            .min(0.0),
            Panel::lines(
                "Round trips of real connections",
                "What the kernel itself measured in this machine's connections: at the handshake, and smoothed at the close.",
            )
            .query(quantile(0.5, "handshake"), "handshake, half")
            .query(quantile(0.99, "handshake"), "handshake, 99 %")
            .query(quantile(0.5, "close"), "close, half")
            .query(quantile(0.99, "close"), "close, 99 %")
            .unit("s")
            .min(0.0),
            Panel::lines(
                "Laid to no device",
                "What the kernel's own totals have grown by since the agent started and no device has. It should stay near zero; netmon doctor names the hook that is missing where it does not.",
            )
            .query("max by (counter) (netmon_tcp_unattributed{@})", "{{counter}}"),
        ],
    }
}

fn targets() -> Row {
    let worst = |family: &str| format!("max by (target) ({family}{{@, target=~\"$target\"}})");
    let quantile = |q: &str| {
        format!(
            "max by (target) (netmon_probe_rtt_quantile_seconds{{@, target=~\"$target\", quantile=\"{q}\"}})"
        )
    };
    Row {
        title: "Targets",
        panels: vec![
            Panel::bands("States", "The state of each target, over time.")
                .size(24, 8)
                .query(state("netmon_target_state", "@, target=~\"$target\"", "target"), "{{target}}")
                .states(),
            Panel::table("Targets", "Each target as of the last minute. A name leads to the target itself.")
                .size(24, 8)
                .query(state("netmon_target_state", "@, target=~\"$target\"", "target"), "")
                .query(worst("netmon_probe_loss_ratio"), "")
                .query(quantile("0.5"), "")
                .query(quantile("0.99"), "")
                .query(worst("netmon_probe_jitter_seconds"), "")
                .query(
                    "time() - max by (target) (netmon_target_state_changed_timestamp_seconds{@, target=~\"$target\"})",
                    "",
                )
                .query("max by (target, probe, scope) (netmon_target_info{@, target=~\"$target\"})", "")
                .columns(&[
                    Column::new("target", "Target").link("The target", TARGET_URL),
                    Column::new("Value #A", "State").states(),
                    Column::new("Value #F", "For").unit("s"),
                    Column::new("Value #B", "Lost")
                        .unit("percentunit")
                        .thresholds(GOOD, &[(0.01, FAIR), (0.05, BAD)]),
                    Column::new("Value #C", "Round trip, half").unit("s"),
                    Column::new("Value #D", "Round trip, 99 %").unit("s"),
                    Column::new("Value #E", "Jitter").unit("s"),
                    Column::new("probe", "Probe"),
                    Column::new("scope", "Scope"),
                ])
                .greatest_first("State"),
            Panel::lines("Lost", "Part of the probes of the last minute that were lost, by target.")
                .query(worst("netmon_probe_loss_ratio"), "{{target}}")
                .ratio(),
            Panel::lines("Round trips", "The middle round trip of the last minute, by target.")
                .query(quantile("0.5"), "{{target}}")
                .unit("s")
                .logarithmic(),
            Panel::bands(
                "Connections of programs",
                "Connections that programs on this machine report to the agent. Empty where none does.",
            )
            .size(24, 6)
            .query(
                "sum by (client, connection) (netmon_client_connection_state{@, state=\"connected\"} \
                 or 2 * netmon_client_connection_state{@, state=\"connecting\"} \
                 or 3 * netmon_client_connection_state{@, state=~\"disconnected|error\"})",
                "{{client}}: {{connection}}",
            )
            .words(&[(0, "stopped", PLAIN), (1, "connected", GOOD), (2, "connecting", FAIR), (3, "lost", BAD)]),
        ],
    }
}

fn neighbours() -> Row {
    let host = "instance=~`${host:regex}(:[0-9]+)?`";
    Row {
        title: "Beside node_exporter on the same host",
        panels: vec![
            Panel::lines(
                "Segments sent again: netmon and the kernel",
                "What netmon counted by device, summed, beside the kernel's own total by node_exporter. They are one line where nothing is missing.",
            )
            .size(8, 8)
            .query("sum(rate(netmon_tcp_retransmitted_segments_total{@}[$__rate_interval]))", "netmon")
            .query(format!("sum(rate(node_netstat_Tcp_RetransSegs{{{host}}}[$__rate_interval]))"), "the kernel")
            .unit("pps")
            .min(0.0),
            Panel::lines(
                "Receive queues of what carries the default route",
                "Packets a second that overran the receive queue, of the devices on which netmon finds a default route: the machine does not keep up.",
            )
            .size(8, 8)
            .query(
                format!(
                    "rate(node_network_receive_fifo_total{{{host}}}[$__rate_interval]) \
                     and on (device) (netmon_default_route{{@}} == 1)"
                ),
                "{{device}}",
            )
            .unit("pps")
            .min(0.0),
            Panel::lines(
                "Connection tracking",
                "How full the table of tracked connections is. Full, the kernel drops what is new, and probes with it.",
            )
            .size(8, 8)
            .query(format!("node_nf_conntrack_entries{{{host}}} / node_nf_conntrack_entries_limit{{{host}}}"), "used")
            .ratio()
            .thresholds(GOOD, &[(0.8, FAIR), (0.95, BAD)]),
        ],
    }
}
