//! A connection on which somebody waits: the kernel tells when there is something to read, and is not asked to tell when
//! there is room to write.
//!
//! An answer always finds room: nothing was written before it. Were the kernel to tell of room, each peer that reads its
//! answer would wake a worker, ten thousand times while the others' answers are being written.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream as Blocking,
    },
};

use tokio::{io::Interest, net::UnixStream};

use crate::sys::Watched;

/// Most that is read at once, bytes.
const PIECE: usize = 1024;

/// A stream that is watched for what comes alone.
#[derive(Debug)]
pub(super) struct Quiet(Watched);

impl Quiet {
    /// Watches `stream` anew.
    ///
    /// # Errors
    /// When the kernel has no room for the watch (`/proc/sys/fs/epoll/max_user_watches`).
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self(Watched::new(stream.into_std()?, Interest::READABLE)?))
    }

    /// The stream as it was.
    ///
    /// # Errors
    /// As [`Quiet::new`].
    pub(super) fn into_stream(self) -> io::Result<UnixStream> {
        UnixStream::from_std(self.0.into_stream())
    }

    /// Waits for something to read, and reads a piece of it. An empty one is the end.
    ///
    /// # Errors
    /// As read(2).
    pub(super) async fn next(&self) -> io::Result<Vec<u8>> {
        let read = |mut stream: &Blocking| {
            // Here and not in the future, which ten thousand have while nothing comes.
            let mut piece = [0; PIECE];
            let length = stream.read(&mut piece)?;
            Ok(piece[..length].to_vec())
        };
        self.0.when(Interest::READABLE, read).await
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// As write(2); `WouldBlock` when there is no room at all.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.stream().write(bytes)
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// When no second descriptor can be had to watch for it.
    pub(super) async fn room(&self) -> io::Result<()> {
        let twin = Watched::new(self.0.stream().try_clone()?, Interest::WRITABLE)?;
        // Of that which is ready at once nothing else is to be done here.
        twin.when(Interest::WRITABLE, |_| Ok(())).await
    }
}

impl AsFd for Quiet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.stream().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{setsockopt, sockopt::SndBuf},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Quiet, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Quiet::new(ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn it_reads_writes_and_goes_on() {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"asked").await.unwrap();
        let mut piece = [0; 16];
        assert_eq!(ours.next().await.unwrap(), b"asked");
        assert!(tokio::time::timeout(Duration::from_millis(20), ours.next()).await.is_err());
        assert_eq!(ours.try_write(b"answer").unwrap(), 6);
        assert_eq!(theirs.read(&mut piece).await.unwrap(), 6);
        let mut on = ours.into_stream().unwrap();
        theirs.write_all(b"more").await.unwrap();
        assert_eq!(on.read(&mut piece).await.unwrap(), 4);
        on.write_all(b"too").await.unwrap();
        assert_eq!(theirs.read(&mut piece).await.unwrap(), 3);
        drop(theirs);
        assert_eq!(Quiet::new(on).unwrap().next().await.unwrap(), b"");
    }

    #[tokio::test]
    async fn room_is_waited_for() {
        let (ours, mut theirs) = pair();
        setsockopt(&ours, SndBuf, &4096).unwrap();
        let piece = [0; 1000];
        let mut written = 0;
        while let Ok(length) = ours.try_write(&piece) {
            written += length;
        }
        assert!(tokio::time::timeout(Duration::from_millis(20), ours.room()).await.is_err());
        theirs.read_exact(&mut vec![0; written]).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), ours.room()).await.unwrap().unwrap();
        assert!(ours.try_write(&piece).unwrap() > 0);
    }

    /// The kernel's side of it: with this interest a peer that reads is no event (`unix_write_space`, `ep_poll_callback`).
    #[test]
    fn a_peer_that_reads_is_no_event() {
        let (ours, mut theirs) = Blocking::pair().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        epoll.add(&ours, EpollEvent::new(flags, 0)).unwrap();
        (&ours).write_all(b"answer").unwrap();
        theirs.read_exact(&mut [0; 6]).unwrap();
        assert_eq!(epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap(), 0);
        theirs.write_all(b"more").unwrap();
        assert_eq!(epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap(), 1);
    }
}
