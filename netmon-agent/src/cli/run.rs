//! `netmon run`: the agent.

use std::{env, path::PathBuf, process::ExitCode};

use bytesize::ByteSize;
use clap::Args;

use crate::{
    agent,
    config::Config,
    output::log::{self, LEAST_SIZE, LogFormat, MOST_FILES},
    source::bpf,
};

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
    /// How log lines look: journald with the journal's own fields [default: text; journald where standard error is the
    /// journal's]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Log")]
    log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,netmon_agent::source=debug
    /// [default: info]
    #[arg(long, env = "NETMON_LOG", value_name = "FILTER", help_heading = "Log")]
    log_level: Option<String>,
    /// Log to this file instead of standard error, which takes what the file can't
    #[arg(long, value_name = "FILE", help_heading = "Log", value_parser = absolute)]
    log_file: Option<PathBuf>,
    /// How large the file may be before it is put aside, as FILE.1 [default: 10MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Log", value_parser = size)]
    log_max_size: Option<u64>,
    /// How many files put aside are kept [default: 5]
    #[arg(long, value_name = "N", help_heading = "Log", value_parser = clap::value_parser!(u32).range(1..=MOST_FILES as i64))]
    log_max_files: Option<u32>,
}

/// Runs the agent until a signal ends it.
///
/// # Errors
/// The configuration can't be used, or the agent can't start.
pub fn run(args: &RunArgs, socket: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config.as_deref())?;
    #[cfg(feature = "checked")]
    let config = open_if_asked(config);
    // Until it goes out of scope, which is when all is written.
    let log_settings = args.log().over(config.log.clone())?;
    let log_file = log_settings.file.clone();
    let mut log = log::init(&log_settings)?;
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
    let options = agent::Options {
        config,
        config_path: args.config.clone(),
        socket,
        insecure: args.insecure,
        log_file,
        kernel,
    };
    let prepared = agent::prepare(options);
    // Not before: a thread that was there would keep its privileges.
    log.begin()?;
    prepared.and_then(agent::run).inspect_err(|error| {
        if log.is_file() {
            tracing::error!("the agent ends: {error}");
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// LeakSanitizer needs an agent that is not shut in.
#[cfg(feature = "checked")]
fn open_if_asked(mut config: Config) -> Config {
    if crate::sys::is_left_open() {
        config.sandbox = crate::sandbox::Mode::Off;
    }
    config
}

impl RunArgs {
    /// What the command line says of the log.
    fn log(&self) -> log::Settings {
        log::Settings {
            // The variable may be set and empty, which means no more than unset.
            level: self.log_level.clone().filter(|level| !level.is_empty()),
            format: self.log_format,
            file: self.log_file.clone(),
            max_size: self.log_max_size,
            max_files: self.log_max_files.map(|n| n as usize),
        }
    }
}

/// A file's path from wherever the agent runs.
fn absolute(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|e| e.to_string())
}

fn size(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|_| "reads like 10MiB, 500KB".to_owned())?;
    if size.as_u64() < LEAST_SIZE { Err("is 16KiB at least".to_owned()) } else { Ok(size.as_u64()) }
}
