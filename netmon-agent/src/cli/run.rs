//! `netmon run`: the agent.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{agent, config::Config, output::log};

/// The agent, in the foreground.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration [default: /etc/netmon/netmon.toml; none is needed]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve metrics and state on addresses outside loopback without encryption or authentication
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    log: log::LogArgs,
}

/// Runs the agent until a signal ends it.
pub fn run(args: &RunArgs, socket: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    log::init(&args.log)?;
    let config = Config::load(args.config.as_deref())?;
    let socket = socket.or_else(|| config.socket.clone()).unwrap_or_else(netmon_client::default_socket);
    let options = agent::Options {
        config,
        config_path: args.config.clone(),
        socket,
        insecure: args.insecure,
        kernel_log: log::kernel_wanted(),
    };
    agent::run(options)?;
    Ok(ExitCode::SUCCESS)
}
