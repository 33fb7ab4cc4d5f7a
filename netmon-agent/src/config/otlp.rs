//! `[otlp]`: where metrics are pushed to.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    error::Fault,
    show::{span, there, word},
    span::Span,
    spanned::Spanned,
    validate::within,
};
use crate::{
    observation::{HttpRequest, UrlError},
    output::otlp::Settings,
};

/// From one export to the next by default: OpenTelemetry's own.
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where OTLP takes metrics by HTTP.
const PATH: &str = "/v1/metrics";
/// Headers, and attributes, that there may be.
const MOST: usize = 32;
/// Headers that every request has anyhow.
const OURS: [&str; 7] = [
    "host",
    "user-agent",
    "content-type",
    "content-encoding",
    "content-length",
    "connection",
    "transfer-encoding",
];

/// Metrics pushed by OTLP over HTTP, to an OpenTelemetry collector or to what else takes them. It needs a netmon that was
/// built with the cargo feature `otlp`. Takes effect at the next start.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Otlp {
    /// Where they are sent, whole; without a path /v1/metrics. Without it nothing is sent.
    #[schemars(extend("pattern" = "^[Hh][Tt][Tt][Pp][Ss]?://"), example = &"https://otel.example.com:4318/v1/metrics")]
    endpoint: Option<Spanned<String>>,
    /// Whether it may be http beyond this machine, which everybody on the way can read and change.
    insecure: Option<bool>,
    /// Headers of each request. `netmon config show` has them as they are: a secret belongs into `header_files`.
    #[schemars(extend("examples" = [{ "X-Scope-OrgID": "network" }]))]
    headers: Option<Spanned<BTreeMap<String, String>>>,
    /// Headers whose values are in files, by absolute paths; not readable by everybody, and read for each request.
    #[schemars(extend("examples" = [{ "Authorization": "/etc/netmon/otlp.authorization" }]))]
    header_files: Option<Spanned<BTreeMap<String, PathBuf>>>,
    /// From one export to the next.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    interval: Option<Spanned<Span>>,
    /// How long a request may take, from the name to the answer.
    #[schemars(extend("x-range" = ["1s", "1m"]))]
    timeout: Option<Spanned<Span>>,
    /// How what is sent is compressed.
    #[schemars(extend("enum" = ["gzip", "none"]))]
    compression: Option<Spanned<String>>,
    /// Attributes of the resource beside service.name, service.instance.id, service.version, host.name and host.id, or in
    /// place of one of them; an empty value takes one away.
    #[schemars(extend("examples" = [{ "deployment.environment.name": "production" }]))]
    resource: Option<Spanned<BTreeMap<String, String>>>,
    /// Certificates of the authorities to trust, PEM, instead of the system's; an absolute path.
    #[schemars(extend("pattern" = "^/"), example = &"/etc/ssl/own-ca.pem")]
    ca_file: Option<Spanned<PathBuf>>,
}

impl Otlp {
    pub(super) fn is_absent(&self) -> bool {
        let Self {
            endpoint,
            insecure,
            headers,
            header_files,
            interval,
            timeout,
            compression,
            resource,
            ca_file,
        } = self;
        let texts = [endpoint, compression].iter().all(|text| text.is_none());
        let spans = [interval, timeout].iter().all(|span| span.is_none());
        let maps = [headers, resource].iter().all(|map| map.is_none());
        texts && spans && maps && insecure.is_none() && header_files.is_none() && ca_file.is_none()
    }

    /// What the keys are where they are left out.
    pub(super) fn usual() -> Self {
        let (interval, timeout) = (span(INTERVAL), span(TIMEOUT));
        Self { insecure: Some(false), interval, timeout, compression: word("gzip"), ..Self::default() }
    }

    /// As the file would have it.
    pub(super) fn of(settings: Option<&Settings>) -> Self {
        let Some(settings) = settings else { return Self::default() };
        let Settings { url, headers, header_files, interval, timeout, gzip, resource, ca_file } = settings;
        fn map<V: Clone>(pairs: &[(String, V)]) -> Option<Spanned<BTreeMap<String, V>>> {
            (!pairs.is_empty()).then(|| Spanned::nowhere(pairs.iter().cloned().collect()))
        }
        Self {
            endpoint: word(&url.url()),
            insecure: Some(!url.tls),
            headers: map(headers),
            header_files: map(header_files),
            interval: span(*interval),
            timeout: span(*timeout),
            compression: word(if *gzip { "gzip" } else { "none" }),
            resource: map(resource),
            ca_file: ca_file.clone().and_then(there),
        }
    }
}

