//! What the benchmarks of many targets share.

use anyhow::{Context, Result};

/// How many targets the command line asks for, 10,000 if it does not say; `None` when this is no `cargo bench`.
///
/// # Errors
/// When a word is no count.
pub fn count() -> Result<Option<u32>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; `cargo test --benches` does not, and has nothing to learn from figures.
    if !words.iter().any(|w| w == "--bench") {
        return Ok(None);
    }
    let count = words.iter().find(|w| *w != "--bench");
    let parsed = count.map_or(Ok(10_000), |w| w.parse().with_context(|| format!("{w:?} is no count")));
    parsed.map(Some)
}
