//! A data race made on purpose, for ThreadSanitizer to find in this very program: else its silence says nothing of the others.

use std::{cell::UnsafeCell, thread};

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

#[test]
#[ignore = "a race, which `cargo xtask sanitize thread` has to find"]
fn made_on_purpose() {
    let other = thread::spawn(add);
    add();
    other.join().unwrap();
}
