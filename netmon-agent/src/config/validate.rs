//! What a schema can't say: ranges, names, patterns, and what must fit together.

use std::{collections::HashMap, time::Duration};

use super::{
    Config, KernelConfig, MetricsConfig, discovery,
    error::Fault,
    file::{self, Span},
    ledger,
    limits::{MAX_PROBES, Open, check_rate},
    log, notify, otlp, retry,
    spanned::Spanned,
    target, thresholds,
};
use crate::{
    diagnosis,
    health::{Settings, Watch},
    output::otlp::BUILT,
};

/// Shortest interval: 50 probes a second to one target is a flood, not monitoring.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// Drop reasons that can be counted at once.
const MAX_DROP_REASONS: usize = 32;

/// Longest name of a target, bytes; it becomes a label.
pub(super) const MAX_NAME: usize = 128;

pub(super) fn validate(f: file::File) -> Result<Config, Fault> {
    let file::Metrics { windows, native_histograms, lean } = f.metrics;
    let metrics = MetricsConfig { windows, native_histograms, lean };
    let interval = interval(&f.defaults.interval)?;
    let timeout = timeout(&f.defaults.timeout)?;
    let health = Settings { native_histograms, ..thresholds::settings(f.health, &f.devices)? };
    let diagnosis = diagnosis(&f.diagnosis)?;
    let retry = retry::settings(&f.retry)?;
    let ledger = ledger::settings(&f.history)?;
    let history = f.history.enabled.unwrap_or(true).then(|| ledger.clone());
    let log = log::settings(f.log)?;
    let notifiers = notify::notifiers(&f.notify)?;
    let otlp = otlp::settings(f.otlp, BUILT)?;
    let watch = watch(&f.devices)?;
    let kernel = kernel(f.kernel)?;
    if let Some(s) = f.agent.web_config_file.as_ref().filter(|s| s.get_ref().as_os_str().is_empty()) {
        return Err(Fault::at(s.span(), "the path of the web configuration is empty")
            .hint("leave `web_config_file` out where there is none"));
    }
    if let Some(s) = f.agent.socket.as_ref().filter(|s| s.get_ref().as_os_str().is_empty()) {
        return Err(
            Fault::at(s.span(), "the socket's path is empty").hint("leave `socket` out for the default")
        );
    }
    let mut names = HashMap::new();
    let mut targets = Vec::with_capacity(f.target.len());
    for t in &f.target {
        targets.push(target::target(t, interval, timeout, &mut names)?);
    }
    let max_probes = max_probes(f.agent.max_probes_per_second.as_ref())?;
    // A target goes by its host, or by its URL where it names no host.
    let place = |t: &Spanned<file::Target>| {
        let named = t.get_ref().host.as_ref().or(t.get_ref().url.as_ref());
        named.map_or_else(|| t.span(), Spanned::span)
    };
    let each = targets.iter().map(|t| t.interval).zip(f.target.iter().map(place));
    let open = Open { cpu: f.limits.cpu, memory: f.limits.memory };
    let limits = open.close(targets.len(), check_rate(max_probes, each)?);
    let discovery = discovery::settings(&f.discovery, (interval, timeout))?;
    Ok(Config {
        listen: f.agent.listen,
        web_config_file: f.agent.web_config_file.map(Spanned::into_inner),
        socket: f.agent.socket.map(Spanned::into_inner),
        sandbox: *f.agent.sandbox.get_ref(),
        interval,
        timeout,
        auto_targets: f.defaults.auto_targets,
        netlink: f.devices.netlink,
        max_probes,
        limits,
        open,
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
        discovery,
    })
}

fn max_probes(written: Option<&Spanned<u32>>) -> Result<u32, Fault> {
    match written {
        None => Ok(MAX_PROBES),
        Some(zero) if *zero.get_ref() == 0 => {
            Err(Fault::at(zero.span(), "max_probes_per_second = 0 would probe nothing; at least 1"))
        }
        Some(max) => Ok(*max.get_ref()),
    }
}

