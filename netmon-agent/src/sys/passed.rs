//! Descriptors that a service manager passes at the start (sd_listen_fds(3)).

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// What was passed, with its name: once; afterwards there is none.
///
/// # Errors
/// The variables that tell of them make no sense, or a descriptor that they tell of is none.
pub fn passed_descriptors() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let all = sd_notify::listen_fds_with_names()?;
    // SAFETY: each is open, as `FD_CLOEXEC` could be set on it; by the variables they are this process's to own, and
    // nobody else here takes them, as this is done once.
    Ok(all.map(|(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name)).collect())
}
