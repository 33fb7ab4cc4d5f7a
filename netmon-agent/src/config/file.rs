//! The file as written: serde structs, one a table, with the defaults. What stands above a key is what `netmon config schema`
//! and the sample file say of it, so it is in the words of those who write one.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{discovery::tables::Discovery, error::Fault, limits::Written, spanned::Spanned};
pub(super) use super::{health::Health, notify::Notify, otlp::Otlp, span::Span};
use crate::{output::log::LogFormat, sandbox::Mode};

pub(super) fn parse(text: &str) -> Result<File, Fault> {
    Ok(toml::from_str(text)?)
}

/// The configuration of netmon, /etc/netmon/netmon.toml. Every key is optional.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "netmon.toml")]
pub(super) struct File {
    pub(super) agent: Agent,
    pub(super) limits: Limits,
    pub(super) defaults: Defaults,
    pub(super) devices: Devices,
    pub(super) kernel: Kernel,
    pub(super) metrics: Metrics,
    pub(super) diagnosis: Diagnosis,
    pub(super) retry: Retry,
    pub(super) history: History,
    pub(super) log: Log,
    pub(super) notify: Notify,
    #[serde(skip_serializing_if = "Otlp::is_absent")]
    pub(super) otlp: Otlp,
    pub(super) health: Health,
    pub(super) discovery: Discovery,
    /// What is probed besides the automatic targets: one table each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) target: Vec<Spanned<Target>>,
}

/// The agent itself. `listen`, `web_config_file`, `socket` and `sandbox` take effect at the next start.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Agent {
    /// Addresses and ports where metrics, page and health are served over TCP; none: []. One outside loopback needs
    /// `web_config_file`, or `netmon run --insecure`.
    pub(super) listen: Vec<SocketAddr>,
    /// TLS and users of what is served over TCP, in the file that Prometheus' exporters share (web-config.yml): it and the
    /// certificates that it names are read again when they change. The Unix socket needs none.
    #[schemars(length(min = 1), example = &"/etc/netmon/web-config.yml")]
    pub(super) web_config_file: Option<Spanned<PathBuf>>,
    /// Path of the Unix socket. Without it, /run/netmon/netmon.sock; for an ordinary user
    /// $XDG_RUNTIME_DIR/netmon.sock. `--socket` and NETMON_SOCKET come first.
    #[schemars(length(min = 1), example = &"/run/netmon/netmon.sock")]
    pub(super) socket: Option<Spanned<PathBuf>>,
    /// Most probes a second, all targets together. A file whose targets ask for more is refused.
    #[schemars(range(min = 1))]
    pub(super) max_probes_per_second: Option<Spanned<u32>>,
    /// What becomes of the agent's privileges once it has started. enforce: it gives them all up, reaches the files that
    /// are configured and no others, and has system calls it does not need refused. log: the same, but such calls are
    /// only logged, by the kernel. off: it keeps what it was started with, to find out whether one of these is to blame.
    #[schemars(with = "String", extend("enum" = ["enforce", "log", "off"]))]
    pub(super) sandbox: Spanned<Mode>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            listen: vec![([127, 0, 0, 1], 9817).into(), (std::net::Ipv6Addr::LOCALHOST, 9817).into()],
            web_config_file: None,
            socket: None,
            max_probes_per_second: None,
            sandbox: Spanned::nowhere(Mode::Enforce),
        }
    }
}

/// What the agent itself may take. Above it for half a minute, it probes more slowly. What is absent follows from what is
/// configured: never less than the defaults here, and more for thousands of targets.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Part of one core: 0.05 is 5 %. "off": no limit.
    pub(super) cpu: Option<Written<f64>>,
    /// Resident memory: a number of bytes, or a size with its unit. "off": no limit.
    pub(super) memory: Option<Written<u64>>,
}

