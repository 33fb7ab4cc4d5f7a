//! Families of the kernel's TCP counters.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    catalogue::{self, Family},
    writer::{Writer, labels},
};
use crate::{
    observation::{
        IfIndex, RetransmitKind, TcpCounters, TcpReading, TcpRtt, TcpRttHistogram, TcpRung, TcpUnattributed,
    },
    state::{DeviceView, Snapshot},
};

/// Label of what was not on a watched device. No interface can have this name: names hold no `/`.
const NO_DEVICE: &str = "n/a";

/// Exponents of the buckets that are published, as powers of two in µs: 64 µs to 16.8 s.
const RTT_EXPONENTS: std::ops::RangeInclusive<usize> = 6..=24;

pub(super) fn write(w: &mut Writer, snapshot: &Snapshot, devices: &[(String, &DeviceView)]) {
    let Some(reading) = &snapshot.tcp else { return };
    let watched = devices.iter().map(|(l, d)| (l.clone(), d.tcp.unwrap_or_default()));
    // What the sum over all devices needs to equal the kernel's own counters.
    let rest = sum(reading.devices.iter().filter(|(i, _)| !is_watched(devices, **i)).map(|(_, c)| c));
    let here = watched.chain([(labels(&[("device", NO_DEVICE)]), rest)]);
    let here: Vec<(String, TcpCounters)> = here.collect();
    counters(w, &OWN, &here, reading);
    let elsewhere = reading.namespaces.iter().flat_map(|namespace| {
        let one = |(device, c): (&String, &TcpCounters)| {
            (labels(&[("netns", &namespace.name), ("device", device)]), *c)
        };
        namespace.devices.iter().map(one)
    });
    counters(w, &OTHERS, &elsewhere.collect::<Vec<_>>(), reading);
    w.family(&catalogue::TCP_RATIO);
    for (labels, device) in devices {
        if let Some(ratio) = device.retransmit_ratio {
            w.sample(labels, &[], ratio);
        }
    }
    round_trips(w, reading, devices);
    drops(w, reading, devices);
    ledger(w, reading);
}

/// The families of counters by device.
struct Families {
    segments: Family,
    retransmits: Family,
    resets: Family,
    opens: Family,
    failed: Family,
    sent: Family,
}

/// Of the agent's own network namespace. Their sums are the kernel's totals.
const OWN: Families = Families {
    segments: catalogue::TCP_SEGMENTS,
    retransmits: catalogue::TCP_RETRANSMITS,
    resets: catalogue::TCP_RESETS,
    opens: catalogue::TCP_OPENS,
    failed: catalogue::TCP_FAILED_CONNECTS,
    sent: catalogue::TCP_SENT,
};

/// Of every other.
const OTHERS: Families = Families {
    segments: catalogue::NETNS_TCP_SEGMENTS,
    retransmits: catalogue::NETNS_TCP_RETRANSMITS,
    resets: catalogue::NETNS_TCP_RESETS,
    opens: catalogue::NETNS_TCP_OPENS,
    failed: catalogue::NETNS_TCP_FAILED_CONNECTS,
    sent: catalogue::NETNS_TCP_SENT,
};

fn counters(w: &mut Writer, families: &Families, all: &[(String, TcpCounters)], reading: &TcpReading) {
    type Field = fn(&TcpCounters) -> [u64; 5];
    let by_kind: [(&Family, Field); 2] =
        [(&families.segments, |c| c.retransmitted_segments), (&families.retransmits, |c| c.retransmits)];
    let classic = reading.programs.values().any(|program| program.rung == TcpRung::Classic);
    for (family, field) in by_kind {
        w.family(family);
        for (labels, counters) in all {
            for (kind, count) in RetransmitKind::ALL.into_iter().zip(field(counters)) {
                w.sample(labels, &[("kind", kind.as_str())], count);
            }
            if classic && *family == catalogue::TCP_RETRANSMITS {
                w.sample(labels, &[("kind", "unknown")], counters.retransmits_of_unknown_kind);
            }
        }
        if *family == catalogue::TCP_SEGMENTS {
            let nowhere = labels(&[("device", NO_DEVICE)]);
            w.sample(&nowhere, &[("kind", "unattributed")], reading.unattributed.retransmitted_segments);
        }
    }
    w.family(&families.resets);
    for (labels, counters) in all {
        w.sample(labels, &[("direction", "sent")], counters.resets_sent);
        w.sample(labels, &[("direction", "received")], counters.resets_received);
    }
    w.family(&families.opens);
    for (labels, counters) in all {
        w.sample(labels, &[("direction", "active")], counters.active_opens);
        w.sample(labels, &[("direction", "passive")], counters.passive_opens);
    }
    w.family(&families.failed);
    all.iter().for_each(|(labels, counters)| w.sample(labels, &[], counters.failed_connects));
    w.family(&families.sent);
    all.iter().for_each(|(labels, counters)| w.sample(labels, &[], counters.segments_sent));
}

