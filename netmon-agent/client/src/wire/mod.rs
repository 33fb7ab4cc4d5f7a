//! What goes over the socket, in one definition for both ends. JSON; unknown fields are ignored, so an older client
//! reads a newer agent.

mod budget;
mod connection;
mod history;
mod target;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use budget::Budget;
pub use connection::{
    Connection, ConnectionEvent, ConnectionReport, ConnectionState, MAX_ERROR as MAX_CONNECTION_ERROR,
    MAX_NAME as MAX_CONNECTION_NAME, is_name as is_connection_name,
};
pub use history::{Day, History, Job, Others, Outage, Summary, Times};
pub use target::{AddedTarget, AddedTargets, TargetChange, TargetChanged, TargetSpec};

/// Version of these types, the `schema` field of [`Status`]. Grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Whether a thing works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "String")]
pub enum State {
    /// Not enough evidence: just started, suspended, stalled, or evidence was lost. Nobody is released on it.
    #[default]
    Unknown,
    /// Healthy.
    Up,
    /// Works, with faults: see the reasons.
    Degraded,
    /// Does not work.
    Down,
}

impl State {
    /// Every state, in the order of the metrics' state sets.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Up, Self::Degraded, Self::Down];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }

    /// Whether a network in this state is worth using: up or degraded.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Up | Self::Degraded)
    }
}

impl From<String> for State {
    /// A word this client does not know yet reads as unknown, which releases nobody.
    fn from(word: String) -> Self {
        Self::ALL.into_iter().find(|s| s.as_str() == word).unwrap_or_default()
    }
}

/// Why a verdict is what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable code, for programs: `no_carrier`, `no_reply` …
    pub code: String,
    /// The device, target or scope it is about; empty for the whole machine.
    pub subject: String,
    /// For people: one line with the numbers.
    pub detail: String,
    /// Number of the rule that says so, `R1` to `R16`; absent where it is no rule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Where a fault is. What the evidence in hand says is there at once; where that leaves it open, a look at the target
/// names it better some seconds later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// When it was found, RFC 3339.
    pub at: String,
    /// How long it took to find, milliseconds, rounded up; 0 where the evidence was in hand.
    pub took_ms: u64,
    /// `link`, `address`, `route`, `neighbour`, `gateway`, `local`, `path`, `path_mtu`, `dns` or `port`.
    #[serde(rename = "where")]
    pub place: String,
    /// For people: one line.
    pub detail: String,
    /// Of the whole: the target that showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The address that was looked at; absent, like all that follows, where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The source address of packets to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How hops were asked: `icmp`, `udp`, `tcp port 443`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Whether the address answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<bool>,
    /// The last hop that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hop: Option<DiagnosisHop>,
    /// Every hop from the first to the last that answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<DiagnosisHop>,
    /// The largest packet that passes, bytes with the IP header, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u32>,
}

/// One distance from here, in a [`Diagnosis`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosisHop {
    /// 1 is the first router.
    pub hop: u8,
    /// Who answered there; empty where nobody did.
    pub addresses: Vec<String>,
    /// The shortest round trip, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
}

/// The whole published state: `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The verdict over all.
    pub state: State,
    /// When it became so, RFC 3339, UTC. By the wall clock: for people.
    pub since: String,
    /// The same on `CLOCK_BOOTTIME`, nanoseconds.
    pub since_boottime_ns: u64,
    /// Number of the last change that is in here. Grows for as long as the machine runs, across restarts of the agent.
    pub seq: u64,
    /// When the agent last evaluated its evidence, on `CLOCK_BOOTTIME`, nanoseconds. Older than `stale_after_ns`: the
    /// state is stale and says nothing.
    pub boottime_ns: u64,
    /// Age at which this state is stale, nanoseconds: three probe intervals.
    pub stale_after_ns: u64,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Where the fault is; absent where there is none, or nothing is known of its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// The watched devices.
    pub devices: Vec<Device>,
    /// The targets.
    pub targets: Vec<Target>,
    /// Connections that programs report; they say nothing about the network.
    #[serde(default)]
    pub connections: Vec<Connection>,
    /// The agent itself.
    pub agent: Agent,
}

/// The agent itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// Seconds since it started, suspend included.
    pub uptime_seconds: f64,
    /// Its process, in its own PID namespace; 0 where it does not say.
    #[serde(default)]
    pub pid: u32,
    /// What it can do on this machine, by name.
    pub capabilities: BTreeMap<String, Capability>,
}

/// One thing the agent can or can't do here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Whether it works.
    pub ok: bool,
    /// How, or why not.
    pub detail: String,
    /// What would mend it: a command or a setting. Empty when it works.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name; bytes that are not printable UTF-8 read `\xNN`.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Driver kind (`veth`, `bond`, `vlan` …); absent for hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its verdict.
    pub state: State,
    /// When it became so, RFC 3339.
    pub since: String,
    /// The same on `CLOCK_BOOTTIME`, nanoseconds.
    pub since_boottime_ns: u64,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Set up by the administrator.
    pub admin_up: bool,
    /// Carrier present.
    pub carrier: bool,
    /// Times that the carrier came or went, since the device was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier_changes: Option<u32>,
    /// RFC 2863 state, in the kernel's words.
    pub oper_state: String,
    /// Maximum transmission unit, bytes.
    pub mtu: u32,
    /// Megabits a second, where the driver knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
    /// Link-layer address, `aa:bb:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Name of the bond, bridge or VRF it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Names of the links it stands on: a bond's ports, the device below a VLAN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lowers: Vec<String>,
    /// Addresses with their prefix length.
    pub addresses: Vec<String>,
    /// Families (`ipv4`, `ipv6`) of the default routes that stand on it.
    pub default_routes: Vec<String>,
    /// Traffic since the device was made.
    pub traffic: Traffic,
    /// What the kernel's TCP did on it since the agent started; absent where it can't be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
}

