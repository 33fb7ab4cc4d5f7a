//! The words of a verdict: states and reasons.

use std::fmt;

use crate::time::Moment;

/// Whether a thing works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not enough evidence (R1, R14, R16). Never releases a waiter.
    #[default]
    Unknown,
    /// Healthy.
    Up,
    /// Works, with faults.
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
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Stable codes of reasons. Scripts and alerts hold on to them: add, never rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonCode {
    /// R1: no verdict yet.
    Starting,
    /// R14: the machine was suspended.
    Suspended,
    /// R14: the agent itself stood still.
    Stalled,
    /// R16: events were lost; the state is being read anew.
    Gap,
    /// R2: set down by the administrator.
    AdminDown,
    /// R2: no carrier.
    NoCarrier,
    /// R2: carrier, but not operational (`dormant`, `lowerlayerdown` …).
    OperDown,
    /// R2: no usable address.
    NoAddress,
    /// R2: the device is gone.
    DeviceGone,
    /// R2: no default route and no route to any target.
    NoRoute,
    /// R2: routes stand, but on no usable link.
    NoUsableLink,
    /// R2b: a required device is down.
    RequiredDeviceDown,
    /// R2b: a watched device is down while another carries the traffic.
    DeviceDown,
    /// R3: down because of the link, not by itself.
    ExplainedByLink,
    /// R4: probes are not answered.
    NoReply,
    /// R4: the port is closed.
    Refused,
    /// R4: a router or the host says that it can't be reached.
    Unreachable,
    /// R4: a DNS resolver answers with errors.
    DnsError,
    /// R4: a service answers, but not as it should: HTTP status, certificate, protocol.
    ServiceError,
    /// The probe can't be sent from here.
    SendFailed,
    /// The target's name can't be resolved.
    Dns,
    /// R6: some addresses of the target are down.
    AddressDown,
    /// R6: a target is down.
    TargetDown,
    /// R6: a scope's quorum of targets is down.
    ScopeDown,
    /// R6: a target is degraded.
    TargetDegraded,
    /// The gateway answers for its address but not to echo requests.
    GatewaySilent,
    /// R7: probes fail, TCP goes through.
    IcmpFiltered,
    /// R9: loss.
    Loss,
    /// R10: retransmits.
    Retransmits,
    /// R11: latency.
    Latency,
    /// R12: flapping.
    Flapping,
    /// The agent takes more CPU or memory than it may, and probes more slowly: a note, which makes no state.
    Throttled,
    /// Nothing to judge by: no device, no target.
    NoEvidence,
}

impl ReasonCode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Suspended => "suspended",
            Self::Stalled => "stalled",
            Self::Gap => "gap",
            Self::AdminDown => "admin_down",
            Self::NoCarrier => "no_carrier",
            Self::OperDown => "oper_down",
            Self::NoAddress => "no_address",
            Self::DeviceGone => "device_gone",
            Self::NoRoute => "no_route",
            Self::NoUsableLink => "no_usable_link",
            Self::RequiredDeviceDown => "required_device_down",
            Self::DeviceDown => "device_down",
            Self::ExplainedByLink => "explained_by_link",
            Self::NoReply => "no_reply",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::DnsError => "dns_error",
            Self::ServiceError => "service_error",
            Self::SendFailed => "send_failed",
            Self::Dns => "dns",
            Self::AddressDown => "address_down",
            Self::TargetDown => "target_down",
            Self::ScopeDown => "scope_down",
            Self::TargetDegraded => "target_degraded",
            Self::GatewaySilent => "gateway_silent",
            Self::IcmpFiltered => "icmp_filtered",
            Self::Loss => "loss",
            Self::Retransmits => "retransmits",
            Self::Latency => "latency",
            Self::Flapping => "flapping",
            Self::Throttled => "throttled",
            Self::NoEvidence => "no_evidence",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a verdict is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What kind of thing.
    pub code: ReasonCode,
    /// The device, target or scope it is about; empty for the whole machine. Printable.
    pub subject: String,
    /// One line for a person, with the numbers. Printable.
    pub detail: String,
}

impl Reason {
    /// A reason.
    pub fn new(code: ReasonCode, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code, subject: subject.into(), detail: detail.into() }
    }
}

/// A state with its history and its reasons.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// Why. Empty when up with nothing to say.
    pub reasons: Vec<Reason>,
    /// How often the state has changed, by the state it changed to, in the order of [`State::ALL`].
    pub transitions: [u64; 4],
}

impl Verdict {
    /// Takes a new judgement; true when the state itself changed.
    pub fn update(&mut self, now: Moment, state: State, reasons: Vec<Reason>) -> bool {
        self.reasons = reasons;
        if self.state == state {
            return false;
        }
        self.state = state;
        self.since = now;
        self.transitions[state as usize] += 1;
        true
    }
}

/// What a verdict is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The whole machine's network.
    Network,
    /// A device, by its printable name.
    Device(String),
    /// A target, by name.
    Target(String),
}

impl Subject {
    /// `state`, `device`, `target`: the kind of event.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Network => "state",
            Self::Device(_) => "device",
            Self::Target(_) => "target",
        }
    }

    /// The name; `network` for the whole.
    pub fn name(&self) -> &str {
        match self {
            Self::Network => "network",
            Self::Device(n) | Self::Target(n) => n,
        }
    }
}
