//! Memory as the allocator and the kernel hand it out.

use std::{
    ffi::CStr,
    io,
    mem::MaybeUninit,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// A large page on most machines, bytes. Where they are larger the advice is of no use, and does no harm.
const LARGE: usize = 2 << 20;

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

/// Advises the kernel to lay large pages below a buffer that is about to be written (`madvise(2)`, `MADV_HUGEPAGE`): one
/// fault then stands for 512. Less than a large page is left as it is.
pub fn advise_large_pages(buffer: &mut [MaybeUninit<u8>]) {
    let range = buffer.as_mut_ptr_range();
    let start = (range.start as usize).next_multiple_of(LARGE);
    let end = range.end as usize / LARGE * LARGE;
    if start >= end {
        return;
    }
    let skipped = start - range.start as usize;
    // SAFETY: from `start` to `end` is within the buffer, and the advice changes nothing of what is there. A kernel without
    // large pages refuses it, which is no matter.
    unsafe {
        libc::madvise(buffer[skipped..].as_mut_ptr().cast(), end - start, libc::MADV_HUGEPAGE);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_written_and_read_as_before() {
        for size in [0, 1, LARGE - 1, LARGE, 3 * LARGE + 5] {
            let mut buffer = Vec::with_capacity(size);
            advise_large_pages(buffer.spare_capacity_mut());
            buffer.extend((0..size).map(|i| i as u8));
            assert!(buffer.iter().enumerate().all(|(i, byte)| *byte == i as u8));
        }
    }
}
