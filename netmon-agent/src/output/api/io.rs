//! A connection whose peer must keep reading, and may stop sending.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Sleep, sleep},
};

use super::shares::Mark;
use crate::time::Mono;

/// How often a peer that has ended its side is looked at, whether it is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Fails a write that makes no progress for a time: a peer that does not read costs a connection, not for ever.
///
/// A peer that has said all it will (`shutdown(SHUT_WR)`, as `nc -N` and `socat` do) still waits for its answer: the end
/// of what it sends is told to `last_word`, and is an end of file for the reader only when the peer is gone altogether.
///
/// Where its bytes move is marked at its place, which is another's sooner where nothing does.
#[derive(Debug)]
pub struct Impatient<S> {
    stream: S,
    patience: Duration,
    stuck: Option<Pin<Box<Sleep>>>,
    last_word: Arc<Notify>,
    mark: Arc<Mark>,
    /// There when the peer has ended its side.
    next_look: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// Gives each write so long, and tells `last_word` when the peer has ended its side.
    pub fn new(stream: S, patience: Duration, last_word: Arc<Notify>, mark: Arc<Mark>) -> Self {
        Self { stream, patience, stuck: None, last_word, mark, next_look: None }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stuck = None;
            self.mark.moved(Mono::now());
            return result;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsFd + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.next_look.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                self.mark.moved(Mono::now());
                return Poll::Ready(Ok(()));
            }
            if !is_gone(&self.stream) {
                self.last_word.notify_one();
            }
        }
        while !is_gone(&self.stream) {
            let next_look = self.next_look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            ready!(next_look.as_mut().poll(cx));
            self.next_look = Some(Box::pin(sleep(LOOK)));
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns when a peer that has ended its side is gone altogether.
pub(super) async fn gone(stream: &impl AsFd) {
    while !is_gone(stream) {
        sleep(LOOK).await;
    }
}

/// Whether both directions are closed: poll(2) tells it unasked.
fn is_gone(stream: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds[0].revents().is_none_or(|seen| seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)),
        Err(_) => true,
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
