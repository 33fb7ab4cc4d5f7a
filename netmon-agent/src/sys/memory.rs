//! Memory as the allocator and the kernel hand it out.

use std::{
    ffi::CStr,
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// Has all threads allocate from so many stores at most (`M_ARENA_MAX` of `mallopt(3)`), where the C library has several: by
/// default glibc makes eight for each processor, one for each thread that happens to meet another, and each keeps what its busiest
/// moment took. To be called before there is a second thread.
#[cfg(target_env = "gnu")]
pub fn share_stores(most: u8) {
    // SAFETY: it takes numbers alone, and sets what is looked at when a thread first allocates.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, i32::from(most));
    }
}

/// Does nothing: this C library has no such call.
#[cfg(not(target_env = "gnu"))]
pub fn share_stores(_most: u8) {}

/// Gives the kernel back what was freed (`malloc_trim(3)`), where the C library can. Takes a lock of the allocator for
/// as long as it takes: milliseconds for hundreds of megabytes.
#[cfg(target_env = "gnu")]
pub fn give_back_memory() {
    // SAFETY: it takes no pointer and touches nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Does nothing: this C library has no such call.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_memory() {}

/// A file in memory that may be sealed (`memfd_create(2)`), closed when a program is executed. By number: glibc has no name
/// for the call before 2.27.
///
/// # Errors
/// No descriptor, or no memory.
pub fn file_in_memory(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC;
    // SAFETY: the name ends with NUL and outlives the call, which keeps nothing of it.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
