//! The line by which a trial or a measurement tells the figure of a promise: `cargo xtask promises` reads it.

use std::fmt::Display;

/// Tells it: `promise ID: FIGURE` on standard error, in one piece. `ID` is one of `tests/promises.toml`.
pub fn promise(id: &str, figure: impl Display) {
    eprintln!("{}", format_args!("promise {id}: {figure}"));
}
