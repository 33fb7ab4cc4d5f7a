//! `netmon config`: looks at the configuration without running anything.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Subcommand;

use super::text::quiet_pipe;
use crate::{
    agent::AgentError,
    config::{Config, DEFAULT_PATH},
};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Exit 0 when the file is valid; else say what is wrong, where, and exit 1
    Check {
        /// The file [default: /etc/netmon/netmon.toml]
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        /// The same, as `netmon run` takes it
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Let addresses outside loopback pass, as `netmon run --insecure` does
        #[arg(long)]
        insecure: bool,
    },
}

/// Runs the command.
pub fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Check { file, config: path, insecure } = command;
    let path = file.as_ref().or(path.as_ref());
    let config = Config::load(path.map(PathBuf::as_path))?;
    // What passes here must start.
    if let Some(address) = config.exposed().filter(|_| !insecure) {
        return Err(AgentError::Exposed(address).into());
    }
    let shown = path.map_or(DEFAULT_PATH.as_ref(), PathBuf::as_path);
    let what = if shown.exists() { "valid" } else { "absent: every value is at its default" };
    let n = config.targets.len();
    quiet_pipe(writeln!(io::stdout().lock(), "{}: {what}; targets configured: {n}", shown.display()))
}
