//! The command line: one file a subcommand.

mod config;
mod doctor;
mod probe;
mod run;
mod status;
mod text;
mod wait;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Knows whether this machine's network is healthy, and lets other programs wait for it.
#[derive(Debug, Parser)]
#[command(name = "netmon", version, arg_required_else_help = true)]
struct Cli {
    /// The agent's socket [default: /run/netmon/netmon.sock, or $XDG_RUNTIME_DIR/netmon.sock for an ordinary user]
    #[arg(long, global = true, env = "NETMON_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent in the foreground
    Run(run::RunArgs),
    /// Show the state of the network, with its reasons
    Status(status::StatusArgs),
    /// Wait until the network is as asked for
    Wait(wait::WaitArgs),
    /// Print each change as it happens
    Watch(watch::WatchArgs),
    /// Probe hosts now, without an agent
    Probe(probe::ProbeArgs),
    /// Tell what works on this machine, what does not, and what mends it
    Doctor(doctor::DoctorArgs),
    /// Check the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Parses the command line, runs the command, and gives its exit code: 2 for a wrong command line, 1 for an error that
/// the command has no code of its own for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.socket;
    let result = match cli.command {
        Command::Run(args) => run::run(&args, socket),
        Command::Status(args) => status::run(&args, &client_socket(socket)),
        Command::Wait(args) => wait::run(&args, &client_socket(socket)),
        Command::Watch(args) => watch::run(&args, &client_socket(socket)),
        Command::Probe(args) => probe::run(&args),
        Command::Doctor(args) => doctor::run(&args, &client_socket(socket)),
        Command::Config(command) => config::run(&command),
    };
    result.unwrap_or_else(|error| {
        anstream::eprintln!("netmon: {error:#}");
        ExitCode::FAILURE
    })
}

fn client_socket(named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(netmon_client::Client::default_socket)
}