/// `built` is whether this program can do it.
pub(super) fn settings(o: Otlp, built: bool) -> Result<Option<Settings>, Fault> {
    let Some(endpoint) = &o.endpoint else {
        let set = [
            o.headers.as_ref().map(Spanned::span),
            o.header_files.as_ref().map(Spanned::span),
            o.interval.as_ref().map(Spanned::span),
            o.timeout.as_ref().map(Spanned::span),
            o.compression.as_ref().map(Spanned::span),
            o.resource.as_ref().map(Spanned::span),
            o.ca_file.as_ref().map(Spanned::span),
        ];
        return match set.into_iter().flatten().next() {
            Some(span) => Err(Fault::at(span, "there is no `endpoint` to send metrics to")
                .hint("name one: endpoint = \"https://otel.example.com:4318\"")),
            None => Ok(None),
        };
    };
    if !built {
        let message = "this netmon was built without OTLP";
        return Err(Fault::at(endpoint.span(), message)
            .hint("build it with `cargo build --release --features otlp`, or leave [otlp] out"));
    }
    let url = url(&o, endpoint)?;
    let interval = o.interval.as_ref().map_or(Ok(INTERVAL), |s| range(s, 3600, "interval"))?;
    let timeout = o.timeout.as_ref().map_or(Ok(TIMEOUT), |s| range(s, 60, "timeout"))?;
    let gzip = match &o.compression {
        None => true,
        Some(word) => match word.get_ref().as_str() {
            "gzip" => true,
            "none" => false,
            _ => return Err(Fault::at(word.span(), "compression is \"gzip\" or \"none\"")),
        },
    };
    let headers = pairs(&o.headers, |name, value, span| {
        if name.eq_ignore_ascii_case("authorization") {
            return Err(Fault::at(span, "`netmon config show` would show this secret")
                .hint("put it into a file, and name that: header_files = { Authorization = \"/etc/netmon/otlp.authorization\" }"));
        }
        header(name, &span)?;
        HeaderValue::from_str(value).map_err(|_| Fault::at(span, format!("no value of a header: {name}")))?;
        Ok(())
    })?;
    let header_files = pairs(&o.header_files, |name, path: &PathBuf, span| {
        header(name, &span)?;
        whole(path, span)
    })?;
    if let (Some(place), Some((name, _))) = (
        &o.header_files,
        header_files
            .iter()
            .find(|(name, _)| headers.iter().any(|(other, _)| name.eq_ignore_ascii_case(other))),
    ) {
        return Err(Fault::at(place.span(), format!("the header {name} is in `headers`, too")));
    }
    let resource = pairs(&o.resource, |key, _, span| {
        if key.is_empty() { Err(Fault::at(span, "an attribute without a name")) } else { Ok(()) }
    })?;
    if let Some(path) = &o.ca_file {
        if !url.tls {
            return Err(Fault::at(path.span(), "`ca_file` is for https, and this endpoint is http"));
        }
        whole(path.get_ref(), path.span())?;
    }
    let ca_file = o.ca_file.map(Spanned::into_inner);
    Ok(Some(Settings { url, headers, header_files, interval, timeout, gzip, resource, ca_file }))
}

fn range(written: &Spanned<Span>, most: u64, what: &str) -> Result<Duration, Fault> {
    within(written, Duration::from_secs(1)..=Duration::from_secs(most), what)
}

/// What is wrong with it is said without it: a path may be a secret.
fn url(o: &Otlp, endpoint: &Spanned<String>) -> Result<HttpRequest, Fault> {
    let wrong = |why: String| Fault::at(endpoint.span(), why);
    let mut url = HttpRequest::of_url(endpoint.get_ref()).map_err(|e| {
        let fault = wrong(format!("this {e}"));
        match e {
            UrlError::User => {
                fault.hint("put \"Basic …\" into a file: header_files = { Authorization = \"/…\" }")
            }
            _ => fault.hint("write it whole: endpoint = \"https://otel.example.com:4318\""),
        }
    })?;
    if let Err(e) = ServerName::try_from(url.host.as_str()) {
        return Err(wrong(format!("\"{}\" is no host: {e}", url.host.escape_default())));
    }
    let here = url.host == "localhost" || url.host.parse().is_ok_and(|a: std::net::IpAddr| a.is_loopback());
    if !url.tls && !here && !o.insecure.unwrap_or(false) {
        return Err(wrong("everybody on the way could read and change what is sent by http".to_owned())
            .hint("use https, or say insecure = true"));
    }
    if url.path == "/" {
        url.path = PATH.to_owned();
    }
    Ok(url)
}

