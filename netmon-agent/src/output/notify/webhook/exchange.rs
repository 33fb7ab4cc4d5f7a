//! One attempt: from the name to the answer's head.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hyper::{HeaderMap, Method, header};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;

use super::{Webhook, address::Refused, secret::SecretError, sign};
use crate::http::{self, Stream, TrustError};

/// Longest head of an answer, bytes.
const HEAD: usize = 16 << 10;
/// Bytes of an answer's body that are read, for as orderly an end as can be had.
const BODY: usize = 64 << 10;
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;

/// Looks a name up. Given to the webhooks by who starts them: how names are resolved is no business of an output's.
pub type LookUp = Arc<dyn Fn(String) -> Looking + Send + Sync>;
/// A look-up on its way.
pub type Looking = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send>>;

/// Why an attempt came to no answer. Nothing of the URL but its host is in any of them.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The name.
    #[error("can't resolve {0}: {1}")]
    Name(String, String),
    /// Every address is one that is not connected to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No connection.
    #[error("can't connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// Nobody to judge the certificate.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No secure connection.
    #[error("no secure connection to {0}: {1}")]
    Tls(SocketAddr, io::Error),
    /// The secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What can't be put into a request.
    #[error("the request can't be made: {0}")]
    Request(String),
    /// The exchange broke off, or was no HTTP.
    #[error("the exchange failed: {0}")]
    Http(hyper::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// An answer: its status, and its `Retry-After` where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// When to come again.
    pub retry_after: Option<String>,
}

/// Sends a body.
pub(super) async fn attempt(
    webhook: &Webhook,
    tls: Option<Arc<ClientConfig>>,
    look_up: &LookUp,
    id: &str,
    body: String,
    unix_seconds: u64,
) -> Result<Answered, AttemptError> {
    let request = request(webhook, id, body, unix_seconds)?;
    let (stream, address) = connect(webhook, look_up).await?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let host = webhook.url.host.clone();
            let name = ServerName::try_from(host).map_err(|e| AttemptError::Request(e.to_string()))?;
            http::secure(stream, name, config).await.map_err(|e| AttemptError::Tls(address, e))?
        }
    };
    let answer = http::ask(stream, request, HEAD).await.map_err(AttemptError::Http)?;
    let after = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
    let answered = Answered { status: answer.status().as_u16(), retry_after: after.map(str::to_owned) };
    answer.drain(BODY).await;
    Ok(answered)
}

/// Connects to the first address that may be connected to and answers: to the very address that was looked at.
async fn connect(webhook: &Webhook, look_up: &LookUp) -> Result<(TcpStream, SocketAddr), AttemptError> {
    let host = &webhook.url.host;
    let found = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => look_up(host.clone()).await.map_err(|why| AttemptError::Name(host.clone(), why))?,
    };
    let (mut good, mut refused) = (Vec::new(), None);
    for address in found {
        match webhook.allowed.check(address) {
            Ok(()) => good.push(address),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    good.truncate(ADDRESSES);
    let to = good.into_iter().map(|address| SocketAddr::new(address, webhook.url.port));
    http::connect(to, webhook.timeout).await.map_err(|failed| match (failed, refused) {
        (Some((to, e)), _) => AttemptError::Connect(to, e),
        (None, Some(why)) => AttemptError::Refused(why),
        (None, None) => AttemptError::Name(host.clone(), "it has no address".to_owned()),
    })
}

fn request(
    webhook: &Webhook,
    id: &str,
    body: String,
    unix_seconds: u64,
) -> Result<hyper::Request<String>, AttemptError> {
    let odd = |e: &dyn std::fmt::Display| AttemptError::Request(e.to_string());
    let mut headers = HeaderMap::new();
    let mut set = |name, value: &[u8], secret: bool| {
        let mut value = header::HeaderValue::from_bytes(value).map_err(|e| odd(&e))?;
        value.set_sensitive(secret);
        headers.insert(name, value);
        Ok::<(), AttemptError>(())
    };
    set(header::HOST, webhook.authority().as_bytes(), false)?;
    set(header::USER_AGENT, http::USER_AGENT.as_bytes(), false)?;
    set(header::CONTENT_TYPE, webhook.content_type.as_bytes(), false)?;
    set(header::CONNECTION, b"close", false)?;
    set(header::HeaderName::from_static("netmon-delivery"), id.as_bytes(), false)?;
    if let Some(secret) = &webhook.authorization {
        set(header::AUTHORIZATION, secret.read()?.bytes(), true)?;
    }
    if let Some(secret) = &webhook.secret {
        let signature = sign::signature(secret.read()?.bytes(), unix_seconds, body.as_bytes());
        set(header::HeaderName::from_static(sign::HEADER), signature.as_bytes(), false)?;
    }
    let mut request = hyper::Request::builder()
        .method(Method::POST)
        .uri(&*webhook.url.path)
        .body(body)
        .map_err(|e| odd(&e))?;
    *request.headers_mut() = headers;
    Ok(request)
}
