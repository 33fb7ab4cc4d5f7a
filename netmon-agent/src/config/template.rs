//! What a found target is like: the settings of its source, with what was found of it. The same rules hold as for
//! `[[target]]`, and the same messages are given.

use std::{collections::HashMap, net::Ipv6Addr, sync::Arc, time::Duration};

use super::{
    TargetConfig,
    error::{Fault, nearest},
    file::{Span, Target},
    groups::{Group, Word},
    show,
    spanned::Spanned,
    target,
};
use crate::observation::{Family, Method, PathOptions};

/// Labels with this are for netmon, and only those: Prometheus drops all that begin with two underscores, so that one
/// document serves both.
pub(super) const PREFIX: &str = "__netmon_";
/// What may follow it.
const KEYS: [&str; 6] = ["name", "scope", "probe", "port", "interval", "timeout"];

/// The settings of a source.
#[derive(Clone, Debug)]
pub struct Template {
    target: Target,
    scheme: String,
    path: String,
    interval: Duration,
    timeout: Duration,
    /// One that stands for all.
    sample: TargetConfig,
}

/// Whether the same is found by both, wherever the settings were written.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        let port = |t: &Self| t.target.port.as_ref().map(|port| *port.get_ref());
        let verify = |t: &Self| t.target.verify.as_ref().map(|verify| *verify.get_ref());
        let given = |t: &Self| (t.is_method_given(), port(t), verify(t));
        self.sample == other.sample && self.place() == other.place() && given(self) == given(other)
    }
}

/// What is said of one found target beside its address.
#[derive(Clone, Copy, Debug, Default)]
struct Said<'a> {
    name: Option<&'a Word>,
    scope: Option<&'a Word>,
    probe: Option<&'a Word>,
    port: Option<&'a Word>,
    interval: Option<&'a Word>,
    timeout: Option<&'a Word>,
}

impl Template {
    /// A target that has what all of them have.
    pub fn sample(&self) -> &TargetConfig {
        &self.sample
    }

    /// Checks what can be checked before anything is found, with a target that stands for all.
    pub(super) fn new(
        target: Target,
        scheme: Option<&Spanned<String>>,
        path: Option<&Spanned<String>>,
        (interval, timeout): (Duration, Duration),
    ) -> Result<Self, Fault> {
        let word = target.probe.get_ref().clone();
        if let Some(span) = scheme.or(path).map(Spanned::span).filter(|_| word != "http") {
            return Err(Fault::at(
                span,
                format!("`scheme` and `path` are of http targets, and this probe is {word}"),
            )
            .hint("leave them out, or set `probe = \"http\"`"));
        }
        if let Some(scheme) = scheme.filter(|s| !["http", "https"].contains(&s.get_ref().as_str())) {
            return Err(Fault::at(scheme.span(), "scheme is \"http\" or \"https\""));
        }
        if let Some(path) = path.filter(|p| !p.get_ref().starts_with('/')) {
            return Err(Fault::at(path.span(), "a path begins with a slash"));
        }
        if let Some(port) = target.port.as_ref().filter(|port| *port.get_ref() == 0) {
            return Err(Fault::at(port.span(), "port 0 can't be probed; 1 to 65535"));
        }
        if let Some(port) = target.port.as_ref().filter(|_| word == "icmp") {
            return Err(Fault::at(port.span(), "an icmp target has no port")
                .hint("leave `port` out, or set `probe = \"tcp\"`"));
        }
        let one =
            |text: Option<&Spanned<String>>, usual: &str| text.map_or(usual, |t| t.get_ref()).to_owned();
        let (scheme, path) = (one(scheme, "http"), one(path, "/"));
        let mut sample = target.clone();
        // Of a family that the source, if one is given, can reach.
        let v6 = sample.source.as_ref().is_some_and(|s| s.get_ref().is_ipv6());
        let host = if v6 { "::1" } else { "127.0.0.1" };
        match word.as_str() {
            "http" => {
                sample.port = None;
                let authority = if v6 { "[::1]" } else { host };
                let url = format!("{scheme}://{authority}{path}");
                sample.url = Some(Spanned::nowhere(url));
            }
            "icmp" => sample.host = Some(Spanned::nowhere(host.to_owned())),
            _ => {
                sample.host = Some(Spanned::nowhere(host.to_owned()));
                sample.port.get_or_insert(Spanned::nowhere(1));
            }
        }
        let sample = finish(sample, interval, timeout)?;
        Ok(Self { target, scheme, path, interval, timeout, sample })
    }

