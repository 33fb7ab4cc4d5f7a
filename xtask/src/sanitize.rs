//! `cargo xtask sanitize`: the tests under checkers of memory and of threads, and the agent in the lab under one of them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::debian;
use crate::step::{root, target};

/// Where a compiler with the library's source and Miri is, in place of rustup's nightly.
const TOOLCHAIN: &str = "NETMON_NIGHTLY";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Trials of the lab that the agent is put through, by the beginning of their names.
const TRIALS: [&str; 8] =
    ["life::", "notify::", "targets::", "added::", "discovery::", "links::", "clients::", "input::"];
/// Left out: histories in virtual time, which share nothing and hold nothing unsafe, for minutes; and tests of this process's own
/// memory and pace, which a checker makes others.
const SKIPPED: [&str; 3] = [
    "health::tests",
    "agent::watch::tests::the_process_is_seen_as_it_is",
    "source::resolve::worker::tests::a_thousand_names_are_resolved_while_some_are_silent",
];
/// What Miri can run of the agent's: the unsafe code that needs no kernel, and what decodes foreign bytes.
const BY_MIRI: [&str; 3] = ["sys::batch", "sys::cmsg", "source::bpf::abi"];

/// Which checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Checker {
    /// AddressSanitizer and LeakSanitizer: unit tests, and trials in the lab (root). The stable compiler will do.
    Address,
    /// ThreadSanitizer: unit tests. The library is built with it, which needs its source.
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
}

/// Runs what is asked for and prints what ran, its tests, and what was found.
///
/// # Errors
/// When a checker finds something, a test fails, or the checker that was asked for cannot be had.
pub fn perform(options: &Options) -> Result<()> {
    let mut runs = Vec::new();
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
            Err(e) if options.checker.is_none() => println!("not run: {checker:?}: {e:#}"),
            done => done?,
        }
    }
    println!("== sanitize");
    for run in &runs {
        println!("{}: {}", run.what, if run.is_good { "nothing found" } else { "FAILED" });
        run.results.iter().for_each(|line| println!("  {line}"));
        run.findings.iter().for_each(|line| println!("  {line}"));
    }
    ensure!(!runs.is_empty(), "nothing was run");
    let findings = runs.iter().filter(|run| !run.is_good).count();
    println!("promise sanitizers: {} runs, {findings} with a finding", runs.len());
    ensure!(runs.iter().all(|run| run.is_good), "something was found, or failed");
    Ok(())
}

fn address(options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    let mut base = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The stable compiler has the runtime, and the switch behind this.
    base.env("RUSTC_BOOTSTRAP", "1");
    let build = Build { checker: "address", flags: "-Zsanitizer=address -Cforce-frame-pointers=yes" };
    let uses = "detect_leaks=1:detect_stack_use_after_return=1";
    units(&build, base, &[], ("ASAN_OPTIONS", uses.to_owned()), options, runs)?;
    if options.no_lab || !debian::is_root() {
        println!("without the lab");
        return Ok(());
    }
    let mut agent = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.apply(agent.env("RUSTC_BOOTSTRAP", "1").arg("build"));
    ensure!(agent.args(["--package", "netmon-agent", "--bin", "netmon"]).status()?.success(), "no agent");
    // An agent's standard error is the trial's: reports go into files.
    let reports = build.folder().join("reports");
    let _ = fs::remove_dir_all(&reports);
    fs::create_dir_all(&reports)?;
    for trial in TRIALS {
        let mut lab =
            crate::step::cargo(&["test", "--package", "netmon-tests", "--test", "lab", "--", trial]);
        lab.args(["--test-threads", "2"]);
        lab.env("NETMON_BIN", build.folder().join(TRIPLE).join("debug/netmon"));
        lab.env("ASAN_OPTIONS", format!("{uses}:log_path={}", reports.join("agent").display()));
        let mut trials = run(format!("address, the agent in the lab, {trial}"), &mut lab)?;
        // Of time and memory a checked agent takes several times as much as trials allow it: its reports alone count, below.
        trials.is_good = trials.findings.is_empty();
        runs.push(trials);
    }
    let mut findings = Vec::new();
    for report in fs::read_dir(&reports)?.flatten() {
        let text = fs::read_to_string(report.path())?;
        findings.extend(text.lines().filter(|line| is_finding(line)).map(str::to_owned));
    }
    let is_good = findings.is_empty();
    runs.push(Run { what: "address, reports of agents".to_owned(), results: Vec::new(), findings, is_good });
    Ok(())
}

