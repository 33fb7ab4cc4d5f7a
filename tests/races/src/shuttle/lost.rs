//! In place of the thread that writes the log: what of it the queue looks at.

use std::sync::atomic::{AtomicU64, Ordering};

/// As the metrics have it.
pub static LOST: AtomicU64 = AtomicU64::new(0);

pub fn count_lost(lines: u64) {
    LOST.fetch_add(lines, Ordering::SeqCst);
}
