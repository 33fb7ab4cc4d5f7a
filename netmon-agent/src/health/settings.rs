//! The thresholds of the rules, by name. Defaults are those of the rules' table, for an interval of 2 s.

use std::{collections::BTreeMap, time::Duration};

use super::{latency::RECENT, loss::SAMPLES};

/// [`Settings::burst`] as it is by default (R4).
pub const BURST: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(900),
    Duration::from_millis(1400),
    Duration::from_millis(2000),
];

/// Where there is no verdict yet, no extra probe is later than this: R1 grants three seconds, of which the time-out of
/// the last takes one and starting up a part.
pub const FIRST_BURST: Duration = Duration::from_millis(1700);

/// Probes lost in a row that make a target down by default: the suspect one and the burst (R4).
pub const LOST_FOR_DOWN: u8 = BURST.len() as u8 + 1;

/// Thresholds of the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// R4: a reply this late makes a target suspect, unless its own SRTT + 4·RTTVAR is longer.
    pub suspect_min: Duration,
    /// R4: offsets of the extra probes from the moment of suspicion less [`Settings::suspect_min`], increasing. A target is
    /// down when all of them and the suspect one are lost.
    pub burst: Vec<Duration>,
    /// R8: pace of probing while a target comes back.
    pub recovery_interval: Duration,
    /// R8: replies in a row that make it up.
    pub recovery_successes: u8,
    /// R8: how long after its link came back a target is probed at the recovery pace without having answered.
    pub recovery_hasten: Duration,
    /// R13: own lateness beyond which time-outs prove nothing.
    pub late_tick: Duration,
    /// R13: highest factor by which time-outs stretch.
    pub max_timeout_scale: u8,
    /// R14: growth of BOOTTIME − MONOTONIC that means a suspend.
    pub suspend_jump: Duration,
    /// R14: gap between two looks at the evidence that means a stall.
    pub stall_gap: Duration,
    /// R1: the longest that the verdict over all waits for a first verdict of every target.
    pub settle: Duration,
    /// R15: intervals without an evaluation after which the state is stale.
    pub stale_intervals: u32,
    /// R5: remote prefixes that must see time-outs at once.
    pub rto_prefixes: u8,
    /// R5: time-outs that each of them must see.
    pub rto_per_prefix: u8,
    /// R5: time within which they must come.
    pub rto_window: Duration,
    /// R5: shortest time between two bursts that they start.
    pub rto_pause: Duration,
    /// R7: remote prefixes that must acknowledge bytes.
    pub progress_prefixes: u8,
    /// R7: time within which they must.
    pub progress_window: Duration,
    /// R7: age at which a report of progress proves nothing.
    pub progress_stale: Duration,
    /// R9, R10: what is surely so: the bounds of a ratio are this many standard deviations apart from it.
    pub confidence: f64,
    /// R9: samples of the window, at most 60.
    pub loss_samples: u32,
    /// R9: loss is too much when it is surely more than this; 0–1.
    pub loss_ratio: f64,
    /// R9: lost of a window's samples at which it is enough no longer.
    pub loss_left: u32,
    /// R10: time over which retransmits are counted.
    pub retransmit_window: Duration,
    /// R10: segments without which nothing is said.
    pub retransmit_segments: u32,
    /// R10: remote prefixes towards which segments must have been sent again.
    pub retransmit_prefixes: u8,
    /// R10: the most that one connection weighs among the segments sent again, 0–1.
    pub retransmit_flow_share: f64,
    /// R10: segments that count as one independent one, for losses come in clusters.
    pub retransmit_cluster: f64,
    /// R10: retransmits are too many when they are surely more than this part of all segments; 0–1.
    pub retransmit_ratio: f64,
    /// R10: how long a device stays degraded without being found so anew.
    pub retransmit_memory: Duration,
    /// R9, R10, R11: shortest time for which they keep a subject degraded.
    pub degraded_dwell: Duration,
    /// R11: a rise of the median round trip by less than this is none.
    pub latency_floor: Duration,
    /// R11: samples that make a base.
    pub latency_samples: u32,
    /// R11: last samples whose median is held against the base, at most 15.
    pub latency_recent: u8,
    /// R11: standard deviations above the base that are still usual.
    pub latency_deviations: f64,
    /// R12: time in which the penalty of a flap halves.
    pub flap_half_life: Duration,
    /// R12: penalty above which a subject is suppressed; one flap adds 1000.
    pub flap_suppress: u32,
    /// R12: penalty at which it is suppressed no longer.
    pub flap_reuse: u32,
    /// R12: longest suppression after the last flap.
    pub flap_max: Duration,
    /// R6: targets of a scope that must be down for the scope to be down; all of them where none is given.
    pub quorum: BTreeMap<String, usize>,
    /// R2b: any of these down: the node is down. Interface names in printable form.
    pub required: Vec<String>,
    /// R2: only these carry the verdict, if given.
    pub preferred: Vec<String>,
    /// Whether native histograms of round-trip times are kept, of addresses that are new.
    pub native_histograms: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            suspect_min: Duration::from_millis(200),
            burst: BURST.to_vec(),
            recovery_interval: Duration::from_millis(250),
            recovery_successes: 3,
            recovery_hasten: Duration::from_secs(3),
            late_tick: Duration::from_millis(100),
            max_timeout_scale: 8,
            suspend_jump: Duration::from_secs(1),
            stall_gap: Duration::from_secs(3),
            settle: Duration::from_millis(3500),
            stale_intervals: 3,
            rto_prefixes: 3,
            rto_per_prefix: 2,
            rto_window: Duration::from_secs(1),
            rto_pause: Duration::from_secs(5),
            progress_prefixes: 3,
            progress_window: Duration::from_secs(2),
            progress_stale: Duration::from_millis(2500),
            confidence: 2.576,
            loss_samples: SAMPLES,
            loss_ratio: 0.05,
            loss_left: 1,
            retransmit_window: Duration::from_secs(30),
            retransmit_segments: 400,
            retransmit_prefixes: 3,
            retransmit_flow_share: 0.2,
            retransmit_cluster: 4.0,
            retransmit_ratio: 0.02,
            retransmit_memory: Duration::from_secs(300),
            degraded_dwell: Duration::from_secs(60),
            latency_floor: Duration::from_millis(10),
            latency_samples: 100,
            latency_recent: RECENT as u8,
            latency_deviations: 6.0,
            flap_half_life: Duration::from_secs(60),
            flap_suppress: 2500,
            flap_reuse: 1000,
            flap_max: Duration::from_secs(300),
            quorum: BTreeMap::new(),
            required: Vec::new(),
            preferred: Vec::new(),
            native_histograms: false,
        }
    }
}
