//! The one program of a guest of `cargo xtask kernels`: its init, and the suites that hold the kernel object's figures
//! against the guest kernel's own.
//!
//! What it finds goes to its standard output, a JSON object a line (see [`report`]); what programs say goes to the
//! console. `netmon-guest run SUITE…` does the same on a machine's own kernel, in namespaces.

mod attach;
mod attribution;
mod clock;
mod compare;
mod connections;
mod init;
mod links;
mod meter;
mod pair;
mod probe;
mod release;
mod report;
mod reset;
mod retransmit;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use netmon_tests::lab::Watchdog;

use report::{Line, say};

/// The workhorse of a guest of `cargo xtask kernels`. Needs root.
#[derive(Parser)]
#[command(name = "netmon-guest")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// As the first process of a guest: prepares it, runs the suites, turns it off.
    Init { suites: Vec<Suite> },
    /// Runs suites and tells what they found.
    Run { suites: Vec<Suite> },
    /// Answers for the figures of a namespace.
    #[command(hide = true)]
    Meter { netns: String },
    /// The agent, for the suite `clock`.
    #[command(hide = true)]
    Agent { config: PathBuf, socket: PathBuf },
}

/// What can be asked of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Load and attach every program, and see that events are counted.
    Attach,
    /// Segments sent again, under loss.
    Retransmit,
    /// Resets sent and received.
    Reset,
    /// Which device, over every kind of link.
    Attribution,
    /// Probes while the clock steps, and by a VRF.
    Probe,
    /// Verdicts of links upon links.
    Links,
    /// The whole agent while the clock is set by a year.
    Clock,
}

/// Longer than any suite takes under emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(1500);

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Init { suites } => init::become_init(&names(&suites)),
        Task::Run { suites } => suites.iter().try_for_each(|suite| run(*suite)).map(|()| say(&Line::Done)),
        Task::Meter { netns } => meter::serve(&netns),
        Task::Agent { config, socket } => clock::agent(&config, socket),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&Line::Failed { why: format!("{e:#}") });
            eprintln!("netmon-guest: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(suite: Suite) -> Result<()> {
    let _watchdog = Watchdog::new("a suite", LIMIT);
    match suite {
        Suite::Attach => attach::suite(),
        Suite::Retransmit => retransmit::suite(),
        Suite::Reset => reset::suite(),
        Suite::Attribution => attribution::suite(),
        Suite::Probe => probe::suite(),
        Suite::Links => links::suite(),
        Suite::Clock => clock::suite(),
    }
}

fn names(suites: &[Suite]) -> Vec<String> {
    suites.iter().filter_map(|s| Some(s.to_possible_value()?.get_name().to_owned())).collect()
}
