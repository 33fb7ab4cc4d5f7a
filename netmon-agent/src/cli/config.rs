//! `netmon config`: looks at the configuration without running anything.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Subcommand;

use super::text::{printable, quiet_pipe};
use crate::{
    agent::AgentError,
    config::{Config, DEFAULT_PATH},
    source::discovery::{self, Report},
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
        /// Ask every source of [discovery] too: read its files, ask its servers and DNS; exit 1 when one fails
        #[arg(long)]
        discovery: bool,
    },
}

/// Runs the command.
pub fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Check { file, config: path, insecure, discovery: ask } = command;
    let path = file.as_ref().or(path.as_ref());
    let config = Config::load(path.map(PathBuf::as_path))?;
    // What passes here must start.
    if let Some(address) = config.exposed().filter(|_| !insecure) {
        return Err(AgentError::Exposed(address).into());
    }
    let shown = path.map_or(DEFAULT_PATH.as_ref(), PathBuf::as_path);
    let what = if shown.exists() { "valid" } else { "absent: every value is at its default" };
    let n = config.targets.len();
    let sources = match config.discovery.sources.len() {
        0 => String::new(),
        n => format!("; sources of targets: {n}"),
    };
    let mut out = format!("{}: {what}; targets configured: {n}{sources}\n", shown.display());
    let reports = if *ask { discovery::examine(&config) } else { Vec::new() };
    for report in &reports {
        let Report { mechanism, name, targets, documents, problems, .. } = report;
        // Writing to a String can't fail.
        let _ = writeln!(out, "{mechanism} {}: targets found: {targets}, in {documents}", printable(name));
        for problem in problems {
            let _ = writeln!(out, "  {}", printable(problem));
        }
    }
    quiet_pipe(io::stdout().lock().write_all(out.as_bytes()))?;
    Ok(if reports.iter().all(Report::is_well) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
