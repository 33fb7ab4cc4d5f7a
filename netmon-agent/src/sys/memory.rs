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

/// Bytes that are allocated and not freed, of all threads (`mallinfo(3)`, for glibc has `mallinfo2` since 2.33 only). Right as long
/// as small blocks and large ones are less than 4 GiB each. Goes through the lists of what is free, under the allocator's locks.
/// None where the C library does not tell.
#[cfg(target_env = "gnu")]
pub fn allocated_memory() -> Option<u64> {
    // SAFETY: it takes nothing and returns numbers.
    let told = unsafe { libc::mallinfo() };
    // Counted without a sign, and put into an `int`.
    Some(u64::from(told.uordblks.cast_unsigned()) + u64::from(told.hblkhd.cast_unsigned()))
}

/// None: this C library does not tell.
#[cfg(not(target_env = "gnu"))]
pub fn allocated_memory() -> Option<u64> {
    None
}

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

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted_until_it_is_freed() {
        // Other tests allocate beside; not as much.
        let before = allocated_memory().unwrap();
        let large = std::hint::black_box(vec![1_u8; 512 << 20]);
        assert!(allocated_memory().unwrap() > before + (256 << 20));
        drop(large);
        let small: Vec<Vec<u8>> = (0..1 << 18).map(|_| std::hint::black_box(vec![1; 1 << 10])).collect();
        assert!(allocated_memory().unwrap() > before + (128 << 20));
        drop(small);
        assert!(allocated_memory().unwrap() < before + (128 << 20));
    }
}
