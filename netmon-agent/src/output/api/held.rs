//! Big answers while they are being read. Written they are before their readers take them, and who reads slowly or not at all
//! keeps one in memory: all of them together have a bound.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply;

/// Mebibytes of big answers that may wait for their readers. Metrics of many targets are none: they are sent while they are
/// written.
pub(super) const ROOM: usize = 1200;

/// The room for big answers.
#[derive(Clone, Debug)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    mebibytes: usize,
}

impl Room {
    pub(super) fn new(mebibytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(mebibytes)), mebibytes }
    }

    /// The same answer, whose bytes take room until they are sent; or none, when there is no room. One smaller than a
    /// mebibyte takes none, and one too large for all of it takes all.
    pub(super) fn hold(&self, response: Response) -> Option<Response> {
        let size = response.body().size_hint().lower() >> 20;
        let size = size.min(self.mebibytes as u64) as u32;
        if size == 0 {
            return Some(response);
        }
        let permit = Arc::new(Arc::clone(&self.free).try_acquire_many_owned(size).ok()?);
        Some(response.map(|body| Body::new(Held { body, permit })))
    }

    /// The same, or that there is no room.
    pub(super) fn hold_or_refuse(&self, response: Response) -> Response {
        self.hold(response).unwrap_or_else(refusal)
    }
}

pub(super) fn refusal() -> Response {
    reply::busy("too many big answers are still being read")
}

/// A body whose bytes hold a permit: the server drops the body before they are sent.
struct Held {
    body: Body,
    permit: Arc<OwnedSemaphorePermit>,
}

struct HeldBytes {
    bytes: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let hold = |bytes| Bytes::from_owner(HeldBytes { bytes, _permit: Arc::clone(&self.permit) });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(hold))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use http_body_util::BodyExt;

    use super::*;

    fn big(bytes: usize) -> Response {
        reply::body(StatusCode::OK, "text/plain", vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn a_big_answer_takes_room_until_its_bytes_are_gone() {
        let room = Room::new(3);
        let free = || room.free.available_permits();
        let mut first = room.hold(big((2 << 20) + 5)).unwrap();
        assert_eq!((free(), first.body().size_hint().exact()), (1, Some((2 << 20) + 5)));
        assert!(room.hold(big(2 << 20)).is_none());
        assert!(room.hold(big(1000)).is_some(), "a small one needs none");
        let frame = first.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.iter().all(|byte| *byte == b'x') && frame.len() == (2 << 20) + 5);
        drop(first);
        assert_eq!(free(), 1, "its bytes are not sent yet");
        drop(frame);
        assert_eq!(free(), 3);
        assert!(room.hold(big(9 << 20)).is_some(), "one alone may be larger than the room");
        assert_eq!(refusal().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
