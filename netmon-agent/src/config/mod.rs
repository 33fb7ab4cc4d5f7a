//! Configuration: a TOML file becomes [`Config`], valid as a whole, or one clear error. The rest of the program sees
//! validated types only.

mod added;
mod discovery;
mod dscp;
mod error;
mod file;
mod found;
mod groups;
mod health;
mod ledger;
mod limits;
mod log;
mod merge;
mod method;
mod notify;
mod otlp;
mod retry;
mod schema;
mod show;
mod span;
mod spanned;
mod target;
mod template;
mod thresholds;
mod validate;
mod veil;
pub mod web;

#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod sample_tests;
#[cfg(test)]
mod tests;

use std::{
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use added::KeyError;
pub use discovery::{Credentials, DiscoveryConfig, HttpSource, Source, SourceKind};
pub use dscp::dscp;
pub use error::ConfigError;
use error::MAX_FILE;
pub use found::Found;
pub use groups::{Format, MAX_DOCUMENT};
pub use ledger::PATH as HISTORY_PATH;
pub use limits::{Limits, is_beyond};
pub use merge::{Difference, LeftOut, Merged, merge};
pub use schema::schema;
pub use template::Template;

use crate::{
    budget, diagnosis,
    health::{Settings, Watch},
    history,
    observation::{Method, PathOptions},
    output::{self, notify::Notifier},
    sandbox,
};

/// Where the configuration is looked for when none is named.
pub const DEFAULT_PATH: &str = "/etc/netmon/netmon.toml";

/// The validated configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where metrics, page and health are served over TCP.
    pub listen: Vec<SocketAddr>,
    /// TLS and users of that, in a file of its own.
    pub web_config_file: Option<PathBuf>,
    /// Path of the Unix socket, if the file names one.
    pub socket: Option<PathBuf>,
    /// How far the agent shuts itself in. Takes effect at the start.
    pub sandbox: sandbox::Mode,
    /// Interval of probing where a target has none of its own.
    pub interval: Duration,
    /// Time-out of a probe where a target has none of its own.
    pub timeout: Duration,
    /// Whether gateways, resolvers and the public hosts are probed.
    pub auto_targets: bool,
    /// Whether links are told of by netlink; polled from sysfs otherwise.
    pub netlink: bool,
    /// Most probes a second, all targets together. The configured targets never ask for more.
    pub max_probes: u32,
    /// What the agent itself may take.
    pub limits: Limits,
    /// What the file leaves open of them.
    open: limits::Open,
    /// Which devices are watched.
    pub watch: Watch,
    /// What the kernel programs count.
    pub kernel: KernelConfig,
    /// What metrics are written beyond the usual ones.
    pub metrics: MetricsConfig,
    /// How faults are looked at.
    pub diagnosis: diagnosis::Settings,
    /// The retry budget of the machine. Takes effect at the start.
    pub retry: budget::Settings,
    /// Where outages are written down; none: nowhere. Takes effect at the start.
    pub history: Option<history::Settings>,
    /// The same, also where none is kept.
    pub ledger: history::Settings,
    /// How and where to log. Takes effect at the start.
    pub log: output::log::Settings,
    /// Who is told of changes.
    pub notifiers: Vec<Notifier>,
    /// Where metrics are pushed to. Takes effect at the start.
    pub otlp: Option<output::otlp::Settings>,
    /// Thresholds of the rules.
    pub health: Settings,
    /// Configured targets, and those that were found where [`merge`] has added them.
    pub targets: Vec<TargetConfig>,
    /// Where else targets are looked for.
    pub discovery: DiscoveryConfig,
}

/// What the kernel programs count beyond what they always do. Takes effect at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    /// Whether every network namespace is counted, or the agent's own alone.
    pub all_namespaces: bool,
    /// Whether round-trip times of established connections are sampled.
    pub rtt_samples: bool,
    /// Reasons of drops to count, as the kernel has them, without `SKB_DROP_REASON_`.
    pub drop_reasons: Vec<String>,
    /// The kernel's types in a file.
    pub btf: Option<PathBuf>,
}

