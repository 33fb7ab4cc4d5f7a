//! `netmon retry`: the real binary with real children, beside an API whose state the tests publish.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

mod codes;
mod outage;
mod process;
mod terminal;
mod world;
