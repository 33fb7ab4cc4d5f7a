//! Memory that the kernel's programs and this process share.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

/// The memory of a file or of a BPF map, mapped shared, to be read and written (`mmap(2)`). Whoever else has it writes at any
/// time, so it is reached word by word and atomically. It stays when the descriptor is closed.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: nothing of a mapping belongs to a thread.
unsafe impl Send for Mapped {}
// SAFETY: it is reached by atomics alone.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the first so many bytes.
    ///
    /// # Errors
    /// None asked for; no memory; or what the descriptor is of can't be mapped, as a BPF map without `BPF_F_MMAPABLE`, and
    /// all of them before Linux 5.5.
    pub fn new(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses a place that nothing is at.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at no address"))?;
        Ok(Self { start, bytes })
    }

    /// The word of 32 bits that is so many bytes from the beginning.
    ///
    /// # Panics
    /// When it is not within the mapping, or not at a multiple of its size.
    pub fn word(&self, at: usize) -> &AtomicU32 {
        self.check(at, 4);
        // SAFETY: aligned and within, as was looked at; the mapping outlives the reference, and everybody here goes by atomics.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    /// The word of 64 bits that is so many bytes from the beginning.
    ///
    /// # Panics
    /// As [`word`](Self::word).
    pub fn long(&self, at: usize) -> &AtomicU64 {
        self.check(at, 8);
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    fn check(&self, at: usize, size: usize) {
        // A mapping begins at a page.
        let is_within = at.checked_add(size).is_some_and(|end| end <= self.bytes);
        assert!(is_within && at.is_multiple_of(size), "{size} bytes at {at} of {}", self.bytes);
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it is what was mapped, and nobody has a reference to it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd, sync::atomic::Ordering::Relaxed};

    use super::*;
    use crate::sys::file_in_memory;

    #[test]
    fn two_mappings_are_one_memory() {
        let file = std::fs::File::from(file_in_memory(c"test").unwrap());
        file.set_len(4096).unwrap();
        let (one, other) = (Mapped::new(file.as_fd(), 24).unwrap(), Mapped::new(file.as_fd(), 4096).unwrap());
        drop(file);
        one.long(16).store(u64::MAX - 1, Relaxed);
        assert_eq!(other.long(16).load(Relaxed), u64::MAX - 1);
        other.word(8).fetch_add(7, Relaxed);
        assert_eq!(one.word(8).load(Relaxed), 7);
        for (at, long) in [(24, false), (22, false), (20, true), (usize::MAX, false)] {
            let outside = std::panic::catch_unwind(|| {
                if long { one.long(at).load(Relaxed) } else { u64::from(one.word(at).load(Relaxed)) }
            });
            assert!(outside.is_err(), "{at}");
        }
    }

    #[test]
    fn what_can_not_be_mapped_is_told() {
        let (end, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(Mapped::new(end.as_fd(), 4096).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        let file = file_in_memory(c"test").unwrap();
        assert!(Mapped::new(file.as_fd(), 0).is_err());
    }
}
