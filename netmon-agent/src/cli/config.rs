//! `netmon config`: looks at the configuration without running anything.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use crate::config::{Config, DEFAULT_PATH};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Exit 0 when the file is valid; else say what is wrong, where, and exit 1
    Check {
        /// The file [default: /etc/netmon/netmon.toml]
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Check { config: path } = command;
    let config = Config::load(path.as_deref())?;
    let shown = path.as_deref().unwrap_or(DEFAULT_PATH.as_ref());
    let what = if shown.exists() { "valid" } else { "absent: every value is at its default" };
    println!("{}: {what}; {} targets configured", shown.display(), config.targets.len());
    Ok(ExitCode::SUCCESS)
}
