//! The command line: one file a subcommand.

mod again;
mod bars;
mod busy;
pub mod completions;
pub mod config;
pub mod doctor;
#[cfg(test)]
mod documents;
pub mod history;
pub mod man;
pub mod probe;
pub mod retry;
pub mod run;
pub mod status;
pub mod target;
mod text;
pub mod top;
pub mod trace;
pub mod wait;
pub mod watch;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::output::notify::runner;

/// Knows whether this machine's network is healthy, and lets other programs wait for it.
#[derive(Debug, Parser)]
#[command(name = "netmon", version, arg_required_else_help = true)]
struct Cli {
    /// The agent's socket [default: $NETMON_SOCKET; else /run/netmon/netmon.sock, or $XDG_RUNTIME_DIR/netmon.sock for
    /// an ordinary user]
    // The variable is read further down: set but empty it counts as unset, which clap would refuse.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// What is said of one here stands in place of all that its arguments say of it; where that is more than a line, nothing
/// is.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent in the foreground
    Run(run::RunArgs),
    /// Show the state of the network, with its reasons
    Status(status::StatusArgs),
    Wait(wait::WaitArgs),
    /// Print each change as it happens
    Watch(watch::WatchArgs),
    Top(top::TopArgs),
    Retry(Box<retry::RetryArgs>),
    /// Probe hosts now, without an agent
    Probe(probe::ProbeArgs),
    /// Show the way to a host, and the largest packet that passes, without an agent
    Trace(trace::TraceArgs),
    History(history::HistoryArgs),
    /// Tell what works on this machine, what does not, and what mends it
    Doctor(doctor::DoctorArgs),
    /// Add targets to the running agent, and remove them
    #[command(subcommand)]
    Target(target::TargetCommand),
    /// Check the configuration, show it, and print its schema
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all of them to a directory
    Man(man::ManArgs),
}

/// Parses the command line, runs the command, and gives its exit code: 2 for a wrong command line (125 where it is that of
/// `retry`, whose 2 is a command's own), 1 for an error that the command has no code of its own for.
pub fn main() -> ExitCode {
    #[cfg(feature = "checked")]
    crate::sys::begin_reports().expect("a checker that can't report is worth nothing");
    let mut words = std::env::args_os();
    if words.next().is_some_and(|name| name == runner::NAME) {
        return runner::serve(words);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() && is_retry(std::env::args_os().skip(1)) => {
            // As clap itself does it: where nobody reads there is nobody to tell.
            let _ = e.print();
            return ExitCode::from(retry::OWN_ERROR);
        }
        Err(e) => e.exit(),
    };
    let socket = cli.socket;
    let result = match cli.command {
        Command::Run(args) => run::run(&args, socket),
        Command::Status(args) => status::run(&args, &client_socket(socket)),
        Command::Wait(args) => wait::run(&args, &client_socket(socket)),
        Command::Watch(args) => watch::run(&args, &client_socket(socket)),
        Command::Top(args) => top::run(&args, &client_socket(socket)),
        Command::Retry(args) => retry::run(&args, &client_socket(socket)),
        Command::Probe(args) => probe::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::History(args) => history::run(&args, &client_socket(socket)),
        Command::Doctor(args) => doctor::run(&args, &client_socket(socket)),
        Command::Target(command) => target::run(command, &client_socket(socket)),
        Command::Config(command) => config::run(&command),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    };
    result.unwrap_or_else(|error| {
        text::say(format_args!("netmon: {}", told(&error)));
        ExitCode::FAILURE
    })
}

/// Whether a command line is that of `retry`: the first word that is no option and no option's value.
fn is_retry(words: impl Iterator<Item = OsString>) -> bool {
    let mut words = words.skip_while(|word| word.to_string_lossy().starts_with("--socket="));
    match words.next() {
        Some(word) if word == "--socket" => words.nth(1).is_some_and(|word| word == "retry"),
        word => word.is_some_and(|word| word == "retry"),
    }
}

/// An error with its causes, each said once: many errors' words hold those of their cause already.
fn told(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn client_socket(named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(netmon_client::Client::default_socket)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("can't read it: {source}; make it readable")]
        struct Unreadable {
            source: std::io::Error,
        }
        let error = || Unreadable { source: std::io::Error::from_raw_os_error(2) };
        let text = "can't read it: No such file or directory (os error 2); make it readable";
        assert_eq!(told(&error().into()), text);
        assert_eq!(
            told(&Err::<(), _>(error()).context("no start").unwrap_err()),
            format!("no start: {text}")
        );
    }

    #[test]
    fn a_wrong_line_of_retry_is_told_from_others() {
        let of = |line: &str| is_retry(line.split(' ').map(OsString::from));
        for line in ["retry", "retry -- x", "--socket /s retry x", "--socket=/s retry"] {
            assert!(of(line), "{line}");
        }
        for line in ["", "wait retry", "--socket retry wait", "--socket", "status", "--no retry"] {
            assert!(!of(line), "{line}");
        }
    }

    #[test]
    fn the_socket_may_be_named_anywhere_on_the_line() {
        for line in
            ["--socket /s status", "status --socket /s", "config --socket /s check", "wait --socket=/s"]
        {
            let cli = Cli::try_parse_from(std::iter::once("netmon").chain(line.split(' '))).unwrap();
            assert_eq!(cli.socket, Some(PathBuf::from("/s")), "{line}");
        }
    }
}