/// Traffic counters of a device, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the kernel's own field names")]
pub struct Traffic {
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
}

/// TCP on a device, since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tcp {
    /// Segments sent again.
    pub retransmitted_segments: u64,
    /// The same by kind: `rto`, `fast`, `tlp`, `syn`, `synack`.
    pub retransmitted_segments_by_kind: BTreeMap<String, u64>,
    /// RST segments sent.
    pub resets_sent: u64,
    /// Connections that a peer's RST ended.
    pub resets_received: u64,
    /// Segments sent, those sent again included; of open connections as of the last look at them.
    #[serde(default)]
    pub segments_sent: u64,
    /// Connects that came to an end, established or not.
    #[serde(default)]
    pub active_opens: u64,
    /// Connections accepted.
    #[serde(default)]
    pub passive_opens: u64,
    /// Connects that failed.
    #[serde(default)]
    pub failed_connects: u64,
    /// Segments sent again of those sent in the last half minute, 0–1; none when too few were sent to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmit_ratio: Option<f64>,
}

/// Something that is probed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its name, unique.
    pub name: String,
    /// Host name or address, as configured.
    pub host: String,
    /// `gateway`, `dns`, `internet`, or as configured.
    pub scope: String,
    /// How it is probed: `icmp`, `tcp`, `udp`, `dns`, `http`.
    pub probe: String,
    /// Its verdict.
    pub state: State,
    /// When it became so, RFC 3339.
    pub since: String,
    /// The same on `CLOCK_BOOTTIME`, nanoseconds.
    pub since_boottime_ns: u64,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Where the fault is; absent where there is none, or nothing is known of its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// How long the last look-up of its name took, nanoseconds; absent where no resolver was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve_ns: Option<u64>,
    /// Evidence by address.
    pub addresses: Vec<TargetAddress>,
}

/// Evidence of one address of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetAddress {
    /// The address.
    pub address: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Lost of the probes concluded in the last 60 s, 0–1; null where there was none.
    pub loss_ratio: Option<f64>,
    /// Round-trip times.
    pub rtt: Rtt,
    /// Interarrival jitter by RFC 3550, nanoseconds; null before the second reply.
    pub jitter_ns: Option<u64>,
    /// Probes answered in time. This and what follows counts from when the target was made.
    #[serde(default)]
    pub replies: u64,
    /// Probes lost, on the way or at the target.
    #[serde(default)]
    pub lost: u64,
    /// The same by reason (`timeout`, `refused` …), where there were any.
    #[serde(default)]
    pub lost_by_reason: BTreeMap<String, u64>,
    /// Answers that came after the probe was given up.
    #[serde(default)]
    pub late: u64,
    /// Second answers to one probe.
    #[serde(default)]
    pub duplicates: u64,
    /// Answers that came out of order.
    #[serde(default)]
    pub reordered: u64,
    /// Answers whose payload was another than was sent; none of them is a reply.
    #[serde(default)]
    pub corrupted: u64,
    /// Received time to live or hop limit of the last reply, where known.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// How often it was another than that of the reply before.
    #[serde(default)]
    pub ttl_changes: u64,
    /// Figures by window: `1m`, `5m`, `1h`. The longer two are up to a fifth and a twelfth longer than they say.
    #[serde(default)]
    pub windows: BTreeMap<String, Window>,
    /// How long each phase of the last probe took; absent where it had none, or none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
    /// Status of the last answer: HTTP's, or DNS's response code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When the first certificate to expire of those that were last presented does so, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<String>,
}

/// Figures of a window of time. RTTs are null where no probe was answered in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Probes that were answered or given up in it.
    pub probes: u64,
    /// Those given up.
    pub lost: u64,
    /// Lost of `probes`, 0–1; null where there were none.
    pub loss_ratio: Option<f64>,
    /// Median RTT, nanoseconds.
    pub p50_ns: Option<u64>,
    /// 90th percentile.
    pub p90_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// Longest RTT.
    pub max_ns: Option<u64>,
}

/// Phases of a probe, nanoseconds; absent where it had no such phase, or did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// From the first packet sent to the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ns: Option<u64>,
    /// The TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ns: Option<u64>,
    /// From the request sent to the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_ns: Option<u64>,
}

/// Round-trip times, nanoseconds; null where there was no reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rtt {
    /// Of the last reply, however long ago.
    pub last_ns: Option<u64>,
    /// Median of the last 60 s.
    pub p50_ns: Option<u64>,
    /// 99th percentile of the last 60 s.
    pub p99_ns: Option<u64>,
}

/// Answer of `GET /v1/wait`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waited {
    /// Whether it came about.
    pub satisfied: bool,
    /// The state of what was waited for.
    pub state: State,
    /// Number of the last change seen.
    pub seq: u64,
    /// How long it took.
    pub waited_seconds: f64,
    /// What stood in the way at the end; empty when satisfied.
    pub blocking: Vec<Reason>,
}

/// One change: the data of a server-sent event, and a line of `netmon watch --json`. What is found out of a fault after
/// the change that told of it comes as one more, with the same state, `previous` equal to it, and a diagnosis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its number.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// The same on `CLOCK_BOOTTIME`, nanoseconds; absent from agents that do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boottime_ns: Option<u64>,
    /// `state`, `device`, `target` or `gap`; `update`, where every update was asked for.
    pub kind: String,
    /// Name of the device or target; `network` for the verdict over all.
    pub subject: String,
    /// The new state.
    pub state: State,
    /// The one before.
    pub previous: State,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Where the fault is, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
}

/// An error's body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// One line: what is wrong, where, and what to do.
    pub error: String,
}
