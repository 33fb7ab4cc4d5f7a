//! One target: its addresses' evidence becomes one verdict (R3, and R6 within the target).

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    address::AddressEvidence,
    flaps::Flaps,
    reach::{Reach, Way},
    settings::Settings,
    stats::Departed,
    verdict::{Reason, ReasonCode, State, Verdict},
};
use crate::observation::{FailureReason, IfIndex, Method, NeighbourState, TargetId};

/// What a target is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Anything that is probed.
    #[default]
    Plain,
    /// A default gateway: it also answers for its address on the link.
    Gateway,
}

/// A target as the core knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// Its number.
    pub id: TargetId,
    /// Its name, unique and printable.
    pub name: Arc<str>,
    /// Host name or address, as configured.
    pub host: String,
    /// Its scope (R6).
    pub scope: String,
    /// How it is probed.
    pub method: Method,
    /// What it is for.
    pub role: Role,
    /// Its addresses; empty until its name is resolved.
    pub addresses: Vec<IpAddr>,
    /// The link that a gateway's link-local address is of (the same address may be another machine on another link), or
    /// the device or VRF that probes are bound to; 0 for one that is not there.
    pub link: Option<IfIndex>,
}

/// A target with its evidence and its verdict.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is.
    pub spec: TargetSpec,
    /// By address, in the order of the specification.
    pub addresses: Vec<AddressEvidence>,
    /// Its verdict.
    pub verdict: Verdict,
    /// The resolver's last error, while it lasts.
    pub unresolved: Option<String>,
    /// How long the last look-up of its name took; none where no resolver was asked.
    pub look_up: Option<Duration>,
    /// What the addresses counted that it no longer has, shared with snapshots; none before the first is gone.
    pub departed: Option<Arc<Departed>>,
    pub(super) flaps: Flaps,
}

/// What else the judgement of a target looks at.
pub(super) struct Surroundings<'a> {
    /// The thresholds.
    pub settings: &'a Settings,
    /// Whether links and routes were read; before that R3 is silent.
    pub links_known: bool,
    /// Printable names of the links that R3 blames.
    pub link_names: &'a dyn Fn(&Reach) -> String,
    /// The kernel's opinion of a gateway's address.
    pub neighbour: &'a dyn Fn(IpAddr) -> Option<NeighbourState>,
    /// Whether a default route still points at this gateway, or at another in its place: then it is about to be no
    /// target any more.
    pub still_gateway: &'a dyn Fn(IpAddr) -> bool,
    /// R7: remote prefixes that acknowledge what leaves this way, if they are enough.
    pub progress: &'a dyn Fn(&Way) -> Option<usize>,
    /// R2 holds, for a target whose name never was resolved: nobody could be asked for it either.
    pub cut_off: bool,
}

impl Target {
    /// The judgement, from the evidence in hand.
    pub(super) fn judge(&self, around: &Surroundings<'_>) -> (State, Vec<Reason>) {
        let name = &*self.spec.name;
        if self.addresses.is_empty() {
            return match &self.unresolved {
                Some(error) if around.cut_off => {
                    let detail = "no usable link leads to who could resolve its name";
                    let explained = Reason::new(ReasonCode::ExplainedByLink, name, detail);
                    (State::Down, vec![explained, self.dns_reason(error)])
                }
                Some(error) => (State::Down, vec![self.dns_reason(error)]),
                None => (
                    State::Unknown,
                    vec![Reason::new(ReasonCode::Starting, name, "its name is being resolved")],
                ),
            };
        }
        if around.links_known
            && let Some(verdict) = self.explained(around)
        {
            return verdict;
        }
        // An address of a family that has no route here is no evidence against a host that has another.
        let routed = |a: &&AddressEvidence| !around.links_known || a.reach.stands();
        let judged: Vec<_> =
            self.addresses.iter().filter(routed).map(|a| self.judge_address(a, around)).collect();
        let count = |state| judged.iter().filter(|(s, _)| *s == state).count();
        let (up, down) = (count(State::Up), count(State::Down));
        let mut reasons: Vec<Reason> = judged.iter().filter_map(|(_, reason)| reason.clone()).collect();
        let state = if down == judged.len() {
            match self.veto(around.progress).filter(|_| around.links_known) {
                Some(veto) => {
                    reasons.insert(0, veto);
                    State::Degraded
                }
                None => State::Down,
            }
        } else if up == 0 {
            reasons.push(Reason::new(
                ReasonCode::Starting,
                name,
                "no probe has been answered or given up yet",
            ));
            State::Unknown
        } else if down > 0 {
            let detail = format!("{down} of {} addresses of {name} do not answer", judged.len());
            reasons.insert(0, Reason::new(ReasonCode::AddressDown, name, detail));
            State::Degraded
        } else {
            State::Up
        };
        let impairments =
            || self.addresses.iter().filter(routed).flat_map(|a| a.impairments(name, around.settings));
        let state = match state {
            State::Up | State::Degraded if impairments().next().is_some() => {
                reasons.extend(impairments());
                State::Degraded
            }
            state => state,
        };
        if let Some(error) = &self.unresolved {
            reasons.push(self.dns_reason(error));
        }
        (state, reasons)
    }

