//! `[discovery]` as written.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credentials, DiscoveryConfig, HttpSource, Source, SourceKind};
use crate::{
    config::{
        error::Fault,
        file::{self, Dscp, Span, Target},
        show::{span, there, word},
        spanned::Spanned,
        template::Template,
    },
    observation::Family,
};

/// Where else targets are found: in files, at servers, in DNS. Each source is a table of its own, with the keys that say
/// where, and those that say what each target found there is like: as of [[target]], but for its name and host.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Discovery {
    /// Most targets that may be found, all sources together; what is beyond is left out and told.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) max_targets: Option<Spanned<u32>>,
    /// Files in the format of Prometheus, JSON or YAML, read again when they change: one table each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) file_sd: Vec<Spanned<FileSd>>,
    /// Servers that answer in the format of Prometheus, JSON: one table each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) http_sd: Vec<Spanned<HttpSd>>,
    /// Names of DNS, asked for again when their records have lived: one table each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) dns_sd: Vec<Spanned<DnsSd>>,
}

/// A table with keys of its own and those that say what its targets are like: the same as `[[target]]` has, but for what
/// is found. (serde's `flatten` would lose the check for unknown keys.)
macro_rules! source {
    ($(#[$doc:meta])* $table:ident { $($(#[$attr:meta])* $key:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(in crate::config) struct $table {
            /// The source's name in metrics and the log, unique among those of its kind; numbered without it, as file_sd-1.
            #[schemars(length(min = 1, max = 64), example = &"racks")]
            pub(super) name: Option<Spanned<String>>,
            $($(#[$attr])* pub(super) $key: $type,)*
            /// How each is probed, as of [[target]]; a target that is found as a URL is probed by HTTP where this is absent.
            #[schemars(extend("enum" = ["icmp", "tcp", "udp", "dns", "http"]))]
            pub(super) probe: Option<Spanned<String>>,
            /// Port of those that name none.
            #[schemars(range(min = 1), example = 9100)]
            pub(super) port: Option<Spanned<u16>>,
            /// The group whose targets are judged together.
            #[schemars(length(min = 1, max = 128))]
            pub(super) scope: Option<Spanned<String>>,
            /// How often each is probed; that of [defaults] without it.
            #[schemars(extend("x-range" = ["20ms", "1h"]))]
            pub(super) interval: Option<Spanned<Span>>,
            /// How long a reply may take; that of [defaults] without it.
            #[schemars(extend("x-range" = ["1ms", "1m"]))]
            pub(super) timeout: Option<Spanned<Span>>,
            /// Source address of its packets; what is found has to be of its family.
            #[schemars(example = &"10.0.0.5")]
            pub(super) source: Option<Spanned<IpAddr>>,
            /// Device by which its packets leave.
            #[schemars(length(min = 1, max = 15), example = &"eth0")]
            pub(super) device: Option<Spanned<String>>,
            /// VRF that its packets belong to, in place of a device.
            #[schemars(length(min = 1, max = 15), example = &"blue")]
            pub(super) vrf: Option<Spanned<String>>,
            /// Firewall mark of its packets (SO_MARK); needs CAP_NET_ADMIN.
            pub(super) mark: Option<Spanned<u32>>,
            /// Time to live or hop limit of its packets.
            #[schemars(range(min = 1, max = 255), example = 64)]
            pub(super) ttl: Option<Spanned<u8>>,
            /// Differentiated services code point of its packets: a number from 0 to 63, or a word such as EF, AF41 or CS1.
            pub(super) dscp: Option<Spanned<Dscp>>,
            /// Bytes of payload of icmp (from 24) and udp (from 16) probes.
            #[schemars(range(min = 16, max = 65507), example = 1472)]
            pub(super) size: Option<Spanned<u16>>,
            /// Whether its packets are never fragmented.
            pub(super) dont_fragment: Option<Spanned<bool>>,
            /// Of udp: the datagram comes back (echo), or the host says that the port is closed (unreachable).
            #[schemars(extend("enum" = ["echo", "unreachable"]))]
            pub(super) expect: Option<Spanned<String>>,
            /// Of dns: a name that has to exist; without it any answer will do.
            #[schemars(example = &"example.com")]
            pub(super) query: Option<Spanned<String>>,
            /// Of dns: the record type, such as A, AAAA, MX or SRV, or its number in quotes.
            pub(super) record: Option<Spanned<String>>,
            /// Of dns: how the query goes.
            #[schemars(extend("enum" = ["udp", "tcp"]))]
            pub(super) transport: Option<Spanned<String>>,
            /// Of dns: response codes that are a success.
            #[serde(default)]
            #[schemars(schema_with = "file::codes")]
            pub(super) accept: Option<Spanned<Vec<Spanned<String>>>>,
            /// Of http: the scheme of the URL that is made of a host and a port.
            #[schemars(extend("enum" = ["http", "https"]))]
            pub(super) scheme: Option<Spanned<String>>,
            /// Of http: its path.
            #[schemars(extend("pattern" = "^/"))]
            pub(super) path: Option<Spanned<String>>,
            /// Of http: HEAD instead of GET.
            pub(super) head: Option<Spanned<bool>>,
            /// Of http: statuses that are a success: 200, 2xx or 200-299, each in quotes.
            #[serde(default)]
            #[schemars(schema_with = "file::statuses")]
            pub(super) status: Option<Spanned<Vec<Spanned<String>>>>,
            /// Of https: whether each certificate has to be valid for the host.
            pub(super) verify: Option<Spanned<bool>>,
            /// Of https: certificates of the authorities to trust, PEM, instead of the system's.
            #[schemars(example = &"/etc/ssl/own-ca.pem")]
            pub(super) ca_file: Option<Spanned<PathBuf>>,
        }

        impl $table {
            /// What each found target is like.
            pub(super) fn template(&self, usual: (Duration, Duration)) -> Result<Template, Fault> {
                let target = Target {
                    name: None,
                    host: None,
                    probe: self.probe.clone().unwrap_or_else(file::icmp),
                    port: self.port.clone(),
                    scope: self.scope.clone(),
                    interval: self.interval.clone(),
                    timeout: self.timeout.clone(),
                    source: self.source.clone(),
                    device: self.device.clone(),
                    vrf: self.vrf.clone(),
                    mark: self.mark.clone(),
                    ttl: self.ttl.clone(),
                    dscp: self.dscp.clone(),
                    size: self.size.clone(),
                    dont_fragment: self.dont_fragment.clone(),
                    expect: self.expect.clone(),
                    query: self.query.clone(),
                    record: self.record.clone(),
                    transport: self.transport.clone(),
                    accept: self.accept.clone(),
                    url: None,
                    head: self.head.clone(),
                    status: self.status.clone(),
                    verify: self.verify.clone(),
                    ca_file: self.ca_file.clone(),
                };
                Template::new(target, self.scheme.as_ref(), self.path.as_ref(), usual)
            }

            /// The table of a source, but for the keys of its own.
            fn of(name: &str, template: &Template) -> Self {
                let Target {
                    name: _, host: _, probe, port, scope, interval, timeout, source, device, vrf, mark, ttl, dscp, size,
                    dont_fragment, expect, query, record, transport, accept, url: _, head, status, verify, ca_file,
                } = template.shown();
                let [scheme, path] = template.place();
                Self {
                    name: word(name),
                    $($key: Default::default(),)*
                    probe: Some(probe).filter(|_| template.is_method_given()),
                    port, scope, interval, timeout, source, device, vrf, mark, ttl, dscp, size,
                    dont_fragment, expect, query, record, transport, accept,
                    scheme: scheme.and_then(word),
                    path: path.and_then(word),
                    head, status, verify, ca_file,
                }
            }
        }
    };
}

source!(
    /// Files in the format of Prometheus, JSON or YAML by their endings.
    FileSd {
        /// Absolute paths that end in .json, .yml or .yaml; the last part may be a pattern.
        #[schemars(extend("minItems" = 1), example = ["/etc/netmon/targets/*.json", "/etc/netmon/targets/*.yml"])]
        files: Spanned<Vec<Spanned<String>>>,
        /// Longest time between two looks at the files, beside those that their changes bring.
        #[schemars(extend("x-range" = ["1s", "1d"]))]
        refresh_interval: Option<Spanned<Span>>,
    }
);
source!(
    /// A server that answers in the format of Prometheus, JSON.
    HttpSd {
        /// What is asked for.
        #[schemars(
            extend("pattern" = "^[Hh][Tt][Tt][Pp][Ss]?://"),
            example = &"https://inventory.example.com/targets"
        )]
        url: Spanned<String>,
        /// How often it is asked.
        #[schemars(extend("x-range" = ["1s", "1d"]))]
        refresh_interval: Option<Spanned<Span>>,
        /// The file with the token by which it knows us (Authorization: Bearer), read each time; not readable by
        /// everybody. Over https only, or to this machine.
        #[schemars(length(min = 1), example = &"/etc/netmon/token")]
        bearer_token_file: Option<Spanned<PathBuf>>,
        /// The user as which it knows us (Authorization: Basic), with `password_file`, in place of a token.
        #[schemars(example = &"netmon")]
        username: Option<Spanned<String>>,
        /// The file with that user's password, read each time; not readable by everybody.
        #[schemars(length(min = 1), example = &"/etc/netmon/password")]
        password_file: Option<Spanned<PathBuf>>,
        /// Certificates of the authorities that vouch for this server, PEM, instead of the system's.
        #[schemars(length(min = 1), example = &"/etc/ssl/inventory-ca.pem")]
        url_ca_file: Option<Spanned<PathBuf>>,
    }
);
source!(
    /// Names of DNS: services, each of whose hosts and ports is a target, or names, each of which is one with all its
    /// addresses.
    DnsSd {
        /// What is asked for.
        #[schemars(extend("minItems" = 1), example = ["_ldap._tcp.example.com"])]
        names: Spanned<Vec<Spanned<String>>>,
        /// What kind of records: services (SRV), or addresses of one family (A, AAAA).
        #[serde(rename = "type")]
        #[schemars(extend("enum" = ["SRV", "A", "AAAA"]))]
        kind: Option<Spanned<String>>,
    }
);