fn thread(options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    let nightly = Nightly::find(false)?;
    let build = Build { checker: "thread", flags: "-Zsanitizer=thread" };
    // With the library built the same way nothing of Rust has to be suppressed; without, each lock of it would look like none.
    let library = ["-Zbuild-std"];
    race(&nightly, &build, &library, runs)?;
    let known = root().join("xtask/src/thread.supp");
    let uses = format!("halt_on_error=0:second_deadlock_stack=1:suppressions={}", known.display());
    units(&build, nightly.cargo(), &library, ("TSAN_OPTIONS", uses), options, runs)
}

/// A race made on purpose has to be found, or the set-up is not worth its silence.
fn race(nightly: &Nightly, build: &Build, library: &[&str], runs: &mut Vec<Run>) -> Result<()> {
    let mut command = nightly.cargo();
    build.apply(command.arg("test").args(library));
    command.args([
        "--package",
        "netmon-agent",
        "--lib",
        "--",
        "--ignored",
        "--exact",
        "sys::race::made_on_purpose",
    ]);
    let mut made = run("thread, a race made on purpose".to_owned(), &mut command)?;
    ensure!(
        made.findings.iter().any(|line| line.contains("data race")),
        "the race that was made on purpose was not found"
    );
    made.results = made.findings.drain(..).map(|line| format!("found, as is due: {line}")).collect();
    made.is_good = true;
    runs.push(made);
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
fn units(
    build: &Build,
    mut command: Command,
    library: &[&str],
    uses: (&str, String),
    options: &Options,
    runs: &mut Vec<Run>,
) -> Result<()> {
    build.apply(command.arg("test").args(library));
    command.args(["--package", "netmon-agent", "--package", "netmon-client", "--lib", "--no-fail-fast"]);
    command.arg("--").args(&options.only).args(SKIPPED.iter().flat_map(|name| ["--skip", name]));
    command.env(uses.0, uses.1);
    runs.push(run(format!("{}, unit tests", build.checker), &mut command)?);
    Ok(())
}

/// How a checker is built in.
#[derive(Debug)]
struct Build {
    checker: &'static str,
    flags: &'static str,
}

impl Build {
    fn folder(&self) -> PathBuf {
        target().join("sanitize").join(self.checker)
    }

    /// With a target, build scripts and macros stay as they are.
    fn apply(&self, command: &mut Command) {
        command.args(["--target", TRIPLE]).current_dir(root());
        command.env("RUSTFLAGS", self.flags).env("CARGO_TARGET_DIR", self.folder());
    }
}

/// A compiler that takes what is not stable, with its library's source.
#[derive(Debug)]
struct Nightly(PathBuf);

impl Nightly {
    fn find(with_miri: bool) -> Result<Self> {
        let found = match env::var_os(TOOLCHAIN) {
            Some(folder) => PathBuf::from(folder),
            None => {
                let which =
                    Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]).output();
                let which = which.context("no rustup")?;
                let rustc = String::from_utf8(which.stdout)?;
                Path::new(rustc.trim()).ancestors().nth(2).context("no nightly toolchain")?.to_owned()
            }
        };
        let mut missing = Vec::new();
        if !found.join("lib/rustlib/src/rust/library/std").exists() {
            missing.push("rust-src");
        }
        if with_miri && !found.join("bin/miri").exists() {
            missing.push("miri");
        }
        if !missing.is_empty() {
            bail!(
                "{} has no {}: rustup toolchain install nightly --component rust-src,miri, or name another's folder \
                 by {TOOLCHAIN}",
                found.display(),
                missing.join(" and no ")
            );
        }
        Ok(Self(found))
    }

    /// Its own cargo, with its own compiler, whatever runs this.
    fn cargo(&self) -> Command {
        let bin = self.0.join("bin");
        let mut command = Command::new(bin.join("cargo"));
        command.current_dir(root()).env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc"));
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        let rest = env::var_os("PATH").unwrap_or_default();
        if let Ok(path) = env::join_paths([bin].into_iter().chain(env::split_paths(&rest))) {
            command.env("PATH", path);
        }
        command
    }
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
    Ok(Run { what, results, findings, is_good })
}

/// Whether a checker begins or sums up a report with this line.
fn is_finding(line: &str) -> bool {
    let marks = ["ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "SUMMARY: "];
    marks.iter().any(|mark| line.contains(mark)) || line.starts_with("error: Undefined Behavior")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_checkers_report_is_found_among_what_tests_print() {
        for line in [
            "==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
            "==1==ERROR: LeakSanitizer: detected memory leaks",
            "WARNING: ThreadSanitizer: data race (pid=1)",
            "SUMMARY: ThreadSanitizer: data race src/x.rs:1 in f",
            "error: Undefined Behavior: attempting a write access",
        ] {
            assert!(is_finding(line), "{line}");
        }
        for line in ["test sys::memory ... ok", "test result: ok. 1 passed", "error: no such flag"] {
            assert!(!is_finding(line), "{line}");
        }
    }
}
