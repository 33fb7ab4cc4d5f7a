//! `netmon config`: looks at the configuration without running anything.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::text::{printable, quiet_pipe};
use crate::{
    agent,
    config::{self, Config, DEFAULT_PATH},
    source::discovery::{self, Report},
};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Exit 0 when the file is valid; else say what is wrong, where, and exit 1
    Check {
        #[command(flatten)]
        file: FileArgs,
        /// Let addresses outside loopback pass, as `netmon run --insecure` does
        #[arg(long)]
        insecure: bool,
        /// Ask every source of [discovery] too: read its files, ask its servers and DNS; exit 1 when one fails
        #[arg(long)]
        discovery: bool,
    },
    /// Print the configuration in effect, every default filled in: TOML that is read as this very configuration
    Show {
        #[command(flatten)]
        file: FileArgs,
        /// JSON instead
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the file, for editors and other programs
    Schema,
}

/// Which file.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The file [default: /etc/netmon/netmon.toml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same, as `netmon run` takes it
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FileArgs {
    fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.config.as_deref())
    }
}

/// Runs the command.
pub fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check { file, insecure, discovery } => check(file.path(), *insecure, *discovery),
        ConfigCommand::Show { file, json } => {
            let config = Config::load(file.path())?;
            let text = match json {
                true => format!("{:#}\n", config.to_json()?),
                false => config.to_toml()?,
            };
            quiet_pipe(io::stdout().lock().write_all(text.as_bytes()))
        }
        ConfigCommand::Schema => quiet_pipe(writeln!(io::stdout().lock(), "{:#}", config::schema()?)),
    }
}

fn check(path: Option<&Path>, insecure: bool, ask: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    // What passes here must start.
    agent::guard(&config, None, insecure)?;
    let shown = path.unwrap_or(Path::new(DEFAULT_PATH));
    let what = if shown.exists() { "valid" } else { "absent: every value is at its default" };
    let n = config.targets.len();
    let sources = match config.discovery.sources.len() {
        0 => String::new(),
        n => format!("; sources of targets: {n}"),
    };
    let mut out = format!("{}: {what}; targets configured: {n}{sources}\n", shown.display());
    let reports = if ask { discovery::examine(&config) } else { Vec::new() };
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
