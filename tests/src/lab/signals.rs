//! The ways out on which no drop runs, by Ctrl-C and by a trial that hangs: the namespaces are removed here.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::netns;

/// From here on SIGINT and SIGTERM remove every namespace of this process and end it with 130.
///
/// Both are handled, not blocked: a blocked signal would stay so in every child, whose own end by it is under test.
///
/// # Errors
/// When no handler can be installed.
pub fn clean_up_on_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        eprintln!("lab: ended by a signal: removing the world");
        netns::remove_all();
        std::process::exit(130);
    });
    Ok(())
}

/// Ends the whole process, world and all, when it is not dropped within `limit`: for work that may hang.
#[must_use = "it watches for as long as it lives"]
#[derive(Debug)]
pub struct Watchdog(#[expect(dead_code, reason = "the thread waits for its end")] Sender<()>);

impl Watchdog {
    /// Watches over `what` from now on.
    pub fn new(what: &str, limit: Duration) -> Self {
        let what = what.to_owned();
        let (alive, end) = mpsc::channel();
        thread::spawn(move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("lab: {what} still runs after {limit:?}: giving up, removing the world");
                netns::remove_all();
                std::process::exit(101);
            }
        });
        Self(alive)
    }
}
