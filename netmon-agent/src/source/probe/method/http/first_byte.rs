//! When the answer began.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::time::Mono;

/// A connection that notes when the first byte was read from it. Over TLS it lies outside, so that the bytes are the
/// answer's and not the handshake's.
#[derive(Debug)]
pub(super) struct FirstByte<S> {
    inner: S,
    at: Arc<OnceLock<Mono>>,
}

impl<S> FirstByte<S> {
    /// Nothing was read yet. The time will be found in the other part.
    pub(super) fn new(inner: S) -> (Self, Arc<OnceLock<Mono>>) {
        let at = Arc::default();
        (Self { inner, at: Arc::clone(&at) }, at)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstByte<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.at.get_or_init(Mono::now);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstByte<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn an_end_without_a_byte_is_no_first_byte_and_only_the_first_is_noted() {
        let read = |stream: &mut FirstByte<&[u8]>, room: usize| {
            let mut bytes = vec![0; room];
            let mut buf = ReadBuf::new(&mut bytes);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(stream).poll_read(&mut cx, &mut buf).is_ready());
        };
        let (mut empty, at) = FirstByte::new(&b""[..]);
        read(&mut empty, 8);
        assert_eq!(at.get(), None);
        let (mut two, at) = FirstByte::new(&b"ab"[..]);
        let before = Mono::now();
        read(&mut two, 1);
        let first = *at.get().unwrap();
        assert!(before <= first && first <= Mono::now());
        read(&mut two, 1);
        assert_eq!(at.get(), Some(&first));
    }
}
