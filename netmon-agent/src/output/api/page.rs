//! `GET /`: the state for a browser, without scripts.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use netmon_client::wire::{self, Status};

use super::{App, reply, routes};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    td,th{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}.up{color:#176f2c}.degraded{color:#8a5a00}\
    .down{color:#b3261e}.unknown{color:#5f6368}h1 b,td b{font-weight:600}";

pub(super) async fn page(State(app): State<Arc<App>>) -> Response {
    routes::of_status(app, written).await
}

fn written(status: &Status) -> Response {
    let mut response = reply::body(StatusCode::OK, "text/html; charset=utf-8", html(status));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn html(status: &Status) -> String {
    let mut out = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <meta name=viewport content=\"width=device-width\"><title>netmon: {state}</title><style>{STYLE}</style>\
         <h1>Network <b class={state}>{state}</b></h1><p>since {since}</p>",
        state = status.state.as_str(),
        since = escaped(&status.since),
    );
    list(&mut out, &status.reasons);
    let devices = status.devices.iter().map(|d| (&*d.name, d.state, &*d.since, &*d.reasons));
    table(&mut out, "Devices", devices);
    let targets = status.targets.iter().map(|t| (&*t.name, t.state, &*t.since, &*t.reasons));
    table(&mut out, "Targets", targets);
    connections(&mut out, &status.connections);
    let _ = writeln!(
        out,
        "<p><a href=/metrics>metrics</a> · <a href=/v1/status>status as JSON</a> · netmon {}</html>",
        escaped(&status.agent.version)
    );
    out
}

fn list(out: &mut String, reasons: &[wire::Reason]) {
    if reasons.is_empty() {
        return;
    }
    out.push_str("<ul>");
    for reason in reasons {
        let _ = write!(out, "<li>{}", line(reason));
    }
    out.push_str("</ul>");
}

fn table<'a>(
    out: &mut String,
    title: &str,
    rows: impl Iterator<Item = (&'a str, wire::State, &'a str, &'a [wire::Reason])>,
) {
    let _ = write!(out, "<h2>{title}</h2><table><tr><th>name<th>state<th>since<th>why");
    for (name, state, since, reasons) in rows {
        let why: Vec<String> = reasons.iter().map(line).collect();
        let _ = write!(
            out,
            "<tr><td>{}<td><b class={state}>{state}</b><td>{}<td>{}",
            escaped(name),
            escaped(since),
            why.join("<br>"),
            state = state.as_str(),
        );
    }
    out.push_str("</table>");
}

/// What programs say of connections that they hold.
fn connections(out: &mut String, all: &[wire::Connection]) {
    if all.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Connections that programs report</h2>\
         <table><tr><th>program<th>user<th>connection<th>state<th>since<th>reconnects<th>last error",
    );
    for c in all {
        let class = match c.state {
            wire::ConnectionState::Connected => "up",
            wire::ConnectionState::Error => "down",
            wire::ConnectionState::Connecting => "degraded",
            wire::ConnectionState::Disconnected | wire::ConnectionState::Stopped => "unknown",
        };
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td><b class={class}>{}</b><td>{}<td>{}<td>{}",
            escaped(&c.client),
            c.uid,
            escaped(&c.name),
            c.state,
            escaped(&c.since),
            c.reconnects,
            escaped(c.last_error.as_deref().unwrap_or_default()),
        );
    }
    out.push_str("</table>");
}

fn line(reason: &wire::Reason) -> String {
    let words = [&reason.code, &reason.subject, &reason.detail];
    escaped(&words.into_iter().filter(|w| !w.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" · "))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_can_not_become_markup() {
        let hostile = "<img src=x onerror=\"a\">'&";
        let (code, rule) = ("loss".to_owned(), None);
        let reason = wire::Reason { code, subject: hostile.into(), detail: hostile.into(), rule };
        let device =
            wire::Device { name: hostile.into(), reasons: vec![reason.clone()], ..Default::default() };
        let connection = wire::Connection {
            client: hostile.into(),
            name: hostile.into(),
            last_error: Some(hostile.into()),
            ..Default::default()
        };
        let page = html(&Status {
            reasons: vec![reason],
            devices: vec![device],
            connections: vec![connection],
            ..Default::default()
        });
        assert!(!page.contains("<img"));
        assert_eq!(page.matches("&lt;img src=x onerror=&quot;a&quot;&gt;&#39;&amp;").count(), 8);
    }
}
