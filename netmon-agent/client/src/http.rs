//! The little of HTTP/1.1 (RFC 9112) that a client of one local server needs: one GET a connection.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use crate::{Error, clock};

/// Largest header of an answer, bytes.
const MAX_HEAD: usize = 16 << 10;
/// Largest body that is read whole, bytes: a status with thousands of targets stays below.
const MAX_BODY: usize = 64 << 20;
/// Largest line of a chunk's size, bytes.
const MAX_CHUNK_LINE: usize = 256;

/// How long reading may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Until then, over all.
    Until(Instant),
    /// This long for each read.
    Each(Duration),
    /// As long as it takes.
    Endless,
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    wire: Wire,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    Length(u64),
    /// Bytes left of the chunk at hand; none before its size line.
    Chunked(Option<u64>),
    UntilClose,
    Done,
}

/// Connects to the socket.
pub(crate) fn connect(path: &Path) -> Result<UnixStream, Error> {
    UnixStream::connect(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NoAgent { path: path.into(), source },
        ErrorKind::PermissionDenied => Error::Permission { path: path.into() },
        _ => Error::Io(source),
    })
}

/// Asks, and reads the answer's header.
pub(crate) fn get(
    stream: UnixStream,
    target: &str,
    headers: &[(&str, &str)],
    patience: Patience,
) -> Result<Response, Error> {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: netmon\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    exchange(stream, &request, patience)
}

/// Sends a request, and reads the answer's header.
pub(crate) fn exchange(stream: UnixStream, request: &str, patience: Patience) -> Result<Response, Error> {
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut wire = Wire { stream, buffer: Vec::new(), patience };
    // A server that is full may answer and close before it has read the request: its answer is worth more than EPIPE.
    if let Err(e) = wire.stream.write_all(request.as_bytes())
        && !matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
    {
        return Err(in_time(e));
    }
    read_head(wire)
}

fn read_head(mut wire: Wire) -> Result<Response, Error> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        match head.parse(&wire.buffer) {
            Ok(httparse::Status::Complete(length)) => {
                let status = head.code.unwrap_or_default();
                let headers: Vec<(String, String)> = head
                    .headers
                    .iter()
                    .map(|h| {
                        (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).trim().to_owned())
                    })
                    .collect();
                wire.buffer.drain(..length);
                let framing = framing(&headers)?;
                return Ok(Response { status, headers, wire, framing });
            }
            Ok(httparse::Status::Partial) if wire.buffer.len() >= MAX_HEAD => {
                return Err(Error::Protocol(format!("its header is over {MAX_HEAD} bytes")));
            }
            Ok(httparse::Status::Partial) => {
                if wire.fill()? == 0 {
                    return Err(Error::Disconnected);
                }
            }
            Err(e) => return Err(Error::Protocol(e.to_string())),
        }
    }
}

fn framing(headers: &[(String, String)]) -> Result<Framing, Error> {
    let get = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    if let Some(coding) = get("transfer-encoding") {
        if coding.eq_ignore_ascii_case("chunked") {
            return Ok(Framing::Chunked(None));
        }
        return Err(Error::Protocol(format!("transfer-encoding {coding}")));
    }
    match get("content-length") {
        Some(n) => n.parse().map(Framing::Length).map_err(|_| Error::Protocol(format!("content-length {n}"))),
        None => Ok(Framing::UntilClose),
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// How long further reads may take.
    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.wire.patience = patience;
    }

    /// Appends the next piece of the body to `out`; false at its end.
    pub(crate) fn read_some(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        loop {
            match self.framing {
                Framing::Done | Framing::Length(0) => return Ok(false),
                Framing::Length(left) => {
                    let n = self.wire.take(left, out)?;
                    self.framing = Framing::Length(left - n);
                    return Ok(true);
                }
                Framing::UntilClose => {
                    if self.wire.buffer.is_empty() && self.wire.fill()? == 0 {
                        self.framing = Framing::Done;
                        return Ok(false);
                    }
                    self.wire.take(u64::MAX, out)?;
                    return Ok(true);
                }
                Framing::Chunked(Some(0)) => {
                    if !self.wire.line()?.is_empty() {
                        return Err(Error::Protocol("a chunk longer than its size".into()));
                    }
                    self.framing = Framing::Chunked(None);
                }
                Framing::Chunked(Some(left)) => {
                    let n = self.wire.take(left, out)?;
                    self.framing = Framing::Chunked(Some(left - n));
                    return Ok(true);
                }
                Framing::Chunked(None) => {
                    let line = self.wire.line()?;
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(digits, 16)
                        .map_err(|_| Error::Protocol("a chunk without a size".into()))?;
                    // A last chunk may have trailers; the connection is closed after it, so nobody reads them.
                    self.framing = if size == 0 { Framing::Done } else { Framing::Chunked(Some(size)) };
                }
            }
        }
    }

    /// The whole body.
    pub(crate) fn into_body(mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while self.read_some(&mut body)? {
            if body.len() > MAX_BODY {
                return Err(Error::Protocol(format!("its body is over {MAX_BODY} bytes")));
            }
        }
        Ok(body)
    }
}

