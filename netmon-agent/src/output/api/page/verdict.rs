//! The verdict over all, in sentences: what, since when, why, and where the fault is.

use maud::{Markup, html};
use netmon_client::wire;

use super::{
    super::wire_map,
    View, marks,
    words::{self, Clock, round_trip},
};
use crate::{
    diagnosis::{Diagnosis, SeenHop},
    health::{State, Verdict},
};

/// Reasons that are told of one thing; there may be one for each of many targets.
const REASONS: usize = 12;

/// The verdict, with its reasons.
pub(super) fn whole(view: &View<'_>) -> Markup {
    let verdict = &view.snapshot.verdict;
    let age = view.clock.age(verdict.since.boot);
    html! {
        section.{ "verdict " (view.state) } aria-labelledby="state" data-key="verdict" {
            (marks::shape(view.state))
            div {
                h1 #state { (words::headline(view.state)) }
                p.since {
                    @if view.is_stale {
                        "When the agent last looked it was " (verdict.state) ", since "
                    } @else {
                        "since "
                    }
                    (view.clock.at(verdict.since.boot)) ", for " (words::span(age))
                }
                (reasons(&view.reasons))
                @if let Some(diagnosis) = view.snapshot.diagnosis.as_ref().filter(|_| view.state != State::Up) {
                    (place(diagnosis, &view.clock))
                }
            }
        }
    }
}

/// The same in one line, for title and announcement.
pub(super) fn said(view: &View<'_>) -> String {
    let headline = words::headline(view.state);
    match view.reasons.reasons.first().filter(|_| view.state != State::Up) {
        Some(reason) => format!("{headline}: {}", detail(reason)),
        None => format!("{headline}."),
    }
}

/// Reasons that are told, and how many more there are.
#[derive(Debug)]
pub(super) struct Told {
    reasons: Vec<wire::Reason>,
    more: usize,
}

impl Told {
    /// Those of a verdict, and one before them.
    pub(super) fn of(first: Option<wire::Reason>, verdict: &Verdict) -> Self {
        let own = verdict.reasons.iter().take(REASONS).map(wire_map::reason);
        let more = verdict.reasons.len().saturating_sub(REASONS);
        Self { reasons: first.into_iter().chain(own).collect(), more }
    }
}

/// Reasons as a list; nothing where there are none.
pub(super) fn reasons(told: &Told) -> Markup {
    html! {
        @if !told.reasons.is_empty() {
            ul.reasons {
                @for reason in &told.reasons {
                    li {
                        span.what { (words::reason(&reason.code)) }
                        @if !reason.detail.is_empty() || !reason.subject.is_empty() { ": " (detail(reason)) }
                        " "
                        code title=[reason.rule.as_ref().map(|rule| format!("rule {rule}"))] { (reason.code) }
                    }
                }
                @if told.more > 0 { li { "and " (told.more) " more" } }
            }
        }
    }
}

/// What a reason says, with its subject where it does not name that itself.
pub(super) fn detail(reason: &wire::Reason) -> String {
    let wire::Reason { subject, detail, code, .. } = reason;
    if detail.is_empty() {
        return if subject.is_empty() { words::reason(code).to_owned() } else { subject.clone() };
    }
    if subject.is_empty() || detail.contains(subject.as_str()) {
        return detail.clone();
    }
    format!("{subject}: {detail}")
}

/// Where a fault is, and the way that was seen to it.
pub(super) fn place(d: &Diagnosis, clock: &Clock) -> Markup {
    let finding = &d.finding;
    let hops = finding.trace.as_ref().map_or(&[][..], |trace| &trace.hops);
    html! {
        p.place {
            span.what { "Where: " (words::place(finding.place.as_str())) }
            " – " (finding.detail)
            span.dim { " (seen " (clock.at(d.at)) ")" }
        }
        @if !hops.is_empty() {
            details {
                summary { "The way that was seen, " (words::count(hops.len(), "hop", "hops")) }
                ol.hops { @for seen in hops { li value=(seen.hop) { (hop(seen)) } } }
            }
        }
    }
}

fn hop(seen: &SeenHop) -> Markup {
    let addresses: Vec<String> = seen.addresses.iter().map(ToString::to_string).collect();
    html! {
        @if addresses.is_empty() { span.dim { "no answer" } } @else { (addresses.join(", ")) }
        @if let Some(rtt) = seen.rtt { " " span.dim { (round_trip(rtt)) } }
    }
}
