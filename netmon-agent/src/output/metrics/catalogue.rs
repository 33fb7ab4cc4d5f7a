//! Every family, in one table: what `/metrics` writes its headers from, and what dashboards and documentation are
//! made from.

/// One family of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name of its series: with `_total` or `_info`, without `_bucket`, `_sum`, `_count`.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Label names, without `le`.
    pub labels: &'static [&'static str],
    /// One line for a person. No backslash, quote or line feed.
    pub help: &'static str,
}

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// Quantiles of a window, without sum and count.
    Summary,
    /// Labels that describe; always 1.
    Info,
}

impl Kind {
    /// The word for it in the text format 0.0.4.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

impl Family {
    /// The unit in the name: `seconds`, `bytes` or `ratio`.
    pub fn unit(&self) -> Option<&'static str> {
        let base = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes", "ratio"].into_iter().find(|u| base.ends_with(&format!("_{u}")))
    }
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// Every family.
        pub const ALL: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD_INFO: Info "netmon_build_info" ["version"] "The agent's version.";
    START_TIME: Gauge "netmon_start_timestamp_seconds" [] "When the agent started.";
    CAPABILITY: Gauge "netmon_capability" ["name"] "Whether the agent can do this here; see netmon doctor.";

    STATE: Gauge "netmon_state" ["state"] "1 for the state of this machine's network, 0 for the others.";
    STATE_TRANSITIONS: Counter "netmon_state_transitions_total" ["state"] "Changes of the overall state, by the state it changed to.";
    STATE_CHANGED: Gauge "netmon_state_changed_timestamp_seconds" [] "When the overall state last changed.";
    STATE_STALE: Gauge "netmon_state_stale" [] "1 when the state was not evaluated for so long that it says nothing.";
    STATE_REASON: Gauge "netmon_state_reason" ["code" "subject"] "1 for each reason of any state while it holds; the subject is a device, a target, a scope, or empty.";
    DEVICE_STATE: Gauge "netmon_device_state" ["device" "state"] "1 for the state of the device, 0 for the others.";
    DEVICE_TRANSITIONS: Counter "netmon_device_state_transitions_total" ["device" "state"] "Changes of the device's state, by the state it changed to.";
    DEVICE_CHANGED: Gauge "netmon_device_state_changed_timestamp_seconds" ["device"] "When the device's state last changed.";
    TARGET_STATE: Gauge "netmon_target_state" ["target" "state"] "1 for the state of the target, 0 for the others.";
    TARGET_TRANSITIONS: Counter "netmon_target_state_transitions_total" ["target" "state"] "Changes of the target's state, by the state it changed to.";
    TARGET_CHANGED: Gauge "netmon_target_state_changed_timestamp_seconds" ["target"] "When the target's state last changed.";

    LINK_UP: Gauge "netmon_link_up" ["device"] "1 when the device is set up, has carrier, and is operational or does not say.";
    LINK_CARRIER: Gauge "netmon_link_carrier" ["device"] "1 when the device has carrier.";
    LINK_CARRIER_CHANGES: Counter "netmon_link_carrier_changes_total" ["device"] "Carrier gained or lost since the device was made.";
    LINK_SPEED: Gauge "netmon_link_speed_bytes" ["device"] "Speed of the link in bytes per second, where the driver knows.";
    LINK_MTU: Gauge "netmon_link_mtu_bytes" ["device"] "Maximum transmission unit.";
    LINK_INFO: Info "netmon_link_info" ["device" "ifindex" "kind" "mac" "master" "operstate"] "What the device is.";
    LINK_STACK: Info "netmon_link_stack_info" ["device" "lower"] "What the device stands on: a VLAN on its link, a bond, bridge or VRF on each of its ports.";
    DEFAULT_ROUTE: Gauge "netmon_default_route" ["device" "family"] "1 when a default route of this family stands on the device.";
    LINK_RX_BYTES: Counter "netmon_link_receive_bytes_total" ["device"] "Bytes received since the device was made.";
    LINK_TX_BYTES: Counter "netmon_link_transmit_bytes_total" ["device"] "Bytes sent since the device was made.";
    LINK_RX_PACKETS: Counter "netmon_link_receive_packets_total" ["device"] "Packets received since the device was made.";
    LINK_TX_PACKETS: Counter "netmon_link_transmit_packets_total" ["device"] "Packets sent since the device was made.";
    LINK_RX_ERRORS: Counter "netmon_link_receive_errs_total" ["device"] "Receive errors since the device was made.";
    LINK_TX_ERRORS: Counter "netmon_link_transmit_errs_total" ["device"] "Transmit errors since the device was made.";
    LINK_RX_DROPPED: Counter "netmon_link_receive_drop_total" ["device"] "Received packets dropped since the device was made.";
    LINK_TX_DROPPED: Counter "netmon_link_transmit_drop_total" ["device"] "Packets dropped on the way out since the device was made.";

