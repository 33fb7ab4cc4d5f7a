//! The signals that netmon passes on, as a descriptor to wait for.

use std::fs;

use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{SigSet, SigmaskHow, Signal, killpg, raise},
    signalfd::{SfdFlags, SignalFd},
};
use nix::unistd::getpgrp;

use crate::sys;

/// What is read instead of being obeyed, in any case.
const HEARD: [Signal; 2] = [Signal::SIGCONT, Signal::SIGCHLD];
/// What is read unless whoever started us ignores it: nohup(1), and a shell for the jobs in a script's background. The
/// kernel keeps a blocked signal to be read even where it is ignored (signalfd(2)).
const PASSED_ON: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
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
        let ignored = ignored();
        let passed_on = PASSED_ON.into_iter().filter(|signal| !is_in(*signal, ignored));
        let heard: SigSet = passed_on.chain(HEARD).collect();
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

/// What this process ignores, a bit each (proc_pid_status(5)).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn is_in(signal: Signal, mask: u64) -> bool {
    mask >> (signal as i32 - 1) & 1 == 1
}
