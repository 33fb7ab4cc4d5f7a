//! Waiting in a tokio runtime for a descriptor that somebody else reads.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A duplicate of a descriptor, waited for.
#[derive(Debug)]
pub struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Watches what `descriptor` stands for. Must be called in a runtime with I/O.
    ///
    /// # Errors
    /// When there is no descriptor left, or epoll does not take this one.
    pub fn new(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let own = descriptor.try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` always gives the same descriptor, and closes it only when it is dropped, which is after
        // `AsyncFd` has taken it out of epoll.
        let registered = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Returns when there is something to read, or was since the last call. Read all of it: it is told once.
    pub async fn ready(&self) {
        if let Ok(mut guard) = self.0.readable().await {
            guard.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn each_time_that_there_is_something_is_told_also_when_the_original_is_closed() {
        let (mut ours, mut theirs) = io::pipe().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let readable = Readable::new(ours.as_fd()).unwrap();
            let mut byte = [0];
            for sent in [1, 2] {
                let write = async { theirs.write_all(&[sent]).unwrap() };
                tokio::join!(readable.ready(), write);
                ours.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [sent]);
            }
            drop(ours);
            drop(theirs);
            readable.ready().await;
        });
    }
}