fn header(name: &str, span: &std::ops::Range<usize>) -> Result<(), Fault> {
    let shown = name.escape_default();
    if HeaderName::try_from(name).is_err() {
        return Err(Fault::at(span.clone(), format!("\"{shown}\" is no name of a header")));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(Fault::at(span.clone(), format!("the header {shown} is set by netmon itself")));
    }
    Ok(())
}

fn whole(path: &std::path::Path, span: std::ops::Range<usize>) -> Result<(), Fault> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Fault::at(span, format!("\"{}\" is no absolute path", path.display().to_string().escape_default())))
}

fn pairs<V: Clone>(
    written: &Option<Spanned<BTreeMap<String, V>>>,
    check: impl Fn(&str, &V, std::ops::Range<usize>) -> Result<(), Fault>,
) -> Result<Vec<(String, V)>, Fault> {
    let Some(all) = written else { return Ok(Vec::new()) };
    if all.get_ref().len() > MOST {
        return Err(Fault::at(all.span(), format!("more than {MOST} of them")));
    }
    for (key, value) in all.get_ref() {
        check(key, value, all.span())?;
    }
    Ok(all.get_ref().clone().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Settings, String> {
        let config = Config::parse(&format!("[otlp]\n{text}"), Path::new("n.toml"));
        config.map(|config| config.otlp.expect("an endpoint")).map_err(|e| e.to_string())
    }

    #[test]
    fn an_endpoint_is_enough() {
        let usual = parse("endpoint = \"http://127.0.0.1:4318\"").unwrap();
        assert_eq!(usual.url.url(), "http://127.0.0.1:4318/v1/metrics");
        assert_eq!((usual.interval, usual.timeout, usual.gzip), (INTERVAL, TIMEOUT, true));
        let path = parse("endpoint = \"https://x.example/otlp/v1/metrics?a=b\"").unwrap();
        assert_eq!(path.url.url(), "https://x.example/otlp/v1/metrics?a=b");
        assert_eq!(Config::parse("[otlp]", Path::new("n")).unwrap().otlp, None);
        let config = "[otlp]\nendpoint = \"http://otel:4318\"\ninsecure = true\ncompression = \"none\"";
        let config = Config::parse(config, Path::new("n")).unwrap();
        let again = Config::parse(&config.to_toml().unwrap(), Path::new("n")).unwrap();
        assert!(again.otlp.is_some() && again.otlp == config.otlp);
    }

    #[test]
    fn what_can_t_be_is_told_with_its_remedy() {
        let (here, far) = ("endpoint = \"http://[::1]:4318\"\n", "endpoint = \"http://10.0.0.1:4318\"\n");
        for (text, said) in [
            ("interval = \"10s\"".to_owned(), "no `endpoint`"),
            (far.to_owned(), "insecure = true"),
            ("endpoint = \"https://a:b@c/\"".to_owned(), "header_files"),
            ("endpoint = \"otel:4318\"".to_owned(), "endpoint = \"https://"),
            (format!("{here}interval = \"2h\""), "interval is between"),
            (format!("{here}compression = \"zstd\""), "\"gzip\" or \"none\""),
            (format!("{here}ca_file = \"/x\""), "is for https"),
            (format!("{here}headers = {{ authorization = \"Bearer x\" }}"), "header_files"),
            (format!("{here}headers = {{ \"a b\" = \"x\" }}"), "no name of a header"),
            (format!("{here}headers = {{ Host = \"x\" }}"), "by netmon itself"),
            (format!("{here}headers = {{ a = \"x\\ny\" }}"), "no value of a header"),
            (format!("{here}header_files = {{ a = \"b\" }}"), "no absolute path"),
            (format!("{here}headers = {{ a = \"b\" }}\nheader_files = {{ A = \"/b\" }}"), "`headers`, too"),
            (format!("{here}resource = {{ \"\" = \"x\" }}"), "without a name"),
        ] {
            let told = parse(&text).unwrap_err();
            assert!(told.contains(said) && told.contains("n.toml:"), "{text}: {told}");
        }
        assert!(parse(&format!("{far}insecure = true")).is_ok());
    }

    #[test]
    fn a_build_without_it_says_how_to_have_one_with_it() {
        let endpoint = Some(Spanned::new(0..1, "http://127.0.0.1:4318".to_owned()));
        let file = || Otlp { endpoint: endpoint.clone(), ..Otlp::default() };
        let told = settings(file(), false).unwrap_err().locate("x", Path::new("n.toml")).to_string();
        assert!(told.contains("built without OTLP") && told.contains("--features otlp"), "{told}");
        assert!(settings(file(), true).is_ok());
        assert_eq!(settings(Otlp::default(), false).map_err(drop), Ok(None));
    }
}
