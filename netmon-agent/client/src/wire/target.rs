//! Targets that are added while the agent runs.

use serde::{Deserialize, Serialize};

/// The body of `PUT /v1/targets/NAME`: the keys of `[[target]]` in the configuration, with the same meaning. It needs a
/// `host`, or a `url`; durations are written as there (`10s`, `250ms`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetSpec {
    /// Host name or address, without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `icmp` (also where it is absent), `tcp`, `udp`, `dns` or `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// Port of a `tcp`, `udp` or `dns` target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The group whose targets are judged together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How often it is probed, 20 ms to 1 h; as all others without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How long a reply may take, 1 ms to 1 min; as all others without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Source address of its packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Device by which they leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// VRF that they belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Their firewall mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// Their time to live, 1 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Their code point: 0 to 63, or a word such as `EF`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<String>,
    /// Bytes of payload of an `icmp` or `udp` probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u16>,
    /// Whether they are never fragmented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dont_fragment: Option<bool>,
    /// Of a `udp` target: `echo` or `unreachable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Of a `dns` target: a name that has to exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Of a `dns` target: the record type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Of a `dns` target: `udp` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Of a `dns` target: response codes that are a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<Vec<String>>,
    /// Of an `http` target: what is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of an `http` target: HEAD instead of GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<bool>,
    /// Of an `http` target: statuses that are a success, as `2xx`, `404` or `200-299`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<String>>,
    /// Of an `https` target: whether its certificate has to be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// Of an `https` target: a file with the authorities to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Whether it is kept across restarts of the agent.
    pub persist: bool,
}

/// What became of a request to add or remove a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetChanged {
    /// Its name.
    pub name: String,
    /// What was done.
    pub change: TargetChange,
}

/// What was done to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetChange {
    /// It was not there before.
    Added,
    /// It was, and is another now.
    Changed,
    /// It was there as it is; what is known of it stays.
    #[default]
    Unchanged,
    /// It is gone.
    Removed,
}

/// A target that was added while the agent runs, as `GET /v1/targets` has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddedTarget {
    /// Its name.
    pub name: String,
    /// Whether it is kept across restarts of the agent.
    pub persist: bool,
    /// Its keys, as they were asked for.
    #[serde(flatten)]
    pub keys: serde_json::Map<String, serde_json::Value>,
}

/// The answer to `GET /v1/targets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddedTargets {
    /// By name.
    pub targets: Vec<AddedTarget>,
}
