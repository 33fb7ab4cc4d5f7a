//! Answers.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use netmon_client::wire::ApiError;
use serde::Serialize;

/// A JSON answer, with a line feed for terminals.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(mut text) => {
            text.push('\n');
            body(status, "application/json", text)
        }
        Err(e) => body(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", format!("{e}\n")),
    }
}

/// What is wrong, as JSON.
pub(super) fn error(status: StatusCode, said: &str) -> Response {
    json(status, &ApiError { error: said.into() })
}

/// No room now.
pub(super) fn busy(said: &str) -> Response {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, said);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Any body. Nothing here is for caches, nor for guessing browsers.
pub(super) fn body(status: StatusCode, kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}
