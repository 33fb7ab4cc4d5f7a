//! The options, and what they make of a target.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;

use super::parse::{self, Query, Source, Url};
use crate::{
    observation::{DnsQuery, HttpRequest, Method, PathOptions, UdpExpect},
    packet::icmp::SMALLEST_PAYLOAD,
};

/// Probe hosts now, without an agent: loss, round-trip percentiles, jitter, with kernel timestamps
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
On a terminal there is one line a host, kept up to date; elsewhere one a probe. Ctrl-C ends with a summary, Ctrl-\\ \
(SIGQUIT) prints one in between.

Exit codes: 0 every host answered at least once, 1 some host did not, 2 error.")]
pub struct ProbeArgs {
    /// Names or addresses, all probed at once
    #[arg(required_unless_present_any = ["file", "http"], value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Hosts from a file, one a line ('-': standard input); what follows a blank or # is passed over
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// ICMP echo, and nothing in its place (by default TCP 53 and 443 stand in where ICMP is closed)
    #[arg(long, group = "method", help_heading = "Method")]
    pub icmp: bool,
    /// TCP connect to this port
    #[arg(long, value_name = "PORT", group = "method", value_parser = port(), help_heading = "Method")]
    pub tcp: Option<u16>,
    /// A UDP datagram to this port
    #[arg(long, value_name = "PORT", group = "method", value_parser = port(), help_heading = "Method")]
    pub udp: Option<u16>,
    /// What has to come of the datagram: its echo, or the word that the port is closed, which needs no service there
    #[arg(long, value_name = "WHAT", requires = "udp", default_value = "echo", help_heading = "Method")]
    pub expect: Expect,
    /// DNS query over UDP, for resolvers; their port is 53 unless =PORT is given
    #[arg(long, value_name = "PORT", groups = ["method", "resolver"], value_parser = port(), help_heading = "Method",
          num_args = 0..=1, require_equals = true, default_missing_value = "53")]
    pub dns: Option<u16>,
    /// DNS query over TCP
    #[arg(long, value_name = "PORT", groups = ["method", "resolver"], value_parser = port(), help_heading = "Method",
          num_args = 0..=1, require_equals = true, default_missing_value = "53")]
    pub dns_tcp: Option<u16>,
    /// What to ask resolvers: a name, and a type other than A [default: the servers of the root]
    #[arg(long, value_name = "NAME[:TYPE]", value_parser = parse::query, requires = "resolver", help_heading = "Method")]
    pub query: Option<Query>,
    /// HTTP request for this URL, http: or https:, of its own host or else of each HOST in its place; may be repeated
    #[arg(long, value_name = "URL", group = "method", value_parser = parse::url, help_heading = "Method")]
    pub http: Vec<Url>,
    /// HEAD instead of GET
    #[arg(long, requires = "http", help_heading = "Method")]
    pub head: bool,
    /// Take any certificate
    #[arg(long, requires = "http", help_heading = "Method")]
    pub insecure: bool,

    /// Probes for each host; without it until interrupted
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Time between two probes of a host, as 1s, 200ms or seconds; below 2ms for root only
    #[arg(short = 'i', long, value_name = "T", default_value = "1s", value_parser = parse::duration)]
    pub interval: Duration,
    /// Time to wait for an answer
    #[arg(short = 'W', long, value_name = "T", default_value = "1s", value_parser = parse::duration)]
    pub timeout: Duration,
    /// End after this time, whatever is under way
    #[arg(short = 'w', long, value_name = "T", value_parser = parse::deadline)]
    pub deadline: Option<Duration>,

    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = "Path")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long, help_heading = "Path")]
    pub ipv6: bool,
    /// Every address of a name, not the first alone
    #[arg(short = 'm', long, help_heading = "Path")]
    pub all: bool,
    /// From this address, or by this device or VRF; twice for both
    #[arg(short = 'I', long, value_name = "ADDRESS|DEVICE", value_parser = parse::source, help_heading = "Path")]
    pub source: Vec<Source>,
    /// With this firewall mark; needs CAP_NET_ADMIN
    #[arg(long, value_name = "N", value_parser = parse::mark, help_heading = "Path")]
    pub mark: Option<u32>,
    /// With this time to live (hop limit)
    #[arg(short = 't', long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..), help_heading = "Path")]
    pub ttl: Option<u8>,
    /// With this code point: 0 to 63, or ef, af41, cs1 …
    #[arg(long, value_name = "N|NAME", value_parser = parse::dscp, help_heading = "Path")]
    pub dscp: Option<u8>,
    /// Bytes of payload after the ICMP or UDP header [default: as few as it takes]
    #[arg(short = 's', long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(SMALLEST_PAYLOAD as i64..=65_507),
          conflicts_with_all = ["tcp", "dns", "dns_tcp", "http"], help_heading = "Path")]
    pub size: Option<u16>,
    /// Never fragment: what is too large for a link on the way is lost
    #[arg(long, help_heading = "Path")]
    pub df: bool,

    /// One JSON object a probe, then a summary
    #[arg(long, group = "format", help_heading = "Output")]
    pub json: bool,
    /// A header and one line of comma-separated values a probe; the summary goes to standard error
    #[arg(long, group = "format", conflicts_with = "quiet", help_heading = "Output")]
    pub csv: bool,
    /// One line a probe on a terminal too
    #[arg(short = 'v', long, visible_alias = "verbose", conflicts_with = "quiet", help_heading = "Output")]
    pub plain: bool,
    /// Nothing but the summary
    #[arg(short = 'q', long, help_heading = "Output")]
    pub quiet: bool,
}

