//! Families of targets.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr, time::Duration};

use super::{
    Options, WallOffset,
    catalogue::{self, Family},
    verdicts,
    writer::{More, Writer, labels},
};
use crate::{
    health::{NativeHistogram, Quantiles, Span},
    observation::FailureReason,
    state::{BURST_BUCKETS, ProbeCounters, RTT_BUCKETS, Snapshot, TargetView},
    time::Mono,
};

/// A target's addresses as one: those that it has, and in the sums those that it had.
struct Together<'a> {
    labels: String,
    method: &'static str,
    counters: Cow<'a, ProbeCounters>,
    jitter: Option<Duration>,
    ttl: Option<u8>,
    /// Where every address has one.
    native: Option<NativeHistogram>,
    /// The last minute, and the longer windows where they are asked for.
    windows: Vec<Worst>,
}

/// A window of a target: of each figure, that of its worst address.
struct Worst {
    name: &'static str,
    quantiles: [Option<Duration>; 3],
    loss: Option<f64>,
}

const QUANTILES: [&str; 3] = ["0.5", "0.9", "0.99"];

pub(super) fn write(w: &mut Writer, snapshot: &Snapshot, walls: WallOffset, options: Options) {
    let targets = &snapshot.targets;
    let all: Vec<_> =
        targets.iter().map(|t| (labels(&[("target", &t.name)]), t.verdict.state, &t.verdict)).collect();
    let families = [&catalogue::TARGET_STATE, &catalogue::TARGET_TRANSITIONS, &catalogue::TARGET_CHANGED];
    verdicts(w, families, &all, walls);

    w.family(&catalogue::TARGET_INFO);
    for target in targets {
        info(w, target);
    }
    let spans = if options.windows { &Span::ALL[..] } else { &[Span::Minute] };
    let mut quantiles = Quantiles::default();
    let at = snapshot.at.mono;
    let targets: Vec<Together<'_>> =
        targets.iter().map(|t| together(t, spans.iter().map(|s| worst(t, *s, at, &mut quantiles)))).collect();
    counts(w, &targets);
    failures(w, &targets, options.lean);
    round_trips(w, &targets, options.lean);
    windows(w, &targets);

    let bounds = BURST_BUCKETS.map(|n| n as f64);
    w.family(&catalogue::PROBE_BURST);
    for t in &targets {
        let (bounds, counts) = buckets(options.lean, &bounds, &t.counters.burst_buckets);
        w.histogram(&t.labels, bounds, &counts, t.counters.burst_sum);
    }
}

fn info(w: &mut Writer, target: &TargetView) {
    let mut line = |address: &str, family: &str| {
        let pairs = [
            ("target", &*target.name),
            ("address", address),
            ("family", family),
            ("probe", target.method),
            ("scope", &target.scope),
        ];
        w.sample("", &pairs, true);
    };
    let mut tell = |address: IpAddr| {
        line(&address.to_string(), if address.is_ipv4() { "ipv4" } else { "ipv6" });
    };
    match &target.addresses[..] {
        [] => line("", ""),
        // Most targets have one.
        [only] => tell(only.address),
        all => all.iter().map(|a| a.address).collect::<BTreeSet<_>>().into_iter().for_each(tell),
    }
}

/// A histogram's buckets; the one for all alone where series are to be few.
fn buckets<'a>(lean: bool, bounds: &'a [f64], counts: &'a [u64]) -> (&'a [f64], Cow<'a, [u64]>) {
    if lean { (&[], vec![counts.iter().sum()].into()) } else { (bounds, counts.into()) }
}

type Count = fn(&ProbeCounters) -> u64;

/// Families that are one count of a target.
const COUNTS: [(Family, Count); 9] = [
    (catalogue::PROBES, |c| c.concluded),
    (catalogue::PROBE_REPLIES, |c| c.replies),
    (catalogue::PROBE_SEND_ERRORS, |c| c.failures[SEND_ERROR]),
    (catalogue::PROBE_INCONCLUSIVE, |c| c.inconclusive),
    (catalogue::PROBE_LATE, |c| c.late),
    (catalogue::PROBE_DUPLICATES, |c| c.duplicates),
    (catalogue::PROBE_REORDERED, |c| c.reordered),
    (catalogue::PROBE_CORRUPTED, |c| c.corrupted),
    (catalogue::PROBE_TTL_CHANGES, |c| c.ttl_changes),
];

