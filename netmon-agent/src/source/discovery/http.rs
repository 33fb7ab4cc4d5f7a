//! One question to a server, as Prometheus' http_sd asks it.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use http_body_util::Empty;
use hyper::{Request, StatusCode, body::Bytes, header};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use crate::{
    config::{Credentials, HttpSource, MAX_DOCUMENT},
    http::{self, Answer, BodyError, Stream, USER_AGENT, authority},
    source::resolve::Ask,
};

/// How long one question may take, name and connection included; a shorter refresh interval is the limit instead.
const LIMIT: Duration = Duration::from_secs(30);

/// Of an answer's head.
const HEAD: usize = 64 << 10;

/// Characters of a header that a message repeats: it stands in the log and in the status.
const SHOWN: usize = 200;

/// A secret is no document.
const SECRET: u64 = 16 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0} can't be resolved: {1}")]
    Name(String, crate::source::resolve::Failure),
    #[error("can't connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("it can't be asked for: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the answer is {0}, not 200{1}")]
    Status(StatusCode, String),
    #[error("the answer's Content-Type is {0}, not \"application/json\" (in UTF-8)")]
    ContentType(String),
    #[error("the answer is larger than {} MiB, or broke off: {_0}", MAX_DOCUMENT >> 20)]
    Body(BodyError),
    #[error("the answer is no UTF-8")]
    NotUtf8,
    #[error("{0}")]
    Secret(String),
}

/// The document that the server answers with, or why there is none, in one line.
pub(super) async fn fetch(source: &HttpSource, ask: &Ask) -> Result<String, String> {
    let limit = LIMIT.min(source.refresh);
    let answer = tokio::time::timeout(limit, exchange(source, ask)).await;
    answer.unwrap_or(Err(Failure::Timeout(limit))).map_err(|e| format!("{}: {e}", shown(&source.url)))
}

/// A URL as others may see it, in the log and in the status: a query may be a secret.
pub(super) fn shown(url: &str) -> &str {
    url.split_once('?').map_or(url, |(url, _)| url)
}

async fn exchange(source: &HttpSource, ask: &Ask) -> Result<String, Failure> {
    let request = request(source)?;
    let stream = open(source, ask).await?;
    answer(http::ask(stream, request, HEAD).await?).await
}

async fn answer(answer: Answer) -> Result<String, Failure> {
    let text_of = |name: header::HeaderName| {
        let value = answer.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        value.map(|v| v.chars().take(SHOWN).collect::<String>().escape_default().to_string())
    };
    if answer.status() != StatusCode::OK {
        // Elsewhere the secrets would go elsewhere, too.
        let to = text_of(header::LOCATION).map(|l| format!("; redirections are not followed: {l}"));
        return Err(Failure::Status(answer.status(), to.unwrap_or_default()));
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !is_json(kind) {
        let shown = text_of(header::CONTENT_TYPE).map_or("missing".to_owned(), |v| format!("\"{v}\""));
        return Err(Failure::ContentType(shown));
    }
    let body = answer.body(MAX_DOCUMENT).await.map_err(Failure::Body)?;
    String::from_utf8(body.into()).map_err(|_| Failure::NotUtf8)
}

/// `application/json`, alone or with UTF-8 as its character set: what Prometheus takes (discovery/http/http.go).
fn is_json(content_type: &str) -> bool {
    let (kind, parameter) = match content_type.trim().split_once(';') {
        Some((kind, parameter)) => (kind, Some(parameter.trim_start())),
        None => (content_type.trim(), None),
    };
    let utf8 =
        |p: &str| ["charset=utf-8", "charset=\"utf-8\""].iter().any(|known| known.eq_ignore_ascii_case(p));
    kind.eq_ignore_ascii_case("application/json") && parameter.is_none_or(utf8)
}

fn request(source: &HttpSource) -> Result<Request<Empty<Bytes>>, Failure> {
    let asked = &source.request;
    let mut request = Request::get(&asked.path)
        .header(header::HOST, authority(asked.tls, &asked.host, asked.port))
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .header("X-Prometheus-Refresh-Interval-Seconds", source.refresh.as_secs_f64().to_string());
    if let Some(credentials) = &source.credentials {
        let value = match credentials {
            Credentials::Bearer(file) => format!("Bearer {}", secret(file)?),
            Credentials::Basic(user, file) => {
                format!("Basic {}", base64(&format!("{user}:{}", secret(file)?)))
            }
        };
        let mut value = header::HeaderValue::from_str(&value).map_err(hyper::http::Error::from)?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    Ok(request.body(Empty::new())?)
}

/// What a file holds, without the end of its line. Read each time: a secret may be given anew.
fn secret(path: &Path) -> Result<String, Failure> {
    use std::{io::Read, os::unix::fs::MetadataExt, os::unix::fs::OpenOptionsExt};

    let failed = |why: String| Failure::Secret(format!("{}: {why}", path.display()));
    // A pipe without a writer must not hold up the thread, which serves others, too.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|e| failed(format!("can't be read: {e}")))?;
    let meta = file.metadata().map_err(|e| failed(e.to_string()))?;
    if !meta.is_file() {
        return Err(failed("is no file".to_owned()));
    }
    if meta.len() > SECRET {
        return Err(failed(format!("has more than {SECRET} bytes")));
    }
    if meta.mode() & 0o007 != 0 {
        let shown = path.display();
        return Err(failed(format!("everybody may read this secret; chmod o= {shown}")));
    }
    let mut text = String::new();
    file.take(SECRET).read_to_string(&mut text).map_err(|e| failed(format!("can't be read: {e}")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed("is empty".to_owned())),
        text => Ok(text.to_owned()),
    }
}

/// RFC 4648, section 4.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let of = |i: usize| u32::from(three.get(i).copied().unwrap_or_default());
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for digit in 0..4 {
            let place = bits >> (18 - 6 * digit) & 63;
            out.push(if digit <= three.len() { DIGITS[place as usize].into() } else { '=' });
        }
    }
    out
}

