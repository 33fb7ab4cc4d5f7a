//! The configuration in effect, as a file would have it: every value with its default filled in. Where targets are found
//! elsewhere it has where, and not what. Where secrets are is in it, and they are not; URLs are the file's, and a part of one
//! may be one.

use std::time::Duration;

use super::{
    Config, KernelConfig, MetricsConfig, TargetConfig,
    discovery::tables::Discovery,
    file::{self, Dscp, File, Span},
    health::Health,
    limits::Written,
    notify::of_notifiers,
    otlp::Otlp,
    spanned::Spanned,
};
use crate::{
    budget, diagnosis,
    health::Settings,
    history,
    observation::{DnsQuery, HttpRequest, Method, PathOptions, UdpExpect},
    output::log,
    packet::dns::{record_word, response_word},
};

impl Config {
    /// The configuration in effect as TOML, which is read as this very configuration.
    ///
    /// # Errors
    /// A path that is no UTF-8.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&self.to_file())
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// A path that is no UTF-8.
    pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
        let mut all = serde_json::to_value(self.to_file())?;
        strip_nulls(&mut all);
        Ok(all)
    }

    /// Each part is taken apart whole, so that none can be forgotten.
    pub(super) fn to_file(&self) -> File {
        let Self {
            listen,
            web_config_file,
            socket,
            sandbox,
            interval,
            timeout,
            auto_targets,
            netlink,
            max_probes,
            limits,
            open: _,
            discovery,
            watch,
            kernel,
            metrics,
            diagnosis,
            retry,
            history,
            ledger,
            log,
            notifiers,
            otlp,
            health,
            targets,
        } = self;
        let KernelConfig { all_namespaces, rtt_samples, drop_reasons, btf } = kernel;
        let MetricsConfig { windows, native_histograms, lean } = *metrics;
        let [include, exclude] = watch.patterns();
        File {
            agent: file::Agent {
                listen: listen.clone(),
                web_config_file: web_config_file.clone().map(Spanned::nowhere),
                socket: socket.clone().map(Spanned::nowhere),
                max_probes_per_second: there(*max_probes),
                sandbox: Spanned::nowhere(*sandbox),
            },
            limits: file::Limits { cpu: Some(Written(limits.cpu)), memory: Some(Written(limits.memory)) },
            defaults: file::Defaults {
                interval: Spanned::nowhere(Span(*interval)),
                timeout: Spanned::nowhere(Span(*timeout)),
                auto_targets: *auto_targets,
            },
            devices: file::Devices {
                netlink: *netlink,
                include: all(include),
                exclude: all(exclude),
                required: health.required.clone(),
                preferred: health.preferred.clone(),
            },
            kernel: file::Kernel {
                namespaces: word(if *all_namespaces { "all" } else { "own" }),
                rtt_samples: *rtt_samples,
                drop_reasons: all(drop_reasons),
                btf: btf.clone().map(Spanned::nowhere),
            },
            metrics: file::Metrics { windows, native_histograms, lean },
            diagnosis: of_diagnosis(*diagnosis),
            retry: of_retry(*retry),
            history: of_history(history.is_some(), ledger),
            log: of_log(log),
            notify: of_notifiers(notifiers),
            otlp: Otlp::of(otlp.as_ref()),
            health: of_health(health),
            discovery: Discovery::of(discovery),
            target: targets.iter().map(|t| Spanned::nowhere(of_target(t))).collect(),
        }
    }
}

pub(super) fn there<T>(value: T) -> Option<Spanned<T>> {
    Some(Spanned::nowhere(value))
}

pub(super) fn span(duration: Duration) -> Option<Spanned<Span>> {
    there(Span(duration))
}

pub(super) fn word(word: &str) -> Option<Spanned<String>> {
    there(word.to_owned())
}

pub(super) fn all(words: &[String]) -> Vec<Spanned<String>> {
    words.iter().cloned().map(Spanned::nowhere).collect()
}

fn of_diagnosis(d: diagnosis::Settings) -> file::Diagnosis {
    let diagnosis::Settings { enabled, pause, per_minute, timeout } = d;
    file::Diagnosis {
        enabled: Some(enabled),
        pause: span(pause),
        per_minute: there(per_minute),
        timeout: span(timeout),
    }
}

fn of_retry(r: budget::Settings) -> file::Retry {
    let budget::Settings { tokens, transient, throttle, per_second } = r;
    file::Retry {
        tokens: there(tokens),
        transient: there(transient),
        throttle: there(throttle),
        per_second: there(per_second),
    }
}

fn of_history(enabled: bool, ledger: &history::Settings) -> file::History {
    let history::Settings { path, retention, max_size } = ledger;
    file::History {
        enabled: Some(enabled),
        path: there(path.clone()),
        retention: span(*retention),
        max_size: there(Written(Some(*max_size))),
    }
}

fn of_log(settings: &log::Settings) -> file::Log {
    let log::Settings { level, format, file, max_size, max_files } = settings.clone();
    file::Log {
        level: level.map(Spanned::nowhere),
        format: format.map(Spanned::nowhere),
        file: file.map(Spanned::nowhere),
        max_size: max_size.map(|n| Spanned::nowhere(Written(Some(n)))),
        max_files: max_files.map(Spanned::nowhere),
    }
}