/// What holds for every target that does not say otherwise.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    /// How often a target is probed.
    #[schemars(extend("x-range" = ["20ms", "1h"]))]
    pub(super) interval: Spanned<Span>,
    /// How long a reply may take.
    #[schemars(extend("x-range" = ["1ms", "1m"]))]
    pub(super) timeout: Spanned<Span>,
    /// Whether the default gateways, the system's resolvers and three public hosts (8.8.8.8, 1.1.1.1, 8.8.4.4) are
    /// targets.
    pub(super) auto_targets: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { interval: seconds(2), timeout: seconds(1), auto_targets: true }
    }
}

/// Which devices are watched. Patterns are as in the shell: *, ?, [abc], {a,b}.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Devices {
    /// Whether the kernel tells of links (netlink); else link state is read from sysfs once an interval. Takes effect at
    /// the next start.
    pub(super) netlink: bool,
    /// Patterns of the devices to watch.
    pub(super) include: Vec<Spanned<String>>,
    /// Patterns of those among them to leave out.
    pub(super) exclude: Vec<Spanned<String>>,
    /// Names of devices of which any one being down makes the node down.
    #[schemars(example = ["eth0"])]
    pub(super) required: Vec<String>,
    /// Names of the only devices that carry the verdict, if given, and of which alone the gateways are probed.
    #[schemars(example = ["eth0", "eth1"])]
    pub(super) preferred: Vec<String>,
}

impl Default for Devices {
    fn default() -> Self {
        let all = |patterns: &[&str]| patterns.iter().map(|p| Spanned::nowhere((*p).to_owned())).collect();
        Self {
            netlink: true,
            include: all(&["*"]),
            exclude: all(&["lo", "veth*", "docker*", "br-*", "cni*", "cali*"]),
            required: Vec::new(),
            preferred: Vec::new(),
        }
    }
}

/// What the kernel programs count beyond what they always do. Takes effect at the next start.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Kernel {
    /// Of which network namespaces TCP is counted: the agent's own, or all on this machine.
    #[schemars(extend("enum" = ["own", "all"]))]
    pub(super) namespaces: Option<Spanned<String>>,
    /// Whether the round-trip time of one in 64 segments received is sampled.
    pub(super) rtt_samples: bool,
    /// Reasons of drops to count packets for, by the kernel's names (enum skb_drop_reason): each is a series per device.
    #[schemars(extend("maxItems" = 32), example = ["NETFILTER_DROP", "TCP_CSUM"])]
    pub(super) drop_reasons: Vec<Spanned<String>>,
    /// The kernel's types in a file, for a kernel that does not carry them itself.
    #[schemars(length(min = 1), example = &"/usr/lib/netmon/vmlinux.btf")]
    pub(super) btf: Option<Spanned<PathBuf>>,
}

/// Metrics beyond the usual ones, or fewer. Takes effect at the next start.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    /// Quantiles and loss of five minutes and an hour too: 8 series a target.
    pub(super) windows: bool,
    /// Round-trip times as native histograms, to a Prometheus that asks for them
    /// (--enable-feature=native-histograms); it keeps no _bucket series then.
    pub(super) native_histograms: bool,
    /// Half the series a target: no buckets, and only those failures that there were.
    pub(super) lean: bool,
}

/// Looks at what is down and not explained by what is in hand: a trace of few, with the path MTU.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Diagnosis {
    /// Whether anything is looked at.
    pub(super) enabled: Option<bool>,
    /// Shortest time from one look at a target to the next; doubled while it keeps coming and going. No shorter than
    /// `timeout`.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub(super) pause: Option<Spanned<Span>>,
    /// Most looks in any minute, all targets together.
    #[schemars(range(min = 1, max = 60))]
    pub(super) per_minute: Option<Spanned<u32>>,
    /// The longest that a look takes.
    #[schemars(extend("x-range" = ["2s", "1m"]))]
    pub(super) timeout: Option<Spanned<Span>>,
}

/// The retry budget of the machine: a bucket of tokens that `netmon retry` and programs ask. Takes effect at the next
/// start.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retry {
    /// Tokens of a full bucket.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) tokens: Option<Spanned<u32>>,
    /// What a retry after a failure costs.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) transient: Option<Spanned<u32>>,
    /// What one costs where the other side asked to slow down.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) throttle: Option<Spanned<u32>>,
    /// Tokens that come back each second.
    #[schemars(range(min = 0.001, max = 10_000.0))]
    pub(super) per_second: Option<Spanned<f64>>,
}

