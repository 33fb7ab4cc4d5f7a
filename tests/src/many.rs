//! Targets by the thousand.

use std::fmt::Write as _;

/// So many tables of a configuration, each with an address of loopback to itself.
pub fn targets_on_loopback(count: u32) -> String {
    let mut text = String::new();
    for i in 0..count {
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "[[target]]\nname = \"target-{i:06}\"\nhost = \"127.1.{}.{}\"\n",
            i / 250,
            1 + i % 250
        );
    }
    text
}