    TCP_SEGMENTS: Counter "netmon_tcp_retransmitted_segments_total" ["device" "kind"] "TCP segments sent again; device n/a is what was not on a watched device, kind unattributed what only the kernel's own totals have.";
    TCP_RETRANSMITS: Counter "netmon_tcp_retransmits_total" ["device" "kind"] "TCP retransmissions, each of one or more segments; device n/a is what was not on a watched device.";
    TCP_RATIO: Gauge "netmon_tcp_retransmit_ratio" ["device"] "TCP segments sent again of those sent in the last 30 s, 0 to 1, time-outs and fast retransmits alone; absent where too few were sent to tell.";
    TCP_RESETS: Counter "netmon_tcp_resets_total" ["device" "direction"] "TCP resets sent, and connections ended by a peer's; device n/a is what was not on a watched device.";
    TCP_OPENS: Counter "netmon_tcp_opens_total" ["device" "direction"] "Connects that came to an end, established or not (active), and connections accepted (passive).";
    TCP_FAILED_CONNECTS: Counter "netmon_tcp_failed_connects_total" ["device"] "Connects that failed, and half-open connections that were given up.";
    TCP_SENT: Counter "netmon_tcp_segments_sent_total" ["device"] "TCP segments sent, those sent again included; of open connections as of the last look at them.";
    TCP_RTT: Histogram "netmon_tcp_rtt_seconds" ["device" "phase"] "Round-trip times that the kernel measured: of the handshake, smoothed at the close, and, if asked for, sampled.";
    NETNS_TCP_SEGMENTS: Counter "netmon_netns_tcp_retransmitted_segments_total" ["netns" "device" "kind"] "As netmon_tcp_retransmitted_segments_total, of other network namespaces; only where every namespace is counted.";
    NETNS_TCP_RETRANSMITS: Counter "netmon_netns_tcp_retransmits_total" ["netns" "device" "kind"] "As netmon_tcp_retransmits_total, of other network namespaces.";
    NETNS_TCP_RESETS: Counter "netmon_netns_tcp_resets_total" ["netns" "device" "direction"] "As netmon_tcp_resets_total, of other network namespaces.";
    NETNS_TCP_OPENS: Counter "netmon_netns_tcp_opens_total" ["netns" "device" "direction"] "As netmon_tcp_opens_total, of other network namespaces.";
    NETNS_TCP_FAILED_CONNECTS: Counter "netmon_netns_tcp_failed_connects_total" ["netns" "device"] "As netmon_tcp_failed_connects_total, of other network namespaces.";
    NETNS_TCP_SENT: Counter "netmon_netns_tcp_segments_sent_total" ["netns" "device"] "As netmon_tcp_segments_sent_total, of other network namespaces; of sockets that closed.";
    SKB_DROPS: Counter "netmon_skb_drops_total" ["device" "reason"] "Packets that the kernel dropped, for the reasons asked for; device n/a is what was not on a watched device.";
    TCP_UNATTRIBUTED: Gauge "netmon_tcp_unattributed" ["counter"] "What the kernel's own totals have grown by since the agent started and no device has.";
    TCP_UNRESOLVED: Counter "netmon_tcp_unresolved_total" [] "Events counted under no device, for no structure named one; of every network namespace that is counted.";
    TCP_RETRANSMIT_FAILURES: Counter "netmon_tcp_retransmit_failures_total" [] "Retransmissions that never left the host, since the network namespace was made.";

