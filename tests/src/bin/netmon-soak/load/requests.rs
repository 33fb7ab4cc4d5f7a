//! HTTP/1.1 by hand over one connection that is kept.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, Result, bail};

/// Sends one request and reads its whole answer: the status and the bytes of the body.
///
/// # Errors
/// When the connection ends or the answer has no length.
pub(super) fn exchange<S: Read + Write>(
    stream: &mut BufReader<S>,
    request: &str,
    headers: &str,
    body: &str,
) -> Result<(u16, Vec<u8>)> {
    let length = body.len();
    let text =
        format!("{request} HTTP/1.1\r\nHost: netmon\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    stream.get_mut().write_all(text.as_bytes())?;
    answer(stream).with_context(|| request.to_owned())
}

fn answer<S: Read>(stream: &mut BufReader<S>) -> Result<(u16, Vec<u8>)> {
    let (first, headers) = head(stream)?;
    let status = first.split(' ').nth(1).context("no status")?.parse()?;
    let mut body = Vec::new();
    let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    if let Some(length) = value("content-length") {
        stream.take(length.parse()?).read_to_end(&mut body)?;
        if body.len() != length.parse::<usize>()? {
            bail!("{} bytes of {length}", body.len());
        }
    } else if value("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let length =
                u64::from_str_radix(line.trim(), 16).with_context(|| format!("a chunk: {line:?}"))?;
            let before = body.len() as u64;
            stream.take(length + 2).read_to_end(&mut body)?;
            if body.len() as u64 != before + length + 2 {
                bail!("a chunk is cut");
            }
            body.truncate((before + length) as usize);
            if length == 0 {
                break;
            }
        }
    }
    Ok((status, body))
}

/// The first line of a message, and its headers with names in lower case.
///
/// # Errors
/// When it ends before its empty line.
pub(super) fn head(stream: &mut impl BufRead) -> Result<(String, Vec<(String, String)>)> {
    let mut next = || -> Result<String> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            bail!("the connection ended");
        }
        Ok(line.trim_end().to_owned())
    };
    let first = next()?;
    let mut headers = Vec::new();
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(':') else { return Ok((first, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_on_one_connection_are_told_apart() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 409 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n";
        let mut stream = BufReader::new(&text[..]);
        assert_eq!(answer(&mut stream).unwrap(), (200, b"abc".to_vec()));
        assert_eq!(answer(&mut stream).unwrap(), (409, b"de".to_vec()));
        assert!(answer(&mut stream).is_err());
    }
}
