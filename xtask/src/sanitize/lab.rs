//! The agent in trials of the lab, under a checker. It shuts itself in as ever: the file for its reports is open before that, and
//! addresses get their names here.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::report::{self, Report};
use super::toolchain::Build;
use super::{Options, Run, SUPPRESSED, run};
use crate::debian;
use crate::step::{cargo, root};

/// Trials that the agent is put through, by the beginning of their names.
const TRIALS: [&str; 8] =
    ["life::", "notify::", "targets::", "added::", "discovery::", "links::", "clients::", "input::"];
/// And those whose agents are not shut in, since LeakSanitizer stops all threads by `ptrace(2)`.
const OPEN_TRIALS: [&str; 4] = ["life::sig", "notify::", "targets::", "clients::"];
/// The trial in which an agent does wrong when it is told to.
const FAULTY: &str = "checked::";

/// An agent of one build, how its checker is told what to do, and where it reports.
struct Checked<'a> {
    build: &'a Build,
    /// The variable of its runtime, and what is in it beside the place of reports.
    uses: (&'static str, &'static str),
    is_open: bool,
    /// Functions of others whose races are none.
    known: Vec<String>,
}

/// By AddressSanitizer, shut in; and by both it and LeakSanitizer, open.
pub fn address(build: &Build, options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    if !begin(build, options)? {
        return Ok(());
    }
    let shut = "symbolize=0:detect_leaks=0:detect_stack_use_after_return=1";
    let shut = Checked { build, uses: ("ASAN_OPTIONS", shut), is_open: false, known: Vec::new() };
    shut.finds("use-after-free", "heap-use-after-free", runs)?;
    shut.put_through(&TRIALS, options, runs)?;
    let open = "symbolize=0:detect_leaks=1:detect_stack_use_after_return=1";
    let open = Checked { build, uses: ("ASAN_OPTIONS", open), is_open: true, known: Vec::new() };
    open.finds("leak", "detected memory leaks", runs)?;
    open.put_through(&OPEN_TRIALS, options, runs)
}

/// By ThreadSanitizer, shut in.
pub fn thread(build: &Build, options: &Options, runs: &mut Vec<Run>) -> Result<()> {
    if !begin(build, options)? {
        return Ok(());
    }
    let known = report::suppressed(&fs::read_to_string(root().join(SUPPRESSED))?);
    // An agent with a report ends as any other: the report counts, also where it is of a race that is none.
    let uses = ("TSAN_OPTIONS", "symbolize=0:halt_on_error=0:exitcode=0:second_deadlock_stack=1");
    let shut = Checked { build, uses, is_open: false, known };
    shut.finds("race", "data race", runs)?;
    shut.put_through(&TRIALS, options, runs)
}

/// Builds the agent, where there is a lab.
fn begin(build: &Build, options: &Options) -> Result<bool> {
    if options.no_lab || !debian::is_root() {
        println!("without the lab");
        return Ok(false);
    }
    let mut agent = build.cargo("build");
    agent.args(["--package", "netmon-agent", "--bin", "netmon", "--features", "netmon-agent/checked"]);
    ensure!(agent.status()?.success(), "no agent");
    Ok(true)
}

impl Checked<'_> {
    /// A fault that an agent commits in the lab has to be reported, in these words.
    fn finds(&self, fault: &str, words: &str, runs: &mut Vec<Run>) -> Result<()> {
        self.clear()?;
        let mut lab = self.lab(FAULTY)?;
        let what = format!("{}, a fault made on purpose: {fault}", self.what());
        let trial = run(what.clone(), lab.env("NETMON_FAULT", fault))?;
        let reports = self.reports()?;
        let found = reports.iter().find(|report| report.title().contains(words));
        ensure!(trial.is_good && found.is_some(), "not found: {what}: {reports:?}");
        let results = found.map(|report| format!("found, as is due: {}", report.title()));
        runs.push(Run { results: results.into_iter().collect(), is_made: true, ..trial });
        Ok(())
    }

    fn put_through(&self, trials: &[&str], options: &Options, runs: &mut Vec<Run>) -> Result<()> {
        self.clear()?;
        let wanted = |trial: &&&str| {
            options.only.is_empty() || options.only.iter().any(|only| only.starts_with(**trial))
        };
        for trial in trials.iter().filter(wanted) {
            let mut played = run(format!("{}, {trial}", self.what()), &mut self.lab(trial)?)?;
            // Of time and memory a checked agent takes several times as much as trials allow it: its reports alone count, below.
            played.is_good = played.findings.is_empty();
            runs.push(played);
        }
        let all = self.reports()?;
        let agents = fs::read_dir(self.folder())?.count();
        let (known, others): (Vec<&Report>, Vec<&Report>) =
            all.iter().partition(|report| report.is_through(&self.known));
        others.iter().for_each(|report| println!("{}", report.text));
        let mut results = vec![format!("of {agents} processes")];
        if !known.is_empty() {
            results.push(format!("{} of races that are none ({SUPPRESSED})", known.len()));
        }
        runs.push(Run {
            what: format!("{}, reports", self.what()),
            results,
            findings: others.iter().map(|report| report.title().to_owned()).collect(),
            is_good: others.is_empty(),
            is_made: false,
        });
        Ok(())
    }

    fn what(&self) -> String {
        let how = if self.is_open { "not shut in" } else { "shut in" };
        format!("{}, the agent in the lab, {how}", self.build.checker)
    }

    fn folder(&self) -> PathBuf {
        self.build.folder().join("reports")
    }

    /// An empty folder for reports, for whatever user an agent runs as.
    fn clear(&self) -> Result<()> {
        let _ = fs::remove_dir_all(self.folder());
        fs::create_dir_all(self.folder())?;
        Ok(fs::set_permissions(self.folder(), Permissions::from_mode(0o1777))?)
    }

    fn reports(&self) -> Result<Vec<Report>> {
        report::read(&self.folder(), &self.build.agent())
    }

    /// Trials by the beginning of their names.
    fn lab(&self, trials: &str) -> Result<Command> {
        let mut lab = cargo(&["test", "--package", "netmon-tests", "--test", "lab", "--", trials]);
        lab.args(["--test-threads", "2"]);
        lab.env("NETMON_BIN", self.build.agent()).env("NETMON_REPORTS", self.folder());
        // Of processes that the agent forks, as they have no file of their own yet.
        let place = self.folder().join("forked");
        lab.env(self.uses.0, format!("{}:log_path={}", self.uses.1, place.display()));
        if self.is_open {
            lab.env("NETMON_CHECKED_OPEN", "1");
        }
        Ok(lab)
    }
}
