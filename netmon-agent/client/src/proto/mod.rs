//! What goes over a connection, without the connection: bytes in, answers and events out. The blocking and the async
//! side share it.

mod answer;
mod exchange;
mod feed;
mod input;
mod sse;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Call, Reply};
pub(crate) use exchange::Exchange;
pub(crate) use feed::{Feed, Next, Opened};
pub(crate) use sse::Item;
#[cfg(test)]
pub(crate) use sse::MAX_EVENT;

use std::time::Duration;

use crate::{Error, retry::uniform};

/// How long an answer that the agent has at hand may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// What an answer at the deadline may take to arrive.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// First and longest pause before another connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A request's bytes.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: netmon\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// The bytes of one with a body of JSON.
pub(crate) fn request_with(method: &str, target: &str, body: &str) -> Vec<u8> {
    let length = body.len().to_string();
    let headers = [("Content-Type", "application/json"), ("Content-Length", length.as_str())];
    let mut request = request(method, target, &headers);
    request.extend_from_slice(body.as_bytes());
    request
}

/// Pause before another try, after so many failures.
pub(crate) fn backoff(failures: u32) -> Duration {
    (BACKOFF.0 * 2u32.saturating_pow(failures.saturating_sub(1).min(10))).min(BACKOFF.1)
}

/// The same before another stream of events: scattered, so that those whom one agent lost do not come back as one, and
/// not before that agent's wish.
pub(crate) fn reconnect(failures: u32, error: &Error) -> Duration {
    let pause = backoff(failures).mul_f64(0.5 + uniform() / 2.0);
    match error {
        Error::Busy { retry_after, .. } => pause.max(*retry_after),
        _ => pause,
    }
}
