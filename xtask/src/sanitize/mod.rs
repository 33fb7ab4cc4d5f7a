//! `cargo xtask sanitize`: the tests under checkers of memory and of threads, and the agent in the lab under one of them.

mod lab;
mod report;
mod toolchain;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::step::{root, target};
use report::is_finding;
use toolchain::{Build, Missing, Nightly};

/// Left out: histories in virtual time, which share nothing and hold nothing unsafe, for minutes; and tests of this process's own
/// memory and pace, which a checker makes others.
const SKIPPED: [&str; 4] = [
    "health::tests",
    "sys::memory::tests",
    "agent::watch::tests::the_process_is_seen_as_it_is",
    "source::resolve::worker::tests::a_thousand_names_are_resolved_while_some_are_silent",
];
/// What Miri can run of the agent's: the unsafe code that needs no kernel but what Miri plays of one, and what decodes foreign bytes.
const BY_MIRI: [&str; 5] = ["sys::batch", "sys::cmsg", "sys::readable", "sys::watched", "source::bpf::abi"];

/// Races of others' code that are none.
const SUPPRESSED: &str = "xtask/src/sanitize/thread.supp";

/// Which checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Checker {
    /// AddressSanitizer and LeakSanitizer: unit tests, and trials in the lab (root). The stable compiler will do.
    Address,
    /// ThreadSanitizer: the same. The library is built with it, which needs its source.
    Thread,
    /// Miri: the unsafe code that needs no kernel, by Rust's own rules.
    Miri,
}

/// What is run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// By which checker; all of them that can be had here.
    checker: Option<Checker>,
    /// Only the tests whose names contain one of these.
    #[arg(long = "only", value_name = "FILTER")]
    only: Vec<String>,
    /// Without the lab.
    #[arg(long)]
    no_lab: bool,
}

/// What came of one run.
#[derive(Debug)]
struct Run {
    what: String,
    /// Closing lines of the test runner.
    results: Vec<String>,
    findings: Vec<String>,
    is_good: bool,
    /// Whether it is a fault made on purpose, which was found: else there is no run at all.
    is_made: bool,
}

/// Runs what is asked for and prints what ran, its tests, and what was found.
///
/// # Errors
/// When a checker finds something, a test fails, or the checker that was asked for cannot be had.
pub fn perform(options: &Options) -> Result<()> {
    let mut runs = Vec::new();
    let mut names = Vec::new();
    for checker in [Checker::Address, Checker::Thread, Checker::Miri] {
        if options.checker.is_some_and(|only| only != checker) {
            continue;
        }
        let done = match checker {
            Checker::Address => address(options, &mut runs),
            Checker::Thread => thread(options, &mut runs),
            Checker::Miri => miri(options, &mut runs),
        };
        match done {
            Err(e) if options.checker.is_none() && e.is::<Missing>() => {
                println!("not run: {checker:?}: {e:#}");
            }
            done => {
                done?;
                names.push(format!("{checker:?}"));
            }
        }
    }
    println!("== sanitize");
    for run in &runs {
        println!("{}: {}", run.what, if run.is_good { "nothing found" } else { "FAILED" });
        run.results.iter().for_each(|line| println!("  {line}"));
        run.findings.iter().for_each(|line| println!("  {line}"));
    }
    ensure!(!runs.is_empty(), "nothing was run");
    let made = runs.iter().filter(|run| run.is_made).count();
    let findings = runs.iter().filter(|run| !run.is_good).count();
    println!(
        "promise sanitizers: {}: {} runs, {findings} with a finding; {made} faults made on purpose were found",
        names.join(", "),
        runs.len() - made
    );
    ensure!(runs.iter().all(|run| run.is_good), "something was found, or failed");
    Ok(())
}

fn address(options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    let build = Build::address();
    let uses = ("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1".to_owned());
    let faults = [("use_after_free", "heap-use-after-free"), ("leak", "detected memory leaks")];
    planted(&build, &uses, &faults, runs)?;
    units(&build, &uses, options, runs)?;
    lab::address(&build, options, runs)
}

fn thread(options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    let build = Build::thread()?;
    let known = root().join(SUPPRESSED);
    let uses = format!("halt_on_error=0:second_deadlock_stack=1:suppressions={}", known.display());
    let uses = ("TSAN_OPTIONS", uses);
    planted(&build, &uses, &[("race", "data race")], runs)?;
    units(&build, &uses, options, runs)?;
    lab::thread(&build, options, runs)
}

/// Faults made on purpose, each with the words by which it is told, have to be found, or the set-up is not worth its silence.
fn planted(build: &Build, uses: &(&str, String), faults: &[(&str, &str)], runs: &mut Vec<Run>) -> Result<()> {
    for (fault, words) in faults {
        let mut command = build.cargo("test");
        command.args(["--package", "netmon-agent", "--lib", "--", "--ignored", "--exact"]);
        command.arg(format!("sys::faults::tests::{fault}")).env(uses.0, &uses.1);
        let mut made = run(format!("{}, a fault made on purpose: {fault}", build.checker), &mut command)?;
        ensure!(
            made.findings.iter().any(|line| line.contains(words)),
            "{}: the fault that was made on purpose was not found: {fault}",
            build.checker
        );
        made.results = made.findings.drain(..).map(|line| format!("found, as is due: {line}")).collect();
        (made.is_good, made.is_made) = (true, true);
        runs.push(made);
    }
    Ok(())
}

fn miri(options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    let nightly = Nightly::find(true)?;
    let filters =
        if options.only.is_empty() { BY_MIRI.map(str::to_owned).to_vec() } else { options.only.clone() };
    let mut command = nightly.cargo();
    command.args(["miri", "test", "--package", "netmon-agent", "--lib", "--target-dir"]);
    command.arg(target().join("sanitize/miri")).arg("--").args(&filters);
    // The property tests look for their seeds' files, and there is no file here.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "16");
    runs.push(run(format!("miri, {}", filters.join(" ")), &mut command)?);
    Ok(())
}

/// Unit tests of the agent and the client.
fn units(build: &Build, uses: &(&str, String), options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    let mut command = build.cargo("test");
    command.args(["--package", "netmon-agent", "--package", "netmon-client", "--lib", "--no-fail-fast"]);
    command.arg("--").args(&options.only).args(SKIPPED.iter().flat_map(|name| ["--skip", name]));
    command.env(uses.0, &uses.1);
    runs.push(run(format!("{}, unit tests", build.checker), &mut command)?);
    Ok(())
}

/// Runs a command whose output goes through, and keeps what says how it went.
fn run(what: String, command: &mut Command) -> Result<Run> {
    println!("== {what}");
    let output = command.stdin(Stdio::null()).output().with_context(|| what.clone())?;
    let (mut results, mut findings) = (Vec::new(), Vec::new());
    for bytes in [&output.stdout, &output.stderr] {
        for line in String::from_utf8_lossy(bytes).lines() {
            if line.starts_with("test result:") {
                results.push(line.to_owned());
            } else if is_finding(line) {
                findings.push(line.trim().to_owned());
            }
        }
    }
    let is_good = output.status.success() && findings.is_empty();
    if !is_good {
        println!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(Run { what, results, findings, is_good, is_made: false })
}
