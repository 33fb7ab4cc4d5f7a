//! What the words of the command line mean.

use std::{net::IpAddr, time::Duration};

use crate::{
    observation::HttpRequest,
    packet::dns::{Question, record_type},
};

/// From here on it is no longer a question of seconds.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Seconds, as ping takes them, or a number with a unit; 1 ms to 1 h.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = any_duration(text)?;
    if parsed < Duration::from_millis(1) || parsed > LONGEST_INTERVAL {
        return Err("must be between 1ms and 1h".to_owned());
    }
    Ok(parsed)
}

/// The same without an upper bound.
pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    let parsed = any_duration(text)?;
    if parsed.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(parsed) }
}

fn any_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|e| e.to_string()),
    }
}

/// Where packets come from, as ping's `-I` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An address of this machine.
    Address(IpAddr),
    /// A device, or a VRF.
    Device(String),
}

pub(super) fn source(text: &str) -> Result<Source, String> {
    match text.parse() {
        Ok(address) => Ok(Source::Address(address)),
        // IFNAMSIZ, with its closing zero.
        Err(_) if (1..16).contains(&text.len()) && !text.contains('/') => Ok(Source::Device(text.to_owned())),
        Err(_) => Err("neither an address nor a device's name".to_owned()),
    }
}

/// A number, or 0x and a hexadecimal one.
pub(super) fn mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|e| e.to_string())
}

/// A differentiated services code point: 0 to 63, or a word for one.
pub(super) fn dscp(text: &str) -> Result<u8, String> {
    crate::config::dscp(text).ok_or_else(|| "0 to 63, or a word such as ef, af41, cs1".to_owned())
}

/// What a resolver is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub(super) name: String,
    pub(super) record: u16,
}

/// `NAME` or `NAME:TYPE`; without a type, A.
pub(super) fn query(text: &str) -> Result<Query, String> {
    let (name, word) = text.rsplit_once(':').unwrap_or((text, "A"));
    let record = record_type(word).ok_or_else(|| format!("unknown record type {word:?}"))?;
    Question::new(name, record).map_err(|e| e.to_string())?;
    Ok(Query { name: name.to_owned(), record })
}

/// A URL to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As it was written.
    pub(super) text: String,
    pub(super) request: HttpRequest,
}

pub(super) fn url(text: &str) -> Result<Url, String> {
    let request = HttpRequest::of_url(text).map_err(|e| e.to_string())?;
    Ok(Url { text: text.to_owned(), request })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_as_seconds_or_with_a_unit() {
        assert_eq!(duration("0.2"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "x", "-1", "0", "NaN", "inf", "2h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert_eq!(deadline("2h"), Ok(Duration::from_secs(7200)));
        assert!(deadline("0").is_err());
    }

    #[test]
    fn a_source_is_an_address_or_a_device() {
        assert_eq!(source("::1"), Ok(Source::Address(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]))));
        assert_eq!(source("eth0"), Ok(Source::Device("eth0".to_owned())));
        for bad in ["", "a/b", "sixteen-letters-"] {
            assert!(source(bad).is_err(), "{bad:?}");
        }
        assert_eq!((mark("0x10"), mark("7")), (Ok(16), Ok(7)));
        assert!(mark("-1").is_err());
    }

    #[test]
    fn a_query_is_a_name_and_perhaps_a_type() {
        let asked = |name: &str, record| Ok(Query { name: name.to_owned(), record });
        assert_eq!(query("example.com"), asked("example.com", 1));
        assert_eq!(query("example.com:aaaa"), asked("example.com", 28));
        assert_eq!(query(":NS"), asked("", 2));
        for bad in ["a..b", "example.com:", "example.com:nonsense"] {
            assert!(query(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_url_says_where_and_what() {
        let of = |text: &str| {
            let r = url(text).unwrap().request;
            (r.tls, r.host, r.port, r.path)
        };
        let (a, b) = ("example.com".to_owned(), "/x?y=1".to_owned());
        assert_eq!(of("https://example.com"), (true, a.clone(), 443, "/".to_owned()));
        assert_eq!(of("http://example.com:81/x?y=1"), (false, a, 81, b));
        assert_eq!(of("https://[::1]/"), (true, "::1".to_owned(), 443, "/".to_owned()));
        for bad in
            ["", "example.com", "ftp://a/", "http://", "http://a:0/", "http://me@a/", "/x", "http://a b/"]
        {
            assert!(url(bad).is_err(), "{bad:?}");
        }
    }
}
