//! How a target is probed: the method with what it asks for, and the way its packets go.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
};

/// How a target is probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// ICMP echo (RFC 792, RFC 4443).
    Icmp,
    /// TCP connect.
    Tcp {
        /// Destination port.
        port: u16,
    },
    /// A UDP datagram.
    Udp {
        /// Destination port.
        port: u16,
        /// What has to come back.
        expect: UdpExpect,
    },
    /// A DNS query (RFC 1035).
    Dns(Arc<DnsQuery>),
    /// An HTTP request (RFC 9110), over TLS or in the clear.
    Http(Arc<HttpRequest>),
}

/// Bytes of payload of a UDP probe at least: random ones, which tell its answer from others'.
pub const SMALLEST_UDP_PAYLOAD: u16 = 16;

impl Method {
    /// The question that any resolver answers, over UDP to this port.
    pub fn dns(port: u16) -> Self {
        Self::Dns(Arc::new(DnsQuery { port, ..DnsQuery::default() }))
    }

    /// The word for it in configuration, labels and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp { .. } => "tcp",
            Self::Udp { .. } => "udp",
            Self::Dns(_) => "dns",
            Self::Http(_) => "http",
        }
    }
}

/// What makes a UDP probe a success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UdpExpect {
    /// The datagram comes back unchanged (RFC 862).
    #[default]
    Echo,
    /// The host says that the port is closed: it is there, and needs no service for it.
    Unreachable,
}

/// A DNS query, and which answers to it are good ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsQuery {
    /// The resolver's port.
    pub port: u16,
    /// The name asked for; the root when empty.
    pub name: String,
    /// The type asked for: 1 is A, 2 NS, 28 AAAA (IANA's registry of DNS parameters).
    pub record: u16,
    /// Over TCP (RFC 7766) instead of UDP.
    pub tcp: bool,
    /// Response codes that are a success, 0 to 15.
    pub accept: Vec<u8>,
}

impl Default for DnsQuery {
    /// The name servers of the root, which any resolver can answer, mostly from its cache. NXDOMAIN is an answer too.
    fn default() -> Self {
        Self { port: 53, name: String::new(), record: 2, tcp: false, accept: vec![0, 3] }
    }
}

/// An HTTP request, and which answers to it are good ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpRequest {
    /// Over TLS.
    pub tls: bool,
    /// Destination port.
    pub port: u16,
    /// The host's name for the Host header and for TLS; the address where empty.
    pub host: String,
    /// Path and query, from the first slash on.
    pub path: String,
    /// HEAD instead of GET.
    pub head: bool,
    /// Status codes that are a success.
    pub status: Vec<RangeInclusive<u16>>,
    /// Whether the certificate has to be valid for the host. It is looked at in any case.
    pub verify: bool,
    /// Certificates of the authorities to trust, PEM; the system's where none is given.
    pub ca_file: Option<PathBuf>,
}

impl Default for HttpRequest {
    fn default() -> Self {
        Self {
            tls: false,
            port: 80,
            host: String::new(),
            path: "/".to_owned(),
            head: false,
            status: vec![200..=399],
            verify: true,
            ca_file: None,
        }
    }
}

/// Why a text is no URL to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is none at all (RFC 3986).
    #[error("is no URL: {0}")]
    Syntax(String),
    /// Another scheme, or none.
    #[error("begins with neither http:// nor https://")]
    Scheme,
    /// It names a user.
    #[error("holds a user's name, which everybody could read in labels and reports")]
    User,
    /// No host, or no port from 1 to 65535.
    #[error("names no host and port to connect to")]
    Nowhere,
}

impl HttpRequest {
    /// The request for a URL, all else being as usual.
    ///
    /// # Errors
    /// When it is no URL, or one that can't be asked.
    pub fn of_url(text: &str) -> Result<Self, UrlError> {
        let uri: http::Uri =
            text.parse().map_err(|e: http::uri::InvalidUri| UrlError::Syntax(e.to_string()))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(UrlError::Scheme),
        };
        let authority = uri.authority().map_or("", |a| a.as_str());
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let host = uri.host().unwrap_or_default();
        // One that is there but no port is not the usual one; `Uri::port` does not tell it from none.
        let port: u16 = match authority.strip_prefix(host).unwrap_or_default() {
            "" | ":" if tls => 443,
            "" | ":" => 80,
            rest => rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(0),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || port == 0 {
            return Err(UrlError::Nowhere);
        }
        // Written out it has the first slash, which a URL may leave out before its query.
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Ok(Self { tls, port, host, path, ..Self::default() })
    }

