//! Server-sent events (WHATWG HTML, section 9.2).

use super::input::Input;
use crate::{Error, wire::Change};

/// Longest event that is taken, bytes.
pub(crate) const MAX_EVENT: usize = 1 << 20;

/// What comes over a stream of events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// An event.
    Change(Box<Change>),
    /// A comment. With a number: all that came before is everything up to this moment of the agent's boot time,
    /// nanoseconds.
    Beat(Option<u64>),
}

/// Lines of a stream, put together to events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    input: Input,
    data: Vec<u8>,
}

impl Events {
    /// Where the stream's bytes are appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        self.input.tail()
    }

    /// The next whole event of what has come.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, Error> {
        while let Some(line) = self.input.line() {
            let line = trim_end(line);
            if line.is_empty() {
                if self.data.is_empty() {
                    continue;
                }
                let change = serde_json::from_slice(&self.data);
                self.data.clear();
                return Ok(Some(Item::Change(Box::new(change.map_err(|e| Error::Protocol(e.to_string()))?))));
            }
            if let Some(comment) = line.strip_prefix(b":") {
                return Ok(Some(Item::Beat(stamp(comment))));
            }
            // The data says it all; `id` and `event` repeat it for browsers.
            if let Some(data) = line.strip_prefix(b"data:") {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
                if self.data.len() > MAX_EVENT {
                    return Err(too_long());
                }
            }
        }
        if self.input.rest().len() > MAX_EVENT { Err(too_long()) } else { Ok(None) }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held(&self) -> usize {
        self.input.rest().len() + self.data.len()
    }
}

fn too_long() -> Error {
    Error::Protocol(format!("an event over {MAX_EVENT} bytes"))
}

fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The number in `at N`.
fn stamp(comment: &[u8]) -> Option<u64> {
    str::from_utf8(comment.strip_prefix(b"at ")?).ok()?.parse().ok()
}