/// Metrics that cost every target more series. Takes effect at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether quantiles and loss of five minutes and an hour are written.
    pub windows: bool,
    /// Whether round-trip times are told as native histograms to scrapers that take them.
    pub native_histograms: bool,
    /// Whether a target has few series: no buckets of histograms, and only those failures that there were.
    pub lean: bool,
}

/// A configured target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetConfig {
    /// Its name, unique and printable.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// How it is probed.
    pub method: Method,
    /// Which way its packets go.
    pub path: Arc<PathOptions>,
    /// Its scope.
    pub scope: String,
    /// How often.
    pub interval: Duration,
    /// How long a reply may take.
    pub timeout: Duration,
}

impl TargetConfig {
    /// Probes a second that it asks for, of one address.
    pub fn rate(&self) -> f64 {
        1.0 / self.interval.as_secs_f64()
    }
}

impl Config {
    /// Reads the file at `path`; the default path may be missing, a named one may not.
    ///
    /// # Errors
    /// The file can't be read, is no TOML, has an unknown key or an impossible value. The error names the place.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let named = path.is_some();
        let path = path.unwrap_or(Path::new(DEFAULT_PATH));
        match read(path) {
            Ok(bytes) if bytes.len() as u64 > MAX_FILE => Err(ConfigError::TooLong { path: path.to_owned() }),
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Self::parse(&text, path),
                Err(e) => Err(not_utf8(&e, path)),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => Self::parse("", path),
            Err(error) => Err(ConfigError::Read { path: path.to_owned(), error }),
        }
    }

    /// The same without its targets.
    fn without_targets(&self) -> Self {
        Self {
            listen: self.listen.clone(),
            web_config_file: self.web_config_file.clone(),
            socket: self.socket.clone(),
            watch: self.watch.clone(),
            kernel: self.kernel.clone(),
            history: self.history.clone(),
            ledger: self.ledger.clone(),
            log: self.log.clone(),
            notifiers: self.notifiers.clone(),
            otlp: self.otlp.clone(),
            health: self.health.clone(),
            discovery: self.discovery.clone(),
            targets: Vec::new(),
            ..*self
        }
    }

    /// An address outside loopback, which is not served without TLS, users or `--insecure`.
    pub fn exposed(&self) -> Option<SocketAddr> {
        self.listen.iter().find(|address| !address.ip().is_loopback()).copied()
    }

    /// Parses and validates `text`; `path` is for messages.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        // A byte order mark is no part of the text, and its column is nobody's.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file = file::parse(text).map_err(|e| e.locate(text, path))?;
        validate::validate(file).map_err(|e| e.locate(text, path))
    }

    /// The same with these targets after its own, and with the limits that they bring.
    pub fn with(&self, added: impl IntoIterator<Item = TargetConfig>) -> Self {
        let mut all = self.clone();
        all.targets.extend(added);
        all.limits = self.open.close(all.targets.len(), all.rate());
        all
    }

    /// Probes a second that its targets ask for.
    pub fn rate(&self) -> f64 {
        self.targets.iter().map(TargetConfig::rate).sum()
    }

    /// R15: the age at which the state is stale: three of the longest interval by default.
    pub fn stale_after(&self) -> Duration {
        self.targets.iter().map(|t| t.interval).fold(self.interval, Duration::max)
            * self.health.stale_intervals
    }
}

/// The file's bytes, one more than there may be at most.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error, path: &Path) -> ConfigError {
    // The text up to the fault is as it was: the fault's place in it is the same.
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes());
    error::Fault::at(at..at, "a configuration is UTF-8, and this byte is not")
        .hint("write the file anew as UTF-8: iconv -t UTF-8")
        .locate(&text, path)
}
