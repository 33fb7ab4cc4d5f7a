//! `[discovery]`: where targets are looked for beside the file, and what each found one is like.

pub(super) mod tables;

use std::{collections::HashSet, path::PathBuf, time::Duration};

use self::tables::{Discovery, DnsSd, HttpSd};
use super::{error::Fault, file::Span, spanned::Spanned, template::Template, validate::within};
use crate::observation::{Family, HttpRequest, is_of_a_host};

/// Found targets at most where `max_targets` says nothing.
const MAX_TARGETS: usize = 10_000;
/// The most that it may say: an agent has been measured with so many.
const MOST_TARGETS: usize = 100_000;
/// Sources at most: each is a few series.
const MOST_SOURCES: usize = 256;
/// Longest name of a source, bytes; it becomes a label.
const MAX_NAME: usize = 64;

/// Where targets are looked for, validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiscoveryConfig {
    /// Found targets at most.
    pub max_targets: usize,
    /// In the order in which they count: files, then servers, then names, each as written.
    pub sources: Vec<Source>,
}

/// One place where targets are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name, unique among those of its mechanism: a label and a word in the log.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// What each found target is like.
    pub template: Template,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Files in Prometheus' format, looked at when they change and in any case after `refresh`.
    Files {
        /// Paths, whose last part may be a pattern.
        files: Vec<PathBuf>,
        /// Longest time between two looks.
        refresh: Duration,
    },
    /// A server that answers in Prometheus' format.
    Http(Box<HttpSource>),
    /// Names with SRV records, asked for again when the records have lived their time.
    Services(Vec<String>),
    /// Names with addresses: each is one target with them all.
    Names(Vec<String>, Family),
}

/// A server that tells of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// Its URL as written.
    pub url: String,
    /// The same, taken apart.
    pub request: HttpRequest,
    /// How often it is asked.
    pub refresh: Duration,
    /// How it knows us.
    pub credentials: Option<Credentials>,
}

/// How a server knows us. The secrets stay in their files until they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// `Authorization: Bearer` with what this file holds (RFC 6750).
    Bearer(PathBuf),
    /// `Authorization: Basic` with this user and the password in this file (RFC 7617).
    Basic(String, PathBuf),
}

impl SourceKind {
    /// The word for it in configuration, labels and the log.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Files { .. } => "file_sd",
            Self::Http(_) => "http_sd",
            Self::Services(_) | Self::Names(..) => "dns_sd",
        }
    }
}

pub(super) fn settings(d: &Discovery, usual: (Duration, Duration)) -> Result<DiscoveryConfig, Fault> {
    let max_targets = match &d.max_targets {
        Some(n) if !(1..=MOST_TARGETS).contains(&(*n.get_ref() as usize)) => {
            let message = format!("max_targets is between 1 and {MOST_TARGETS}, not {}", n.get_ref());
            return Err(Fault::at(n.span(), message));
        }
        Some(n) => *n.get_ref() as usize,
        None => MAX_TARGETS,
    };
    let mut sources = Vec::new();
    let mut names = HashSet::new();
    let mut add = |table: std::ops::Range<usize>, name: &Option<Spanned<String>>, kind, number, template| {
        sources.push(Source { name: named(name.as_ref(), &kind, number, &mut names)?, kind, template });
        match sources.len() > MOST_SOURCES {
            true => Err(Fault::at(table, format!("more than {MOST_SOURCES} sources of targets"))),
            false => Ok(()),
        }
    };
    for (i, table) in d.file_sd.iter().enumerate() {
        let t = table.get_ref();
        let refresh = refresh(t.refresh_interval.as_ref(), Duration::from_secs(300))?;
        let kind = SourceKind::Files { files: files(&t.files)?, refresh };
        add(table.span(), &t.name, kind, i + 1, t.template(usual)?)?;
    }
    for (i, table) in d.http_sd.iter().enumerate() {
        let t = table.get_ref();
        let kind = SourceKind::Http(Box::new(server(t)?));
        add(table.span(), &t.name, kind, i + 1, t.template(usual)?)?;
    }
    for (i, table) in d.dns_sd.iter().enumerate() {
        let t = table.get_ref();
        let (kind, template) = dns(t, t.template(usual)?)?;
        add(table.span(), &t.name, kind, i + 1, template)?;
    }
    Ok(DiscoveryConfig { max_targets, sources })
}

/// The name as given, or the mechanism and the table's number.
fn named(
    name: Option<&Spanned<String>>,
    kind: &SourceKind,
    number: usize,
    names: &mut HashSet<(&'static str, String)>,
) -> Result<String, Fault> {
    let Some(name) = name else {
        // A given name may look like it; it is passed over then.
        let free = |n: &usize| !names.contains(&(kind.mechanism(), format!("{}-{n}", kind.mechanism())));
        let number = (number..).find(free).unwrap_or(number);
        let name = format!("{}-{number}", kind.mechanism());
        names.insert((kind.mechanism(), name.clone()));
        return Ok(name);
    };
    let text = name.get_ref();
    if text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        let message = format!("a source's name has 1 to {MAX_NAME} bytes and no control characters");
        return Err(Fault::at(name.span(), message));
    }
    if !names.insert((kind.mechanism(), text.clone())) {
        let message = format!("{} \"{text}\" is there twice", kind.mechanism());
        return Err(Fault::at(name.span(), message).hint("give each source a name of its own"));
    }
    Ok(text.clone())
}

fn refresh(written: Option<&Spanned<Span>>, usual: Duration) -> Result<Duration, Fault> {
    let range = Duration::from_secs(1)..=Duration::from_secs(86_400);
    written.map_or(Ok(usual), |s| within(s, range, "refresh_interval"))
}

