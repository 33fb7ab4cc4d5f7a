//! Faults of memory and of threads made on purpose, for a checker to find in this very program: else its silence says nothing of
//! the others. No part of what is built otherwise.

use std::{cell::UnsafeCell, hint::black_box, thread};

/// A number that two threads write without asking anybody.
struct Racy(UnsafeCell<u64>);

// SAFETY: there is none; it is shared to be found.
unsafe impl Sync for Racy {}

static RACY: Racy = Racy(UnsafeCell::new(0));

fn add() {
    for _ in 0..1000 {
        // SAFETY: there is none, but what is torn is a number that nobody reads.
        unsafe { *RACY.0.get() += 1 };
    }
}

/// For ThreadSanitizer.
pub fn race() {
    let other = thread::spawn(add);
    add();
    // It can't panic.
    let _ = other.join();
}

/// For AddressSanitizer, which ends the process by it.
pub fn use_after_free() {
    let freed = Box::into_raw(Box::new(7_u8));
    // SAFETY: of the first, the box is this function's own; of the second there is none.
    let read = unsafe {
        drop(Box::from_raw(freed));
        freed.read_volatile()
    };
    black_box(read);
}

/// For LeakSanitizer, at the end of the process. On a thread that is gone by then, so that none of its registers points there;
/// and several, as an old word on some stack may.
pub fn leak() {
    let leaking = thread::spawn(|| {
        for _ in 0..100 {
            black_box(Box::leak(Box::new([7_u8; 100])));
        }
    });
    let _ = leaking.join();
}

#[cfg(test)]
mod tests {
    #[test]
    #[ignore = "a fault, which `cargo xtask sanitize thread` has to find"]
    fn race() {
        super::race();
    }

    #[test]
    #[ignore = "a fault, which `cargo xtask sanitize address` has to find"]
    fn use_after_free() {
        super::use_after_free();
    }

    #[test]
    #[ignore = "a fault, which `cargo xtask sanitize address` has to find"]
    fn leak() {
        super::leak();
    }
}
