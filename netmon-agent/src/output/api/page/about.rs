//! The agent itself: what it can't do here, and where to read on.

use maud::{Markup, html};

use super::{View, words};

pub(super) fn section(view: &View<'_>) -> Markup {
    let missing: Vec<_> = view.snapshot.capabilities.iter().filter(|c| !c.ok).collect();
    let uptime = view.clock.age(view.snapshot.started.boot);
    html! {
        section aria-labelledby="agent" data-key="agent" {
            h2 #agent { "Agent" }
            p {
                "netmon " (env!("CARGO_PKG_VERSION")) ", running for " (words::span(uptime)) ". "
                @if missing.is_empty() {
                    "All that it can do works here."
                } @else {
                    (words::count(missing.len(), "thing", "things")) " that it can do "
                    (if missing.len() == 1 { "does" } else { "do" }) " not work here:"
                }
            }
            @if !missing.is_empty() {
                ul.reasons {
                    @for c in missing {
                        li { code { (c.name) } ": " (c.detail) @if !c.remedy.is_empty() { span.dim { " – " (c.remedy) } } }
                    }
                }
            }
        }
    }
}
