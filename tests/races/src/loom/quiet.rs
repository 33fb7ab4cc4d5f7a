//! In place of the product's: a connection that counts what is written to it.

use std::io;

use loom::sync::atomic::{AtomicUsize, Ordering};

/// What a connection does with an answer.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// Takes it.
    Takes,
    /// Takes its first byte.
    TakesOne,
    /// Has no room.
    Full,
}

#[derive(Debug)]
pub struct Quiet {
    peer: Peer,
    written: AtomicUsize,
}

impl Quiet {
    pub fn new(peer: Peer) -> Self {
        Self { peer, written: AtomicUsize::new(0) }
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match self.peer {
            Peer::Takes => bytes.len(),
            Peer::TakesOne => 1,
            Peer::Full => return Err(io::ErrorKind::WouldBlock.into()),
        };
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(taken)
    }

    /// How often something was written.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }
}
