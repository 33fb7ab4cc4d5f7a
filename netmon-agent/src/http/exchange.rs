//! A request, its answer's head, and what follows it.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    time::Duration,
};

use futures_util::{FutureExt, future::Fuse};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::Stream;

/// For so long what follows a head may take, when nothing hangs on it any more.
const LINGER: Duration = Duration::from_secs(1);

/// Why there is no body: it is too large, or broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What drives a connection. It has to be polled beside whatever is done over it.
type Driver = Fuse<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// An answer whose head is there. Dropped, its connection is.
pub struct Answer {
    response: Response<Incoming>,
    driver: Driver,
    /// As long as it is there, so is the connection.
    _sender: Box<dyn Send>,
}

/// Sends a request over a connection that is used for nothing else. `head` is how long the answer's head may be, bytes,
/// 8192 at least.
///
/// # Errors
/// The exchange broke off, or was no HTTP.
pub async fn ask<S, B>(stream: S, request: Request<B>, head: usize) -> Result<Answer, hyper::Error>
where
    S: Stream + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let made = http1::Builder::new().max_buf_size(head).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made?;
    // How it ends is told by what is done over it.
    let driver: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(connection.map(drop));
    let mut driver = driver.fuse();
    let response = beside(&mut driver, sender.send_request(request)).await?;
    Ok(Answer { response, driver, _sender: Box::new(sender) })
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub fn headers(&self) -> &hyper::HeaderMap {
        self.response.headers()
    }

    /// The whole body, this many bytes at most.
    ///
    /// # Errors
    /// It is larger, or broke off.
    pub async fn body(self, most: usize) -> Result<Bytes, BodyError> {
        let Self { response, mut driver, _sender } = self;
        let body = Limited::new(response.into_body(), most).collect();
        Ok(beside(&mut driver, body).await?.to_bytes())
    }

    /// Reads on to the end, this many bytes and a second at most: a connection that is closed over bytes unread is reset,
    /// and the answer may be lost with it.
    pub async fn drain(self, most: usize) {
        let Self { response, mut driver, _sender } = self;
        let _ = timeout(LINGER, beside(&mut driver, drain(response, most))).await;
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Does something over a connection, which has to be driven meanwhile.
async fn beside<T>(driver: &mut Driver, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = &mut *driver => {}
        }
    }
}

async fn drain(mut response: Response<Incoming>, most: usize) {
    let mut left = most;
    while let Some(Ok(frame)) = response.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.len());
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
