//! netmon itself: whether what it says can be relied on, and what it takes.

use super::column::Column;
use super::model::{Dashboard, Row, Variable};
use super::panel::Panel;
use super::words::{BAD, FAIR, GOOD, PLAIN, YES};

pub fn dashboard() -> Dashboard {
    Dashboard {
        name: "agent",
        title: "Agent",
        description: "netmon itself: whether its verdicts can be relied on, what it takes, and how it serves those who wait.",
        variables: vec![
            Variable::several("job", "Job", "label_values(netmon_build_info, job)"),
            Variable::several("instance", "Node", "label_values(netmon_build_info{job=~\"$job\"}, instance)"),
        ],
        rows: vec![now(), takes(), probes(), evidence(), serves(), keeps()],
    }
}

/// A counter's growth a second, by node.
fn rate(family: &str) -> String {
    format!("sum by (instance) (rate({family}{{@}}[$__rate_interval]))")
}

/// The same by a label, all nodes together.
fn rate_by(family: &str, label: &str) -> String {
    format!("sum by ({label}) (rate({family}{{@}}[$__rate_interval]))")
}

/// A quantile of a histogram, by node.
fn quantile(q: f64, family: &str) -> String {
    format!("histogram_quantile({q}, sum by (instance, le) (rate({family}_bucket{{@}}[$__rate_interval])))")
}

fn now() -> Row {
    Row {
        title: "Now",
        panels: vec![
            Panel::table("Agents", "Version and age of each agent; whether its configuration is valid, and since when it is in force.")
                .size(8, 8)
                .query("max by (instance, version) (netmon_build_info{@})", "")
                .query("time() - max by (instance) (netmon_start_timestamp_seconds{@})", "")
                .query("max by (instance) (netmon_config_last_reload_successful{@})", "")
                .query("time() - max by (instance) (netmon_config_last_reload_success_timestamp_seconds{@})", "")
                .columns(&[
                    Column::new("instance", "Node"),
                    Column::new("version", "Version"),
                    Column::new("Value #B", "Runs for").unit("s"),
                    Column::new("Value #C", "Valid").words(&YES),
                    Column::new("Value #D", "Read ago").unit("s"),
                ]),
            Panel::bands(
                "Capabilities",
                "What each agent can do on its machine. netmon doctor there names what mends a red one; the rest goes on without it.",
            )
            .size(16, 8)
            .query("max by (instance, name) (netmon_capability{@})", "{{instance}} {{name}}")
            .words(&YES),
            Panel::figure("Stale", "Agents whose state was not evaluated for so long that it says nothing.")
                .size(6, 4)
                .query("sum(netmon_state_stale{@})", "")
                .thresholds(GOOD, &[(1.0, BAD)]),
            Panel::figure("Throttled", "Agents that probe more slowly, because they take more CPU or memory than they may.")
                .size(6, 4)
                .query("sum(netmon_throttled{@})", "")
                .thresholds(GOOD, &[(1.0, FAIR)]),
            Panel::figure("Old configuration", "Agents whose configuration file is not valid: they run on what was valid before.")
                .size(6, 4)
                .query("count(netmon_config_last_reload_successful{@} == 0) or vector(0)", "")
                .thresholds(GOOD, &[(1.0, BAD)]),
            Panel::figure("Silent", "Agents that Prometheus can't scrape.")
                .size(6, 4)
                .query("count(up{@} == 0) or vector(0)", "")
                .thresholds(GOOD, &[(1.0, BAD)]),
        ],
    }
}

fn takes() -> Row {
    let of = |family: &str| format!("max by (instance) ({family}{{@}})");
    Row {
        title: "What it takes",
        panels: vec![
            Panel::lines("CPU", "Part of one core, by node. Time of the kernel programs is not in it.")
                .size(8, 8)
                .query("sum by (instance) (rate(process_cpu_seconds_total{@}[$__rate_interval]))", "{{instance}}")
                .unit("percentunit")
                .min(0.0),
            Panel::lines("Memory", "Resident memory, and what of it is allocated, by node. A leak would be in both.")
                .size(8, 8)
                .query(of("process_resident_memory_bytes"), "{{instance}}")
                .query(of("netmon_allocated_bytes"), "{{instance}} allocated")
                .unit("bytes")
                .min(0.0),
            Panel::lines("File descriptors and threads", "Open file descriptors and threads, by node.")
                .size(8, 8)
                .query(of("process_open_fds"), "{{instance}} descriptors")
                .query(of("process_threads"), "{{instance}} threads")
                .min(0.0),
            Panel::lines(
                "Kernel programs",
                "Part of one core that the eBPF programs take. Nothing unless kernel.bpf_stats_enabled is set, for the kernel does not measure else.",
            )
            .query(rate_by("netmon_bpf_run_seconds_total", "program"), "{{program}}")
            .unit("percentunit")
            .min(0.0),
            Panel::lines("Intervals stretched", "How much longer intervals are than configured, 1 to 16: what is detected takes as much longer.")
                .query(of("netmon_interval_stretch_ratio"), "{{instance}}")
                .unit("none")
                .min(1.0),
        ],
    }
}

