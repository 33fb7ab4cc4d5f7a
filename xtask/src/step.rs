//! Running programs one after another, each with its time. Most end the run when they fail; suites of tests let the others
//! have their say.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::debian;
use crate::leftovers;

/// The steps done so far.
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<(String, Duration)>,
    results: Vec<String>,
    failed: Vec<String>,
}

impl Steps {
    /// Runs `command` as the step `name`; its output goes through, and closing lines of test runners are kept.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.measure(name, |steps| {
            leftovers::adopt()?;
            let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| shown(command))?;
            let output = child.stdout.take().context("its standard output")?;
            let reader = thread::spawn(move || pass_on(output));
            leftovers::attend(&child)?;
            let status = child.wait()?;
            // They may hold the output open: it ends with them.
            let left = leftovers::end()?;
            if !left.is_empty() {
                println!("xtask: {name} left running, ended now: {}", left.join(", "));
            }
            let results = reader.join().map_err(|_| anyhow!("reading the output of {name}"))??;
            steps.results.extend(results.into_iter().map(|line| format!("{name}: {line}")));
            if !status.success() {
                bail!("{name}: {status}: {}", shown(command));
            }
            Ok(())
        })
    }

    /// Runs a step of our own.
    pub fn measure(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        println!("== {name}");
        let start = now();
        let result = work(self);
        let took = start.elapsed();
        println!("-- {name}: {:.1} s", took.as_secs_f64());
        self.done.push((name.to_owned(), took));
        result
    }

    /// Runs `command` as [`Steps::run`] does; where it fails, [`Steps::report`] says so.
    pub fn suite(&mut self, name: &str, command: &mut Command) {
        if let Err(e) = self.run(name, command) {
            eprintln!("xtask: {e:#}");
            self.failed.push(name.to_owned());
        }
    }

    /// Prints what was done, how long it took, and what the test runners said of themselves.
    ///
    /// # Errors
    /// When a suite failed.
    pub fn report(&self) -> Result<()> {
        println!("== summary");
        for (name, took) in &self.done {
            println!("{:>8.1} s  {name}", took.as_secs_f64());
        }
        let all: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("{:>8.1} s  in all", all.as_secs_f64());
        self.results.iter().for_each(|line| println!("{line}"));
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

/// Prints what is read, to its end: the closing lines of test runners among it.
fn pass_on(output: impl Read) -> io::Result<Vec<String>> {
    let mut results = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        if line.starts_with("test result:") {
            results.push(line);
        }
    }
    Ok(results)
}

/// Runs `command` with this process's own input and output.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| shown(command))?;
    if !status.success() {
        bail!("{status}: {}", shown(command));
    }
    Ok(())
}

/// The cargo that runs this, in the workspace's root. What it runs finds programs where the tests look for them.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    // No folder of them holds a colon, but if one did, the path stays as it is.
    if let Ok(path) = std::env::join_paths(debian::folders()) {
        command.env("PATH", path);
    }
    command
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command as it would be typed.
pub fn shown(command: &Command) -> String {
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    format!("{} {}", command.get_program().display(), arguments.join(" "))
}

/// The moment of the call.
#[expect(clippy::disallowed_methods, reason = "the time a build step takes is no time of the agent's")]
pub fn now() -> Instant {
    Instant::now()
}