    /// The URL that it was made of, without what says nothing.
    pub fn url(&self) -> String {
        let Self { tls, port, host, path, .. } = self;
        let (scheme, usual) = if *tls { ("https", 443) } else { ("http", 80) };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = if *port == usual { String::new() } else { format!(":{port}") };
        format!("{scheme}://{host}{port}{path}")
    }
}

/// The way a target's packets go. The default leaves everything to the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathOptions {
    /// Source address; one of another family than the target's can't be used.
    pub source: Option<IpAddr>,
    /// Device the packets leave by, or the VRF they belong to (`SO_BINDTODEVICE`).
    pub device: Option<String>,
    /// Firewall mark (`SO_MARK`), which policy routing may go by; 0 for none. Needs CAP_NET_ADMIN.
    pub mark: u32,
    /// Time to live or hop limit, 1 to 255.
    pub ttl: Option<u8>,
    /// Differentiated services code point (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Bytes of payload after the ICMP or UDP header, as ping counts them; as few as it takes where none is given.
    pub size: Option<u16>,
    /// Never fragment: what is too large for a link on the way is lost, and a router may say so.
    pub dont_fragment: bool,
    /// The one family of a name's addresses that is meant; both where none is given.
    pub family: Option<Family>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl PathOptions {
    /// Whether an address is of the family that is meant, and of the source's.
    pub fn suits(&self, address: IpAddr) -> bool {
        let family = Family::of(address);
        self.family.is_none_or(|meant| meant == family)
            && self.source.is_none_or(|source| Family::of(source) == family)
    }
}

/// Whether an address can be one host's. The unspecified one (`0.0.0.0`, `::`) is not: the kernel takes it for this machine
/// itself, and those who block a name answer with it. Neither is a group's, nor that of all hosts.
pub fn is_of_a_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_port_and_path() {
        let parts = |text: &str| HttpRequest::of_url(text).map(|u| (u.tls, u.host, u.port, u.path)).ok();
        let some = |tls, host: &str, port, path: &str| Some((tls, host.to_owned(), port, path.to_owned()));
        assert_eq!(parts("https://a.example/x?y=1"), some(true, "a.example", 443, "/x?y=1"));
        assert_eq!(parts("http://[::1]:8080"), some(false, "::1", 8080, "/"));
        assert_eq!(parts("https://a.example?y=1"), some(true, "a.example", 443, "/?y=1"));
        assert_eq!(parts("http://[::1]"), some(false, "::1", 80, "/"));
        assert_eq!(parts("https://[2001:db8::1]/"), some(true, "2001:db8::1", 443, "/"));
        assert_eq!(parts("https://a.example:/"), some(true, "a.example", 443, "/"));
        for url in [
            "https://a.example/x?y=1",
            "http://[::1]:8080/",
            "https://a.example:80/",
            "http://a.example:443/",
        ] {
            assert_eq!(HttpRequest::of_url(url).unwrap().url(), url);
        }
        for bad in ["", "a.example", "ftp://a/", "https://", "https://u:p@a/", "https:///x"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
        for bad in
            ["http://a:0/", "http://a:65536/", "http://a:8o80/", "http://[::1]x/", "http://[::1]:99999"]
        {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_of_nobody_or_of_many_is_no_hosts() {
        for (address, is_hosts) in [
            ("0.0.0.0", false),
            ("::", false),
            ("::ffff:0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("127.0.0.1", true),
            ("::1", true),
            ("10.0.0.255", true),
            ("fe80::1", true),
        ] {
            assert_eq!(is_of_a_host(address.parse().unwrap()), is_hosts, "{address}");
        }
    }
}
