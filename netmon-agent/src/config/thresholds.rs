//! The thresholds of the rules, `[health]`: each within its range, and none that makes another impossible.

use std::{
    collections::BTreeMap,
    fmt::Display,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use super::{
    error::Fault,
    file::{self, Span},
    spanned::Spanned,
    validate::within,
};
use crate::health::{Settings, limits};

/// Probes of a burst, at most.
const MAX_BURST: usize = 20;

const LAST_OF_BURST: Duration = Duration::from_secs(30);

pub(super) fn settings(h: file::Health, devices: &file::Devices) -> Result<Settings, Fault> {
    let places = Places::of(&h);
    let d = Settings::default();
    let settings = Settings {
        settle: span(&h.settle, d.settle, 1000..=60_000, "settle")?,
        suspect_min: span(&h.suspect_min, d.suspect_min, 1..=10_000, "suspect_min")?,
        burst: burst(h.burst.as_ref(), d.burst)?,
        recovery_interval: span(&h.recovery_interval, d.recovery_interval, 20..=10_000, "recovery_interval")?,
        recovery_successes: number(
            &h.recovery_successes,
            d.recovery_successes,
            1..=100,
            "recovery_successes",
        )?,
        recovery_hasten: span(&h.recovery_hasten, d.recovery_hasten, 0..=60_000, "recovery_hasten")?,
        late_tick: span(&h.late_tick, d.late_tick, 10..=10_000, "late_tick")?,
        max_timeout_scale: number(&h.max_timeout_scale, d.max_timeout_scale, 1..=32, "max_timeout_scale")?,
        suspend_jump: span(&h.suspend_jump, d.suspend_jump, 100..=60_000, "suspend_jump")?,
        stall_gap: span(&h.stall_gap, d.stall_gap, 1500..=60_000, "stall_gap")?,
        stale_intervals: number(&h.stale_intervals, d.stale_intervals, 2..=100, "stale_intervals")?,
        rto_prefixes: number(&h.rto_prefixes, d.rto_prefixes, 1..=64, "rto_prefixes")?,
        rto_per_prefix: number(&h.rto_per_prefix, d.rto_per_prefix, 1..=2, "rto_per_prefix")?,
        rto_window: span(&h.rto_window, d.rto_window, 100..=10_000, "rto_window")?,
        rto_pause: span(&h.rto_pause, d.rto_pause, 1000..=3_600_000, "rto_pause")?,
        progress_prefixes: number(&h.progress_prefixes, d.progress_prefixes, 1..=255, "progress_prefixes")?,
        progress_window: span(&h.progress_window, d.progress_window, 1000..=10_000, "progress_window")?,
        progress_stale: span(&h.progress_stale, d.progress_stale, 1000..=10_000, "progress_stale")?,
        confidence: number(&h.confidence, d.confidence, 1.0..=5.0, "confidence")?,
        loss_samples: number(&h.loss_samples, d.loss_samples, 10..=limits::SAMPLES, "loss_samples")?,
        loss_ratio: number(&h.loss_ratio, d.loss_ratio, 0.001..=0.9, "loss_ratio")?,
        loss_left: number(&h.loss_left, d.loss_left, 0..=59, "loss_left")?,
        retransmit_window: span(
            &h.retransmit_window,
            d.retransmit_window,
            10_000..=600_000,
            "retransmit_window",
        )?,
        retransmit_segments: number(
            &h.retransmit_segments,
            d.retransmit_segments,
            8..=1_000_000,
            "retransmit_segments",
        )?,
        // There are 64 cells to tell them by.
        retransmit_prefixes: number(
            &h.retransmit_prefixes,
            d.retransmit_prefixes,
            1..=32,
            "retransmit_prefixes",
        )?,
        retransmit_flow_share: number(
            &h.retransmit_flow_share,
            d.retransmit_flow_share,
            0.01..=1.0,
            "retransmit_flow_share",
        )?,
        retransmit_cluster: number(
            &h.retransmit_cluster,
            d.retransmit_cluster,
            1.0..=100.0,
            "retransmit_cluster",
        )?,
        retransmit_ratio: number(&h.retransmit_ratio, d.retransmit_ratio, 0.001..=0.9, "retransmit_ratio")?,
        retransmit_memory: span(
            &h.retransmit_memory,
            d.retransmit_memory,
            10_000..=86_400_000,
            "retransmit_memory",
        )?,
        degraded_dwell: span(&h.degraded_dwell, d.degraded_dwell, 0..=3_600_000, "degraded_dwell")?,
        latency_floor: span(&h.latency_floor, d.latency_floor, 1..=60_000, "latency_floor")?,
        latency_samples: number(&h.latency_samples, d.latency_samples, 15..=1800, "latency_samples")?,
        latency_recent: number(&h.latency_recent, d.latency_recent, 3..=15, "latency_recent")?,
        latency_deviations: number(
            &h.latency_deviations,
            d.latency_deviations,
            1.0..=100.0,
            "latency_deviations",
        )?,
        flap_half_life: span(&h.flap_half_life, d.flap_half_life, 1000..=3_600_000, "flap_half_life")?,
        flap_suppress: number(&h.flap_suppress, d.flap_suppress, 1..=1_000_000, "flap_suppress")?,
        flap_reuse: number(&h.flap_reuse, d.flap_reuse, 1..=1_000_000, "flap_reuse")?,
        flap_max: span(&h.flap_max, d.flap_max, 1000..=3_600_000, "flap_max")?,
        quorum: quorum(h.quorum)?,
        required: devices.required.clone(),
        preferred: devices.preferred.clone(),
        ..d
    };
    together(&settings, &places)?;
    Ok(settings)
}

/// What each may be, and the others do not let it be.
fn together(s: &Settings, at: &Places) -> Result<(), Fault> {
    let refuse = |keys: &[&str], message: String, hint: &str| {
        let span = keys.iter().find_map(|k| at.0.get(k)).cloned();
        Err(Fault::of(span, message, hint))
    };
    if s.progress_stale < s.progress_window {
        let message = format!(
            "a report of progress is stale after {:?}, before the {:?} are over in which it counts",
            s.progress_stale, s.progress_window
        );
        return refuse(
            &["progress_stale", "progress_window"],
            message,
            "progress_stale is no shorter than progress_window",
        );
    }
    if s.late_tick >= s.stall_gap {
        let message = format!(
            "the agent would run late after {:?}, and stand still after {:?} already",
            s.late_tick, s.stall_gap
        );
        return refuse(&["late_tick", "stall_gap"], message, "late_tick is shorter than stall_gap");
    }
    let enters = limits::lost_to_enter(s);
    if enters > s.loss_samples {
        let message =
            format!("no loss of {} probes is surely more than loss_ratio = {}", s.loss_samples, s.loss_ratio);
        return refuse(
            &["loss_ratio", "loss_samples", "confidence"],
            message,
            "the defaults are 0.05 of 60 samples at a confidence of 2.576",
        );
    }
    if s.loss_left >= enters {
        let message = format!(
            "loss is entered at {enters} lost of {} (loss_ratio = {}) and left at {} already (loss_left)",
            s.loss_samples, s.loss_ratio, s.loss_left
        );
        return refuse(
            &["loss_left", "loss_ratio", "loss_samples", "confidence"],
            message,
            "lower loss_left, or raise loss_ratio",
        );
    }
    if !limits::retransmits_can_enter(s) {
        let message = format!(
            "even if all of {} segments were sent again, that would not be surely more than {}",
            s.retransmit_segments, s.retransmit_ratio
        );
        return refuse(
            &["retransmit_segments", "retransmit_ratio", "retransmit_cluster", "confidence"],
            message,
            "raise retransmit_segments, or lower retransmit_ratio or retransmit_cluster",
        );
    }
    if s.retransmit_memory < s.retransmit_window {
        let message = format!(
            "retransmits would be forgotten after {:?}, within the {:?} over which they are counted",
            s.retransmit_memory, s.retransmit_window
        );
        return refuse(
            &["retransmit_memory", "retransmit_window"],
            message,
            "retransmit_memory is no shorter than retransmit_window",
        );
    }
    if s.flap_reuse >= s.flap_suppress {
        let message = format!(
            "what is suppressed above {} could never be used again below {}",
            s.flap_suppress, s.flap_reuse
        );
        return refuse(
            &["flap_reuse", "flap_suppress"],
            message,
            "flap_reuse is smaller than flap_suppress; the defaults are 1000 and 2500",
        );
    }
    let ceiling = limits::flap_ceiling(s);
    if ceiling <= f64::from(s.flap_suppress) {
        let message = format!(
            "flap_max = {:?} and flap_half_life = {:?} keep the penalty under {ceiling:.0}: it never exceeds \
             flap_suppress = {}, and nothing is ever suppressed",
            s.flap_max, s.flap_half_life, s.flap_suppress
        );
        return refuse(
            &["flap_max", "flap_half_life", "flap_suppress", "flap_reuse"],
            message,
            "lengthen flap_max, or shorten flap_half_life",
        );
    }
    Ok(())
}

fn span(
    s: &Option<Spanned<Span>>,
    default: Duration,
    millis: RangeInclusive<u64>,
    what: &str,
) -> Result<Duration, Fault> {
    let ms = Duration::from_millis;
    s.as_ref().map_or(Ok(default), |s| within(s, ms(*millis.start())..=ms(*millis.end()), what))
}

/// R4's offsets: in order, and few and short enough that a silent target is still down within a minute.
fn burst(written: Option<&Spanned<Vec<Span>>>, default: Vec<Duration>) -> Result<Vec<Duration>, Fault> {
    let Some(written) = written else { return Ok(default) };
    let offsets: Vec<Duration> = written.get_ref().iter().map(|offset| offset.0).collect();
    let refused = |message: &str| {
        Err(Fault::at(written.span(), message)
            .hint("such as [\"200ms\", \"500ms\", \"900ms\", \"1400ms\", \"2s\"]"))
    };
    match offsets.as_slice() {
        [] => refused("a burst without probes would call a target down for one lost packet"),
        all if all.len() > MAX_BURST => refused("a burst has at most 20 probes"),
        all if !all.is_sorted_by(|a, b| a < b) => refused("the offsets of a burst increase"),
        [.., last] if *last > LAST_OF_BURST => refused("the last probe of a burst is due within 30 s"),
        _ => Ok(offsets),
    }
}

fn number<N: Copy + PartialOrd + Display>(
    n: &Option<Spanned<N>>,
    default: N,
    range: RangeInclusive<N>,
    what: &str,
) -> Result<N, Fault> {
    match n {
        Some(n) if !range.contains(n.get_ref()) => {
            let message =
                format!("{what} is between {} and {}, not {}", range.start(), range.end(), n.get_ref());
            Err(Fault::at(n.span(), message))
        }
        Some(n) => Ok(*n.get_ref()),
        None => Ok(default),
    }
}

fn quorum(quorum: BTreeMap<String, Spanned<usize>>) -> Result<BTreeMap<String, usize>, Fault> {
    for n in quorum.values() {
        if *n.get_ref() == 0 {
            return Err(Fault::at(n.span(), "a quorum of 0 would call a healthy scope down; 1 or more"));
        }
    }
    Ok(quorum.into_iter().map(|(scope, n)| (scope, n.into_inner())).collect())
}

/// Where the keys stand that are looked at together.
struct Places(BTreeMap<&'static str, Range<usize>>);

impl Places {
    fn of(h: &file::Health) -> Self {
        let mut all = BTreeMap::new();
        macro_rules! note {
            ($($key:ident)*) => {
                $(if let Some(value) = &h.$key { all.insert(stringify!($key), value.span()); })*
            };
        }
        note!(late_tick stall_gap progress_stale progress_window confidence loss_samples loss_ratio loss_left);
        note!(retransmit_segments retransmit_cluster retransmit_ratio retransmit_memory retransmit_window);
        note!(flap_reuse flap_suppress flap_max flap_half_life);
        Self(all)
    }
}