fn probes() -> Row {
    Row {
        title: "How it probes",
        panels: vec![
            Panel::lines("Probes", "Probes a second that were concluded, by node.")
                .size(8, 8)
                .query(rate("netmon_probes_total"), "{{instance}}")
                .unit("cps")
                .min(0.0),
            Panel::lines(
                "Lateness of its own ticks",
                "How late the agent itself woke up. Above 100 ms its lost probes prove nothing, and it says so.",
            )
            .size(8, 8)
            .query(quantile(0.5, "netmon_scheduler_lag_seconds"), "{{instance}} half")
            .query(quantile(0.99, "netmon_scheduler_lag_seconds"), "{{instance}} 99 %")
            .unit("s")
            .min(0.0)
            .thresholds(GOOD, &[(0.1, BAD)]),
            Panel::lines(
                "Probes not sent, late or inconclusive",
                "Probes a second that were due and not sent, by why; answers that came too late; probes that prove nothing since the agent ran late.",
            )
            .size(8, 8)
            .query(rate_by("netmon_probes_skipped_total", "reason"), "not sent: {{reason}}")
            .query(rate_by("netmon_probe_late_total", "job"), "answered late")
            .query(rate_by("netmon_probe_inconclusive_total", "job"), "inconclusive")
            .unit("cps")
            .min(0.0),
            Panel::lines("Who took the time", "Receive times of answers a second, by who took them. The user's own clock is the worst of them.")
                .size(8, 8)
                .query(rate_by("netmon_timestamps_total", "source"), "{{source}}")
                .stacked()
                .unit("cps")
                .min(0.0),
            Panel::lines(
                "Troubles of the probe engine",
                "A second: steps of the wall clock under way, datagrams that found its buffers full, answers that match no probe, sockets opened anew, connections reset.",
            )
            .size(8, 8)
            .query(rate("netmon_clock_steps_total"), "{{instance}} clock steps")
            .query(rate("netmon_probe_receive_drops_total"), "{{instance}} receive drops")
            .query(rate("netmon_probe_unmatched_total"), "{{instance}} unmatched")
            .query(rate("netmon_probe_sockets_reopened_total"), "{{instance}} sockets reopened")
            .query(rate("netmon_probe_resets_sent_total"), "{{instance}} resets sent")
            .unit("cps")
            .min(0.0),
            Panel::lines("Looks for the place of a fault", "Faults that were to be looked at, by what became of it, per interval.")
                .size(8, 8)
                .query("sum by (result) (increase(netmon_diagnoses_total{@}[$__rate_interval]))", "{{result}}")
                .strokes()
                .stacked()
                .decimals(0)
                .min(0.0),
        ],
    }
}

fn evidence() -> Row {
    Row {
        title: "What it may have missed",
        panels: vec![
            Panel::lines(
                "Events lost",
                "A second: times that netlink lost messages and all was read anew, and observations that found the core's queue full.",
            )
            .size(8, 8)
            .query(rate("netmon_netlink_overruns_total"), "{{instance}} netlink overruns")
            .query(rate("netmon_observations_dropped_total"), "{{instance}} observations dropped")
            .unit("cps")
            .min(0.0),
            Panel::lines(
                "Kernel events not counted",
                "A second: events that found a map full, that the kernel kept from a program for it was running already, and of these what the second program counted; rows that gave way to busier ones.",
            )
            .size(8, 8)
            .query(rate_by("netmon_bpf_dropped_total", "map"), "map {{map}} full")
            .query(rate_by("netmon_bpf_recursion_misses_total", "program"), "{{program}} missed")
            .query(rate("netmon_bpf_recovered_total"), "{{instance}} recovered")
            .query(rate("netmon_bpf_evicted_rows_total"), "{{instance}} rows evicted")
            .unit("cps")
            .min(0.0),
            Panel::bands("Kernel programs attached", "Whether each kernel program is attached. Without one its events come from the kernel's totals alone.")
                .size(8, 8)
                .query("max by (instance, program) (netmon_bpf_program_attached{@})", "{{instance}} {{program}}")
                .words(&YES),
        ],
    }
}

