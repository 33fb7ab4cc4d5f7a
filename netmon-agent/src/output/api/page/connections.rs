//! What programs say of connections that they hold.

use maud::{Markup, html};
use netmon_client::wire::{Connection, ConnectionState};

use super::{View, marks, words};
use crate::time::Boot;

/// Connections that are shown, the worst first.
const MOST: usize = 100;

pub(super) fn section(view: &View<'_>) -> Markup {
    let mut all: Vec<&Connection> = view.connections.iter().collect();
    all.sort_by_key(|c| match c.state {
        ConnectionState::Error => 0,
        ConnectionState::Disconnected => 1,
        ConnectionState::Connecting => 2,
        ConnectionState::Stopped => 3,
        ConnectionState::Connected => 4,
    });
    let more = all.len().saturating_sub(MOST);
    html! {
        @if !all.is_empty() {
            section aria-labelledby="connections" data-key="connections" {
                h2 #connections { "Connections that programs report" }
                table.cards {
                    caption.unseen { "What programs say of their own connections; it is no evidence of the network" }
                    thead { tr {
                        th scope="col" { "Connection" } th scope="col" { "State" } th.number scope="col" { "Reconnects" }
                        th scope="col" { "Last error" }
                    } }
                    tbody { @for c in all.iter().take(MOST) { (row(c, view)) } }
                }
                @if more > 0 { p.dim { "and " (words::count(more, "connection", "connections")) " more" } }
            }
        }
    }
}

fn row(c: &Connection, view: &View<'_>) -> Markup {
    let age = view.clock.age(Boot::from_nanos(c.since_boottime_ns));
    html! {
        tr data-key={ "c:" (c.uid) ":" (c.client) ":" (c.name) } {
            th scope="row" {
                span.name { (c.name) }
                span.sub { (c.client) ", user " (c.uid) }
            }
            td data-label="State" { (marks::connection(c.state)) span.sub { "for " (words::span(age)) } }
            td.number data-label="Reconnects" { (c.reconnects) }
            td data-label="Last error" {
                @match &c.last_error { Some(error) => (error), None => (marks::nothing()) }
            }
        }
    }
}
