//! A connection to the agent.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::{
    Error, http,
    proto::{Call, Exchange, Reply, request},
};

/// A connection on which something was asked. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Wire<S = UnixStream> {
    stream: S,
    piece: Box<[u8; 8192]>,
}

impl Wire {
    /// Connects, and sends the request.
    pub(super) async fn open(path: &Path, request: &[u8]) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).await.map_err(|source| http::not_connected(path, source))?;
        Self::new(stream, request).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Sends the request.
    async fn new(mut stream: S, request: &[u8]) -> Result<Self, Error> {
        http::sent(stream.write_all(request).await)?;
        Ok(Self { stream, piece: Box::new([0; 8192]) })
    }

    /// Reads more. Nothing is lost when it is dropped.
    pub(super) async fn fill(&mut self, into: &mut Exchange) -> Result<(), Error> {
        let read = self.stream.read(&mut self.piece[..]).await;
        http::received(read, &self.piece[..], into)
    }

    /// Reads the whole answer.
    async fn reply(mut self) -> Result<Reply, Error> {
        let mut call = Call::default();
        loop {
            if let Some(reply) = call.reply()? {
                return Ok(reply);
            }
            self.fill(&mut call.exchange).await?;
        }
    }
}

/// Reads what is at `target`: the whole answer.
pub(super) async fn get(path: &Path, target: &str, patience: Option<Duration>) -> Result<Reply, Error> {
    ask(path, &request("GET", target, &[]), patience).await
}

/// Sends the request, and reads the whole answer.
pub(super) async fn ask(path: &Path, request: &[u8], patience: Option<Duration>) -> Result<Reply, Error> {
    within(patience, async { Wire::open(path, request).await?.reply().await }).await
}

/// The same over a connection that is there already.
pub(crate) async fn exchange(
    stream: &mut UnixStream,
    request: &[u8],
    patience: Option<Duration>,
) -> Result<Reply, Error> {
    within(patience, async { Wire::new(stream, request).await?.reply().await }).await
}

/// The same, within this time.
pub(super) async fn within<T>(
    patience: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match patience {
        Some(patience) => timeout(patience, work).await.unwrap_or(Err(Error::Timeout)),
        None => work.await,
    }
}
