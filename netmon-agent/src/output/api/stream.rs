//! A big answer that is sent while it is being written, through few buffers: fifty megabytes are never in memory at once, and
//! are written into what the processor's nearer memory holds. Who writes waits for who reads, not for ever.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{server::WRITE_TIMEOUT, shares::Place};
use crate::{output::metrics::Outlet, time::Mono};

/// Buffers of an answer: one is being written, one sent, and neither waits for the other's every turn.
const BUFFERS: usize = 4;
/// What the reader of a whole answer may take: six times what Prometheus gives a scrape unless told otherwise. Its snapshot
/// is kept so long, and its place among the scrapes unless somebody else needs it.
const LONGEST: Duration = Duration::from_secs(60);
/// How often who waits for a reader looks whether its place is still its own.
const LOOK: Duration = Duration::from_millis(100);

/// Where the answer is written, on a thread that may block.
#[derive(Debug)]
pub(super) struct Tap {
    /// Never more in it than there are buffers.
    pieces: UnboundedSender<io::Result<Bytes>>,
    /// Buffers whose bytes are sent.
    emptied: Receiver<Vec<u8>>,
    give_back: Sender<Vec<u8>>,
    made: usize,
    until: Mono,
    /// Its place among the answers that are being written.
    place: Place,
    /// The reader takes it still.
    is_open: bool,
}

/// An answer to be written, and the body that sends it. A body whose tap goes before its end fails, so that half an answer is
/// not taken for a whole one.
pub(super) fn open(place: Place) -> (Tap, Body) {
    let (pieces, mut sent) = unbounded_channel();
    let (give_back, emptied) = channel();
    // The first buffer is the writer's own.
    let tap = Tap { pieces, emptied, give_back, made: 1, until: Mono::now() + LONGEST, place, is_open: true };
    (tap, Body::from_stream(stream::poll_fn(move |context| sent.poll_recv(context))))
}

impl Tap {
    fn send(&mut self, bytes: Vec<u8>) {
        let piece = Piece { bytes, give_back: self.give_back.clone() };
        self.is_open = self.pieces.send(Ok(Bytes::from_owner(piece))).is_ok();
    }

    /// The next buffer whose bytes are sent; none when its reader takes too long, or as long as others need its place.
    fn emptied(&self) -> Option<Vec<u8>> {
        let until = self.until.min(Mono::now() + WRITE_TIMEOUT);
        loop {
            let now = Mono::now();
            match self.emptied.recv_timeout(LOOK.min(until.since(now))) {
                Ok(buffer) => {
                    self.place.mark().moved(now);
                    return Some(buffer);
                }
                Err(_) if now >= until || self.place.is_evicted() => return None,
                Err(_) => {}
            }
        }
    }

    fn fail(&mut self, kind: io::ErrorKind) {
        // Without a reader there is nobody to be told.
        let _ = self.pieces.send(Err(kind.into()));
        self.is_open = false;
    }
}

impl Outlet for Tap {
    fn take(&mut self, mut piece: Vec<u8>) -> Vec<u8> {
        if !self.is_open {
            piece.clear();
            return piece;
        }
        let room = piece.capacity();
        self.send(piece);
        if self.made == BUFFERS {
            match self.emptied() {
                Some(buffer) => return buffer,
                None => self.fail(io::ErrorKind::TimedOut),
            }
        }
        self.made += 1;
        Vec::with_capacity(room)
    }

    fn end(&mut self, piece: Vec<u8>) {
        if self.is_open {
            self.send(piece);
        }
        self.is_open = false;
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if self.is_open {
            self.fail(io::ErrorKind::UnexpectedEof);
        }
    }
}

/// Bytes on their way; their buffer comes back when they are sent, or thrown away.
struct Piece {
    bytes: Vec<u8>,
    give_back: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // After the last piece nobody wants it.
        let _ = self.give_back.send(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use http_body_util::BodyExt;

    use super::{
        super::shares::{Holder, Shares},
        *,
    };

    fn open() -> (Tap, Body) {
        super::open(Shares::for_movers(1).take(Holder::User(0), Mono::now()).unwrap())
    }

    /// Writes so many pieces of a kilobyte, each of another byte.
    fn write(mut tap: Tap, count: u8) -> Tap {
        let mut buffer = Vec::with_capacity(1024);
        for n in 0..count {
            assert!(buffer.is_empty() && buffer.capacity() >= 1024);
            buffer.resize(1024, n);
            buffer = tap.take(buffer);
        }
        tap
    }

    /// All bytes, each piece let go as soon as it is copied.
    async fn read(mut body: Body) -> Result<Vec<u8>, axum::Error> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn what_is_written_arrives_through_few_buffers() {
        let (tap, body) = open();
        let writer = thread::spawn(|| {
            let mut tap = write(tap, 200);
            tap.end(b"the end".to_vec());
            tap.made
        });
        let bytes = read(body).await.unwrap();
        let expected = (0..200).flat_map(|n| [n; 1024]).chain(*b"the end");
        assert!(expected.eq(bytes.iter().copied()));
        assert!(writer.join().unwrap() <= BUFFERS);
    }

    #[tokio::test]
    async fn who_writes_waits_for_who_reads() {
        let (tap, mut body) = open();
        let writer = thread::spawn(|| write(tap, BUFFERS as u8 + 1));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let held: Vec<_> = vec![first, body.frame().await.unwrap().unwrap().into_data().unwrap()];
        // All buffers are away: two are held here, two wait to be read.
        thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        drop(held);
        assert_eq!(writer.join().unwrap().made, BUFFERS);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_holds_nobody_up() {
        let (tap, body) = open();
        drop(body);
        let tap = write(tap, 200);
        assert!(!tap.is_open && tap.made <= 2);

        // Nor does one that goes while it is waited for.
        let (tap, body) = open();
        let writer = thread::spawn(|| write(tap, 200));
        thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        drop(body);
        assert!(!writer.join().unwrap().is_open);
    }

    #[tokio::test]
    async fn who_does_not_read_gives_way() {
        let shares = Shares::for_movers(1);
        let (tap, body) = super::open(shares.take(Holder::User(1), Mono::now()).unwrap());
        let writer = thread::spawn(|| write(tap, BUFFERS as u8 + 1));
        thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        let later = Mono::now() + Duration::from_secs(10);
        let next = shares.take(Holder::User(1), later).unwrap();
        assert!(!writer.join().unwrap().is_open);
        assert!(read(body).await.is_err());
        assert!(shares.take(Holder::User(1), later).is_none(), "the old place was freed once");
        drop(next);
    }

    #[tokio::test]
    async fn half_an_answer_is_no_whole_one() {
        let (tap, body) = open();
        drop(write(tap, 2));
        assert!(read(body).await.is_err(), "its writer went");

        let (mut tap, body) = open();
        tap.until = Mono::now();
        let writer = thread::spawn(|| write(tap, BUFFERS as u8));
        assert!(!writer.join().unwrap().is_open, "nobody read for too long");
        assert!(read(body).await.is_err());
    }
}