    /// Whether the method was given; where it was not, a target that is a URL is probed by HTTP.
    pub(super) fn is_method_given(&self) -> bool {
        !self.target.probe.span().is_empty()
    }

    /// Scheme and path of what is probed by HTTP.
    pub(super) fn place(&self) -> [Option<&str>; 2] {
        [&self.scheme, &self.path]
            .map(|s| matches!(self.sample.method, Method::Http(_)).then_some(s.as_str()))
    }

    /// The settings as a target of the file would have them, with their defaults. Its name and its host say nothing.
    pub(super) fn shown(&self) -> Target {
        // What is said of certificates would be refused for a target that is found as a URL without any.
        let verify = self.target.verify.clone();
        Target { port: self.target.port.clone(), verify, ..show::of_target(&self.sample) }
    }

    /// Adds the targets of a group.
    pub(super) fn group(&self, group: &Group, out: &mut Vec<TargetConfig>) -> Result<(), Fault> {
        let mut said = Said::default();
        for (label, value) in &group.labels {
            let known = label.text.strip_prefix(PREFIX).unwrap_or_default();
            let place = match known {
                "name" => &mut said.name,
                "scope" => &mut said.scope,
                "probe" => &mut said.probe,
                "port" => &mut said.port,
                "interval" => &mut said.interval,
                "timeout" => &mut said.timeout,
                other => {
                    let hint = match nearest(other, &KEYS) {
                        Some(key) => format!("did you mean `{PREFIX}{key}`?"),
                        None => format!("known: {PREFIX} with {}", KEYS.join(", ")),
                    };
                    let message = format!("unknown label `{}`", label.text.escape_default());
                    return Err(label.fault(message).hint(hint));
                }
            };
            *place = Some(value);
        }
        if let Some(name) = said.name.filter(|_| group.targets.len() != 1) {
            let message = format!("one name for a group of {} targets", group.targets.len());
            return Err(name
                .fault(message)
                .hint("give each target that is to have a name a group of its own"));
        }
        for address in &group.targets {
            out.push(self.found(address, &said)?);
        }
        Ok(())
    }

    /// A host and port that an SRV record names.
    pub(super) fn service(&self, host: &str, port: u16) -> Result<TargetConfig, Fault> {
        let address = Word { text: join(host, Some(port)), at: 0..0 };
        self.found(&address, &Said::default())
    }

    /// A name whose addresses of this family are the target's.
    pub(super) fn name(&self, name: &str, family: Family) -> Result<TargetConfig, Fault> {
        let mut target = self.found(&Word { text: name.to_owned(), at: 0..0 }, &Said::default())?;
        target.path = Arc::new(PathOptions { family: Some(family), ..(*target.path).clone() });
        Ok(target)
    }