fn counts(w: &mut Writer, targets: &[Together<'_>]) {
    // Every family visits every target. Their counters are far apart in memory: they are gone to once, and copied together.
    let rows: Vec<[u64; COUNTS.len()]> =
        targets.iter().map(|t| COUNTS.map(|(_, count)| count(&t.counters))).collect();
    for (i, (family, _)) in COUNTS.iter().enumerate() {
        w.family(family);
        for (t, row) in targets.iter().zip(&rows) {
            w.sample(&t.labels, &[], row[i]);
        }
    }
}

fn failures(w: &mut Writer, targets: &[Together<'_>], lean: bool) {
    let reasons = FailureReason::ALL.map(|reason| (reason, More::new("reason", reason.as_str())));
    w.family(&catalogue::PROBE_FAILURES);
    for t in targets {
        for (i, (reason, more)) in reasons.iter().enumerate().filter(|(i, _)| *i != SEND_ERROR) {
            let count = t.counters.failures[i];
            if count > 0 || !lean && reason.concerns(t.method) {
                w.sample_with(&t.labels, more, count);
            }
        }
    }
}

/// A local send error is no failure of the target, and has a family of its own.
const SEND_ERROR: usize = FailureReason::SendError as usize;

fn round_trips(w: &mut Writer, targets: &[Together<'_>], lean: bool) {
    w.family(&catalogue::PROBE_RTT);
    for t in targets {
        let (bounds, counts) = buckets(lean, &RTT_BUCKETS, &t.counters.rtt_buckets);
        w.native_histogram(&t.labels, bounds, &counts, t.counters.rtt_sum, t.native.as_ref());
    }
    w.family(&catalogue::PROBE_RTT_QUANTILE);
    for t in targets {
        for minute in t.windows.iter().take(1) {
            quantiles(w, &t.labels, minute, false);
        }
    }
    w.family(&catalogue::PROBE_JITTER);
    for t in targets {
        if let Some(jitter) = t.jitter {
            w.sample(&t.labels, &[], jitter);
        }
    }
    w.family(&catalogue::PROBE_LOSS);
    for t in targets {
        for loss in t.windows.iter().take(1).filter_map(|minute| minute.loss) {
            w.sample(&t.labels, &[], loss);
        }
    }
    w.family(&catalogue::PROBE_TTL);
    for t in targets {
        if let Some(ttl) = t.ttl {
            w.sample(&t.labels, &[], u64::from(ttl));
        }
    }
}

/// Families of the windows beyond the last minute.
fn windows(w: &mut Writer, targets: &[Together<'_>]) {
    w.family(&catalogue::PROBE_RTT_WINDOW);
    for t in targets {
        for window in t.windows.iter().skip(1) {
            quantiles(w, &t.labels, window, true);
        }
    }
    w.family(&catalogue::PROBE_WINDOW_LOSS);
    for t in targets {
        for window in t.windows.iter().skip(1) {
            if let Some(loss) = window.loss {
                w.sample(&t.labels, &[("window", window.name)], loss);
            }
        }
    }
}

fn quantiles(w: &mut Writer, labels: &str, window: &Worst, is_named: bool) {
    for (quantile, rtt) in QUANTILES.into_iter().zip(window.quantiles) {
        if let Some(rtt) = rtt {
            let more = [("window", window.name), ("quantile", quantile)];
            w.sample(labels, &more[usize::from(!is_named)..], rtt);
        }
    }
}

fn together<'a>(target: &'a TargetView, windows: impl Iterator<Item = Worst>) -> Together<'a> {
    let departed = target.departed.iter().map(|d| &d.counters);
    let mut all = departed.chain(target.addresses.iter().map(|a| &a.stats.counters));
    // Most targets have one address, and had no other.
    let mut counters = all.next().map(Cow::Borrowed).unwrap_or_default();
    all.for_each(|more| counters.to_mut().add(more));
    Together {
        labels: labels(&[("target", &target.name), ("probe", target.method)]),
        method: target.method,
        counters,
        jitter: target.addresses.iter().filter_map(|a| a.stats.jitter()).max(),
        ttl: target.addresses.iter().filter_map(|a| a.stats.ttl()).min(),
        native: native(target),
        windows: windows.collect(),
    }
}

fn native(target: &TargetView) -> Option<NativeHistogram> {
    let mut sum = match &target.departed {
        Some(departed) => departed.native.clone()?,
        None => NativeHistogram::default(),
    };
    target.addresses.iter().try_for_each(|a| a.stats.native().map(|native| sum.add(native))).map(|()| sum)
}

fn worst(target: &TargetView, span: Span, at: Mono, quantiles: &mut Quantiles) -> Worst {
    let mut worst = Worst { name: span.as_str(), quantiles: [None; 3], loss: None };
    for address in &target.addresses {
        let f = address.stats.figures(span, at, quantiles);
        for (known, new) in worst.quantiles.iter_mut().zip([f.p50, f.p90, f.p99]) {
            *known = new.max(*known);
        }
        worst.loss = worst.loss.into_iter().chain(f.loss_ratio()).max_by(f64::total_cmp);
    }
    worst
}
