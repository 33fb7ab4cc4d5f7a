//! The file as written: serde structs, one a table, with the defaults.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{discovery::Discovery, error::Fault, limits::Written};

pub(super) fn parse(text: &str) -> Result<File, Fault> {
    Ok(toml::from_str(text)?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) agent: Agent,
    pub(super) limits: Limits,
    pub(super) defaults: Defaults,
    pub(super) devices: Devices,
    pub(super) kernel: Kernel,
    pub(super) metrics: Metrics,
    pub(super) diagnosis: Diagnosis,
    pub(super) retry: Retry,
    pub(super) history: History,
    pub(super) health: Health,
    pub(super) discovery: Discovery,
    pub(super) target: Vec<Spanned<Target>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Agent {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) socket: Option<Spanned<PathBuf>>,
    pub(super) max_probes_per_second: Option<Spanned<u32>>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            listen: vec![([127, 0, 0, 1], 9817).into(), (std::net::Ipv6Addr::LOCALHOST, 9817).into()],
            socket: None,
            max_probes_per_second: None,
        }
    }
}

/// Limits of the agent itself: what is absent follows from what is configured.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) cpu: Option<Written<f64>>,
    pub(super) memory: Option<Written<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) interval: Spanned<Span>,
    pub(super) timeout: Spanned<Span>,
    pub(super) auto_targets: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { interval: seconds(2), timeout: seconds(1), auto_targets: true }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Devices {
    pub(super) netlink: bool,
    pub(super) include: Vec<Spanned<String>>,
    pub(super) exclude: Vec<Spanned<String>>,
    pub(super) required: Vec<String>,
    pub(super) preferred: Vec<String>,
}

impl Default for Devices {
    fn default() -> Self {
        let all = |patterns: &[&str]| patterns.iter().map(|p| Spanned::new(0..0, (*p).to_owned())).collect();
        Self {
            netlink: true,
            include: all(&["*"]),
            exclude: all(&["lo", "veth*", "docker*", "br-*", "cni*", "cali*"]),
            required: Vec::new(),
            preferred: Vec::new(),
        }
    }
}

/// What the kernel programs are to count beyond what they always do.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Kernel {
    pub(super) namespaces: Option<Spanned<String>>,
    pub(super) rtt_samples: bool,
    pub(super) drop_reasons: Vec<Spanned<String>>,
    pub(super) btf: Option<Spanned<PathBuf>>,
}

/// Metrics beyond the usual ones.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) windows: bool,
    pub(super) native_histograms: bool,
    pub(super) lean: bool,
}

/// Looks at targets that have a fault: each is left at its default when absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Diagnosis {
    pub(super) enabled: Option<bool>,
    pub(super) pause: Option<Spanned<Span>>,
    pub(super) per_minute: Option<Spanned<u32>>,
    pub(super) timeout: Option<Spanned<Span>>,
}

/// The retry budget: each is left at its default when absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) tokens: Option<Spanned<u32>>,
    pub(super) transient: Option<Spanned<u32>>,
    pub(super) throttle: Option<Spanned<u32>>,
    pub(super) per_second: Option<Spanned<f64>>,
}

/// The outage ledger: each is left at its default when absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct History {
    pub(super) enabled: Option<bool>,
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) retention: Option<Spanned<Span>>,
    pub(super) max_size: Option<Spanned<Written<u64>>>,
}

