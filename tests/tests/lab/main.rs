//! Trials in the lab: each makes its own world, and most run the real agent in it.
//!
//! Without root, or where no namespace can be made, every trial is reported as ignored; with `CI` set in the
//! environment that is a failure instead.

mod added;
mod checked;
mod clients;
mod connections;
mod dashboards;
mod diagnosis;
mod discovery;
mod examples;
mod faults;
mod figures;
mod history;
mod input;
mod kernel;
mod life;
mod links;
mod names;
mod notify;
mod package;
mod page;
mod privilege;
mod retry;
mod scenarios;
mod soak;
mod targets;
mod verdict;
mod world;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use netmon_tests::{agent, lab};

/// A trial: its name and what it does.
type Scenario = (&'static str, fn() -> Result<()>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // More at once on two cores, and the agents' own lateness would show as inconclusive probes.
    let at_once = *arguments.test_threads.get_or_insert(3);
    if let Err(e) = lab::clean_up_on_signals() {
        eprintln!("lab: a run ended by a signal will leave its namespaces to the next one: {e}");
    }

    let obstacle = lab::obstacle();
    if let Some(why) = &obstacle {
        eprintln!("lab: every trial is ignored: {why}");
    }
    let ignored = obstacle.is_some() && std::env::var_os("CI").is_none();
    let conclusion = libtest_mimic::run(&arguments, trials(|_| true, ignored));
    let failed = failures();
    let all = failed.len() as u64 == conclusion.num_failed;
    let alone = at_once == 1 || conclusion.num_passed + conclusion.num_failed == 1;
    if alone || !all || failed.is_empty() || failed.len() > SECOND_CHANCES {
        return conclusion.exit_code();
    }
    // Trials hold the agent to deadlines, which are for a machine that does little else: what failed beside others is played
    // again by itself, for all to see.
    eprintln!("lab: failed beside others, and played again, each alone: {}", failed.join(", "));
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials(|name| failed.iter().any(|f| f == name), ignored)).exit_code()
}

/// Those of the trials that are wanted.
fn trials(wanted: impl Fn(&str) -> bool, ignored: bool) -> Vec<Trial> {
    let trials = [
        world::SCENARIOS,
        verdict::SCENARIOS,
        diagnosis::SCENARIOS,
        targets::SCENARIOS,
        added::SCENARIOS,
        discovery::SCENARIOS,
        connections::SCENARIOS,
        life::SCENARIOS,
        soak::SCENARIOS,
        clients::SCENARIOS,
        links::SCENARIOS,
        retry::SCENARIOS,
        notify::SCENARIOS,
        input::SCENARIOS,
        names::SCENARIOS,
        figures::SCENARIOS,
        dashboards::SCENARIOS,
        history::SCENARIOS,
        page::SCENARIOS,
        privilege::SCENARIOS,
        kernel::SCENARIOS,
        scenarios::SCENARIOS,
        examples::SCENARIOS,
        faults::SCENARIOS,
    ]
    .concat()
    .into_iter()
    .map(|(name, scenario)| Trial::test(name, move || attempt(name, scenario)));
    let of_files = scenarios::trials()
        .unwrap_or_else(|why| vec![Trial::test("scenario::the_files_can_be_read", || Err(why))]);
    let trials = trials
        .chain(of_files)
        .chain(checked::trials())
        .filter(|t| wanted(t.name()))
        .map(|t| t.with_ignored_flag(ignored));
    trials.chain(package::trials().filter(|t| wanted(t.name()))).collect()
}

/// More failures than these are no accident.
const SECOND_CHANCES: usize = 3;

/// The trials that have failed since the last call.
fn failures() -> Vec<String> {
    std::mem::take(&mut FAILED.lock().unwrap_or_else(PoisonError::into_inner))
}

static FAILED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Many times what the longest trial takes.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs one trial; where it fails, what its agents logged is part of the message.
fn attempt(name: &str, scenario: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
    let _watchdog = lab::Watchdog::new(name, LIMIT);
    // Those of the trials before this one on the same thread.
    drop(agent::logs_of_this_thread());
    let failed = Mark(name);
    let result = scenario().map_err(|e| Failed::from(format!("{e:#}\n{}", agent::logs_of_this_thread())));
    if result.is_ok() {
        std::mem::forget(failed);
    }
    result
}

/// Notes a trial as failed, also when it panics.
struct Mark<'a>(&'a str);

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).push(self.0.to_owned());
    }
}