/// The ledger of outages. Takes effect at the next start.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct History {
    /// Whether outages are written down.
    pub(super) enabled: Option<bool>,
    /// The file, an absolute path. Where its directory is missing there is no history.
    #[schemars(extend("pattern" = "^/"))]
    pub(super) path: Option<Spanned<PathBuf>>,
    /// What is older is forgotten.
    #[schemars(extend("x-range" = ["1h", "3650d"]))]
    pub(super) retention: Option<Spanned<Span>>,
    /// Largest file with the log beside it, from 1MiB to 64GiB: bytes, or a size with its unit. The oldest goes first.
    #[schemars(schema_with = "super::limits::size_schema")]
    pub(super) max_size: Option<Spanned<Written<u64>>>,
}

/// The log. The options of `netmon run` of the same names come before these. Takes effect at the next start.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// A level (error, warn, info, debug, trace), or a list of directives such as `info,netmon_agent::source=debug`.
    #[schemars(length(min = 1))]
    pub(super) level: Option<Spanned<String>>,
    /// How lines look. Without it they are text, or the journal's own where standard error is the journal.
    #[schemars(with = "Option<String>", extend("enum" = ["text", "json", "journald"]), example = &"text")]
    pub(super) format: Option<Spanned<LogFormat>>,
    /// A file to write to in place of standard error, an absolute path.
    #[schemars(extend("pattern" = "^/"), example = &"/var/log/netmon/netmon.log")]
    pub(super) file: Option<Spanned<PathBuf>>,
    /// Size of the file at which it is put aside, from 16KiB: bytes, or a size with its unit; 10MiB without it.
    #[schemars(schema_with = "super::limits::size_schema", example = &"10MiB")]
    pub(super) max_size: Option<Spanned<Written<u64>>>,
    /// Files put aside that are kept; 5 without it.
    #[schemars(range(min = 1, max = 1000), example = 5)]
    pub(super) max_files: Option<Spanned<usize>>,
}