    TARGET_INFO: Info "netmon_target_info" ["target" "address" "family" "probe" "scope"] "The addresses of a target.";
    PROBES: Counter "netmon_probes_total" ["target" "probe"] "Probes concluded: answered, failed or inconclusive. Of all addresses of the target.";
    PROBE_REPLIES: Counter "netmon_probe_replies_total" ["target" "probe"] "Probes answered in time.";
    PROBE_FAILURES: Counter "netmon_probe_failures_total" ["target" "probe" "reason"] "Probes that failed on the way or at the target.";
    PROBE_SEND_ERRORS: Counter "netmon_probe_send_errors_total" ["target" "probe"] "Probes that could not be sent from here; no loss.";
    PROBE_INCONCLUSIVE: Counter "netmon_probe_inconclusive_total" ["target" "probe"] "Probes that prove nothing, because the agent itself ran late.";
    PROBE_RTT: Histogram "netmon_probe_rtt_seconds" ["target" "probe"] "Round-trip times of all addresses of the target.";
    PROBE_RTT_QUANTILE: Summary "netmon_probe_rtt_quantile_seconds" ["target" "probe" "quantile"] "Quantiles of the round-trip times of the last 60 s, of the target's worst address.";
    PROBE_JITTER: Gauge "netmon_probe_jitter_seconds" ["target" "probe"] "Interarrival jitter by RFC 3550, of the target's worst address.";
    PROBE_LOSS: Gauge "netmon_probe_loss_ratio" ["target" "probe"] "Lost of the probes concluded in the last 60 s, 0 to 1, of the target's worst address.";
    PROBE_BURST: Histogram "netmon_probe_loss_burst_length" ["target" "probe"] "Probes lost in a row, per completed burst.";
    PROBE_LATE: Counter "netmon_probe_late_total" ["target" "probe"] "Answers that came after the probe was given up.";
    PROBE_DUPLICATES: Counter "netmon_probe_duplicates_total" ["target" "probe"] "Second answers to one probe.";
    PROBE_REORDERED: Counter "netmon_probe_reordered_total" ["target" "probe"] "Answers that came out of order.";
    PROBE_CORRUPTED: Counter "netmon_probe_corrupted_total" ["target" "probe"] "Answers whose payload was another than was sent; no replies.";
    PROBE_TTL: Gauge "netmon_probe_reply_ttl" ["target" "probe"] "Received time to live or hop limit of the last reply that told it; the lowest of the target's addresses.";
    PROBE_TTL_CHANGES: Counter "netmon_probe_ttl_changes_total" ["target" "probe"] "Replies whose time to live was another than that of the reply before: the way back has changed.";
    PROBE_RTT_WINDOW: Summary "netmon_probe_rtt_window_seconds" ["target" "probe" "window" "quantile"] "Quantiles of the round-trip times of 5 minutes and an hour, of the target's worst address; only with windows = true.";
    PROBE_WINDOW_LOSS: Gauge "netmon_probe_window_loss_ratio" ["target" "probe" "window"] "Lost of the probes concluded in 5 minutes and an hour, 0 to 1, of the target's worst address; only with windows = true.";
    PROBE_PHASE: Gauge "netmon_probe_phase_duration_seconds" ["target" "probe" "phase"] "How long a phase of the last probe took, of the target's worst address; resolve: the last look-up of its name.";
    PROBE_HTTP_STATUS: Gauge "netmon_probe_http_status_code" ["target" "probe"] "Status of the last HTTP answer; absent while none comes. The highest of all addresses of the target.";
    PROBE_DNS_RCODE: Gauge "netmon_probe_dns_rcode" ["target" "probe"] "Response code of the last DNS answer, by IANA's number; absent while none comes. The highest of all addresses of the target.";
    PROBE_CERTIFICATE: Gauge "netmon_probe_certificate_expiry_timestamp_seconds" ["target" "probe"] "When the first certificate to expire of those that were last presented does so, seconds since 1970.";

