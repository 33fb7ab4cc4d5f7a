//! The targets of one sheet, with what their addresses tell.

use maud::{Markup, html};

use super::{
    View, marks,
    pick::{Picked, SHEET, pick},
    question::Show,
    spark,
    verdict::{self, Told},
    words::{self, count, grouped, per_cent, round_trip},
};
use crate::{
    health::{Figures, Quantiles, Span, State},
    state::{AddressView, TargetView},
};

/// Addresses of one target that are shown.
const ADDRESSES: usize = 8;

pub(super) fn section(view: &View<'_>) -> Markup {
    let picked = pick(&view.snapshot.targets, view.asked);
    html! {
        section aria-labelledby="targets" data-key="targets" {
            h2 #targets tabindex="-1" { "Targets" }
            @if view.snapshot.targets.is_empty() {
                p { "Nothing is probed: there is no target." }
            } @else {
                (form(view))
                (counts(&picked, view))
                @if picked.rows.is_empty() {
                    p.none-found { "No target is so. " a href="?" { "Show all of them" } "." }
                } @else {
                    (table(&picked, view))
                    (sheets(&picked, view))
                }
            }
        }
    }
}

/// It works without scripts: what is asked goes into the address.
fn form(view: &View<'_>) -> Markup {
    let asked = view.asked;
    html! {
        form role="search" aria-label="Targets" method="get" action="?" {
            label for="q" { "Find" }
            input #q type="search" name="q" value=(asked.search) maxlength="100" autocomplete="off" spellcheck="false"
                placeholder="name, host, address, scope";
            label for="show" { "State" }
            select #show name="state" {
                @for show in Show::ALL {
                    option value=(show.as_str()) selected[show == asked.show] { (choice(show)) }
                }
            }
            @if !asked.reload { input type="hidden" name="reload" value="off"; }
            button { "Show" }
        }
    }
}

fn choice(show: Show) -> &'static str {
    match show {
        Show::All => "all, worst first",
        Show::Faulty => "not up",
        Show::Only(state) => state.as_str(),
    }
}

/// How many there are in each state, each a way to these alone.
fn counts(picked: &Picked<'_>, view: &View<'_>) -> Markup {
    let of = |state: State| picked.counts[state as usize];
    let all: usize = picked.counts.iter().sum();
    html! {
        ul.counts aria-label="How many targets are in each state" {
            li { a href=(view.asked.with(Show::All, 1)) aria-current=[current(view, Show::All)] { (count(all, "target", "targets")) } }
            @for state in [State::Down, State::Degraded, State::Unknown, State::Up] {
                @if of(state) > 0 {
                    @let show = Show::Only(state);
                    li {
                        a.{ "state " (state) } href=(view.asked.with(show, 1)) aria-current=[current(view, show)] {
                            (marks::shape(state)) (grouped(of(state))) " " (state)
                        }
                    }
                }
            }
        }
    }
}

fn current(view: &View<'_>, show: Show) -> Option<&'static str> {
    (view.asked.show == show).then_some("true")
}

fn table(picked: &Picked<'_>, view: &View<'_>) -> Markup {
    let mut quantiles = Quantiles::default();
    html! {
        table.cards.targets {
            caption.unseen {
                "Targets, the worst first. Round-trip times and losses are of the last five minutes."
            }
            thead { tr {
                th scope="col" { "Target" } th scope="col" { "State" } th scope="col" { "Last minute" }
                th scope="col" { "Last hour" } th.number scope="col" { "Median" }
                th.number scope="col" { abbr title="90 of 100 answers came sooner" { "90 %" } }
                th.number scope="col" { abbr title="99 of 100 answers came sooner" { "99 %" } }
                th.number scope="col" { "Lost" }
            } }
            @for target in &picked.rows { (rows(target, view, &mut quantiles)) }
        }
    }
}

/// A target: a row an address, or one where it has none, and one more that says why it is not up.
fn rows(t: &TargetView, view: &View<'_>, quantiles: &mut Quantiles) -> Markup {
    let shown = &t.addresses[..t.addresses.len().min(ADDRESSES)];
    let height = shown.len().max(1);
    let more = t.addresses.len() - shown.len();
    let several = t.addresses.len() > 1;
    let why = !t.verdict.reasons.is_empty() || t.diagnosis.is_some();
    html! {
        tbody data-key={ "t:" (t.name) } {
            tr {
                th scope="rowgroup" rowspan=(height + usize::from(why)) {
                    span.name { (t.name) }
                    span.sub {
                        (t.method)
                        @if *t.host != *t.name { " " (t.host) }
                        @if t.scope != t.method { " · " (t.scope) }
                    }
                }
                td rowspan=(height) data-label="State" {
                    (marks::state(t.verdict.state))
                    span.sub { "for " (words::span(view.clock.age(t.verdict.since.boot))) }
                    @if more > 0 { span.sub { "and " (count(more, "address", "addresses")) " more" } }
                }
                @match shown.first() {
                    Some(first) => (cells(first, several, view, quantiles)),
                    None => td.dim colspan="6" { "It has no address yet." },
                }
            }
            @for address in shown.iter().skip(1) { tr { (cells(address, several, view, quantiles)) } }
            @if why {
                tr.why {
                    td colspan="7" {
                        (verdict::reasons(&Told::of(None, &t.verdict)))
                        @if let Some(diagnosis) = &t.diagnosis { (verdict::place(diagnosis, &view.clock)) }
                    }
                }
            }
        }
    }
}

fn cells(a: &AddressView, several: bool, view: &View<'_>, quantiles: &mut Quantiles) -> Markup {
    let now = view.snapshot.at.mono;
    let figures = a.stats.figures(Span::FiveMinutes, now, quantiles);
    html! {
        td data-label="Last minute" {
            @if several { span.line { (a.address.to_string()) @if a.state == State::Down { " " (marks::state(a.state)) } } }
            (spark::minute(&a.stats, now))
        }
        td data-label="Last hour" { (spark::hour(&a.stats, now)) }
        (numbers(&figures))
    }
}

fn numbers(f: &Figures) -> Markup {
    html! {
        @for (label, rtt) in [("Median", f.p50), ("90 %", f.p90), ("99 %", f.p99)] {
            td.number data-label=(label) {
                @match rtt { Some(rtt) => (round_trip(rtt)), None => (marks::nothing()) }
            }
        }
        td.number.loss[f.lost > 0] data-label="Lost" {
            @match f.loss_ratio() { Some(ratio) => (per_cent(ratio)), None => (marks::nothing()) }
        }
    }
}

fn sheets(picked: &Picked<'_>, view: &View<'_>) -> Markup {
    let first = (picked.sheet - 1) * SHEET + 1;
    let last = first + picked.rows.len() - 1;
    let to = |sheet| view.asked.with(view.asked.show, sheet);
    html! {
        @if picked.sheets > 1 {
            nav.sheets aria-label="More targets" {
                @if picked.sheet > 1 { a href=(to(picked.sheet - 1)) rel="prev" { "← Before" } }
                span { (grouped(first)) "–" (grouped(last)) " of " (grouped(picked.found)) }
                @if picked.sheet < picked.sheets { a href=(to(picked.sheet + 1)) rel="next" { "Next →" } }
            }
        }
    }
}