    fn dns_reason(&self, error: &str) -> Reason {
        Reason::new(
            ReasonCode::Dns,
            &*self.spec.name,
            format!("{} can't be resolved: {error}", self.spec.host),
        )
    }

    /// R3: no address can be reached for want of a link or a route.
    fn explained(&self, around: &Surroundings<'_>) -> Option<(State, Vec<Reason>)> {
        let name = &*self.spec.name;
        if self.addresses.iter().any(|a| a.reach.stands()) {
            let is_gateway = || self.addresses.iter().any(|a| (around.still_gateway)(a.address));
            if self.spec.role != Role::Gateway || is_gateway() {
                return None;
            }
            let detail = format!("the default route through {} is gone", self.spec.host);
            return Some((State::Down, vec![Reason::new(ReasonCode::NoRoute, name, detail)]));
        }
        let blamed = self.addresses.iter().find(|a| matches!(a.reach, Reach::LinkDown(_)));
        let reason = match blamed {
            Some(a) => {
                let links = (around.link_names)(&a.reach);
                Reason::new(ReasonCode::ExplainedByLink, name, format!("its link is down: {links}"))
            }
            None => Reason::new(ReasonCode::ExplainedByLink, name, format!("no route to {}", self.spec.host)),
        };
        Some((State::Down, vec![reason]))
    }

    fn judge_address(&self, a: &AddressEvidence, around: &Surroundings<'_>) -> (State, Option<Reason>) {
        let name = &*self.spec.name;
        let state = a.fsm.state();
        if state != State::Down {
            return (state, None);
        }
        let neighbour = (self.spec.role == Role::Gateway).then(|| (around.neighbour)(a.address)).flatten();
        if let Some(n) = neighbour.filter(|n| n.is_valid() && !a.fsm.ever_replied()) {
            let detail =
                format!("{} answers for its address ({}) but not to echo requests", a.address, n.as_str());
            return (State::Up, Some(Reason::new(ReasonCode::GatewaySilent, name, detail)));
        }
        let method = self.spec.method.as_str();
        let (code, what) = match a.fsm.last_failure() {
            None | Some(FailureReason::Timeout) => {
                (ReasonCode::NoReply, format!("no reply to {method} probes"))
            }
            Some(FailureReason::Refused) => (ReasonCode::Refused, "the port is closed".to_owned()),
            Some(FailureReason::ServFail) => {
                (ReasonCode::DnsError, "the resolver answers with errors".to_owned())
            }
            Some(FailureReason::NxDomain) => {
                (ReasonCode::DnsError, "the resolver knows no such name".to_owned())
            }
            Some(FailureReason::Status) => {
                (ReasonCode::ServiceError, "it answers with a status that is not wanted".to_owned())
            }
            Some(FailureReason::Tls) => {
                (ReasonCode::ServiceError, "its TLS handshake or certificate fails".to_owned())
            }
            Some(FailureReason::Protocol) => {
                (ReasonCode::ServiceError, "it breaks off, or answers with what is no answer".to_owned())
            }
            Some(FailureReason::SendError) => {
                (ReasonCode::SendFailed, format!("{method} probes can't be sent"))
            }
            Some(other) => (ReasonCode::Unreachable, format!("reported {other}")),
        };
        let mut detail = format!("{}: {what}", a.address);
        if let Some(n) = neighbour.filter(|n| !n.is_valid()) {
            detail.push_str(&format!("; its link-layer address is {}", n.as_str()));
        }
        (State::Down, Some(Reason::new(code, name, detail)))
    }
}
