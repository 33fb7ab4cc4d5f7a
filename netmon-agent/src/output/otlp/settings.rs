//! What is configured, also in a build that can't do it.

use std::{fmt, path::PathBuf, time::Duration};

use crate::observation::HttpRequest;

/// Whether this build can export. It is the cargo feature `otlp`; the unit tests have it always.
pub const BUILT: bool = cfg!(any(feature = "otlp", test));

/// Where metrics are pushed to, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether by TLS, to which host and port, and the path.
    pub url: HttpRequest,
    /// Headers of each request, by name.
    pub headers: Vec<(String, String)>,
    /// Headers whose values are in files, by name.
    pub header_files: Vec<(String, PathBuf)>,
    /// From one export to the next.
    pub interval: Duration,
    /// How long a request may take, from the name to the answer.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Attributes of the resource, by name; an empty value takes one of the usual ones away.
    pub resource: Vec<(String, String)>,
    /// Certificates of the authorities to trust, PEM; the system's where none is given.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for Settings {
    /// Without headers, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url.url()).finish_non_exhaustive()
    }
}
