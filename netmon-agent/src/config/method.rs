//! How a target is probed: which keys belong to which method, and what they may say.

use std::{ops::RangeInclusive, sync::Arc};

use super::{error::Fault, file::Target, spanned::Spanned};
use crate::{
    observation::{DnsQuery, HttpRequest, Method, UdpExpect},
    packet::dns::{Question, record_type, response_code},
};

pub(super) fn url(text: &Spanned<String>) -> Result<HttpRequest, Fault> {
    HttpRequest::of_url(text.get_ref()).map_err(|e| {
        Fault::at(text.span(), format!("\"{}\" {e}", text.get_ref().escape_default()))
            .hint("write it whole: url = \"https://example.com/health\"")
    })
}

pub(super) fn method(t: &Target, host: &Spanned<String>, url: Option<HttpRequest>) -> Result<Method, Fault> {
    let word = match (t.probe.get_ref().as_str(), &t.url) {
        // A URL says it already.
        ("icmp", Some(_)) if t.probe.span().is_empty() => "http",
        (word, _) => word,
    };
    strangers(t, word)?;
    let port = |default| match (&t.port, default) {
        (Some(p), _) if *p.get_ref() == 0 => Err(Fault::at(p.span(), "port 0 can't be probed; 1 to 65535")),
        (Some(p), _) => Ok(*p.get_ref()),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(Fault::at(host.span(), format!("a {word} target needs a port"))
            .hint("add `port = 443` to this target")),
    };
    match word {
        "icmp" => match &t.port {
            Some(p) => Err(Fault::at(p.span(), "an icmp target has no port")
                .hint("leave `port` out, or set `probe = \"tcp\"`")),
            None => Ok(Method::Icmp),
        },
        "tcp" => Ok(Method::Tcp { port: port(None)? }),
        "udp" => Ok(Method::Udp { port: port(None)?, expect: expect(t.expect.as_ref())? }),
        "dns" => Ok(Method::Dns(Arc::new(dns(t, port(Some(53))?)?))),
        "http" => match (url, &t.port) {
            (_, Some(p)) => Err(Fault::at(p.span(), "an http target has its port in its URL")
                .hint("write it there: url = \"https://example.com:8443/\"")),
            (Some(url), None) => Ok(Method::Http(Arc::new(http(t, url)?))),
            (None, None) => Err(Fault::at(host.span(), "an http target needs a URL")
                .hint("add `url = \"https://example.com/health\"`; `host` then is where to connect to")),
        },
        other => {
            let message = format!("unknown probe \"{}\"", other.escape_default());
            Err(Fault::at(t.probe.span(), message)
                .hint("known: \"icmp\", \"tcp\", \"udp\", \"dns\", \"http\""))
        }
    }
}

/// Refuses keys that are of another method: they would say nothing.
fn strangers(t: &Target, word: &str) -> Result<(), Fault> {
    let keys = [
        ("udp", "expect", t.expect.as_ref().map(Spanned::span)),
        ("dns", "query", t.query.as_ref().map(Spanned::span)),
        ("dns", "record", t.record.as_ref().map(Spanned::span)),
        ("dns", "transport", t.transport.as_ref().map(Spanned::span)),
        ("dns", "accept", t.accept.as_ref().map(Spanned::span)),
        ("http", "url", t.url.as_ref().map(Spanned::span)),
        ("http", "head", t.head.as_ref().map(Spanned::span)),
        ("http", "status", t.status.as_ref().map(Spanned::span)),
        ("http", "verify", t.verify.as_ref().map(Spanned::span)),
        ("http", "ca_file", t.ca_file.as_ref().map(Spanned::span)),
    ];
    for (method, key, span) in keys {
        if let Some(span) = span.filter(|_| method != word) {
            return Err(Fault::at(
                span,
                format!("`{key}` is of {method} targets, and this one's probe is {word}"),
            )
            .hint(format!("leave `{key}` out, or set `probe = \"{method}\"`")));
        }
    }
    Ok(())
}

fn expect(word: Option<&Spanned<String>>) -> Result<UdpExpect, Fault> {
    let Some(word) = word else { return Ok(UdpExpect::default()) };
    match word.get_ref().as_str() {
        "echo" => Ok(UdpExpect::Echo),
        "unreachable" => Ok(UdpExpect::Unreachable),
        other => Err(Fault::at(word.span(), format!("expect = \"{}\" is unknown", other.escape_default()))
            .hint(
                "\"echo\": the datagram comes back; \"unreachable\": the host says that the port is closed",
            )),
    }
}