fn of_health(settings: &Settings) -> Health {
    // What else there is stands in other tables.
    let Settings { burst, quorum, required: _, preferred: _, native_histograms: _, .. } = settings;
    let s = settings;
    Health {
        settle: span(s.settle),
        suspect_min: span(s.suspect_min),
        burst: there(burst.iter().copied().map(Span).collect()),
        recovery_interval: span(s.recovery_interval),
        recovery_successes: there(s.recovery_successes),
        recovery_hasten: span(s.recovery_hasten),
        late_tick: span(s.late_tick),
        max_timeout_scale: there(s.max_timeout_scale),
        suspend_jump: span(s.suspend_jump),
        stall_gap: span(s.stall_gap),
        stale_intervals: there(s.stale_intervals),
        rto_prefixes: there(s.rto_prefixes),
        rto_per_prefix: there(s.rto_per_prefix),
        rto_window: span(s.rto_window),
        rto_pause: span(s.rto_pause),
        progress_prefixes: there(s.progress_prefixes),
        progress_window: span(s.progress_window),
        progress_stale: span(s.progress_stale),
        confidence: there(s.confidence),
        loss_samples: there(s.loss_samples),
        loss_ratio: there(s.loss_ratio),
        loss_left: there(s.loss_left),
        retransmit_window: span(s.retransmit_window),
        retransmit_segments: there(s.retransmit_segments),
        retransmit_prefixes: there(s.retransmit_prefixes),
        retransmit_flow_share: there(s.retransmit_flow_share),
        retransmit_cluster: there(s.retransmit_cluster),
        retransmit_ratio: there(s.retransmit_ratio),
        retransmit_memory: span(s.retransmit_memory),
        degraded_dwell: span(s.degraded_dwell),
        latency_floor: span(s.latency_floor),
        latency_samples: there(s.latency_samples),
        latency_recent: there(s.latency_recent),
        latency_deviations: there(s.latency_deviations),
        flap_half_life: span(s.flap_half_life),
        flap_suppress: there(s.flap_suppress),
        flap_reuse: there(s.flap_reuse),
        flap_max: span(s.flap_max),
        quorum: quorum.iter().map(|(scope, n)| (scope.clone(), Spanned::nowhere(*n))).collect(),
    }
}

/// A target as the file would have it.
pub(super) fn of_target(target: &TargetConfig) -> file::Target {
    let TargetConfig { name, host, method, path, scope, interval, timeout } = target;
    // A family is meant by a source of targets alone, which says it for all that it finds.
    let PathOptions { source, device, mark, ttl, dscp, size, dont_fragment, family: _ } = &**path;
    let t = file::Target {
        name: word(name),
        host: word(host),
        probe: Spanned::nowhere(method.as_str().to_owned()),
        port: None,
        scope: word(scope),
        interval: span(*interval),
        timeout: span(*timeout),
        source: source.map(Spanned::nowhere),
        device: device.clone().map(Spanned::nowhere),
        vrf: None,
        mark: there(*mark),
        ttl: ttl.map(Spanned::nowhere),
        dscp: there(Dscp::Number(*dscp)),
        size: size.map(Spanned::nowhere),
        dont_fragment: there(*dont_fragment),
        expect: None,
        query: None,
        record: None,
        transport: None,
        accept: None,
        url: None,
        head: None,
        status: None,
        verify: None,
        ca_file: None,
    };
    with_method(t, method)
}

fn with_method(t: file::Target, method: &Method) -> file::Target {
    match method {
        Method::Icmp => t,
        Method::Tcp { port } => file::Target { port: there(*port), ..t },
        Method::Udp { port, expect } => {
            let expect = match expect {
                UdpExpect::Echo => "echo",
                UdpExpect::Unreachable => "unreachable",
            };
            file::Target { port: there(*port), expect: word(expect), ..t }
        }
        Method::Dns(query) => {
            let DnsQuery { port, name, record, tcp, accept } = &**query;
            let accept = accept.iter().filter_map(|code| response_word(*code)).map(str::to_owned);
            file::Target {
                port: there(*port),
                query: there(name.clone()),
                record: there(record_word(*record)),
                transport: word(if *tcp { "tcp" } else { "udp" }),
                accept: there(accept.map(Spanned::nowhere).collect()),
                ..t
            }
        }
        Method::Http(request) => {
            let HttpRequest { tls, port: _, host: _, path: _, head, status, verify, ca_file } = &**request;
            let status = status.iter().map(|range| match (range.start(), range.end()) {
                (one, same) if one == same => one.to_string(),
                (start, end) => format!("{start}-{end}"),
            });
            file::Target {
                url: there(request.url()),
                head: there(*head),
                status: there(status.map(Spanned::nowhere).collect()),
                verify: tls.then(|| Spanned::nowhere(*verify)),
                ca_file: ca_file.clone().map(Spanned::nowhere),
                ..t
            }
        }
    }
}

/// JSON has a word for what TOML leaves out.
fn strip_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        serde_json::Value::Array(all) => all.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
