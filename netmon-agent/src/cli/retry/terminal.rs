//! The controlling terminal, handed to the child and taken back, as a shell does with its jobs.

use std::{
    fs::{self, File, OpenOptions},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::{
    sys::signal::{Signal, killpg, raise},
    unistd::{Pid, getpgid, getpgrp, getppid, getsid, tcgetpgrp, tcsetpgrp},
};

/// The controlling terminal. SIGTTOU has to be blocked wherever this is used: tcsetpgrp(3) from the background sends it.
#[derive(Debug)]
pub(super) struct Terminal(File);

impl Terminal {
    /// The one of this session; none under cron, systemd and the like.
    pub(super) fn open() -> Option<Self> {
        let flags = libc::O_NOCTTY | libc::O_CLOEXEC;
        OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/tty").ok().map(Self)
    }

    /// Itself, where our own group is at its foreground: only then is it ours to hand on.
    pub(super) fn in_foreground(&self) -> Option<BorrowedFd<'_>> {
        (tcgetpgrp(&self.0) == Ok(getpgrp())).then(|| self.0.as_fd())
    }

    /// Puts `group` at its foreground.
    pub(super) fn give(&self, group: Pid) {
        let _ = tcsetpgrp(&self.0, group);
    }

    /// Puts our own group at its foreground, whoever is there.
    pub(super) fn take(&self) {
        self.give(getpgrp());
    }

    /// Puts our own group back where `group` is now.
    pub(super) fn take_back(&self, group: Pid) {
        if tcgetpgrp(&self.0) == Ok(group) {
            let _ = tcsetpgrp(&self.0, getpgrp());
        }
    }
}

/// Stands still, with all of our own group, until somebody says SIGCONT: what the shell that started us expects when its
/// user types ^Z. False where nobody would ever say so.
pub(super) fn stand_still() -> bool {
    if !has_shell() {
        return false;
    }
    // The others of our group (of a pipeline) as the terminal would have it; we ourselves block it.
    let _ = killpg(getpgrp(), Signal::SIGTSTP);
    raise(Signal::SIGSTOP).is_ok()
}

/// Whether our group has a parent that does job control for it: a process of the same session in another group. The
/// group of a session's leader, and one whose shell is gone, has none (orphaned, POSIX 3.264).
fn has_shell() -> bool {
    let (group, session) = (getpgrp(), getsid(None).ok());
    let mut parent = getppid();
    // Scripts between the shell and us are of our own group.
    for _ in 0..64 {
        if parent.as_raw() <= 0 || getsid(Some(parent)).ok() != session {
            return false;
        }
        if getpgid(Some(parent)) != Ok(group) {
            return true;
        }
        let Some(next) = parent_of(parent) else { return false };
        parent = next;
    }
    false
}

/// The fourth field of `/proc/PID/stat`.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok().map(Pid::from_raw)
}
