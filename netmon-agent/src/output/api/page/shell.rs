//! The document around what changes: its head, its script and style, and what may run in it.

use std::sync::LazyLock;

use axum::http::HeaderValue;
use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{View, marks, verdict};

/// Seconds between reloads where there are no scripts.
const RELOAD: u32 = 10;

const SCRIPT: &str = include_str!("live.js");
const STYLE: &str = include_str!("style.css");

/// What is allowed on the page: this script, this style, requests to the agent itself. All else is not, whatever a name
/// may hold.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    HeaderValue::try_from(policy).expect("base64 and the words above are visible ASCII")
});

/// Changes with script and style: a page that finds another one on the agent loads itself anew.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let both = hash(&format!("{SCRIPT}{STYLE}"));
    both.chars().filter(char::is_ascii_alphanumeric).skip(6).take(12).collect()
});

fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("sha256-{}", BASE64.encode(digest.as_ref()))
}

/// The whole document.
pub(super) fn document(view: &View<'_>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title(view)) }
                link #icon rel="icon" href=(marks::icon(view.state));
                style { (PreEscaped(STYLE)) }
                @if view.asked.reload {
                    noscript { meta http-equiv="refresh" content=(RELOAD); }
                }
            }
            body {
                (marks::shapes())
                a.skip href="#targets" { "Skip to the targets" }
                header {
                    p.brand { b { "netmon" } @if !view.host.is_empty() { " " span { (view.host) } } }
                    p #link { "As of " (as_of(view)) }
                }
                // Told to those who listen, when the state changes and when the agent is lost.
                p #said.unseen role="status" {}
                (live(view))
                footer {
                    nav aria-label="For programs" {
                        a href="/metrics" { "Metrics" }
                        a href="/v1/status" { "Status as JSON" }
                        a href="/v1/history" { "History as JSON" }
                    }
                    noscript {
                        p {
                            @if view.asked.reload {
                                "This page loads itself anew every " (RELOAD) " seconds. "
                                a href=(reloading(view, false)) { "Stop that" }
                            } @else {
                                "This page stays as it is. "
                                a href=(reloading(view, true)) { "Load it anew every " (RELOAD) " seconds" }
                            }
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn reloading(view: &View<'_>, reload: bool) -> String {
    super::Question { reload, ..view.asked.clone() }.address()
}

fn title(view: &View<'_>) -> String {
    let state = view.state.as_str();
    if view.host.is_empty() {
        format!("{state} – netmon")
    } else {
        format!("{state} – {} – netmon", view.host)
    }
}

fn as_of(view: &View<'_>) -> String {
    format!("{} {}", view.clock.time_of_day(view.clock.now), view.clock.zone_name())
}

/// What changes: the script asks for it and puts it in place of what there is.
pub(super) fn live(view: &View<'_>) -> Markup {
    html! {
        main #live data-build=(*BUILD) data-state=(view.state) data-title=(title(view)) data-icon=(marks::icon(view.state))
            data-as-of=(as_of(view)) data-said=(verdict::said(view)) {
            (verdict::whole(view))
            (super::targets::section(view))
            (super::devices::section(view))
            (super::outages::section(view))
            (super::connections::section(view))
            (super::about::section(view))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_and_style_end_where_they_should() {
        for text in [SCRIPT, STYLE] {
            let text = text.to_lowercase();
            assert!(!["</script", "</style", "<!--"].iter().any(|end| text.contains(end)));
        }
        let known = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(hash("abc"), known, "FIPS 180-2, appendix B.1, in base64");
        let policy = POLICY.to_str().unwrap();
        assert!(
            policy.contains(&hash(SCRIPT)) && policy.contains(&hash(STYLE)) && !policy.contains("unsafe")
        );
    }
}