fn diagnosis(d: &file::Diagnosis) -> Result<diagnosis::Settings, Fault> {
    let usual = diagnosis::Settings::default();
    let seconds = Duration::from_secs;
    let span = |s: &Option<Spanned<Span>>, default, range, what| {
        s.as_ref().map_or(Ok(default), |s| within(s, range, what))
    };
    let pause = span(&d.pause, usual.pause, seconds(1)..=seconds(3600), "pause")?;
    let timeout = span(&d.timeout, usual.timeout, seconds(2)..=seconds(60), "timeout")?;
    let per_minute = match &d.per_minute {
        Some(n) if !(1..=60).contains(n.get_ref()) => {
            let message = format!("per_minute is between 1 and 60, not {}", n.get_ref());
            return Err(Fault::at(n.span(), message).hint("for none at all: enabled = false"));
        }
        Some(n) => *n.get_ref(),
        None => usual.per_minute,
    };
    if pause < timeout {
        let message = format!(
            "the next look at a target would be due after {pause:?}, within the {timeout:?} of the last"
        );
        let span = d.pause.as_ref().or(d.timeout.as_ref()).map(Spanned::span);
        return Err(Fault::of(span, message, "timeout is no longer than pause"));
    }
    let enabled = d.enabled.unwrap_or(usual.enabled);
    Ok(diagnosis::Settings { enabled, pause, per_minute, timeout })
}

fn kernel(k: file::Kernel) -> Result<KernelConfig, Fault> {
    let all_namespaces = match &k.namespaces {
        None => false,
        Some(word) => match word.get_ref().as_str() {
            "own" => false,
            "all" => true,
            other => {
                let message =
                    format!("namespaces = \"{}\" is neither \"own\" nor \"all\"", other.escape_default());
                return Err(Fault::at(word.span(), message).hint(
                    "\"own\" counts in the agent's network namespace, \"all\" in every one on this machine",
                ));
            }
        },
    };
    if let Some(beyond) = k.drop_reasons.get(MAX_DROP_REASONS) {
        let message = format!("more than {MAX_DROP_REASONS} drop reasons");
        return Err(
            Fault::at(beyond.span(), message).hint("each is a series per device: name those that matter")
        );
    }
    let mut drop_reasons = Vec::new();
    for reason in k.drop_reasons {
        let name = reason.get_ref().trim_start_matches("SKB_DROP_REASON_").to_owned();
        let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(word) {
            let message = format!("\"{}\" is no drop reason", name.escape_default());
            return Err(Fault::at(reason.span(), message)
                .hint("write it as the kernel's enum skb_drop_reason has it: NO_SOCKET, TCP_CSUM, …"));
        }
        if !drop_reasons.contains(&name) {
            drop_reasons.push(name);
        }
    }
    if let Some(path) = k.btf.as_ref().filter(|path| path.get_ref().as_os_str().is_empty()) {
        return Err(Fault::at(path.span(), "the path of the kernel's types is empty")
            .hint("leave `btf` out for the kernel's own"));
    }
    let btf = k.btf.map(Spanned::into_inner);
    Ok(KernelConfig { all_namespaces, rtt_samples: k.rtt_samples, drop_reasons, btf })
}

pub(super) fn interval(s: &Spanned<Span>) -> Result<Duration, Fault> {
    within(s, MIN_INTERVAL..=MAX_INTERVAL, "an interval")
}

pub(super) fn timeout(s: &Spanned<Span>) -> Result<Duration, Fault> {
    within(s, Duration::from_millis(1)..=Duration::from_secs(60), "a time-out")
}

pub(super) fn within(
    s: &Spanned<Span>,
    range: std::ops::RangeInclusive<Duration>,
    what: &str,
) -> Result<Duration, Fault> {
    let d = s.get_ref().0;
    if range.contains(&d) {
        return Ok(d);
    }
    let show = humantime::format_duration;
    let message =
        format!("{what} is between {} and {}, not {}", show(*range.start()), show(*range.end()), show(d));
    Err(Fault::at(s.span(), message))
}

fn watch(devices: &file::Devices) -> Result<Watch, Fault> {
    for p in devices.include.iter().chain(&devices.exclude) {
        if let Err(e) = globset::Glob::new(p.get_ref()) {
            let message = format!("bad pattern \"{}\": {}", p.get_ref().escape_default(), e.kind());
            return Err(Fault::at(p.span(), message).hint("patterns are as in the shell: *, ?, [abc], {a,b}"));
        }
    }
    let all = |v: &[Spanned<String>]| v.iter().map(|p| p.get_ref().clone()).collect::<Vec<_>>();
    Watch::new(&all(&devices.include), &all(&devices.exclude)).map_err(|e| {
        // Each pattern is a good one: there are too many of them, or too long ones.
        let span = devices.include.iter().chain(&devices.exclude).map(Spanned::span).next();
        Fault::of(span, format!("devices: {e}"), "fewer patterns, or shorter ones")
    })
}
