//! A waiter whose answer is written by whoever finds its condition fulfilled: of ten thousand, none has to run for that.

use std::io::ErrorKind;

use super::quiet::Quiet;
use crate::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Boot,
};

const WAITING: u8 = 0;
/// Somebody writes the answer now.
const CLAIMED: u8 = 1;
const ANSWERED: u8 = 2;
/// It could not be written: the peer is gone.
const BROKEN: u8 = 3;
/// The waiter's own task answers, or none.
const TAKEN: u8 = 4;

/// A waiter's connection, and who answers it. Whoever moves it on from waiting is the only one who does.
#[derive(Debug)]
pub(super) struct Ticket {
    stream: Quiet,
    state: AtomicU8,
    /// What the socket had no room for.
    rest: OnceLock<Box<[u8]>>,
    /// When it began to wait.
    pub(super) started: Boot,
    /// Whether the connection ends with the answer.
    pub(super) close: bool,
}

/// What has become of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody has answered, and nobody is about to.
    Open,
    /// Being answered now; the group tells when that is done.
    Underway,
    /// Answered, but for [`Ticket::rest`].
    Answered,
    /// The peer was gone before its answer.
    Broken,
}

impl Ticket {
    pub(super) fn new(stream: Quiet, close: bool, started: Boot) -> Self {
        Self { stream, state: AtomicU8::new(WAITING), rest: OnceLock::new(), started, close }
    }

    pub(super) fn stream(&self) -> &Quiet {
        &self.stream
    }

    /// Whether it waits still. It may cease to at any time.
    pub(super) fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Acquire) == WAITING
    }

    /// Writes the answer, unless somebody did or does. Whether it was written.
    pub(super) fn answer(&self, text: &[u8]) -> bool {
        if !self.moved(WAITING, CLAIMED) {
            return false;
        }
        let next = match self.stream.try_write(text) {
            Ok(written) => {
                if written < text.len() {
                    // Nobody else sets it: the ticket is claimed once.
                    let _ = self.rest.set(text[written..].into());
                }
                ANSWERED
            }
            // Its own task has the patience.
            Err(e) if e.kind() == ErrorKind::WouldBlock => WAITING,
            Err(_) => BROKEN,
        };
        self.state.store(next, Ordering::Release);
        next == ANSWERED
    }

    /// Lets the caller alone answer, where the fate is open.
    ///
    /// # Errors
    /// The fate, where it is another.
    pub(super) fn take(&self) -> Result<(), Fate> {
        if self.moved(WAITING, TAKEN) { Ok(()) } else { Err(self.fate()) }
    }

    pub(super) fn fate(&self) -> Fate {
        match self.state.load(Ordering::Acquire) {
            CLAIMED => Fate::Underway,
            ANSWERED => Fate::Answered,
            BROKEN => Fate::Broken,
            _ => Fate::Open,
        }
    }

    /// What is left of the answer.
    pub(super) fn rest(&self) -> &[u8] {
        self.rest.get().map_or(&[], |rest| rest)
    }

    /// The connection, which goes on.
    pub(super) async fn into_stream(mut this: Arc<Self>) -> Quiet {
        loop {
            match Arc::try_unwrap(this) {
                Ok(ticket) => return ticket.stream,
                // Whoever answered is about to let go of it.
                Err(shared) => this = shared,
            }
            tokio::task::yield_now().await;
        }
    }

    fn moved(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    fn pair() -> (Arc<Ticket>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Arc::new(Ticket::new(Quiet::new(ours).unwrap(), true, Boot::now())), theirs)
    }

    async fn heard(stream: &UnixStream) -> Vec<u8> {
        stream.readable().await.unwrap();
        let mut piece = vec![0; 100];
        let length = stream.try_read(&mut piece).unwrap();
        piece.truncate(length);
        piece
    }

    #[tokio::test]
    async fn a_ticket_is_answered_once() {
        let (ticket, theirs) = pair();
        assert!(ticket.is_waiting() && ticket.answer(b"yes") && !ticket.answer(b"no"));
        assert_eq!((ticket.fate(), ticket.take()), (Fate::Answered, Err(Fate::Answered)));
        assert_eq!((heard(&theirs).await.as_slice(), ticket.rest()), (b"yes".as_slice(), b"".as_slice()));
        let (ticket, _theirs) = pair();
        assert_eq!((ticket.take(), ticket.answer(b"no")), (Ok(()), false));
    }

    #[tokio::test]
    async fn of_many_who_reach_for_it_at_once_one_answers() {
        for _ in 0..200 {
            let (ticket, theirs) = pair();
            let all = std::thread::scope(|scope| {
                let reach = |n: u8| {
                    let ticket = &ticket;
                    scope.spawn(move || if n == 0 { ticket.take().is_ok() } else { ticket.answer(&[n]) })
                };
                let threads: Vec<_> = (0..4).map(reach).collect();
                threads.into_iter().map(|t| u8::from(t.join().unwrap())).sum::<u8>()
            });
            assert_eq!(all, 1);
            if ticket.fate() == Fate::Answered {
                assert_eq!(heard(&theirs).await.len(), 1);
            }
        }
    }

    #[tokio::test]
    async fn a_full_socket_leaves_it_to_its_own_task_and_a_dead_one_is_broken() {
        let (ticket, theirs) = pair();
        let piece = vec![0; 1 << 20];
        while ticket.stream().try_write(&piece).is_ok() {}
        assert!(!ticket.answer(b"yes") && ticket.is_waiting());
        drop(theirs);
        assert!(!ticket.answer(b"yes"));
        assert_eq!(ticket.fate(), Fate::Broken);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_kept() {
        let (ticket, _theirs) = pair();
        let long = vec![b'x'; 4 << 20];
        assert!(ticket.answer(&long));
        assert!(!ticket.rest().is_empty() && ticket.rest().len() < long.len());
    }

    #[tokio::test]
    async fn the_connection_is_had_back_when_nobody_holds_the_ticket() {
        let (ticket, theirs) = pair();
        let held = ticket.clone();
        let back = tokio::spawn(Ticket::into_stream(ticket));
        tokio::task::yield_now().await;
        drop(held);
        back.await.unwrap().try_write(b"on").unwrap();
        assert_eq!(heard(&theirs).await, b"on");
    }
}
