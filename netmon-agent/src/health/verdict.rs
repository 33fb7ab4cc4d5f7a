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
    /// R2b: a port of a bond or bridge is lost while another serves.
    PortDown,
    /// R2b: the best default route is lost while another carries.
    UplinkLost,
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
    /// R4: the probe can't be sent from here.
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
            Self::PortDown => "port_down",
            Self::UplinkLost => "uplink_lost",
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

impl ReasonCode {
    /// Every code.
    pub const ALL: [Self; 35] = [
        Self::Starting,
        Self::Suspended,
        Self::Stalled,
        Self::Gap,
        Self::AdminDown,
        Self::NoCarrier,
        Self::OperDown,
        Self::NoAddress,
        Self::DeviceGone,
        Self::NoRoute,
        Self::NoUsableLink,
        Self::RequiredDeviceDown,
        Self::DeviceDown,
        Self::PortDown,
        Self::UplinkLost,
        Self::ExplainedByLink,
        Self::NoReply,
        Self::Refused,
        Self::Unreachable,
        Self::DnsError,
        Self::ServiceError,
        Self::SendFailed,
        Self::Dns,
        Self::AddressDown,
        Self::TargetDown,
        Self::ScopeDown,
        Self::TargetDegraded,
        Self::GatewaySilent,
        Self::IcmpFiltered,
        Self::Loss,
        Self::Retransmits,
        Self::Latency,
        Self::Flapping,
        Self::Throttled,
        Self::NoEvidence,
    ];

    /// Number of the rule that gives it, as the table of the rules has it; none where it is no rule's. R5, R8 and R13
    /// hasten or hold back what others say, and R15 is the readers' own.
    pub fn rule(self) -> Option<&'static str> {
        Some(match self {
            Self::Starting => "R1",
            Self::AdminDown
            | Self::NoCarrier
            | Self::OperDown
            | Self::NoAddress
            | Self::DeviceGone
            | Self::NoRoute
            | Self::NoUsableLink => "R2",
            Self::RequiredDeviceDown | Self::DeviceDown | Self::PortDown | Self::UplinkLost => "R2b",
            Self::ExplainedByLink => "R3",
            Self::NoReply
            | Self::Refused
            | Self::Unreachable
            | Self::DnsError
            | Self::ServiceError
            | Self::SendFailed => "R4",
            Self::AddressDown | Self::TargetDown | Self::ScopeDown | Self::TargetDegraded => "R6",
            Self::IcmpFiltered => "R7",
            Self::Loss => "R9",
            Self::Retransmits => "R10",
            Self::Latency => "R11",
            Self::Flapping => "R12",
            Self::Suspended | Self::Stalled => "R14",
            Self::Gap => "R16",
            Self::Dns | Self::GatewaySilent | Self::Throttled | Self::NoEvidence => return None,
        })
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the source of [`ReasonCode`] says of each code, in its own comment.
    fn documented() -> Vec<(&'static str, Option<&'static str>)> {
        let source = include_str!("verdict.rs");
        let body =
            source.split("pub enum ReasonCode {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
        let mut rule = None;
        let mut all = Vec::new();
        for line in body.lines().map(str::trim).filter(|l| !l.is_empty()) {
            match line.strip_prefix("/// ") {
                Some(comment) => {
                    let number = comment.split_once(": ").map(|(number, _)| number);
                    rule = rule.or(number.filter(|n| n.starts_with('R') && n[1..2].parse::<u8>().is_ok()));
                }
                None => all.push((line.trim_end_matches(','), rule.take())),
            }
        }
        all
    }

    #[test]
    fn each_code_has_the_number_that_its_comment_names() {
        let known: Vec<_> = ReasonCode::ALL.iter().map(|code| (format!("{code:?}"), code.rule())).collect();
        let told: Vec<_> = documented().into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect();
        assert_eq!(known, told);
        let words: BTreeSet<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), ReasonCode::ALL.len(), "two codes have one word");
    }
}
