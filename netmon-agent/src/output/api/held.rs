//! Answers while they are being read. Written they are before their readers take them, and who reads slowly or not at all keeps
//! one in memory: all of them together have a bound, and nobody has all of it.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};

use super::{App, reply, server::Peer, shares::Holder};

/// Bytes of answers that may wait for their readers, when nobody says otherwise. Metrics of many targets are none: they are
/// sent while they are written.
pub(super) const ROOM: u64 = 128 << 20;
/// Smaller answers are not counted: the kernel takes them from us at once.
const LEAST: u64 = 16 << 10;
/// With less room than this nothing is written that may not fit, to be thrown away.
const SCARCE: u64 = 4 << 20;

/// The room for answers. Whoever asks has no more of it than is left free then: one half at most, so that there is some for
/// another, and again for a third (Choudhury and Hahne, "Dynamic queue length thresholds", 1998, with α = 1).
#[derive(Clone, Debug)]
pub(super) struct Room {
    bytes: u64,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    by: HashMap<Holder, u64>,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, taken: Arc::default() }
    }

    /// The same answer, whose bytes take room until they are sent; or that there is no room. One alone may be as large as it
    /// is.
    pub(super) fn hold_or_refuse(&self, holder: Holder, response: Response) -> Response {
        let size = response.body().size_hint().lower();
        if size < LEAST {
            return response;
        }
        let Some(part) = self.take(holder, size) else { return NoRoom.into_response() };
        let part = Arc::new(part);
        response.map(|body| Body::new(Held { body, part }))
    }

    /// Whether there is so little room that an answer is better not written.
    fn is_scarce(&self, holder: Holder) -> bool {
        let taken = self.lock();
        taken.all > 0
            && taken.own(holder) + 2 * SCARCE.min(self.bytes / 4) > self.bytes.saturating_sub(taken.all)
    }

    fn take(&self, holder: Holder, size: u64) -> Option<Part> {
        let mut taken = self.lock();
        let own = taken.own(holder);
        let free = self.bytes.saturating_sub(taken.all);
        if taken.all > 0 && own + 2 * size > free {
            return None;
        }
        taken.all += size;
        *taken.by.entry(holder).or_default() += size;
        Some(Part { room: self.clone(), holder, size })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn own(&self, holder: Holder) -> u64 {
        self.by.get(&holder).copied().unwrap_or(0)
    }
}

/// There is no room: the answer that says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRoom;

impl IntoResponse for NoRoom {
    fn into_response(self) -> Response {
        reply::busy("too many answers are still being read")
    }
}

/// There is some room. An answer that grows with what is watched is not written for who has none: its handler asks for this.
#[derive(Clone, Copy, Debug)]
pub(super) struct SomeRoom;

impl SomeRoom {
    /// For one more answer to `peer`.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find(app: &App, peer: Peer) -> Result<Self, NoRoom> {
        if app.room.is_scarce(peer.holder()) { Err(NoRoom) } else { Ok(Self) }
    }
}

impl FromRequestParts<Arc<App>> for SomeRoom {
    type Rejection = NoRoom;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, NoRoom> {
        // Without a peer it is asked by this process itself.
        parts.extensions.get::<Peer>().map_or(Ok(Self), |peer| Self::find(app, *peer))
    }
}

/// Room that is taken; free again when dropped.
struct Part {
    room: Room,
    holder: Holder,
    size: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.all -= self.size;
        if let Some(own) = taken.by.get_mut(&self.holder) {
            *own -= self.size;
            if *own == 0 {
                taken.by.remove(&self.holder);
            }
        }
    }
}

/// A body whose bytes take room: the server drops the body before they are sent.
struct Held {
    body: Body,
    part: Arc<Part>,
}

struct HeldBytes {
    bytes: Bytes,
    _part: Arc<Part>,
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
        let hold = |bytes| Bytes::from_owner(HeldBytes { bytes, _part: Arc::clone(&self.part) });
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
    use proptest::prelude::*;

    use super::*;

    const SOMEBODY: Holder = Holder::User(1);

    fn big(bytes: usize) -> Response {
        reply::body(StatusCode::OK, "text/plain", vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn an_answer_takes_room_until_its_bytes_are_gone() {
        let room = Room::new(3 << 20);
        let hold = |bytes| room.hold_or_refuse(SOMEBODY, big(bytes));
        let taken = || room.lock().all;
        assert!(!room.is_scarce(SOMEBODY));
        let mut first = hold((1 << 20) + 5);
        assert!(room.is_scarce(SOMEBODY) && !room.is_scarce(Holder::User(2)));
        assert_eq!((taken(), first.body().size_hint().exact()), ((1 << 20) + 5, Some((1 << 20) + 5)));
        let refused = hold(1 << 20);
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(hold(1000).status(), StatusCode::OK, "a small one needs none");
        let frame = first.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.iter().all(|byte| *byte == b'x') && frame.len() == (1 << 20) + 5);
        drop(first);
        assert_eq!(taken(), (1 << 20) + 5, "its bytes are not sent yet");
        drop(frame);
        assert_eq!(taken(), 0);
        assert_eq!(hold(9 << 20).status(), StatusCode::OK, "one alone may be larger than the room");
        assert_eq!(taken(), 0);
        assert!(room.lock().by.is_empty());
    }

    proptest! {
        /// Whatever is taken and let go: never more than there is, to nobody more than one half, and who comes anew gets
        /// what is half of the rest.
        #[test]
        fn nobody_has_all_of_it(steps in proptest::collection::vec((0_u32..4, 1_u64..40, any::<bool>()), 1..200)) {
            const ROOM: u64 = 100;
            let room = Room::new(ROOM);
            let mut parts: Vec<Part> = Vec::new();
            for (who, size, takes) in steps {
                let before = room.lock().all;
                if takes {
                    parts.extend(room.take(Holder::User(who), size));
                } else if !parts.is_empty() {
                    parts.swap_remove(size as usize % parts.len());
                }
                let sum = |who| parts.iter().filter(|part| part.holder == Holder::User(who)).map(|part| part.size).sum::<u64>();
                let sums: Vec<u64> = (0..4).map(sum).collect();
                let all: u64 = sums.iter().sum();
                prop_assert_eq!(room.lock().all, all);
                prop_assert!(all <= ROOM && sums.iter().all(|own| *own <= ROOM / 2));
                if !takes {
                    prop_assert!(all <= before);
                }
                let newcomer = room.take(Holder::User(9), (ROOM - all) / 2);
                prop_assert!(newcomer.is_some());
            }
            parts.clear();
            prop_assert!(room.lock().by.is_empty());
        }
    }
}
