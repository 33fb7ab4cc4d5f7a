//! The way out by Ctrl-C: no drop runs then, so the namespaces are removed here.

use std::thread;

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
