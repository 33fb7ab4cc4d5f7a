//! The little of HTTP/1.1 (RFC 9112) that a client of one local server needs: one answer a connection.

use super::input::Input;
use crate::Error;

/// Largest header of an answer, bytes.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// Largest line of a chunk's size, bytes.
const MAX_CHUNK_LINE: usize = 256;

/// One answer, as it comes in.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    input: Input,
    framing: Framing,
    closed: bool,
}

/// An answer's header.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// How the body's end is known.
#[derive(Clone, Copy, Debug, Default)]
enum Framing {
    Length(u64),
    /// Bytes left of the chunk at hand; none before its size line.
    Chunked(Option<u64>),
    #[default]
    UntilClose,
    Done,
}

/// How far a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// More has to come.
    Open,
    /// It is whole.
    Ended,
}

impl Exchange {
    /// Takes bytes from the connection.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.input.tail().extend_from_slice(bytes);
    }

    /// The connection's end.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// The header, once it is whole. To be asked for before the body, and once.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, Error> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        match head.parse(self.input.rest()) {
            // However it came: in one piece as in many.
            Ok(httparse::Status::Complete(length)) if length > MAX_HEAD => Err(too_long()),
            Ok(httparse::Status::Complete(length)) => {
                let value = |v: &[u8]| String::from_utf8_lossy(v).trim().to_owned();
                let headers = head.headers.iter().map(|h| (h.name.to_ascii_lowercase(), value(h.value)));
                let head = Head { status: head.code.unwrap_or_default(), headers: headers.collect() };
                self.input.skip(length);
                self.framing = framing(&head)?;
                Ok(Some(head))
            }
            Ok(httparse::Status::Partial) if self.input.rest().len() >= MAX_HEAD => Err(too_long()),
            Ok(httparse::Status::Partial) => self.more().map(|_| None),
            Err(e) => Err(Error::Protocol(e.to_string())),
        }
    }

    /// Appends what there is of the body to `out`.
    pub(crate) fn body(&mut self, out: &mut Vec<u8>) -> Result<Body, Error> {
        loop {
            self.framing = match self.framing {
                Framing::Done | Framing::Length(0) => return Ok(Body::Ended),
                Framing::Length(left) => match self.take(left, out) {
                    0 => return self.more(),
                    n => Framing::Length(left - n),
                },
                Framing::UntilClose => match self.take(u64::MAX, out) {
                    0 if self.closed => Framing::Done,
                    0 => return Ok(Body::Open),
                    _ => Framing::UntilClose,
                },
                Framing::Chunked(Some(0)) => match self.line()? {
                    None => return self.more(),
                    Some([]) => Framing::Chunked(None),
                    Some(_) => return Err(Error::Protocol("a chunk longer than its size".into())),
                },
                Framing::Chunked(Some(left)) => match self.take(left, out) {
                    0 => return self.more(),
                    n => Framing::Chunked(Some(left - n)),
                },
                Framing::Chunked(None) => match self.line()? {
                    None => return self.more(),
                    // A last chunk may have trailers; the connection is closed after it, so nobody reads them.
                    Some(line) => match chunk_size(line)? {
                        0 => Framing::Done,
                        size => Framing::Chunked(Some(size)),
                    },
                },
            };
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held(&self) -> usize {
        self.input.rest().len()
    }

    /// More has to come, which it can't when the connection has ended.
    fn more(&self) -> Result<Body, Error> {
        if self.closed { Err(Error::Disconnected) } else { Ok(Body::Open) }
    }

    /// Moves up to `limit` bytes to `out`; how many.
    fn take(&mut self, limit: u64, out: &mut Vec<u8>) -> u64 {
        let rest = self.input.rest();
        let n = rest.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        out.extend_from_slice(&rest[..n]);
        self.input.skip(n);
        n as u64
    }

    /// The next line of the framing, without its end.
    fn line(&mut self) -> Result<Option<&[u8]>, Error> {
        let rest = self.input.rest();
        if rest.len() > MAX_CHUNK_LINE && !rest[..MAX_CHUNK_LINE].contains(&b'\n') {
            return Err(Error::Protocol("a chunk without a size".into()));
        }
        Ok(self.input.line().map(<[u8]>::trim_ascii_end))
    }
}

fn too_long() -> Error {
    Error::Protocol(format!("its header is over {MAX_HEAD} bytes"))
}

fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    let digits = line.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let text = str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
    text.and_then(|t| u64::from_str_radix(t, 16).ok())
        .ok_or_else(|| Error::Protocol("a chunk without a size".into()))
}

fn framing(head: &Head) -> Result<Framing, Error> {
    if let Some(coding) = head.header("transfer-encoding") {
        if coding.eq_ignore_ascii_case("chunked") {
            return Ok(Framing::Chunked(None));
        }
        return Err(Error::Protocol(format!("transfer-encoding {coding}")));
    }
    match head.header("content-length") {
        Some(n) => n.parse().map(Framing::Length).map_err(|_| Error::Protocol(format!("content-length {n}"))),
        None => Ok(Framing::UntilClose),
    }
}
