//! The ways out on which no drop runs, by Ctrl-C and by a trial that hangs: the namespaces are removed here.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::netns;

/// From here on SIGINT and SIGTERM remove every namespace of this process and end it with 130.
///
/// Call it before any thread starts: the signals are blocked for the threads that come after. Children do not
/// inherit that, as the standard library starts them with an empty mask.
pub fn clean_up_on_signals() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    if signals.thread_block().is_err() {
        return;
    }
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            eprintln!("lab: {signal}: removing the world");
            netns::remove_all();
            std::process::exit(130);
        }
    });
}

/// Ends the whole process, world and all, when it is not dropped within `limit`: for work that may hang.
#[must_use = "it watches for as long as it lives"]
#[derive(Debug)]
pub struct Watchdog(#[expect(dead_code, reason = "the thread waits for its end")] Sender<()>);

impl Watchdog {
    /// Watches over `what` from now on.
    pub fn new(what: &'static str, limit: Duration) -> Self {
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