    THROTTLED: Gauge "netmon_throttled" [] "1 while the agent probes more slowly because it takes more CPU or memory than it may.";
    INTERVAL_STRETCH: Gauge "netmon_interval_stretch_ratio" [] "How much longer intervals are than configured: 1 to 16.";
    SCHEDULER_LAG: Histogram "netmon_scheduler_lag_seconds" [] "How late the agent's own ticks were.";
    PROBES_SKIPPED: Counter "netmon_probes_skipped_total" ["reason"] "Probes that were due and not sent.";
    DIAGNOSES: Counter "netmon_diagnoses_total" ["result"] "Faults that were to be looked at for their place, by what became of it.";
    TIMESTAMPS: Counter "netmon_timestamps_total" ["source"] "Receive times of answers, by who took them.";
    CLOCK_STEPS: Counter "netmon_clock_steps_total" [] "Kernel timestamps of answers that were not used because the wall clock had stepped.";
    PROBE_RECEIVE_DROPS: Counter "netmon_probe_receive_drops_total" [] "Datagrams that the kernel dropped because the probe engine's buffers were full; its probes prove nothing.";
    PROBE_UNMATCHED: Counter "netmon_probe_unmatched_total" [] "Answers and error reports that matched no probe (of other programs, too old, forged), and second or damaged ones beyond eight of one probe.";
    PROBE_RESETS: Counter "netmon_probe_resets_sent_total" [] "Connections of TCP probes that were closed by a reset instead of a FIN, beyond 200 a second.";
    PROBE_REOPENED: Counter "netmon_probe_sockets_reopened_total" [] "Probe sockets that were opened anew after a sudden total loss.";
    NETLINK_OVERRUNS: Counter "netmon_netlink_overruns_total" [] "Times that netlink lost messages and everything was read anew.";
    OBSERVATIONS_DROPPED: Counter "netmon_observations_dropped_total" [] "Observations that found the core's queue full.";
    BPF_DROPPED: Counter "netmon_bpf_dropped_total" ["map"] "Kernel events not counted because a map was full.";

    BPF_RECOVERED: Counter "netmon_bpf_recovered_total" [] "Retransmissions that the kernel kept from one program, for it was running on that processor, and its twin counted.";
    BPF_EVICTED: Counter "netmon_bpf_evicted_rows_total" [] "Interfaces of other network namespaces whose counters gave way to busier ones.";
    BPF_PROGRAM: Info "netmon_bpf_program_info" ["program" "rung"] "How the kernel tells of the event: by raw tracepoint, by classic tracepoint, or in its totals alone.";
    BPF_ATTACHED: Gauge "netmon_bpf_program_attached" ["program"] "1 when the kernel program is attached.";
    BPF_MISSES: Counter "netmon_bpf_recursion_misses_total" ["program"] "Events the kernel kept from the program because it was already running on that processor.";
    BPF_RUNS: Counter "netmon_bpf_runs_total" ["program"] "How often the kernel program ran; 0 unless kernel.bpf_stats_enabled is set.";
    BPF_RUN: Counter "netmon_bpf_run_seconds_total" ["program"] "How long the kernel program has run; 0 unless kernel.bpf_stats_enabled is set.";
    CONFIG_OK: Gauge "netmon_config_last_reload_successful" [] "1 when the configuration was valid the last time it was read.";
    CONFIG_TIME: Gauge "netmon_config_last_reload_success_timestamp_seconds" [] "When the configuration was last read and valid.";

    DISCOVERY_TARGETS: Gauge "netmon_discovery_targets" ["mechanism" "source"] "Targets that a source of discovery tells of, those that are left out included.";
    DISCOVERY_OK: Gauge "netmon_discovery_last_refresh_successful" ["mechanism" "source"] "1 when all that the source names could be read the last time; 0 also before its first answer.";
    DISCOVERY_TIME: Gauge "netmon_discovery_last_success_timestamp_seconds" ["mechanism" "source"] "When last all that the source names could be read; 0 before the first time.";
    DISCOVERY_FAILURES: Counter "netmon_discovery_failures_total" ["mechanism" "source"] "Times that a file, an answer or a name of the source could not be used; what it told last stays in force.";
    DISCOVERY_LEFT_OUT: Gauge "netmon_discovery_targets_left_out" ["reason"] "Targets that were found and are not probed: their name is another's, or there are too many.";