/// A connection to the first of the host's addresses that takes one.
async fn open(source: &HttpSource, ask: &Ask) -> Result<Box<dyn Stream>, Failure> {
    let asked = &source.request;
    let addresses = ask.addresses(&asked.host).await.map_err(|e| Failure::Name(asked.host.clone(), e))?;
    let to = addresses.into_iter().map(|address| SocketAddr::new(address, asked.port));
    match http::connect(to, LIMIT.min(source.refresh)).await {
        Ok((stream, _)) if !asked.tls => Ok(Box::new(stream)),
        Ok((stream, _)) => secured(stream, source).await,
        Err(last) => {
            let why = match last {
                Some((to, e)) => io::Error::new(e.kind(), format!("{}: {e}", to.ip())),
                None => io::ErrorKind::NotFound.into(),
            };
            Err(Failure::Connect(format!("{} port {}", asked.host, asked.port), why))
        }
    }
}

async fn secured(stream: TcpStream, source: &HttpSource) -> Result<Box<dyn Stream>, Failure> {
    let asked = &source.request;
    // Read each time: the file may be another one by now.
    let config = http::configured(asked.ca_file.clone()).await.map_err(|e| Failure::Tls(e.to_string()))?;
    let name = ServerName::try_from(asked.host.clone()).map_err(|e| Failure::Tls(e.to_string()))?;
    http::secure(stream, name, config).await.map_err(|e| Failure::Tls(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_is_judged_as_prometheus_does() {
        for good in [
            "application/json",
            " Application/JSON ",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in
            ["", "text/plain", "application/jsonp", "application/json; charset=latin1", "application/json;"]
        {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_a_file_of_its_owner_and_nothing_else() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let allow = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let said = || secret(&path).unwrap_err().to_string();
        std::fs::write(&path, "s3cret\r\n").unwrap();
        allow(0o640);
        assert_eq!(secret(&path).unwrap(), "s3cret");
        allow(0o644);
        assert!(said().contains("chmod o="), "{}", said());
        allow(0o600);
        std::fs::write(&path, "\n").unwrap();
        assert!(said().ends_with("is empty"), "{}", said());
        std::fs::write(&path, vec![b'x'; SECRET as usize + 1]).unwrap();
        assert!(said().contains("has more than"), "{}", said());
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(said().ends_with("is no file"), "{}", said());
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text), expected);
        }
    }
}