fn serves() -> Row {
    let of = |family: &str| format!("sum by (instance) ({family}{{@}})");
    Row {
        title: "How it serves",
        panels: vec![
            Panel::lines("Clients", "Programs that wait for a state, and subscribers to events, now.")
                .size(8, 8)
                .query(of("netmon_wait_clients"), "{{instance}} wait")
                .query(of("netmon_event_clients"), "{{instance}} follow events")
                .decimals(0)
                .min(0.0),
            Panel::lines("Waits that ended", "Waits a second that ended, by how. Refused ones found no room.")
                .size(8, 8)
                .query(rate_by("netmon_wait_requests_total", "result"), "{{result}}")
                .stacked()
                .unit("cps")
                .min(0.0),
            Panel::lines("From the change to the waiter's release", "How long those who waited had to wait on, once it was so. Nothing while nobody is released.")
                .size(8, 8)
                .query(quantile(0.5, "netmon_wait_wake_seconds"), "{{instance}} half")
                .query(quantile(0.99, "netmon_wait_wake_seconds"), "{{instance}} 99 %")
                .unit("s")
                .min(0.0),
            Panel::lines("Refused", "A second: scrapes and connections for which there was no room, tries to accept one without a descriptor for it, and times that a subscriber missed changes.")
                .query("sum by (instance) (rate(netmon_scrapes_total{@, result=\"refused\"}[$__rate_interval]))", "{{instance}} scrapes")
                .query(rate_by("netmon_connections_refused_total", "listener"), "connections ({{listener}})")
                .query(rate_by("netmon_accept_failures_total", "listener"), "not accepted ({{listener}})")
                .query(rate("netmon_events_dropped_total"), "{{instance}} events missed")
                .unit("cps")
                .min(0.0),
            Panel::lines(
                "Retry budget",
                "Tokens left of each machine's retry budget. Empty, retries end at once instead of storming what is coming back.",
            )
            .query(of("netmon_retry_budget_tokens"), "{{instance}}")
            .thresholds(BAD, &[(14.0, GOOD)])
            .min(0.0),
            Panel::lines("Questions to the retry budget", "Questions a second, by what became of them.")
                .query(rate_by("netmon_retry_budget_requests_total", "result"), "{{result}}")
                .stacked()
                .unit("cps")
                .min(0.0),
            Panel::lines("Notifications", "Notifications by hook commands and webhooks per interval, by what became of them, all notifiers together.")
                .size(8, 8)
                .query("sum by (result) (increase(netmon_notifications_total{@}[$__rate_interval]))", "{{result}}")
                .strokes()
                .stacked()
                .decimals(0)
                .min(0.0),
            Panel::lines(
                "Notifications that are late",
                "By notifier: notifications that wait to be told, and attempts beyond the first per interval. Where they stay, a receiver takes nothing.",
            )
            .size(8, 8)
            .query("sum by (notifier) (netmon_notification_queue_length{@})", "{{notifier}} waiting")
            .query("sum by (notifier) (increase(netmon_notification_retries_total{@}[$__rate_interval]))", "{{notifier}} sent again")
            .decimals(0)
            .min(0.0),
            Panel::lines("From the state to its notification", "From when a state had held for long enough to be told to when it was; an outage may be in between.")
                .size(8, 8)
                .query("histogram_quantile(0.5, sum by (notifier, le) (rate(netmon_notification_delay_seconds_bucket{@}[$__rate_interval])))", "{{notifier}} half")
                .query("histogram_quantile(0.99, sum by (notifier, le) (rate(netmon_notification_delay_seconds_bucket{@}[$__rate_interval])))", "{{notifier}} 99 %")
                .unit("s")
                .min(0.0),
            Panel::lines("Reports of programs", "Reports a second of connections that programs hold, by whether they were taken.")
                .query(rate_by("netmon_client_reports_total", "result"), "{{result}}")
                .stacked()
                .unit("cps")
                .min(0.0),
        ],
    }
}

fn keeps() -> Row {
    let of = |family: &str| format!("sum by (instance) ({family}{{@}})");
    Row {
        title: "What it keeps",
        panels: vec![
            Panel::lines("History", "Bytes of the history's file in use.")
                .size(8, 8)
                .query(of("netmon_history_size_bytes"), "{{instance}}")
                .unit("bytes")
                .min(0.0),
            Panel::lines("Changes kept", "Changes of state that the history keeps.")
                .size(8, 8)
                .query(of("netmon_history_changes"), "{{instance}}")
                .decimals(0)
                .min(0.0),
            Panel::lines(
                "Failures of the history",
                "Failures a second to write it, which are tried again, and changes that it missed meanwhile.",
            )
            .size(8, 8)
            .query(rate("netmon_history_errors_total"), "{{instance}} errors")
            .query(rate("netmon_history_dropped_total"), "{{instance}} dropped")
            .unit("cps")
            .min(0.0)
            .thresholds(PLAIN, &[]),
        ],
    }
}
