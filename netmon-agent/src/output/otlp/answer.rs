//! What a receiver answers, by the OTLP specification's words on HTTP. Pure.

use std::time::Duration;

use netmon_client::retry::{Verdict, classify};

/// Characters of what a receiver says that are repeated in the log.
const SHOWN: usize = 200;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was taken, but for so many points, with what the receiver says of it.
    Taken { rejected: u64, said: String },
    /// Another time, and not sooner than this.
    Later { wish: Option<Duration>, why: String },
    /// The same request will never be taken.
    Refused(String),
}

/// What an answer means: of the errors only these four are ones that pass.
pub(super) fn judge(status: u16, retry_after: Option<&str>, content_type: &str, body: &[u8]) -> Fate {
    let protobuf = content_type.split(';').next().is_some_and(|kind| kind.trim() == "application/x-protobuf");
    match status {
        200..=299 if protobuf => {
            // `ExportMetricsServiceResponse`.
            let partial = field(body, 1).unwrap_or_default();
            let rejected = number(partial, 1).unwrap_or(0);
            Fate::Taken { rejected, said: shown(field(partial, 2).unwrap_or_default()) }
        }
        200..=299 => Fate::Taken { rejected: 0, said: String::new() },
        // `Status`.
        _ => {
            let said = shown(if protobuf { field(body, 2).unwrap_or_default() } else { body });
            let why = if said.is_empty() {
                format!("answered {status}")
            } else {
                format!("answered {status}: {said}")
            };
            match status {
                429 | 502 | 503 | 504 => Fate::Later { wish: wish(status, retry_after), why },
                _ => Fate::Refused(why),
            }
        }
    }
}

fn wish(status: u16, retry_after: Option<&str>) -> Option<Duration> {
    match classify::http(status, retry_after) {
        Verdict::Retryable { retry_after } => retry_after,
        _ => None,
    }
}

/// A receiver's words, on one line and not without end.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().take(SHOWN).collect::<String>().escape_debug().to_string()
}

/// The last value of a field of bytes.
fn field(message: &[u8], wanted: u64) -> Option<&[u8]> {
    fields(message)
        .filter_map(|(n, value)| if let Value::Bytes(b) = value { (n == wanted).then_some(b) } else { None })
        .last()
}

/// The last value of a field that is a number; a negative one counts as none.
fn number(message: &[u8], wanted: u64) -> Option<u64> {
    let numbers = fields(message).filter_map(|(n, value)| match value {
        Value::Number(number) if n == wanted => Some(number),
        _ => None,
    });
    numbers.last().filter(|n| i64::try_from(*n).is_ok())
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Fields of a message, as far as it can be read.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut message)?),
            1 => take(&mut message, 8).map(|_| Value::Other)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Value::Bytes(take(&mut message, length)?)
            }
            5 => take(&mut message, 4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    })
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (these, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(these)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROTOBUF: &str = "application/x-protobuf";

    /// `ExportMetricsServiceResponse(partial_success=ExportMetricsPartialSuccess(rejected_data_points=300,
    /// error_message="too old"))`, by the package opentelemetry-proto of Python.
    const PARTIAL: &[u8] = b"\x0a\x0c\x08\xac\x02\x12\x07too old";
    /// `google.rpc.Status(code=8, message="no room")`, by googleapis-common-protos of Python.
    const STATUS: &[u8] = b"\x08\x08\x12\x07no room";

    #[test]
    fn what_was_taken_in_part_is_told() {
        let taken = |rejected, said: &str| Fate::Taken { rejected, said: said.to_owned() };
        assert_eq!(judge(200, None, PROTOBUF, b""), taken(0, ""));
        assert_eq!(judge(200, None, "application/x-protobuf; x=y", PARTIAL), taken(300, "too old"));
        assert_eq!(judge(200, None, "text/plain", PARTIAL), taken(0, ""));
        // A warning, with nothing rejected.
        assert_eq!(judge(200, None, PROTOBUF, b"\x0a\x07\x12\x05a\nb\tc"), taken(0, "a\\nb\\tc"));
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for status in [429, 502, 503, 504] {
            let why = format!("answered {status}: no room");
            let wish = Some(Duration::from_secs(7));
            assert_eq!(judge(status, Some("7"), PROTOBUF, STATUS), Fate::Later { wish, why });
        }
        for status in [301, 307, 400, 401, 404, 408, 413, 500, 501, 505] {
            let said = judge(status, Some("7"), "text/html", b" <p>\nno\x1b ");
            assert_eq!(said, Fate::Refused(format!("answered {status}: <p>\\nno\\u{{1b}}")));
        }
        assert_eq!(judge(404, None, PROTOBUF, b""), Fate::Refused("answered 404".to_owned()));
    }

    proptest! {
        #[test]
        fn no_answer_can_be_too_odd(body: Vec<u8>, status in 100u16..600) {
            judge(status, None, PROTOBUF, &body);
        }
    }
}