/// What makes a UDP probe a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Expect {
    /// The datagram comes back unchanged (RFC 862)
    Echo,
    /// The host says that the port is closed
    Unreachable,
}

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

impl ProbeArgs {
    /// How hosts are probed; with `--http` by that of its URLs which is given.
    pub(super) fn method(&self, url: Option<&Url>) -> Method {
        if let Some(url) = url {
            let request = HttpRequest { head: self.head, verify: !self.insecure, ..url.request.clone() };
            return Method::Http(Arc::new(request));
        }
        let expect = match self.expect {
            Expect::Echo => UdpExpect::Echo,
            Expect::Unreachable => UdpExpect::Unreachable,
        };
        match (self.tcp, self.udp, self.dns, self.dns_tcp) {
            (Some(port), ..) => Method::Tcp { port },
            (_, Some(port), ..) => Method::Udp { port, expect },
            (_, _, Some(port), _) => self.resolver(port, false),
            (.., Some(port)) => self.resolver(port, true),
            _ => Method::Icmp,
        }
    }

    fn resolver(&self, port: u16, tcp: bool) -> Method {
        let mut query = DnsQuery { port, tcp, ..DnsQuery::default() };
        if let Some(Query { name, record }) = &self.query {
            (query.name, query.record) = (name.clone(), *record);
            // Whoever asks for a name of their own wants it to exist.
            query.accept = if name.is_empty() { query.accept } else { vec![0] };
        }
        Method::Dns(Arc::new(query))
    }

    /// The way the packets go.
    ///
    /// # Errors
    /// Two addresses, or two devices.
    pub(super) fn path(&self) -> anyhow::Result<PathOptions> {
        let mut path = PathOptions {
            mark: self.mark.unwrap_or(0),
            ttl: self.ttl,
            dscp: self.dscp.unwrap_or(0),
            size: self.size,
            dont_fragment: self.df,
            ..PathOptions::default()
        };
        for source in &self.source {
            let twice = match source {
                Source::Address(address) => path.source.replace(*address).is_some(),
                Source::Device(device) => path.device.replace(device.clone()).is_some(),
            };
            if twice {
                bail!("-I takes one address and one device");
            }
        }
        Ok(path)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        probe: ProbeArgs,
    }

    pub(in super::super) fn parse(line: &str) -> Result<ProbeArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("probe").chain(line.split_whitespace())).map(|c| c.probe)
    }

    fn method(line: &str) -> Method {
        let args = parse(line).unwrap();
        args.method(args.http.first())
    }

    #[test]
    fn the_options_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_method_is_one() {
        assert_eq!(method("h"), Method::Icmp);
        assert_eq!(method("h --tcp 443"), Method::Tcp { port: 443 });
        assert_eq!(method("h --udp 7"), Method::Udp { port: 7, expect: UdpExpect::Echo });
        let closed = Method::Udp { port: 33434, expect: UdpExpect::Unreachable };
        assert_eq!(method("h --udp 33434 --expect unreachable"), closed);
        assert_eq!(method("--dns h"), Method::dns(53));
        assert_eq!(method("--dns=5353 h"), Method::dns(5353));
        for line in [
            "h --tcp 1 --dns",
            "h --icmp --dns",
            "h --tcp 0",
            "",
            "h -c 0",
            "h -i 0",
            "h -4 -6",
            "h --udp 7 --tcp 7",
            "h --expect unreachable",
            "h --dns --dns-tcp",
            "h --insecure",
            "h --query a.example",
            "h --http http://h/ --icmp",
            "h --dns -s 100",
            "h -s 8",
            "h -t 0",
            "h --dscp 64",
            "h --json --csv",
            "h --csv -q",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_resolver_may_be_asked_for_anything() {
        let query = |name: &str, record, tcp| DnsQuery {
            name: name.to_owned(),
            record,
            tcp,
            accept: vec![0],
            port: 53,
        };
        let dns = |q| Method::Dns(Arc::new(q));
        assert_eq!(method("h --dns --query a.example"), dns(query("a.example", 1, false)));
        assert_eq!(method("h --dns-tcp --query a.example:mx"), dns(query("a.example", 15, true)));
        assert_eq!(method("h --dns --query :ns"), Method::dns(53));
    }

    #[test]
    fn urls_need_no_host() {
        let args = parse("--http https://a/x --http http://b --head --insecure").unwrap();
        assert!(args.hosts.is_empty() && args.http.len() == 2);
        let Method::Http(request) = args.method(args.http.first()) else { panic!() };
        assert_eq!((&*request.host, &*request.path, request.port), ("a", "/x", 443));
        assert!(request.tls && request.head && !request.verify);
    }

    #[test]
    fn the_path_is_put_together() {
        let args = parse("h -I 192.0.2.1 -I eth0 --mark 0x2 -t 3 --dscp ef -s 1400 --df").unwrap();
        let path = PathOptions {
            source: Some([192, 0, 2, 1].into()),
            device: Some("eth0".to_owned()),
            mark: 2,
            ttl: Some(3),
            dscp: 46,
            size: Some(1400),
            dont_fragment: true,
            family: None,
        };
        assert_eq!(args.path().unwrap(), path);
        assert!(parse("h -I eth0 -I eth1").unwrap().path().is_err());
        assert_eq!(parse("h").unwrap().path().unwrap(), PathOptions::default());
    }
}
