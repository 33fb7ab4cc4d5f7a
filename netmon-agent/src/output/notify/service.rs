//! The thread that tells, from its start to its end.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::{oneshot, watch};

use super::{Notifier, Runner, counters::Counters, following::Following, webhook::LookUp, worker::Shared};
use crate::state::Board;

/// Tells notifiers, as soon as there are any. Dropped, it ends at once; [`Service::stop`] lets what is being told end.
#[derive(Debug)]
pub struct Service {
    shared: Shared,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    notifiers: watch::Sender<Arc<Vec<Notifier>>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Service {
    /// Of `board`; webhooks' names are looked up by `look_up`, and commands run by `runner`, or by this process where there is
    /// none.
    pub fn new(board: Board, counters: Counters, look_up: LookUp, runner: Option<Runner>) -> Self {
        let shared = Shared { board, counters, look_up, runner, walls: Arc::default() };
        Self { shared, running: None }
    }

    /// From now on these are told, and no others. One that is the same as before goes on; one that is another by the same
    /// name knows what that was told, and tells what that had not told yet.
    ///
    /// # Errors
    /// No thread, no runtime: the first time that there is anybody to tell.
    pub fn configure(&mut self, notifiers: &[Notifier]) -> io::Result<()> {
        let notifiers = Arc::new(notifiers.to_vec());
        match &self.running {
            Some(running) => drop(running.notifiers.send_replace(notifiers)),
            None if notifiers.is_empty() => {}
            None => self.running = Some(Running::start(self.shared.clone(), notifiers)?),
        }
        Ok(())
    }

    /// Ends: what is being told has two seconds, what waits is not told.
    pub fn stop(self) {
        if let Some(Running { stop, thread, .. }) = self.running {
            // It may have ended by itself.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl Running {
    fn start(shared: Shared, notifiers: Arc<Vec<Notifier>>) -> io::Result<Self> {
        // Else nobody would learn of a program's end where whoever started the agent ignores it.
        crate::sys::keep_ended_children().map_err(io::Error::from)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (notifiers, configured) = watch::channel(notifiers);
        let (stop, stopped) = oneshot::channel();
        // As of now: what happens until the thread runs is told of as well.
        let following = Following::new(shared, configured);
        let thread = thread::Builder::new().name("notify".to_owned()).spawn(move || {
            runtime.block_on(following.follow(stopped));
            // A program that does not end has been ended; a thread that waits for it may be a moment late.
            runtime.shutdown_background();
        })?;
        Ok(Self { notifiers, stop, thread })
    }
}