fn dns(t: &Target, port: u16) -> Result<DnsQuery, Fault> {
    let default = DnsQuery { port, ..DnsQuery::default() };
    let tcp = match t.transport.as_ref().map(|w| (w.get_ref().as_str(), w.span())) {
        None | Some(("udp", _)) => false,
        Some(("tcp", _)) => true,
        Some((_, span)) => return Err(Fault::at(span, "transport is \"udp\" or \"tcp\"")),
    };
    let name = t.query.as_ref().map(|q| q.get_ref().clone()).unwrap_or_default();
    let record = match &t.record {
        Some(word) => record_type(word.get_ref()).ok_or_else(|| {
            Fault::at(word.span(), format!("unknown record type \"{}\"", word.get_ref().escape_default()))
                .hint("a type such as \"A\", \"AAAA\", \"MX\" or \"SRV\", or its number in quotes")
        })?,
        // A name of one's own has an address; the root has servers.
        None if name.is_empty() => default.record,
        None => 1,
    };
    if let Some(query) = &t.query
        && let Err(e) = Question::new(query.get_ref(), record)
    {
        let message = format!("\"{}\" can't be asked for: {e}", query.get_ref().escape_default());
        return Err(Fault::at(query.span(), message));
    }
    let accept = match &t.accept {
        Some(codes) => codes.get_ref().iter().map(code).collect::<Result<_, _>>()?,
        // Whoever asks for a name of their own wants it to exist.
        None if !name.is_empty() => vec![0],
        None => default.accept.clone(),
    };
    if let Some(codes) = t.accept.as_ref().filter(|codes| codes.get_ref().is_empty()) {
        return Err(Fault::at(codes.span(), "no answer would be a success").hint("leave `accept` out"));
    }
    Ok(DnsQuery { tcp, name, record, accept, ..default })
}

fn code(word: &Spanned<String>) -> Result<u8, Fault> {
    response_code(word.get_ref()).ok_or_else(|| {
        Fault::at(word.span(), format!("unknown response code \"{}\"", word.get_ref().escape_default()))
            .hint("known: \"NOERROR\", \"FORMERR\", \"SERVFAIL\", \"NXDOMAIN\", \"NOTIMP\", \"REFUSED\"")
    })
}

fn http(t: &Target, url: HttpRequest) -> Result<HttpRequest, Fault> {
    let status = match &t.status {
        Some(all) if all.get_ref().is_empty() => {
            return Err(Fault::at(all.span(), "no status would be a success").hint("leave `status` out"));
        }
        Some(all) => all.get_ref().iter().map(statuses).collect::<Result<_, _>>()?,
        None => url.status.clone(),
    };
    if !url.tls {
        for (key, span) in [
            ("verify", t.verify.as_ref().map(Spanned::span)),
            ("ca_file", t.ca_file.as_ref().map(Spanned::span)),
        ] {
            if let Some(span) = span {
                return Err(Fault::at(span, format!("`{key}` is for https, and this URL is http")));
            }
        }
    }
    Ok(HttpRequest {
        head: t.head.as_ref().is_some_and(|head| *head.get_ref()),
        status,
        verify: t.verify.as_ref().is_none_or(|verify| *verify.get_ref()),
        ca_file: t.ca_file.as_ref().map(|file| file.get_ref().clone()),
        ..url
    })
}

/// `2xx`, `404`, or `200-299`.
fn statuses(word: &Spanned<String>) -> Result<RangeInclusive<u16>, Fault> {
    let text = word.get_ref().as_str();
    let number = |s: &str| s.parse::<u16>().ok().filter(|n| (100..=599).contains(n));
    let found = match (text.strip_suffix("xx"), text.split_once('-')) {
        (Some(class), _) => number(&format!("{class}00")).map(|n| n..=n + 99),
        (None, Some((low, high))) => number(low).zip(number(high)).map(|(low, high)| low..=high),
        (None, None) => number(text).map(|n| n..=n),
    };
    found.filter(|range| !range.is_empty()).ok_or_else(|| {
        Fault::at(word.span(), format!("\"{}\" is no status", text.escape_default()))
            .hint("write \"200\", \"2xx\" or \"200-299\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spanned(text: &str) -> Spanned<String> {
        Spanned::new(0..text.len(), text.to_owned())
    }

    #[test]
    fn statuses_are_numbers_classes_and_ranges() {
        for (text, range) in [("200", 200..=200), ("3xx", 300..=399), ("200-204", 200..=204)] {
            assert_eq!(statuses(&spanned(text)).ok(), Some(range));
        }
        for bad in ["", "99", "600", "6xx", "204-200", "200-", "x"] {
            assert!(statuses(&spanned(bad)).is_err(), "{bad}");
        }
    }
}