/// One target. It needs a `host`, or a `url`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["host"] }, { "required": ["url"] }]))]
pub(super) struct Target {
    /// Its name in states, metrics and commands, unique; without it its host, or its URL.
    #[schemars(length(min = 1, max = 128), example = &"vcenter")]
    pub(super) name: Option<Spanned<String>>,
    /// Host name or address to probe, without a port; a name by all its addresses.
    #[schemars(length(min = 1), example = &"vcenter.example.com")]
    pub(super) host: Option<Spanned<String>>,
    /// How it is probed: an ICMP echo, a TCP connection, a UDP datagram, a DNS query, an HTTP request.
    #[serde(default = "icmp")]
    #[schemars(extend("enum" = ["icmp", "tcp", "udp", "dns", "http"]))]
    pub(super) probe: Spanned<String>,
    /// Port of a tcp, udp or dns target; 53 for dns without it. An http target has its port in its URL.
    #[schemars(range(min = 1), example = 443)]
    pub(super) port: Option<Spanned<u16>>,
    /// The group whose targets are judged together: a scope is down when all of it, or its `[health.quorum]`, is.
    #[schemars(length(min = 1, max = 128))]
    pub(super) scope: Option<Spanned<String>>,
    /// How often it is probed; that of [defaults] without it.
    #[schemars(extend("x-range" = ["20ms", "1h"]))]
    pub(super) interval: Option<Spanned<Span>>,
    /// How long a reply may take; that of [defaults] without it.
    #[schemars(extend("x-range" = ["1ms", "1m"]))]
    pub(super) timeout: Option<Spanned<Span>>,
    /// Source address of its packets.
    #[schemars(example = &"10.0.0.5")]
    pub(super) source: Option<Spanned<IpAddr>>,
    /// Device by which its packets leave.
    #[schemars(length(min = 1, max = 15), example = &"eth0")]
    pub(super) device: Option<Spanned<String>>,
    /// VRF that its packets belong to, in place of a device.
    #[schemars(length(min = 1, max = 15), example = &"blue")]
    pub(super) vrf: Option<Spanned<String>>,
    /// Firewall mark of its packets (SO_MARK), by which policy routing may go; needs CAP_NET_ADMIN.
    pub(super) mark: Option<Spanned<u32>>,
    /// Time to live or hop limit of its packets.
    #[schemars(range(min = 1, max = 255), example = 64)]
    pub(super) ttl: Option<Spanned<u8>>,
    /// Differentiated services code point of its packets: a number from 0 to 63, or a word such as EF, AF41 or CS1.
    pub(super) dscp: Option<Spanned<Dscp>>,
    /// Bytes of payload of an icmp (from 24) or udp (from 16) target, as ping counts them.
    #[schemars(range(min = 16, max = 65507), example = 1472)]
    pub(super) size: Option<Spanned<u16>>,
    /// Whether its packets are never fragmented: what is too large for a link on the way is lost.
    pub(super) dont_fragment: Option<Spanned<bool>>,
    /// Of a udp target: the datagram comes back (echo), or the host says that the port is closed (unreachable).
    #[schemars(extend("enum" = ["echo", "unreachable"]))]
    pub(super) expect: Option<Spanned<String>>,
    /// Of a dns target: a name that has to exist; without it any answer will do.
    #[schemars(example = &"example.com")]
    pub(super) query: Option<Spanned<String>>,
    /// Of a dns target: the record type, such as A, AAAA, MX or SRV, or its number in quotes.
    pub(super) record: Option<Spanned<String>>,
    /// Of a dns target: how the query goes.
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub(super) transport: Option<Spanned<String>>,
    /// Of a dns target: response codes that are a success.
    #[serde(default)]
    #[schemars(schema_with = "codes")]
    pub(super) accept: Option<Spanned<Vec<Spanned<String>>>>,
    /// Of an http target: what is asked for; `host` then names another address to connect to.
    #[schemars(extend("pattern" = "^[Hh][Tt][Tt][Pp][Ss]?://"), example = &"https://example.com/health")]
    pub(super) url: Option<Spanned<String>>,
    /// Of an http target: HEAD instead of GET.
    pub(super) head: Option<Spanned<bool>>,
    /// Of an http target: statuses that are a success: 200, 2xx or 200-299, each in quotes.
    #[serde(default)]
    #[schemars(schema_with = "statuses")]
    pub(super) status: Option<Spanned<Vec<Spanned<String>>>>,
    /// Of an https target: whether its certificate has to be valid for the host.
    pub(super) verify: Option<Spanned<bool>>,
    /// Of an https target: certificates of the authorities to trust, PEM, instead of the system's.
    #[schemars(example = &"/etc/ssl/own-ca.pem")]
    pub(super) ca_file: Option<Spanned<PathBuf>>,
}

/// A code point by its number or its word.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "a number from 0 to 63, or a word such as \"EF\", \"AF41\" or \"CS1\"")]
#[schemars(inline)]
pub(super) enum Dscp {
    Number(#[schemars(range(min = 0, max = 63))] u8),
    Word(String),
}

pub(super) fn codes(_: &mut SchemaGenerator) -> Schema {
    // In any case of letters; the usual one is what completion is to offer.
    let codes = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    json_schema!({ "type": "array", "minItems": 1, "items": { "type": "string", "anyOf": [{ "enum": codes }, { "pattern": "^[A-Za-z]+$" }] } })
}

pub(super) fn statuses(_: &mut SchemaGenerator) -> Schema {
    let status = "^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$";
    json_schema!({ "type": "array", "minItems": 1, "items": { "type": "string", "pattern": status } })
}

pub(super) fn icmp() -> Spanned<String> {
    Spanned::nowhere("icmp".to_owned())
}

fn seconds(s: u64) -> Spanned<Span> {
    Spanned::nowhere(Span(Duration::from_secs(s)))
}
