//! `netmon run`: the agent.

use std::{env, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{agent, config::Config, output::log, source::bpf};

/// The agent, in the foreground.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration [default: /etc/netmon/netmon.toml; none is needed]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve metrics and state on addresses outside loopback without encryption or authentication
    #[arg(long)]
    insecure: bool,
    /// The kernel's types in a file, for a kernel that does not carry them itself
    #[arg(long, env = "NETMON_BTF", value_name = "FILE")]
    btf: Option<PathBuf>,
    /// How log lines look, on standard error
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: log::LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,netmon_agent::source=debug
    #[arg(long, env = "NETMON_LOG", default_value = "info", value_name = "FILTER")]
    log_level: String,
}

/// Runs the agent until a signal ends it.
pub fn run(args: &RunArgs, socket: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    // The variable may be set and empty, which means no more than unset.
    let filter = if args.log_level.is_empty() { "info" } else { &args.log_level };
    log::init(args.log_format, filter)?;
    let config = Config::load(args.config.as_deref())?;
    let socket = socket
        .or_else(|| env::var_os("NETMON_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from))
        .or_else(|| config.socket.clone())
        .unwrap_or_else(agent::default_socket);
    let kernel = bpf::Options {
        log: tracing::enabled!(tracing::Level::DEBUG),
        btf: args.btf.clone().or_else(|| config.kernel.btf.clone()),
        all_namespaces: config.kernel.all_namespaces,
        rtt_samples: config.kernel.rtt_samples,
        drop_reasons: config.kernel.drop_reasons.clone(),
    };
    let options =
        agent::Options { config, config_path: args.config.clone(), socket, insecure: args.insecure, kernel };
    agent::run(options)?;
    Ok(ExitCode::SUCCESS)
}