    CLIENT_STATE: Gauge "netmon_client_connection_state" ["client" "connection" "state"] "1 for the state of a connection that a program reports, 0 for the others; gone with its reporter. A client of an ordinary user has @ and the user behind its name.";
    CLIENT_CHANGED: Gauge "netmon_client_connection_state_changed_timestamp_seconds" ["client" "connection"] "When the reported connection's state last changed.";
    CLIENT_RECONNECTS: Counter "netmon_client_connection_reconnects_total" ["client" "connection"] "How often the reported connection was made anew after a loss.";
    CLIENT_UPTIME: Gauge "netmon_client_connection_uptime_ratio" ["client" "connection"] "Part of the time for which the reported connection was there, 0 to 1, where its program tells.";
    CLIENT_REPORTS: Counter "netmon_client_reports_total" ["result"] "Reports of connections, by whether they were taken.";
    WAIT_CLIENTS: Gauge "netmon_wait_clients" [] "Programs that wait for a state now.";
    WAIT_REQUESTS: Counter "netmon_wait_requests_total" ["result"] "Waits that ended, by how.";
    WAIT_WAKE: Histogram "netmon_wait_wake_seconds" [] "From the snapshot that fulfils a condition to its waiter's release.";
    EVENT_CLIENTS: Gauge "netmon_event_clients" [] "Subscribers to events now.";
    EVENTS_DROPPED: Counter "netmon_events_dropped_total" [] "Times that a subscriber missed changes, because it read too slowly or came back too late.";
    RETRY_BUDGET_TOKENS: Gauge "netmon_retry_budget_tokens" [] "Tokens left of the retry budget of this machine.";
    RETRY_BUDGET_REQUESTS: Counter "netmon_retry_budget_requests_total" ["result"] "Questions to the retry budget, by what became of them.";
    HISTORY_ERRORS: Counter "netmon_history_errors_total" [] "Failures to write the history of outages; it is tried again.";
    HISTORY_DROPPED: Counter "netmon_history_dropped_total" [] "Changes and waits that the history missed while it could not be written; the state was taken anew afterwards.";
    HISTORY_BYTES: Gauge "netmon_history_size_bytes" [] "Bytes of the history's file in use; 0 where there is none.";
    HISTORY_CHANGES: Gauge "netmon_history_changes" [] "Changes that the history keeps, nearly.";
    NOTIFICATIONS: Counter "netmon_notifications_total" ["notifier" "result"] "Notifications by hook command or webhook, by what became of them.";
    NOTIFICATION_RETRIES: Counter "netmon_notification_retries_total" ["notifier"] "Attempts to deliver a notification beyond its first.";
    NOTIFICATION_QUEUE: Gauge "netmon_notification_queue_length" ["notifier"] "Notifications that wait to be told.";
    NOTIFICATION_DELAY: Histogram "netmon_notification_delay_seconds" ["notifier"] "From when a state had held for long enough to be told to when it was.";
    OTLP_EXPORTS: Counter "netmon_otlp_exports_total" ["result"] "Exports of metrics by OTLP, by how they ended: ok, with points that the receiver rejected (partial), or not whole (failed); only where they are configured.";
    OTLP_POINTS: Counter "netmon_otlp_points_total" ["result"] "Data points of exports by OTLP: accepted, rejected by the receiver, or dropped for they could not be sent in time.";
    OTLP_TIME: Gauge "netmon_otlp_last_success_timestamp_seconds" [] "When last all of an export by OTLP was taken; 0 before the first time.";
    LOG_LOST: Counter "netmon_log_lines_lost_total" [] "Lines of the log that were lost, as its file or the journal did not take them in time.";
    ALLOCATED: Gauge "netmon_allocated_bytes" [] "Memory that is allocated and not freed. What else is resident is code, stacks, and what the C library keeps in store.";
    SCRAPES: Counter "netmon_scrapes_total" ["result"] "Requests for metrics, by whether there was room for them.";
    CONNECTIONS_REFUSED: Counter "netmon_connections_refused_total" ["listener"] "Connections closed for want of room.";
    ACCEPT_FAILURES: Counter "netmon_accept_failures_total" ["listener"] "Times that a connection could not be accepted: no file descriptor was left for it. It waits, and is tried again.";

    PROCESS_CPU: Counter "process_cpu_seconds_total" [] "Processor time used, user and system.";
    PROCESS_FDS: Gauge "process_open_fds" [] "Open file descriptors.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" [] "Most file descriptors that may be open.";
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" [] "Virtual memory.";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" [] "Resident memory.";
    PROCESS_START: Gauge "process_start_time_seconds" [] "When the process started, seconds since 1970.";
    PROCESS_THREADS: Gauge "process_threads" [] "Threads.";
}
