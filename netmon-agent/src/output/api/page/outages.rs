//! The last days: what was seen of each, and the outages.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};
use netmon_client::wire::{Day, Outage, Times};

use super::{
    View, marks,
    past::{CELLS, Cells, Known, Past},
    verdict,
    words::{self, Clock, count, per_cent, span},
};
use crate::health::{State, Subject};

/// Programs that are named of those that waited.
const JOBS: usize = 3;

pub(super) fn section(view: &View<'_>) -> Markup {
    html! {
        section aria-labelledby="past" data-key="past" {
            h2 #past { "Outages" }
            @match view.past.as_deref() {
                None => p { "The history is being read." },
                Some(Past::No(why)) => p { (why) },
                Some(Past::Known(known)) => { (days(known)) (outages(known, &view.clock)) },
            }
        }
    }
}

fn days(known: &Known) -> Markup {
    html! {
        table.days {
            caption { "The network in the last " (count(usize::try_from(known.days).unwrap_or(1), "day", "days")) }
            thead.unseen { tr {
                th scope="col" { "Day" } th scope="col" { "From midnight to midnight" } th scope="col" { "Available" }
                th scope="col" { "Outages" }
            } }
            tbody { @for day in known.network.days.iter().rev() { (one_day(day, known.cells.get(&day.date).map(|cells| &**cells))) } }
        }
    }
}

fn one_day(day: &Day, cells: Option<&Cells>) -> Markup {
    html! {
        tr data-key=(day.date) {
            th scope="row" { (date(&day.date)) }
            td.strip { (strip(&day.times, cells)) }
            td.number {
                @match day.times.availability {
                    Some(ratio) => (per_cent(ratio)),
                    None => span.dim { "not observed" },
                }
            }
            td.number { @if day.outages > 0 { (count(day.outages as usize, "outage", "outages")) } @else { (marks::nothing()) } }
        }
    }
}

/// `2026-01-31` as `Sat 31 Jan`.
fn date(text: &str) -> String {
    text.parse::<jiff::civil::Date>()
        .map_or_else(|_| text.to_owned(), |d| d.strftime("%a %-d %b").to_string())
}

/// A day from midnight to midnight.
fn strip(times: &Times, cells: Option<&Cells>) -> Markup {
    let told: Vec<String> = [
        ("up", times.up_seconds),
        ("degraded", times.degraded_seconds),
        ("down", times.down_seconds),
        ("not observed", times.unobserved_seconds),
    ]
    .into_iter()
    .filter(|(_, seconds)| *seconds >= 0.5)
    .map(|(what, seconds)| format!("{what} for {}", span(Duration::from_secs_f64(seconds.round()))))
    .collect();
    let told = if told.is_empty() { "nothing was seen of it".to_owned() } else { told.join(", ") };
    html! {
        svg.day viewBox={ "0 0 " (CELLS) " 10" } preserveAspectRatio="none" role="img" aria-label=(told) {
            title { (told) }
            rect.unseen-time width=(CELLS) height="10" {}
            @if let Some(cells) = cells {
                @for state in [State::Up, State::Degraded, State::Down] {
                    @let path = runs(cells, state);
                    @if !path.is_empty() { path.{ "is-" (state) } d=(path) {} }
                }
            }
        }
    }
}

/// The pieces of a day in this state, as rectangles. The worse a state, the higher it stands: not by colour alone.
fn runs(cells: &Cells, state: State) -> String {
    let top = match state {
        State::Down | State::Unknown => 0,
        State::Degraded => 3,
        State::Up => 7,
    };
    let mut path = String::new();
    let mut begun = None;
    for (i, cell) in cells.iter().copied().chain([None]).enumerate() {
        match (begun, cell == Some(state)) {
            (None, true) => begun = Some(i),
            (Some(from), false) => {
                // Writing to a String can't fail.
                let _ = write!(path, "M{from} {top}H{i}V10H{from}z");
                begun = None;
            }
            _ => {}
        }
    }
    path
}

fn outages(known: &Known, clock: &Clock) -> Markup {
    if known.outages.is_empty() {
        return html! { p { "Nothing was down or degraded in this time, as far as it was observed." } };
    }
    html! {
        table.cards {
            caption.unseen { "Outages, the latest first" }
            thead { tr {
                th scope="col" { "Began" } th scope="col" { "What" } th scope="col" { "State" }
                th.number scope="col" { "Lasted" } th scope="col" { "Why, and where" } th scope="col" { "Who waited" }
            } }
            tbody { @for outage in &known.outages { (row(outage, clock)) } }
        }
        @if known.omitted > 0 {
            p.dim { "and " (words::grouped(known.omitted as usize)) " more: see " code { "netmon history" } }
        }
    }
}

fn row(o: &Outage, clock: &Clock) -> Markup {
    let state = State::ALL.into_iter().find(|s| s.as_str() == o.state.as_str()).unwrap_or_default();
    let network = o.kind == Subject::Network.kind();
    let lasts = o.end.is_none();
    // Of one that lasts what was read is of some seconds ago.
    let since = words::wall(&o.start).filter(|_| lasts).map(|start| clock.walls.wall(clock.now).since(start));
    let length = since.unwrap_or_else(|| Duration::try_from_secs_f64(o.seconds).unwrap_or_default());
    html! {
        tr data-key={ "o:" (o.start) ":" (o.kind) ":" (o.subject) ":" (o.state.as_str()) } {
            th scope="row" { @if !o.start_seen { span.dim { "before " } } (clock.told(&o.start)) }
            td data-label="What" {
                @if network { b { "The network" } } @else { (o.kind) " " span.name { (o.subject) } }
            }
            td data-label="State" { (marks::state(state)) }
            td.number data-label="Lasted" {
                @if lasts { "for " } @else if !o.end_seen { span.dim { "at least " } }
                (span(length)) @if lasts { " so far" }
            }
            td data-label="Why" {
                @match o.reasons.first() {
                    Some(reason) => {
                        span.what { (words::reason(&reason.code)) }
                        @if !reason.detail.is_empty() { ": " (verdict::detail(reason)) }
                        @if o.reasons.len() > 1 { span.dim { " and " (count(o.reasons.len() - 1, "reason", "reasons")) " more" } }
                    },
                    None => (marks::nothing()),
                }
                @if let Some(d) = &o.diagnosis {
                    span.line { span.what { "Where: " (words::place(&d.place)) } " – " (d.detail) }
                }
            }
            td data-label="Who waited" { (waited(o)) }
        }
    }
}

fn waited(o: &Outage) -> Markup {
    let others = o.waited.len().saturating_sub(JOBS) + usize::from(o.waited_others.is_some());
    html! {
        @if o.waited.is_empty() { (marks::nothing()) }
        @for job in o.waited.iter().take(JOBS) {
            span.line {
                (job.job)
                span.dim { ", " (span(Duration::try_from_secs_f64(job.longest_seconds).unwrap_or_default())) }
            }
        }
        @if others > 0 { span.dim { "and others" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_one_state_are_one_rectangle() {
        let mut cells = [None; CELLS];
        cells[3..6].fill(Some(State::Down));
        cells[6] = Some(State::Up);
        cells[287] = Some(State::Down);
        assert_eq!(runs(&cells, State::Down), "M3 0H6V10H3zM287 0H288V10H287z");
        assert_eq!(runs(&cells, State::Up), "M6 7H7V10H6z");
        assert_eq!((runs(&cells, State::Degraded).as_str(), date("2026-01-31")), ("", "Sat 31 Jan".into()));
    }
}
