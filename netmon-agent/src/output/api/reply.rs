//! Answers.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use netmon_client::wire::ApiError;
use serde::Serialize;

use crate::time::Wall;

const JSON: &str = "application/json";
const NO_STORE: &str = "no-store";
const NO_SNIFF: &str = "nosniff";

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
        let Self { status, text } = self;
        let date = Timestamp::from_nanosecond(i128::from(now.as_nanos()))
            .and_then(|now| DateTimePrinter::new().timestamp_to_rfc9110_string(&now))
            .unwrap_or_default();
        let reason = status.canonical_reason().unwrap_or_default();
        let retry = if *status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
        let close = if close { "connection: close\r\n" } else { "" };
        let length = text.len();
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: {JSON}\r\ncache-control: {NO_STORE}\r\n\
             x-content-type-options: {NO_SNIFF}\r\n{retry}{close}content-length: {length}\r\ndate: {date}\r\n\r\n{text}",
            status.as_str(),
        )
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
}