#[derive(Debug)]
struct Wire {
    stream: UnixStream,
    buffer: Vec<u8>,
    patience: Patience,
}

impl Wire {
    /// Reads more into the buffer; 0 at the end of the stream.
    fn fill(&mut self) -> Result<usize, Error> {
        let patience = match self.patience {
            Patience::Endless => None,
            Patience::Each(d) => Some(d.max(Duration::from_millis(1))),
            Patience::Until(deadline) => Some(clock::left(deadline).ok_or(Error::Timeout)?),
        };
        self.stream.set_read_timeout(patience)?;
        let mut piece = [0; 8192];
        loop {
            match self.stream.read(&mut piece) {
                Ok(n) => {
                    self.buffer.extend_from_slice(&piece[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(0),
                Err(e) => return Err(in_time(e)),
            }
        }
    }

    /// Moves up to `limit` bytes, at least one, to `out`.
    fn take(&mut self, limit: u64, out: &mut Vec<u8>) -> Result<u64, Error> {
        if self.buffer.is_empty() && self.fill()? == 0 {
            return Err(Error::Disconnected);
        }
        let n = self.buffer.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        out.extend(self.buffer.drain(..n));
        Ok(n as u64)
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<String, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > MAX_CHUNK_LINE {
                return Err(Error::Protocol("a chunk without a size".into()));
            }
            if self.fill()? == 0 {
                return Err(Error::Disconnected);
            }
        }
    }
}

fn in_time(e: io::Error) -> Error {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout,
        _ => Error::Io(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client makes of `answer`, sent in pieces of `piece` bytes.
    fn body_of(answer: &[u8], piece: usize) -> Result<(u16, Vec<u8>), Error> {
        let (here, mut there) = UnixStream::pair().unwrap();
        let answer = answer.to_vec();
        let server = std::thread::spawn(move || {
            for part in answer.chunks(piece) {
                if there.write_all(part).is_err() {
                    return;
                }
            }
        });
        let result = get(here, "/", &[], Patience::Each(Duration::from_secs(10)))
            .and_then(|r| Ok((r.status, r.into_body()?)));
        server.join().unwrap();
        result
    }

    #[test]
    fn every_framing_gives_the_same_body_however_it_is_cut() {
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhello world",
        ];
        for answer in answers {
            for piece in [1, 2, 7, 1000] {
                assert_eq!(
                    body_of(answer.as_bytes(), piece).unwrap(),
                    (200, b"hello world".to_vec()),
                    "{answer}"
                );
            }
        }
    }

    #[test]
    fn nonsense_is_refused_in_bounds() {
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(10_000)].concat();
        assert!(matches!(body_of(&endless, 1000), Err(Error::Protocol(_))));
        assert!(matches!(body_of(b"SSH-2.0-OpenSSH_9.2\r\n", 100), Err(Error::Protocol(_))));
        assert!(matches!(
            body_of(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 100),
            Err(Error::Disconnected)
        ));
        let bad = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        assert!(matches!(body_of(bad, 100), Err(Error::Protocol(_))));
        assert!(matches!(body_of(b"", 1), Err(Error::Disconnected)));
    }
}
