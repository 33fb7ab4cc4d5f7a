//! What is asked, and which answer is a good one. Pure.

use std::{io, net::IpAddr, sync::Arc};

use hyper::{Method, header};
use rustls::pki_types::ServerName;

use crate::{
    http::{USER_AGENT, authority},
    observation::HttpRequest,
};

/// One request, ready to be sent.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) spec: Arc<HttpRequest>,
    /// Without a body.
    pub(super) request: hyper::Request<String>,
    /// Whom the certificate has to name.
    pub(super) name: ServerName<'static>,
}

impl Question {
    /// # Errors
    /// A host or path that can't be asked for.
    pub(super) fn new(spec: &Arc<HttpRequest>, address: IpAddr) -> io::Result<Self> {
        let host = host(&spec.host, address);
        let request = hyper::Request::builder()
            .method(if spec.head { Method::HEAD } else { Method::GET })
            .uri(&*spec.path)
            .header(header::HOST, authority(spec.tls, &host, spec.port))
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*")
            .header(header::CONNECTION, "close")
            .body(String::new())
            .map_err(invalid)?;
        let name = ServerName::try_from(host).map_err(invalid)?;
        Ok(Self { spec: spec.clone(), request, name })
    }

    /// Whether an answer with this status is a success.
    pub(super) fn accepts(&self, status: u16) -> bool {
        self.spec.status.iter().any(|range| range.contains(&status))
    }
}

fn invalid(why: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The host without the brackets and the zone that an IPv6 address may have in a URL (RFC 3986, RFC 6874): neither a
/// server nor a certificate knows our zones.
fn host(configured: &str, address: IpAddr) -> String {
    let bare = configured.trim_start_matches('[').trim_end_matches(']').split('%').next().unwrap_or_default();
    if bare.is_empty() { address.to_string() } else { bare.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "192.0.2.7";

    fn question(spec: HttpRequest, address: &str) -> io::Result<Question> {
        Question::new(&Arc::new(spec), address.parse().unwrap())
    }

    fn of_host(tls: bool, port: u16, host: &str, address: &str) -> (String, ServerName<'static>) {
        let spec = HttpRequest { tls, port, host: host.to_owned(), ..HttpRequest::default() };
        let question = question(spec, address).unwrap();
        (question.request.headers()[header::HOST].to_str().unwrap().to_owned(), question.name)
    }

    #[test]
    fn the_host_is_named_as_its_url_would() {
        for (tls, port, host, address, expected) in [
            (false, 80, "example.net", V4, "example.net"),
            (true, 443, "example.net", V4, "example.net"),
            (true, 80, "example.net", V4, "example.net:80"),
            (false, 8080, "", V4, "192.0.2.7:8080"),
            (false, 80, "", "2001:db8::1", "[2001:db8::1]"),
            (true, 8443, "[2001:DB8::2]", V4, "[2001:db8::2]:8443"),
            (false, 80, "[fe80::1%25eth0]", "fe80::1", "[fe80::1]"),
        ] {
            assert_eq!(of_host(tls, port, host, address).0, expected);
        }
    }

    #[test]
    fn only_a_name_is_told_to_the_server_before_the_handshake() {
        let name = of_host(true, 443, "example.net", V4).1;
        assert!(matches!(name, ServerName::DnsName(_)), "{name:?}");
        for host in ["", V4, "[2001:db8::2]"] {
            let name = of_host(true, 443, host, V4).1;
            assert!(matches!(name, ServerName::IpAddress(_)), "{name:?}");
        }
    }

    #[test]
    fn what_can_t_be_asked_for_is_refused() {
        for (host, path) in [("", "/a b"), ("no such\nhost", "/"), ("two words", "/"), ("", "/\r\nX: y")] {
            let spec = HttpRequest { host: host.to_owned(), path: path.to_owned(), ..HttpRequest::default() };
            assert_eq!(question(spec, V4).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{host} {path}");
        }
    }

    #[test]
    fn a_status_is_good_when_one_of_the_ranges_has_it() {
        let spec = HttpRequest { status: vec![200..=299, 401..=401], ..HttpRequest::default() };
        let question = question(spec, V4).unwrap();
        let good = [200, 204, 299, 401];
        assert!((100..600).all(|s| question.accepts(s) == (good.contains(&s) || (200..300).contains(&s))));
    }

    #[test]
    fn a_request_says_who_asks_and_wants_no_more_than_one_answer() {
        let spec = HttpRequest { head: true, path: "/x?y=1".to_owned(), ..HttpRequest::default() };
        let Question { request, .. } = question(spec, V4).unwrap();
        assert_eq!((request.method(), request.uri().to_string()), (&Method::HEAD, "/x?y=1".to_owned()));
        assert_eq!(request.headers()[header::CONNECTION], "close");
        assert!(request.headers()[header::USER_AGENT].to_str().unwrap().starts_with("netmon/"));
    }
}
