//! Answers.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use netmon_client::wire::{ApiError, State, Waited};
use serde::Serialize;

use crate::time::Wall;

const JSON: &str = "application/json";
const NO_STORE: &str = "no-store";
const NO_SNIFF: &str = "nosniff";
const NO_SECONDS: &str = "0.0";
const NO_TIME: &str = "\"waited_seconds\":0.0";

/// A JSON answer, with a line feed for terminals.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    text: String,
}

impl Answer {
    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(mut text) => {
                text.push('\n');
                Self { status, text }
            }
            Err(_) => Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: "{}\n".into() },
        }
    }

    /// What is wrong.
    pub(super) fn error(status: StatusCode, said: &str) -> Self {
        Self::json(status, &ApiError { error: said.into() })
    }

    /// No room now.
    pub(super) fn busy(said: &str) -> Self {
        Self::error(StatusCode::SERVICE_UNAVAILABLE, said)
    }

    /// The whole response in bytes (RFC 9112), as the HTTP server writes it.
    pub(super) fn on_the_wire(&self, close: bool, now: Wall) -> String {
        let [before, after] = head(self.status, close, now);
        format!("{before}{}{after}{}", self.text.len(), self.text)
    }
}

/// What comes before the body's length, and what between it and the body.
fn head(status: StatusCode, close: bool, now: Wall) -> [String; 2] {
    let date = Timestamp::from_nanosecond(i128::from(now.as_nanos()))
        .and_then(|now| DateTimePrinter::new().timestamp_to_rfc9110_string(&now))
        .unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or_default();
    let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
    let close = if close { "connection: close\r\n" } else { "" };
    let before = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {JSON}\r\ncache-control: {NO_STORE}\r\n\
         x-content-type-options: {NO_SNIFF}\r\n{retry}{close}content-length: ",
        status.as_str(),
    );
    [before, format!("\r\ndate: {date}\r\n\r\n")]
}

/// One answer for all who are released together: it is put into words once, and what differs is how long each waited.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Of connections that go on, and of those that end.
    heads: [[String; 2]; 2],
    body: [String; 2],
    text: Vec<u8>,
}

impl Prepared {
    /// The answer that the condition holds.
    pub(super) fn new(state: State, seq: u64, now: Wall) -> Self {
        let waited = Waited { satisfied: true, state, seq, ..Waited::default() };
        let Answer { status, text } = Answer::json(StatusCode::OK, &waited);
        let (before, after) = text.split_once(NO_TIME).expect("a field of the structure just written");
        let (name, _) = NO_TIME.split_at(NO_TIME.len() - NO_SECONDS.len());
        Self {
            heads: [false, true].map(|close| head(status, close, now)),
            body: [format!("{before}{name}"), after.to_owned()],
            text: Vec::with_capacity(512),
        }
    }

    /// The whole response for one who waited so long.
    pub(super) fn text(&mut self, waited: Duration, close: bool) -> &[u8] {
        let seconds = serde_json::to_string(&waited.as_secs_f64()).unwrap_or_else(|_| NO_SECONDS.to_owned());
        let ([before, after], [start, end]) = (&self.heads[usize::from(close)], &self.body);
        let length = (start.len() + seconds.len() + end.len()).to_string();
        self.text.clear();
        for piece in [before, &length, after, start, &seconds, end] {
            self.text.extend_from_slice(piece.as_bytes());
        }
        &self.text
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = body(self.status, JSON, self.text);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A JSON response.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    Answer::json(status, value).into_response()
}

/// What is wrong, as JSON.
pub(super) fn error(status: StatusCode, said: &str) -> Response {
    Answer::error(status, said).into_response()
}

/// No room now.
pub(super) fn busy(said: &str) -> Response {
    Answer::busy(said).into_response()
}

/// Any body. Nothing here is for caches, nor for guessing browsers.
pub(super) fn body(status: StatusCode, kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
    ];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const NOW: Wall = Wall::from_nanos(784_111_777_000_000_000);

    #[tokio::test]
    async fn both_ways_to_answer_say_the_same() {
        let json = || Answer::json(StatusCode::OK, &ApiError { error: "\u{e9}".into() });
        for make in [&json as &dyn Fn() -> Answer, &|| Answer::busy("full")] {
            let text = make().on_the_wire(true, NOW);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let (parts, expected) = make().into_response().into_parts();
            assert_eq!(body.as_bytes(), expected.collect().await.unwrap().to_bytes());
            let mut lines: Vec<_> = head.lines().collect();
            let status = lines.remove(0);
            assert_eq!(status, format!("HTTP/1.1 {}", parts.status));
            for (name, value) in &parts.headers {
                let line = format!("{name}: {}", value.to_str().unwrap());
                let found = lines.iter().position(|l| *l == line).unwrap();
                lines.remove(found);
            }
            // What the HTTP server adds.
            let length = format!("content-length: {}", body.len());
            assert_eq!(lines, ["connection: close", &length, "date: Sun, 06 Nov 1994 08:49:37 GMT"]);
        }
        assert!(!json().on_the_wire(false, NOW).contains("connection:"));
    }
    #[test]
    fn a_prepared_answer_is_the_one_that_would_be_made_for_each() {
        let mut prepared = Prepared::new(State::Degraded, 1_234_567, NOW);
        for nanos in [0, 1, 999, 1_000_000_000, 86_400_123_456_789, u64::MAX] {
            let waited = Duration::from_nanos(nanos);
            let waited_seconds = waited.as_secs_f64();
            let state = State::Degraded;
            let told = Waited { satisfied: true, state, seq: 1_234_567, waited_seconds, blocking: vec![] };
            for close in [false, true] {
                let expected = Answer::json(StatusCode::OK, &told).on_the_wire(close, NOW);
                assert_eq!(std::str::from_utf8(prepared.text(waited, close)).unwrap(), expected);
            }
        }
    }
}
