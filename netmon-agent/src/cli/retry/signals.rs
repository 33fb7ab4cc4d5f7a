//! The signals that netmon passes on, as a descriptor to wait for.

use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{SigSet, SigmaskHow, Signal, killpg, raise},
    signalfd::{SfdFlags, SignalFd},
};
use nix::unistd::getpgrp;

use crate::sys;

/// What is read instead of being obeyed.
const HEARD: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGCHLD,
];

/// Signals, blocked for as long as this lives. To be made before any thread is.
#[derive(Debug)]
pub(super) struct Signals {
    descriptor: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Blocks them in this thread, and so in all that it starts.
    ///
    /// # Errors
    /// No descriptor can be had.
    pub(super) fn block() -> nix::Result<Self> {
        sys::keep_ended_children()?;
        let heard: SigSet = HEARD.into_iter().collect();
        let mut blocked = heard;
        // Whoever hands the terminal on from the background would be stopped for it.
        blocked.add(Signal::SIGTTOU);
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let descriptor = SignalFd::with_flags(&heard, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor, before })
    }

    /// What was blocked before: what a child is to begin with.
    pub(super) fn before(&self) -> SigSet {
        self.before
    }

    /// Readable when there is a signal.
    pub(super) fn descriptor(&self) -> &SignalFd {
        &self.descriptor
    }

    /// The next one.
    pub(super) fn next(&self) -> Option<Signal> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        Signal::try_from(info.ssi_signo as i32).ok()
    }

    /// Dies of `signal`, as a command that we stand for did: who waits for us sees that. With `all` the rest of our process
    /// group gets it too. Returns where the signal is ignored or does not kill.
    pub(super) fn die_of(&self, signal: Signal, all: bool) {
        // The command has dumped its core already, where it was to.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        if all {
            let _ = killpg(getpgrp(), signal);
        }
        let _ = raise(signal);
        let _ = SigSet::from(signal).thread_unblock();
    }
}