/// As Prometheus takes them: the last part of a path may be a pattern, and its ending says the format.
fn files(written: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<PathBuf>, Fault> {
    if written.get_ref().is_empty() {
        return Err(Fault::at(written.span(), "no file is named")
            .hint("name at least one: files = [\"/etc/netmon/targets/*.json\"]"));
    }
    let one = |file: &Spanned<String>| {
        let path = PathBuf::from(file.get_ref());
        let fault = |message: String| Fault::at(file.span(), message);
        if !path.is_absolute() {
            return Err(fault(format!("\"{}\" is no absolute path", file.get_ref().escape_default()))
                .hint("the agent may be started in any directory: begin with a slash"));
        }
        let is_pattern = |c: char| "*?[{".contains(c);
        let folder = path.parent().unwrap_or(&path);
        if folder.to_string_lossy().contains(is_pattern) {
            return Err(fault("only the last part of a path may be a pattern".to_owned())
                .hint("name each directory: one watches directories, and new ones would be missed"));
        }
        let last = path.file_name().unwrap_or_default().to_string_lossy();
        if let Err(e) = globset::Glob::new(&last) {
            return Err(fault(format!("bad pattern \"{}\": {}", last.escape_default(), e.kind())));
        }
        if super::Format::of(&path).is_none() {
            return Err(fault(format!("\"{last}\" ends in none of .json, .yml and .yaml"))
                .hint("the ending says the format, as in Prometheus"));
        }
        Ok(path)
    };
    written.get_ref().iter().map(one).collect()
}

fn server(t: &HttpSd) -> Result<HttpSource, Fault> {
    let mut request = super::method::url(&t.url)?;
    request.ca_file = t.url_ca_file.as_ref().map(|f| f.get_ref().clone());
    if let Some(file) = t.url_ca_file.as_ref().filter(|_| !request.tls) {
        return Err(Fault::at(file.span(), "`url_ca_file` is of https, and this URL is http"));
    }
    let credentials = match (&t.bearer_token_file, &t.username, &t.password_file) {
        (None, None, None) => None,
        (Some(file), None, None) => Some((Credentials::Bearer(file.get_ref().clone()), file.span())),
        (None, Some(user), Some(file)) => {
            if user.get_ref().contains(|c: char| c == ':' || c.is_control()) {
                return Err(Fault::at(user.span(), "a user's name has no colon and no control characters"));
            }
            let credentials = Credentials::Basic(user.get_ref().clone(), file.get_ref().clone());
            Some((credentials, file.span()))
        }
        (Some(file), ..) => {
            return Err(Fault::at(file.span(), "a bearer token and a user with a password are both there"));
        }
        (None, Some(only), None) => {
            return Err(Fault::at(only.span(), "`username` without `password_file`"));
        }
        (None, None, Some(only)) => {
            return Err(Fault::at(only.span(), "`password_file` without `username`"));
        }
    };
    if let Some((_, span)) = credentials.as_ref().filter(|_| !request.tls && !is_here(&request.host)) {
        return Err(Fault::at(span.clone(), "the secret would go over the network in the clear")
            .hint("use https, or leave it out"));
    }
    let refresh = refresh(t.refresh_interval.as_ref(), Duration::from_secs(60))?;
    let credentials = credentials.map(|(credentials, _)| credentials);
    Ok(HttpSource { url: t.url.get_ref().clone(), request, refresh, credentials })
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|a: std::net::IpAddr| a.is_loopback())
}

fn dns(t: &DnsSd, template: Template) -> Result<(SourceKind, Template), Fault> {
    if t.names.get_ref().is_empty() {
        return Err(Fault::at(t.names.span(), "no name is given")
            .hint("give at least one: names = [\"_ldap._tcp.example.com\"]"));
    }
    let mut names = Vec::new();
    for name in t.names.get_ref() {
        let text = name.get_ref();
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/:@".contains(c);
        if text.is_empty() || text.len() > 253 || text.contains(odd) || is_address(text) {
            let message = format!("\"{}\" is no name to ask DNS for", text.escape_default());
            return Err(Fault::at(name.span(), message));
        }
        if !names.contains(text) {
            names.push(text.clone());
        }
    }
    let word = t.kind.as_ref().map_or("SRV", |k| k.get_ref().as_str());
    let family = match word {
        "SRV" => {
            if let Some(port) = &t.port {
                return Err(Fault::at(port.span(), "SRV records bring their ports along")
                    .hint("leave `port` out, or ask for addresses: type = \"A\""));
            }
            return Ok((SourceKind::Services(names), template));
        }
        "A" => Family::V4,
        "AAAA" => Family::V6,
        other => {
            let message = format!("type = \"{}\" is unknown", other.escape_default());
            let span = t.kind.as_ref().map_or(0..0, Spanned::span);
            return Err(Fault::at(span, message).hint("\"SRV\", \"A\" or \"AAAA\""));
        }
    };
    let source = t.source.as_ref().map(|s| (s.span(), s.get_ref().is_ipv4()));
    if let Some((span, _)) = source.filter(|(_, v4)| *v4 != (family == Family::V4)) {
        return Err(Fault::at(span, format!("no {word} record can be reached from this source"))
            .hint("source and type are of one family, IPv4 or IPv6"));
    }
    // What has no port of its own needs one; found out here, not at each name.
    for name in &names {
        template.name(name, family).map_err(|fault| Fault { span: Some(t.names.span()), ..fault })?;
    }
    Ok((SourceKind::Names(names, family), template))
}

fn is_address(text: &str) -> bool {
    text.parse().is_ok_and(is_of_a_host)
}

#[cfg(test)]
mod tests;
