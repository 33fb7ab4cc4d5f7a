//! HTTP/1.1 by hand over the agent's socket: the wire is judged without the project's own client in between.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// An answer of the agent.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, chunks joined.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{}: {}", self.status, self.body))
    }
}

/// `GET path`, with an answer within `timeout`.
///
/// # Errors
/// When nobody listens, no answer comes in time, or it is not HTTP.
pub fn get(socket: &Path, path: &str, timeout: Duration) -> Result<Response> {
    let stream =
        UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
    stream.set_read_timeout(Some(timeout))?;
    request(stream, path)
}

/// The same over any connected stream, which serves this one request.
pub fn request(mut stream: impl Read + Write, path: &str) -> Result<Response> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: netmon\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("waiting for the answer to {path}"))?;
    parse(&answer).with_context(|| format!("{path}: {}", String::from_utf8_lossy(&answer)))
}

fn parse(answer: &[u8]) -> Result<Response> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("no end of the header")?;
    let head = std::str::from_utf8(&answer[..end])?;
    let (first, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).context("no status")?.parse()?;
    let headers: BTreeMap<_, _> = fields
        .split("\r\n")
        .filter_map(|f| f.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = answer[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
        body = unchunk(&body)?;
    } else if let Some(length) = headers.get("content-length") {
        ensure!(body.len() == length.parse::<usize>()?, "{} bytes of body, {length} announced", body.len());
    }
    Ok(Response { status, headers, body: String::from_utf8(body)? })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n").context("a chunk without its length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line])?.trim(), 16)?;
        rest = &rest[line + 2..];
        if length == 0 {
            return Ok(body);
        }
        if rest.len() < length + 2 {
            bail!("a chunk of {length} bytes is cut at {}", rest.len());
        }
        body.extend(&rest[..length]);
        rest = &rest[length + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_are_read() {
        let plain = parse(b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\n{}").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (409, "{}"));
        assert_eq!(plain.headers["retry-after"], "1");
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, "abc0123456789");
    }

    #[test]
    fn a_cut_answer_is_no_answer() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_err());
    }
}
