//! A thread inside a namespace that serves sockets until it is told to stop.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::netns::Netns;

/// The thread and the way to end it; dropping it does.
#[derive(Debug)]
pub(super) struct Service {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Opens sockets inside `netns` and calls `serve` with the index of each that has something to read.
    ///
    /// # Errors
    /// When `open` fails; sockets are open when this returns, so nobody has to wait for the service.
    pub(super) fn start<S: AsFd + Send + 'static>(
        netns: &Netns,
        open: impl FnOnce() -> Result<Vec<S>> + Send,
        serve: impl FnMut(&S) + Send + 'static,
    ) -> Result<Self> {
        // A socket belongs to the namespace it was opened in for life, whichever thread serves it.
        let sockets = netns.run(open)??;
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let told = stop.clone();
        let thread = thread::Builder::new()
            .name("lab-service".to_owned())
            .spawn(move || work(&told, &sockets, serve))
            .map_err(|e| anyhow!("starting a service: {e}"))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn work<S: AsFd>(stop: &EventFd, sockets: &[S], mut serve: impl FnMut(&S)) {
    let descriptors = || sockets.iter().map(S::as_fd).chain([stop.as_fd()]);
    loop {
        let mut polled: Vec<_> = descriptors().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if poll(&mut polled, PollTimeout::NONE).is_err() {
            continue;
        }
        let ready: Vec<_> = polled.iter().map(|p| p.any().unwrap_or(false)).collect();
        if ready[sockets.len()] {
            return;
        }
        sockets.iter().zip(ready).filter(|(_, ready)| *ready).for_each(|(socket, _)| serve(socket));
    }
}
