//! Families of targets.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::{
    WallOffset,
    catalogue::{self, Family},
    verdicts,
    writer::{Writer, labels},
};
use crate::{
    observation::FailureReason,
    state::{AddressView, BURST_BUCKETS, ProbeCounters, RTT_BUCKETS, Snapshot, TargetView},
};

/// A target's addresses as one.
struct Together {
    labels: String,
    counters: ProbeCounters,
    quantiles: [Option<Duration>; 3],
    jitter: Option<Duration>,
    loss: Option<f64>,
}

const QUANTILES: [&str; 3] = ["0.5", "0.9", "0.99"];

pub(super) fn write(w: &mut Writer, snapshot: &Snapshot, walls: WallOffset) {
    let targets = &snapshot.targets;
    let all: Vec<_> =
        targets.iter().map(|t| (labels(&[("target", &t.name)]), t.verdict.state, &t.verdict)).collect();
    let families = [&catalogue::TARGET_STATE, &catalogue::TARGET_TRANSITIONS, &catalogue::TARGET_CHANGED];
    verdicts(w, families, &all, walls);

    w.family(&catalogue::TARGET_INFO);
    for target in targets {
        info(w, target);
    }
    let targets: Vec<Together> = targets.iter().map(|t| together(t)).collect();
    counts(w, &targets);
    round_trips(w, &targets);

    let bounds = BURST_BUCKETS.map(|n| n as f64);
    w.family(&catalogue::PROBE_BURST);
    for t in &targets {
        w.histogram(&t.labels, &bounds, &t.counters.burst_buckets, t.counters.burst_sum as f64);
    }
}

fn info(w: &mut Writer, target: &TargetView) {
    let addresses: BTreeSet<IpAddr> = target.addresses.iter().map(|a| a.address).collect();
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
    if addresses.is_empty() {
        line("", "");
    }
    for address in addresses {
        line(&address.to_string(), if address.is_ipv4() { "ipv4" } else { "ipv6" });
    }
}

fn counts(w: &mut Writer, targets: &[Together]) {
    type Field = fn(&ProbeCounters) -> u64;
    let families: [(&Family, Field); 6] = [
        (&catalogue::PROBES, |c| c.concluded),
        (&catalogue::PROBE_SEND_ERRORS, |c| c.failures[SEND_ERROR]),
        (&catalogue::PROBE_INCONCLUSIVE, |c| c.inconclusive),
        (&catalogue::PROBE_LATE, |c| c.late),
        (&catalogue::PROBE_DUPLICATES, |c| c.duplicates),
        (&catalogue::PROBE_REORDERED, |c| c.reordered),
    ];
    for (family, field) in families {
        w.family(family);
        for t in targets {
            w.sample(&t.labels, &[], field(&t.counters));
        }
    }
    w.family(&catalogue::PROBE_FAILURES);
    for t in targets {
        for (i, reason) in FailureReason::ALL.into_iter().enumerate().filter(|(i, _)| *i != SEND_ERROR) {
            w.sample(&t.labels, &[("reason", reason.as_str())], t.counters.failures[i]);
        }
    }
}

/// A local send error is no failure of the target, and has a family of its own.
const SEND_ERROR: usize = FailureReason::SendError as usize;

fn round_trips(w: &mut Writer, targets: &[Together]) {
    w.family(&catalogue::PROBE_RTT);
    for t in targets {
        w.histogram(&t.labels, &RTT_BUCKETS, &t.counters.rtt_buckets, t.counters.rtt_sum.as_secs_f64());
    }
    w.family(&catalogue::PROBE_RTT_QUANTILE);
    for t in targets {
        for (quantile, rtt) in QUANTILES.into_iter().zip(t.quantiles) {
            if let Some(rtt) = rtt {
                w.sample(&t.labels, &[("quantile", quantile)], rtt.as_secs_f64());
            }
        }
    }
    w.family(&catalogue::PROBE_JITTER);
    for t in targets {
        if let Some(jitter) = t.jitter {
            w.sample(&t.labels, &[], jitter.as_secs_f64());
        }
    }
    w.family(&catalogue::PROBE_LOSS);
    for t in targets {
        if let Some(loss) = t.loss {
            w.sample(&t.labels, &[], loss);
        }
    }
}

fn together(target: &TargetView) -> Together {
    let mut counters = ProbeCounters::default();
    for address in &target.addresses {
        add(&mut counters, &address.counters);
    }
    let worst = |field: fn(&AddressView) -> Option<Duration>| target.addresses.iter().filter_map(field).max();
    Together {
        labels: labels(&[("target", &target.name), ("probe", target.method)]),
        counters,
        quantiles: [worst(|a| a.rtt_p50), worst(|a| a.rtt_p90), worst(|a| a.rtt_p99)],
        jitter: worst(|a| a.jitter),
        loss: target.addresses.iter().filter_map(|a| a.loss_ratio).max_by(f64::total_cmp),
    }
}

fn add(sum: &mut ProbeCounters, more: &ProbeCounters) {
    // Taken apart by name, so that a new counter can't be forgotten here.
    let ProbeCounters {
        concluded,
        replies,
        failures,
        inconclusive,
        late,
        duplicates,
        reordered,
        rtt_buckets,
        rtt_sum,
        burst_buckets,
        burst_sum,
    } = more;
    let all = |sum: &mut [u64], more: &[u64]| sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
    sum.concluded += concluded;
    sum.replies += replies;
    all(&mut sum.failures, failures);
    sum.inconclusive += inconclusive;
    sum.late += late;
    sum.duplicates += duplicates;
    sum.reordered += reordered;
    all(&mut sum.rtt_buckets, rtt_buckets);
    sum.rtt_sum += *rtt_sum;
    all(&mut sum.burst_buckets, burst_buckets);
    sum.burst_sum += burst_sum;
}
