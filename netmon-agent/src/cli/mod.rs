//! The command line: one file a subcommand.

pub mod status;
mod text;
pub mod wait;
pub mod watch;