impl Discovery {
    /// The tables that are read as these settings. Secrets are in files of their own, and stay there.
    pub(in crate::config) fn of(settings: &DiscoveryConfig) -> Self {
        let DiscoveryConfig { max_targets, sources } = settings;
        let mut tables = Self { max_targets: there(*max_targets as u32), ..Self::default() };
        for Source { name, kind, template } in sources {
            match kind {
                SourceKind::Files { files, refresh } => {
                    let files = words(files.iter().map(|file| file.display().to_string()));
                    let refresh_interval = span(*refresh);
                    let table = FileSd { files, refresh_interval, ..FileSd::of(name, template) };
                    tables.file_sd.push(Spanned::nowhere(table));
                }
                SourceKind::Http(server) => {
                    tables.http_sd.push(Spanned::nowhere(of_server(name, server, template)));
                }
                SourceKind::Services(names) => tables.dns_sd.push(of_names(name, names, "SRV", template)),
                SourceKind::Names(names, family) => {
                    let kind = match family {
                        Family::V4 => "A",
                        Family::V6 => "AAAA",
                    };
                    tables.dns_sd.push(of_names(name, names, kind, template));
                }
            }
        }
        tables
    }
}

fn of_server(name: &str, server: &HttpSource, template: &Template) -> HttpSd {
    let HttpSource { url, request, refresh, credentials } = server;
    let (bearer_token_file, username, password_file) = match credentials {
        None => (None, None, None),
        Some(Credentials::Bearer(file)) => (there(file.clone()), None, None),
        Some(Credentials::Basic(user, file)) => (None, word(user), there(file.clone())),
    };
    HttpSd {
        url: Spanned::nowhere(url.clone()),
        refresh_interval: span(*refresh),
        bearer_token_file,
        username,
        password_file,
        url_ca_file: request.ca_file.clone().map(Spanned::nowhere),
        ..HttpSd::of(name, template)
    }
}

fn of_names(name: &str, names: &[String], kind: &str, template: &Template) -> Spanned<DnsSd> {
    let names = words(names.iter().cloned());
    Spanned::nowhere(DnsSd { names, kind: word(kind), ..DnsSd::of(name, template) })
}

fn words(all: impl Iterator<Item = String>) -> Spanned<Vec<Spanned<String>>> {
    Spanned::nowhere(all.map(Spanned::nowhere).collect())
}
