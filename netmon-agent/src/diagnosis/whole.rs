//! The place of the verdict over all: the link's own fault, or the nearest place among its targets'.

use std::{sync::Arc, time::Duration};

use super::{
    evidence::{of_code, without_route},
    known::Known,
    place::{Finding, Place},
};
use crate::{
    health::{Health, Reason, ReasonCode, State},
    observation::TargetId,
};

/// Where the fault of the whole is; none where there is none, or nothing is known of it.
pub fn of_whole(health: &Health, known: &Known) -> Option<Finding> {
    let verdict = health.verdict();
    let first = verdict.reasons.first();
    match verdict.state {
        State::Up => None,
        State::Unknown => match first {
            Some(r) if matches!(r.code, ReasonCode::Stalled | ReasonCode::Suspended) => {
                Some(Finding::in_hand(Place::Local, &*r.detail))
            }
            _ => None,
        },
        State::Degraded | State::Down => {
            let by_link = || verdict.reasons.iter().find_map(|r| of_reason(health, r));
            // R2's own finding comes first among the reasons; what is wrong with one device of several comes last.
            let is_r2 =
                first.is_some_and(|r| r.code == ReasonCode::RequiredDeviceDown || of_code(r.code).is_some());
            if is_r2 { by_link() } else { nearest(health, known).or_else(by_link) }
        }
    }
}

fn of_reason(health: &Health, reason: &Reason) -> Option<Finding> {
    match reason.code {
        ReasonCode::NoRoute => {
            let found = without_route(health, false);
            Some(Finding::in_hand(found.place, found.detail))
        }
        ReasonCode::DeviceDown | ReasonCode::PortDown | ReasonCode::UplinkLost => {
            Some(Finding::in_hand(Place::Link, &*reason.detail))
        }
        ReasonCode::Retransmits => Some(Finding::in_hand(Place::Path, &*reason.detail)),
        ReasonCode::Flapping if health.devices().any(|d| d.name == reason.subject) => {
            Some(Finding::in_hand(Place::Link, &*reason.detail))
        }
        code => Some(Finding::in_hand(of_code(code)?, &*reason.detail)),
    }
}

/// Of all targets' places the nearest, for it explains those beyond it; beyond the gateway, one that was looked at.
fn nearest(health: &Health, known: &Known) -> Option<Finding> {
    let rank = |id: TargetId, finding: &Finding| {
        (finding.place.min(Place::Path), finding.took == Duration::ZERO, finding.place, id)
    };
    let all = known.targets().filter_map(|(id, d)| Some((health.target(id)?, d)));
    let (target, diagnosis) = all.min_by_key(|(target, d)| rank(target.spec.id, &d.finding))?;
    Some(Finding { target: Some(Arc::clone(&target.spec.name)), ..Finding::clone(&diagnosis.finding) })
}
