use std::time::{Duration, SystemTime};

use super::{Verdict, look_up};
use crate::clock;

const RETRY: Verdict = Verdict::RETRYABLE;
const NEVER: Verdict = Verdict::Permanent;

/// Status codes of HTTP.
pub const HTTP_STATUSES: &[(u16, Verdict)] = &[
    (408, RETRY),
    (425, RETRY),
    (429, RETRY),
    (500, RETRY),
    (502, RETRY),
    (503, RETRY),
    (504, RETRY),
    (400, NEVER),
    (401, NEVER),
    (403, NEVER),
    (404, NEVER),
    (501, NEVER),
];

/// What a status code is.
pub fn http_status(status: u16) -> Verdict {
    look_up(HTTP_STATUSES, status)
}

/// What an answer is, by its status and the value of its `Retry-After`.
///
/// ```
/// use std::time::Duration;
/// use netmon_client::retry::{Verdict, classify};
///
/// let later = Verdict::Retryable { retry_after: Some(Duration::from_secs(120)) };
/// assert_eq!(classify::http(503, Some("120")), later);
/// assert_eq!(classify::http(404, Some("120")), Verdict::Permanent);
/// ```
///
/// Some clouds say in the body what they mean: `classify::cloud_code(code).or_else(|| classify::http(status, …))` knows
/// S3's `RequestTimeout`, which is a 400.
pub fn http(status: u16, after: Option<&str>) -> Verdict {
    match http_status(status) {
        Verdict::Retryable { .. } => {
            Verdict::Retryable { retry_after: after.and_then(|value| retry_after(value, clock::wall())) }
        }
        verdict => verdict,
    }
}

/// How long a `Retry-After` (RFC 9110, section 10.2.3) asks to wait, `now` by the wall clock: whole seconds, or until a
/// date, which may have passed. None where it is neither.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More than fits is as good as never.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_told_apart() {
        for (status, verdict) in HTTP_STATUSES {
            assert_eq!(http_status(*status), *verdict, "{status}");
            assert_eq!(HTTP_STATUSES.iter().filter(|(s, _)| s == status).count(), 1, "{status} twice");
            assert_eq!(http(*status, None), *verdict, "{status}");
        }
        for status in [200, 204, 301, 405, 409, 410, 418, 505, 507, 999] {
            assert_eq!(http_status(status), Verdict::Unknown, "{status}");
        }
        assert_eq!(http(503, Some("soon")), RETRY);
    }

    #[test]
    fn a_wish_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let wish = |value| retry_after(value, now);
        assert_eq!(wish("0"), Some(Duration::ZERO));
        assert_eq!(wish(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(wish("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(wish("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wish("Sunday, 06-Nov-94 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wish("Sun Nov  6 08:50:07 1994"), Some(Duration::from_secs(30)));
        assert_eq!(wish("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "it has passed");
        for nonsense in ["", "-1", "+5", "1.5", "5s", "soon", "Sun, 32 Nov 1994 08:50:07 GMT", "٣"] {
            assert_eq!(wish(nonsense), None, "{nonsense}");
        }
    }
}
