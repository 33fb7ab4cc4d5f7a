//! `[health]` as written: the thresholds of the rules by name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{span::Span, spanned::Spanned};

/// Every threshold of the rules, by name; `netmon status` shows a rule's number behind each reason. What can't go
/// together is refused.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    /// R1: the longest that the verdict over all waits at the start for a first verdict of every target.
    #[schemars(extend("x-range" = ["1s", "1m"]))]
    pub(super) settle: Option<Spanned<Span>>,
    /// R4: a reply this late makes a target suspect, unless its own SRTT + 4·RTTVAR is longer.
    #[schemars(extend("x-range" = ["1ms", "10s"]))]
    pub(super) suspect_min: Option<Spanned<Span>>,
    /// R4: when the extra probes leave that examine a suspect, counted from the moment of suspicion less `suspect_min`:
    /// increasing, the last within 30 s. The target is down when all of them are lost.
    #[schemars(extend("minItems" = 1, "maxItems" = 20))]
    pub(super) burst: Option<Spanned<Vec<Span>>>,
    /// R8: pace of probing while a target comes back.
    #[schemars(extend("x-range" = ["20ms", "10s"]))]
    pub(super) recovery_interval: Option<Spanned<Span>>,
    /// R8: replies in a row that make it up.
    #[schemars(range(min = 1, max = 100))]
    pub(super) recovery_successes: Option<Spanned<u8>>,
    /// R8: how long after its link came back a target is probed at that pace without having answered.
    #[schemars(extend("x-range" = ["0s", "1m"]))]
    pub(super) recovery_hasten: Option<Spanned<Span>>,
    /// R13: lateness of the agent itself beyond which a lost probe proves nothing. Shorter than `stall_gap`.
    #[schemars(extend("x-range" = ["10ms", "10s"]))]
    pub(super) late_tick: Option<Spanned<Span>>,
    /// R13: how many times longer time-outs become then, at most.
    #[schemars(range(min = 1, max = 32))]
    pub(super) max_timeout_scale: Option<Spanned<u8>>,
    /// R14: how far the clocks jump apart in what counts as a suspend of the machine.
    #[schemars(extend("x-range" = ["100ms", "1m"]))]
    pub(super) suspend_jump: Option<Spanned<Span>>,
    /// R14: gap between two looks at the evidence that counts as a stall.
    #[schemars(extend("x-range" = ["1s500ms", "1m"]))]
    pub(super) stall_gap: Option<Spanned<Span>>,
    /// R15: intervals (of the longest) without an evaluation after which the state is stale.
    #[schemars(range(min = 2, max = 100))]
    pub(super) stale_intervals: Option<Spanned<u32>>,
    /// R5: remote prefixes (/24, /48) that must see time-outs of TCP at once.
    #[schemars(range(min = 1, max = 64))]
    pub(super) rto_prefixes: Option<Spanned<u8>>,
    /// R5: time-outs that each of them must see.
    #[schemars(range(min = 1, max = 2))]
    pub(super) rto_per_prefix: Option<Spanned<u8>>,
    /// R5: time within which they must come.
    #[schemars(extend("x-range" = ["100ms", "10s"]))]
    pub(super) rto_window: Option<Spanned<Span>>,
    /// R5: shortest time between two bursts that they start.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub(super) rto_pause: Option<Spanned<Span>>,
    /// R7: remote prefixes that must acknowledge bytes, for lost pings to be the pings' own fault.
    #[schemars(range(min = 1, max = 255))]
    pub(super) progress_prefixes: Option<Spanned<u8>>,
    /// R7: time within which they must.
    #[schemars(extend("x-range" = ["1s", "10s"]))]
    pub(super) progress_window: Option<Spanned<Span>>,
    /// R7: age at which a report of progress proves nothing. No shorter than `progress_window`.
    #[schemars(extend("x-range" = ["1s", "10s"]))]
    pub(super) progress_stale: Option<Spanned<Span>>,
    /// R9, R10: what counts as surely so, in standard deviations: 2.576 is 99 %.
    #[schemars(range(min = 1.0, max = 5.0))]
    pub(super) confidence: Option<Spanned<f64>>,
    /// R9: probes of the window over which loss is counted.
    #[schemars(range(min = 10, max = 60))]
    pub(super) loss_samples: Option<Spanned<u32>>,
    /// R9: a target is degraded when its loss is surely more than this part of its probes.
    #[schemars(range(min = 0.001, max = 0.9))]
    pub(super) loss_ratio: Option<Spanned<f64>>,
    /// R9: lost probes of a window at which it is enough no longer.
    #[schemars(range(min = 0, max = 59))]
    pub(super) loss_left: Option<Spanned<u32>>,
    /// R10: time over which retransmits are counted.
    #[schemars(extend("x-range" = ["10s", "10m"]))]
    pub(super) retransmit_window: Option<Spanned<Span>>,
    /// R10: segments without which nothing is said.
    #[schemars(range(min = 8, max = 1_000_000))]
    pub(super) retransmit_segments: Option<Spanned<u32>>,
    /// R10: remote prefixes towards which segments must have been sent again.
    #[schemars(range(min = 1, max = 32))]
    pub(super) retransmit_prefixes: Option<Spanned<u8>>,
    /// R10: the most that one connection weighs among the segments sent again.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub(super) retransmit_flow_share: Option<Spanned<f64>>,
    /// R10: segments that count as one independent one, for losses come in clusters.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub(super) retransmit_cluster: Option<Spanned<f64>>,
    /// R10: a device is degraded when it surely sends more than this part of its segments again.
    #[schemars(range(min = 0.001, max = 0.9))]
    pub(super) retransmit_ratio: Option<Spanned<f64>>,
    /// R10: how long it stays so without being found so anew. No shorter than `retransmit_window`.
    #[schemars(extend("x-range" = ["10s", "1d"]))]
    pub(super) retransmit_memory: Option<Spanned<Span>>,
    /// R9, R10, R11: shortest time for which they keep a subject degraded.
    #[schemars(extend("x-range" = ["0s", "1h"]))]
    pub(super) degraded_dwell: Option<Spanned<Span>>,
    /// R11: a rise of the median round trip by less than this is none.
    #[schemars(extend("x-range" = ["1ms", "1m"]))]
    pub(super) latency_floor: Option<Spanned<Span>>,
    /// R11: samples that make the base of the last hour.
    #[schemars(range(min = 15, max = 1800))]
    pub(super) latency_samples: Option<Spanned<u32>>,
    /// R11: last samples whose median is held against it.
    #[schemars(range(min = 3, max = 15))]
    pub(super) latency_recent: Option<Spanned<u8>>,
    /// R11: standard deviations above the base that are still usual.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub(super) latency_deviations: Option<Spanned<f64>>,
    /// R12: time in which the penalty of a flap halves.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub(super) flap_half_life: Option<Spanned<Span>>,
    /// R12: penalty above which a subject stays degraded; one flap adds 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) flap_suppress: Option<Spanned<u32>>,
    /// R12: penalty at which it does no longer. Smaller than `flap_suppress`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) flap_reuse: Option<Spanned<u32>>,
    /// R12: longest time for which it does after the last flap.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub(super) flap_max: Option<Spanned<Span>>,
    /// R6: targets of a scope that must be down for the scope to be down, by the scope's name; all of them where none is
    /// given.
    #[schemars(schema_with = "quorum")]
    pub(super) quorum: BTreeMap<String, Spanned<usize>>,
}

fn quorum(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "type": "integer", "minimum": 1 },
        "examples": [{ "internet": 2 }],
    })
}
