//! Trials in the lab: each makes its own world, and most run the real agent in it.
//!
//! Without root, or where no namespace can be made, every trial is reported as ignored; with `CI` set in the
//! environment that is a failure instead.

mod added;
mod clients;
mod connections;
mod dashboards;
mod diagnosis;
mod discovery;
mod examples;
mod figures;
mod history;
mod input;
mod kernel;
mod life;
mod links;
mod notify;
mod page;
mod retry;
mod scenarios;
mod targets;
mod verdict;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use netmon_tests::{agent, lab};

/// A trial: its name and what it does.
type Scenario = (&'static str, fn() -> Result<()>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // More at once on two cores, and the agents' own lateness would show as inconclusive probes.
    arguments.test_threads.get_or_insert(3);
    if let Err(e) = lab::clean_up_on_signals() {
        eprintln!("lab: a run ended by a signal will leave its namespaces to the next one: {e}");
    }

    let obstacle = lab::obstacle();
    if let Some(why) = &obstacle {
        eprintln!("lab: every trial is ignored: {why}");
    }
    let in_ci = std::env::var_os("CI").is_some();
    let trials = [
        world::SCENARIOS,
        verdict::SCENARIOS,
        diagnosis::SCENARIOS,
        targets::SCENARIOS,
        added::SCENARIOS,
        discovery::SCENARIOS,
        connections::SCENARIOS,
        life::SCENARIOS,
        clients::SCENARIOS,
        links::SCENARIOS,
        retry::SCENARIOS,
        notify::SCENARIOS,
        input::SCENARIOS,
        figures::SCENARIOS,
        dashboards::SCENARIOS,
        history::SCENARIOS,
        page::SCENARIOS,
        kernel::SCENARIOS,
        scenarios::SCENARIOS,
        examples::SCENARIOS,
    ]
    .concat()
    .into_iter()
    .map(|(name, scenario)| Trial::test(name, move || attempt(name, scenario)));
    let of_files = scenarios::trials()
        .unwrap_or_else(|why| vec![Trial::test("scenario::the_files_can_be_read", || Err(why))]);
    let ignored = obstacle.is_some() && !in_ci;
    let trials = trials.chain(of_files).map(|t| t.with_ignored_flag(ignored)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Many times what the longest trial takes.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs one trial; where it fails, what its agents logged is part of the message.
fn attempt(name: &str, scenario: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
    let _watchdog = lab::Watchdog::new(name, LIMIT);
    // Those of the trials before this one on the same thread.
    drop(agent::logs_of_this_thread());
    scenario().map_err(|e| Failed::from(format!("{e:#}\n{}", agent::logs_of_this_thread())))
}