fn round_trips(w: &mut Writer, reading: &TcpReading, devices: &[(String, &DeviceView)]) {
    type Field = fn(&TcpRtt) -> &TcpRttHistogram;
    let phases: [(&str, Field); 3] =
        [("handshake", |r| &r.handshake), ("close", |r| &r.close), ("sampled", |r| &r.sampled)];
    let bounds: Vec<f64> = RTT_EXPONENTS.map(|exponent| (1_u64 << exponent) as f64 / 1e6).collect();
    let rest: Vec<&Arc<TcpRtt>> =
        reading.rtt.iter().filter(|(i, _)| !is_watched(devices, **i)).map(|(_, rtt)| rtt).collect();
    w.family(&catalogue::TCP_RTT);
    for (phase, field) in phases {
        let mut one = |device: &str, rtts: &[&Arc<TcpRtt>]| {
            let mut all = TcpRttHistogram::default();
            for rtt in rtts {
                all.add(field(rtt));
            }
            // Samples are opt-in; the other two are there at 0 from the start.
            if phase != "sampled" || all.count() > 0 {
                let labels = labels(&[("device", device), ("phase", phase)]);
                w.histogram(&labels, &bounds, &published(&all), all.sum);
            }
        };
        for (_, device) in devices {
            one(&device.name, reading.rtt.get(&device.index()).as_slice());
        }
        one(NO_DEVICE, &rest);
    }
}

/// Counts by the published bounds: those below the first together, those above the last together.
fn published(histogram: &TcpRttHistogram) -> Vec<u64> {
    let (first, last) = (*RTT_EXPONENTS.start(), *RTT_EXPONENTS.end());
    let below = histogram.buckets[..=first].iter().sum();
    let above = histogram.buckets[last + 1..].iter().sum();
    let between = histogram.buckets[first + 1..=last].iter().copied();
    std::iter::once(below).chain(between).chain([above]).collect()
}

fn drops(w: &mut Writer, reading: &TcpReading, devices: &[(String, &DeviceView)]) {
    let mut by_label: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for ((index, reason), count) in &reading.drops {
        let device = devices.iter().find(|(_, d)| d.index() == *index).map_or(NO_DEVICE, |(_, d)| &d.name);
        *by_label.entry((device, reason)).or_default() += count;
    }
    w.family(&catalogue::SKB_DROPS);
    for ((device, reason), count) in by_label {
        w.sample("", &[("device", device), ("reason", reason)], count);
    }
}

fn ledger(w: &mut Writer, reading: &TcpReading) {
    type Field = fn(&TcpUnattributed) -> u64;
    let fields: [(&str, Field); 5] = [
        ("retransmitted_segments", |u| u.retransmitted_segments),
        ("resets_sent", |u| u.resets_sent),
        ("active_opens", |u| u.active_opens),
        ("passive_opens", |u| u.passive_opens),
        ("failed_connects", |u| u.failed_connects),
    ];
    w.family(&catalogue::TCP_UNATTRIBUTED);
    for (counter, field) in fields {
        w.sample("", &[("counter", counter)], field(&reading.unattributed));
    }
    w.family(&catalogue::TCP_UNRESOLVED).sample("", &[], reading.unresolved);
    if let Some(totals) = &reading.totals {
        w.family(&catalogue::TCP_RETRANSMIT_FAILURES).sample("", &[], totals.failed_retransmits);
    }
}

fn is_watched(devices: &[(String, &DeviceView)], index: IfIndex) -> bool {
    devices.iter().any(|(_, device)| device.index() == index && device.tcp.is_some())
}

fn sum<'a>(counters: impl Iterator<Item = &'a TcpCounters>) -> TcpCounters {
    counters.fold(TcpCounters::default(), |mut sum, counters| {
        sum.add(counters);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measurement_is_in_one_published_bucket() {
        let histogram = TcpRttHistogram { buckets: std::array::from_fn(|i| 1 << i), ..Default::default() };
        let counts = published(&histogram);
        assert_eq!(counts.len(), RTT_EXPONENTS.count() + 1);
        assert_eq!(counts.iter().sum::<u64>(), histogram.count());
        // The bucket that ends at 64 µs has all that is shorter.
        assert_eq!(counts[0], (1 << 7) - 1);
    }
}
