//! One question to chromedriver, one answer.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::lab::Netns;

/// Far beyond what any answer may take on a loaded machine.
const ANSWER: Duration = Duration::from_secs(90);

/// Asks the driver at `port` of `netns`: the status and what it says. No body where it is null.
pub fn ask(netns: &Netns, port: u16, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    // Made inside; where it is used does not matter then.
    let stream = netns.run(|| TcpStream::connect(("127.0.0.1", port)))??;
    stream.set_nonblocking(true)?;
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("localhost:{port}"))
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .body(Full::new(Bytes::from(text)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let exchange = async {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(ANSWER, exchange)
            .await
            .with_context(|| format!("no answer to {method} {path}"))?
    });
    let (status, bytes) = answer?;
    let answer: Value = serde_json::from_slice(&bytes).with_context(|| format!("{method} {path}"))?;
    ensure!(answer.get("value").is_some(), "{method} {path}: {answer}");
    Ok((status, answer))
}