    fn found(&self, address: &Word, said: &Said<'_>) -> Result<TargetConfig, Fault> {
        let spanned = |word: &Word| Spanned::new(word.at.clone(), word.text.clone());
        let mut t = self.target.clone();
        if let Some(probe) = said.probe {
            if probe.text != *self.target.probe.get_ref() {
                forget_method(&mut t);
            }
            // A word that is written is not the default, at whatever place.
            t.probe = Spanned::new(0..1, probe.text.clone());
        }
        if let Some(scope) = said.scope {
            t.scope = Some(spanned(scope));
        }
        for (word, place) in [(said.interval, &mut t.interval), (said.timeout, &mut t.timeout)] {
            if let Some(word) = word {
                let span = humantime::parse_duration(&word.text).map_err(|e| {
                    word.fault(format!("bad duration \"{}\": {e}", word.text.escape_default()))
                        .hint("write \"10s\", \"1m30s\" or \"250ms\"")
                })?;
                *place = Some(Spanned::new(word.at.clone(), Span(span)));
            }
        }
        let label_port = said.port.map(port).transpose()?;
        if address.text.contains("://") {
            if let Some(port) = said.port {
                return Err(port.fault("a URL has its port in itself"));
            }
            t.port = None;
            t.url = Some(spanned(address));
        } else {
            let (host, own_port) = split(address)?;
            let port = label_port.or(own_port).or(t.port.as_ref().map(|p| *p.get_ref()));
            let name = match t.probe.get_ref().as_str() {
                "http" => {
                    let authority = join(host, port);
                    let url = format!("{}://{authority}{}", self.scheme, self.path);
                    t.url = Some(Spanned::new(address.at.clone(), url));
                    t.port = None;
                    authority
                }
                "icmp" => {
                    // Of the host it asks for, whatever service was named with it.
                    t.port = None;
                    t.host = Some(Spanned::new(address.at.clone(), host.to_owned()));
                    host.to_owned()
                }
                word => {
                    let port = port.or((word == "dns").then_some(53));
                    t.port = port.map(|port| Spanned::new(address.at.clone(), port));
                    t.host = Some(Spanned::new(address.at.clone(), host.to_owned()));
                    join(host, port)
                }
            };
            t.name = Some(Spanned::new(address.at.clone(), name));
        }
        if let Some(name) = said.name {
            t.name = Some(spanned(name));
        }
        let mut found = finish(t, self.interval, self.timeout).map_err(|fault| {
            // Whatever else is wrong, it is with this one: the settings alone have passed.
            Fault { span: Some(address.at.clone()), ..fault }
        })?;
        // Ten thousand share one.
        if found.path == self.sample.path {
            found.path = Arc::clone(&self.sample.path);
        }
        Ok(found)
    }
}

fn finish(t: Target, interval: Duration, timeout: Duration) -> Result<TargetConfig, Fault> {
    target::target(&Spanned::nowhere(t), interval, timeout, &mut HashMap::new())
}

/// What belongs to the method of the settings is not for one that is probed otherwise.
fn forget_method(t: &mut Target) {
    t.expect = None;
    t.query = None;
    t.record = None;
    t.transport = None;
    t.accept = None;
    t.head = None;
    t.status = None;
    t.verify = None;
    t.ca_file = None;
    t.size = None;
}

fn port(word: &Word) -> Result<u16, Fault> {
    word.text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        word.fault(format!("\"{}\" is no port", word.text.escape_default())).hint("a number from 1 to 65535")
    })
}

/// `host`, `host:port`, `[v6]:port`, `[v6]` or `v6`.
fn split(address: &Word) -> Result<(&str, Option<u16>), Fault> {
    let text = address.text.as_str();
    let bad = |port: &str| {
        let message = format!("\"{}\" has no port in \"{}\"", text.escape_default(), port.escape_default());
        address.fault(message).hint("a number from 1 to 65535 after the colon")
    };
    let number = |port: &str| port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(|| bad(port));
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| address.fault("a bracket is not closed"))?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(address.fault(format!("\"{}\" is no IPv6 address", host.escape_default())));
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(number(port)?))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(address.fault("after the bracket comes a colon and a port, or nothing")),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((host, Some(number(port)?))),
        None => Ok((text, None)),
    }
}

fn join(host: &str, port: Option<u16>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    port.map_or(host.clone(), |port| format!("{host}:{port}"))
}