/// Thresholds: each is left at its default when absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    pub(super) settle: Option<Spanned<Span>>,
    pub(super) suspect_min: Option<Spanned<Span>>,
    pub(super) burst: Option<Spanned<Vec<Span>>>,
    pub(super) recovery_interval: Option<Spanned<Span>>,
    pub(super) recovery_successes: Option<Spanned<u8>>,
    pub(super) recovery_hasten: Option<Spanned<Span>>,
    pub(super) late_tick: Option<Spanned<Span>>,
    pub(super) max_timeout_scale: Option<Spanned<u8>>,
    pub(super) suspend_jump: Option<Spanned<Span>>,
    pub(super) stall_gap: Option<Spanned<Span>>,
    pub(super) stale_intervals: Option<Spanned<u32>>,
    pub(super) rto_prefixes: Option<Spanned<u8>>,
    pub(super) rto_per_prefix: Option<Spanned<u8>>,
    pub(super) rto_window: Option<Spanned<Span>>,
    pub(super) rto_pause: Option<Spanned<Span>>,
    pub(super) progress_prefixes: Option<Spanned<u8>>,
    pub(super) progress_window: Option<Spanned<Span>>,
    pub(super) progress_stale: Option<Spanned<Span>>,
    pub(super) confidence: Option<Spanned<f64>>,
    pub(super) loss_samples: Option<Spanned<u32>>,
    pub(super) loss_ratio: Option<Spanned<f64>>,
    pub(super) loss_left: Option<Spanned<u32>>,
    pub(super) retransmit_window: Option<Spanned<Span>>,
    pub(super) retransmit_segments: Option<Spanned<u32>>,
    pub(super) retransmit_prefixes: Option<Spanned<u8>>,
    pub(super) retransmit_flow_share: Option<Spanned<f64>>,
    pub(super) retransmit_cluster: Option<Spanned<f64>>,
    pub(super) retransmit_ratio: Option<Spanned<f64>>,
    pub(super) retransmit_memory: Option<Spanned<Span>>,
    pub(super) degraded_dwell: Option<Spanned<Span>>,
    pub(super) latency_floor: Option<Spanned<Span>>,
    pub(super) latency_samples: Option<Spanned<u32>>,
    pub(super) latency_recent: Option<Spanned<u8>>,
    pub(super) latency_deviations: Option<Spanned<f64>>,
    pub(super) flap_half_life: Option<Spanned<Span>>,
    pub(super) flap_suppress: Option<Spanned<u32>>,
    pub(super) flap_reuse: Option<Spanned<u32>>,
    pub(super) flap_max: Option<Spanned<Span>>,
    pub(super) quorum: BTreeMap<String, Spanned<usize>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) name: Option<Spanned<String>>,
    pub(super) host: Option<Spanned<String>>,
    #[serde(default = "icmp")]
    pub(super) probe: Spanned<String>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) scope: Option<Spanned<String>>,
    pub(super) interval: Option<Spanned<Span>>,
    pub(super) timeout: Option<Spanned<Span>>,
    // The way its packets go.
    pub(super) source: Option<Spanned<IpAddr>>,
    pub(super) device: Option<Spanned<String>>,
    pub(super) vrf: Option<Spanned<String>>,
    pub(super) mark: Option<Spanned<u32>>,
    pub(super) ttl: Option<Spanned<u8>>,
    pub(super) dscp: Option<Spanned<Dscp>>,
    pub(super) size: Option<Spanned<u16>>,
    pub(super) dont_fragment: Option<Spanned<bool>>,
    // UDP.
    pub(super) expect: Option<Spanned<String>>,
    // DNS.
    pub(super) query: Option<Spanned<String>>,
    pub(super) record: Option<Spanned<String>>,
    pub(super) transport: Option<Spanned<String>>,
    pub(super) accept: Option<Spanned<Vec<Spanned<String>>>>,
    // HTTP.
    pub(super) url: Option<Spanned<String>>,
    pub(super) head: Option<Spanned<bool>>,
    pub(super) status: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) verify: Option<Spanned<bool>>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
}

/// A code point by its number or its word.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a number from 0 to 63, or a word such as \"EF\", \"AF41\" or \"CS1\"")]
pub(super) enum Dscp {
    Number(u8),
    Word(String),
}

pub(super) fn icmp() -> Spanned<String> {
    Spanned::new(0..0, "icmp".to_owned())
}

fn seconds(s: u64) -> Spanned<Span> {
    Spanned::new(0..0, Span(Duration::from_secs(s)))
}

/// A duration as people write it: `10s`, `1m30s`, `250ms`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration with its unit in quotes, such as \"10s\", \"1m30s\" or \"250ms\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                let bad = |e| {
                    E::custom(format!("bad duration \"{text}\": {e}; write \"10s\", \"1m30s\" or \"250ms\""))
                };
                humantime::parse_duration(text).map(Span).map_err(bad)
            }
        }
        d.deserialize_any(Visitor)
    }
}
