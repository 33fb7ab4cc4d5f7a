//! A snapshot as metrics: a pure function, but for the agent's own counters.
//!
//! The agent's own and process families come from the `prometheus` crate ([`Own`]); those per device and per target are
//! written directly, which is twenty times cheaper (`cargo xtask bench api scrape`). No family comes from both.
//!
//! A target's series are of all its addresses together, so a change in DNS makes no new series: counters and histograms
//! are summed, over former addresses too, so that they only grow; quantiles, jitter, loss and TTL are those of its worst
//! address. The addresses stand in `netmon_target_info`.

pub mod catalogue;
mod connections;
mod details;
mod devices;
mod discovered;
mod exports;
mod negotiate;
mod own;
pub(crate) mod protobuf;
mod targets;
mod tcp;
mod value;
pub(crate) mod wire;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) use devices::mac_text;
pub use discovered::Discovered;
pub use exports::Exports;
pub use negotiate::{accepts_gzip, format};
pub use own::{Own, WAIT_RESULTS};
pub use value::Value;
#[cfg(any(feature = "otlp", test))]
pub use writer::gzip;
pub use writer::{Buckets, Format, More, Outlet, Sink, Writer, labels};

use super::{WallOffset, api::Reported};
use crate::{
    diagnosis::Outcome,
    health::{State, Verdict},
    observation::StampSource,
    state::{LAG_BUCKETS, Snapshot},
};
use catalogue::Family;

/// What is written only when asked for, because it costs every target more series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Quantiles and loss of five minutes and an hour.
    pub windows: bool,
    /// Native histograms of round-trip times, to scrapers that take protobuf.
    pub native_histograms: bool,
    /// Few series a target: of histograms the sum and the count, and only those failures that there were.
    pub lean: bool,
}

/// The exposition of a snapshot, of the connections that programs report, and of the agent's own counters: in a format, or
/// by a writer that compresses it.
pub fn render(
    snapshot: &Snapshot,
    reported: &[Arc<Reported>],
    stale: bool,
    walls: WallOffset,
    own: &Own,
    options: Options,
    into: impl Into<Writer>,
) -> Vec<u8> {
    let mut w = into.into();
    write(&mut w, snapshot, reported, stale, walls, own, options);
    w.finish()
}

/// The same families, to wherever the writer has them go.
pub fn write(
    w: &mut Writer,
    snapshot: &Snapshot,
    reported: &[Arc<Reported>],
    stale: bool,
    walls: WallOffset,
    own: &Own,
    options: Options,
) {
    agent(w, snapshot, walls);
    overall(w, snapshot, stale, walls);
    devices::write(w, snapshot, walls);
    targets::write(w, snapshot, walls, options);
    details::write(w, snapshot);
    counters(w, snapshot, walls);
    connections::write(w, reported, walls);
    own.write(w);
}

fn agent(w: &mut Writer, snapshot: &Snapshot, walls: WallOffset) {
    w.family(&catalogue::BUILD_INFO).sample("", &[("version", env!("CARGO_PKG_VERSION"))], true);
    w.family(&catalogue::START_TIME).sample("", &[], walls.unix_seconds(snapshot.started.boot));
    // By name, once each: a name that came twice would spoil the whole scrape.
    let capabilities: BTreeMap<&str, bool> =
        snapshot.capabilities.iter().map(|c| (c.name.as_str(), c.ok)).collect();
    w.family(&catalogue::CAPABILITY);
    for (name, ok) in capabilities {
        w.sample("", &[("name", name)], ok);
    }
}

fn overall(w: &mut Writer, snapshot: &Snapshot, stale: bool, walls: WallOffset) {
    // A stale state says nothing, to a dashboard as to a waiter.
    let state = if stale { State::Unknown } else { snapshot.verdict.state };
    verdicts(
        w,
        [&catalogue::STATE, &catalogue::STATE_TRANSITIONS, &catalogue::STATE_CHANGED],
        &[(String::new(), state, &snapshot.verdict)],
        walls,
    );
    w.family(&catalogue::STATE_STALE).sample("", &[], stale);
    let everybody = std::iter::once(&snapshot.verdict)
        .chain(snapshot.devices.iter().map(|d| &d.verdict))
        .chain(snapshot.targets.iter().map(|t| &t.verdict));
    let reasons: BTreeSet<(&str, &str)> =
        everybody.flat_map(|v| &v.reasons).map(|r| (r.code.as_str(), r.subject.as_str())).collect();
    w.family(&catalogue::STATE_REASON);
    for (code, subject) in reasons {
        w.sample("", &[("code", code), ("subject", subject)], true);
    }
}

