//! Memory that the allocator holds in store.

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
