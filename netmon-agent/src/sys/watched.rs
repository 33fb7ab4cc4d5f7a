//! A stream of which the runtime is told what it asks for, and no more.

use std::{io, os::unix::net::UnixStream};

use tokio::io::{Interest, unix::AsyncFd};

/// A stream and what of it is waited for. Tokio's own streams are woken for room to write as well.
#[derive(Debug)]
pub struct Watched(AsyncFd<UnixStream>);

impl Watched {
    /// Watches `stream`, which must not block, for `interest` alone. Must be called in a runtime with I/O.
    ///
    /// # Errors
    /// When epoll does not take it: `/proc/sys/fs/epoll/max_user_watches`.
    pub fn new(stream: UnixStream, interest: Interest) -> io::Result<Self> {
        // SAFETY: a `UnixStream` always gives the same descriptor, and closes it only when it is dropped, which is after
        // `AsyncFd` has taken it out of epoll. Nobody gets a `&mut` to it, by which another could take its place.
        let registered = unsafe { AsyncFd::register_with_interest(stream, interest) };
        Ok(Self(registered?))
    }

    /// The stream, to be used at once.
    pub fn stream(&self) -> &UnixStream {
        self.0.get_ref()
    }

    /// The stream, watched no longer.
    pub fn into_stream(self) -> UnixStream {
        self.0.into_inner()
    }

    /// Does `work` as soon as `interest`, which must be part of what is watched, says so, and again for as long as it
    /// would block.
    ///
    /// # Errors
    /// Those of `work`, and when the runtime ends.
    pub async fn when<R>(
        &self,
        interest: Interest,
        work: impl FnMut(&UnixStream) -> io::Result<R>,
    ) -> io::Result<R> {
        self.0.async_io(interest, work).await
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        fcntl::{FcntlArg, OFlag, fcntl},
        unistd::{read, write},
    };

    use super::*;

    // By calls that Miri knows of a pair of streams: of what the standard library does with them it lacks some.
    #[test]
    fn what_is_waited_for_is_told_and_the_stream_outlives_its_watch() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let watched = Watched::new(ours, Interest::READABLE).unwrap();
            let told = |stream: &UnixStream| {
                let mut bytes = [0; 8];
                Ok(read(stream, &mut bytes).map(|n| bytes[..n].to_vec())?)
            };
            // The second is polled once the first has found nothing.
            let tell = async { write(&theirs, b"one").unwrap() };
            let (told, _) = tokio::join!(watched.when(Interest::READABLE, told), tell);
            assert_eq!(told.unwrap(), b"one");
            write(watched.stream(), b"two").unwrap();
            watched.into_stream()
        });
        drop(runtime);
        drop(stream);
        let mut bytes = [0; 8];
        assert_eq!(read(&theirs, &mut bytes).unwrap(), 3);
        assert_eq!(&bytes[..3], b"two");
        assert_eq!(read(&theirs, &mut bytes).unwrap(), 0, "it is closed");
    }
}