/// A state set, its transitions and its last change, for each subject's labels.
fn verdicts(w: &mut Writer, families: [&Family; 3], all: &[(String, State, &Verdict)], walls: WallOffset) {
    let states = State::ALL.map(|state| (state, More::new("state", state.as_str())));
    w.family(families[0]);
    for (labels, now, _) in all {
        for (state, more) in &states {
            w.sample_with(labels, more, now == state);
        }
    }
    w.family(families[1]);
    for (labels, _, verdict) in all {
        for (state, more) in &states {
            w.sample_with(labels, more, verdict.transitions[*state as usize]);
        }
    }
    w.family(families[2]);
    for (labels, _, verdict) in all {
        w.sample(labels, &[], walls.unix_seconds(verdict.since.boot));
    }
}

fn counters(w: &mut Writer, snapshot: &Snapshot, walls: WallOffset) {
    let own = &snapshot.own;
    w.family(&catalogue::THROTTLED).sample("", &[], own.interval_stretch > 1.0);
    w.family(&catalogue::INTERVAL_STRETCH).sample("", &[], own.interval_stretch.max(1.0));
    w.family(&catalogue::SCHEDULER_LAG).histogram(
        "",
        &LAG_BUCKETS,
        &own.scheduler_lag_buckets,
        own.scheduler_lag_sum,
    );
    w.family(&catalogue::PROBES_SKIPPED);
    for (reason, count) in &own.probes_skipped {
        w.sample("", &[("reason", reason)], *count);
    }
    w.family(&catalogue::DIAGNOSES);
    for (outcome, count) in Outcome::ALL.into_iter().zip(own.diagnoses) {
        w.sample("", &[("result", outcome.as_str())], count);
    }
    w.family(&catalogue::TIMESTAMPS);
    for (source, count) in StampSource::ALL.into_iter().zip(own.timestamps) {
        w.sample("", &[("source", source.as_str())], count);
    }
    for (family, count) in [
        (&catalogue::CLOCK_STEPS, own.clock_steps),
        (&catalogue::PROBE_RECEIVE_DROPS, own.receive_drops),
        (&catalogue::PROBE_UNMATCHED, own.unmatched),
        (&catalogue::PROBE_RESETS, own.resets_sent),
        (&catalogue::PROBE_REOPENED, own.sockets_reopened),
    ] {
        w.family(family).sample("", &[], count);
    }
    w.family(&catalogue::NETLINK_OVERRUNS).sample("", &[], own.netlink_overruns);
    w.family(&catalogue::OBSERVATIONS_DROPPED).sample("", &[], own.observations_dropped);
    w.family(&catalogue::BPF_DROPPED);
    for (map, count) in snapshot.tcp.iter().flat_map(|t| &t.dropped) {
        w.sample("", &[("map", map)], *count);
    }
    let programs = || snapshot.tcp.iter().flat_map(|t| &t.programs);
    if let Some(reading) = &snapshot.tcp {
        w.family(&catalogue::BPF_RECOVERED).sample("", &[], reading.recovered);
        w.family(&catalogue::BPF_EVICTED).sample("", &[], reading.evicted);
    }
    w.family(&catalogue::BPF_PROGRAM);
    for (program, p) in programs() {
        w.sample("", &[("program", program), ("rung", p.rung.as_str())], true);
    }
    w.family(&catalogue::BPF_ATTACHED);
    for (program, p) in programs() {
        w.sample("", &[("program", program)], p.attached);
    }
    w.family(&catalogue::BPF_MISSES);
    for (program, p) in programs() {
        w.sample("", &[("program", program)], p.recursion_misses);
    }
    w.family(&catalogue::BPF_RUNS);
    for (program, p) in programs() {
        w.sample("", &[("program", program)], p.runs);
    }
    w.family(&catalogue::BPF_RUN);
    for (program, p) in programs() {
        w.sample("", &[("program", program)], p.run_time);
    }
    w.family(&catalogue::CONFIG_OK).sample("", &[], own.config_valid);
    w.family(&catalogue::CONFIG_TIME).sample("", &[], walls.unix_seconds(own.config_read));
}

#[cfg(test)]
pub(crate) mod tests;
