//! What a guest told (`tests/src/bin/netmon-guest/report.rs`), as a table, and what of it is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// All that one guest told.
#[derive(Debug)]
pub struct Report {
    release: String,
    console: PathBuf,
    attached: Option<(f64, f64)>,
    capabilities: Vec<Capability>,
    cases: Vec<Case>,
    /// Lines for `cargo xtask promises`.
    promises: Vec<String>,
    failed: Vec<String>,
    done: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    Attached { release: String, uptime: f64, load: f64 },
    Capability(Capability),
    Case(Case),
    Promise { id: String, figure: String },
    Failed { why: String },
    Done,
}

#[derive(Debug, Deserialize)]
struct Capability {
    name: String,
    ok: bool,
    detail: String,
}

#[derive(Debug, Deserialize)]
struct Case {
    suite: String,
    case: String,
    figure: String,
    kernel: u64,
    ours: u64,
    unattributed: u64,
    allowed: u64,
    because: String,
    devices: BTreeMap<String, u64>,
    wrong: String,
}

/// The line above the guests of a suite.
pub fn head(attach: bool) -> String {
    if attach {
        return format!("{:<32} {:>9} {:>9}  programs", "kernel", "boot", "attach");
    }
    format!(
        "{:<48} {:<12} {:>8} {:>8} {:>6} {:>6}  our figure by device",
        "kernel, case", "figure", "kernel", "ours", "diff", "known"
    )
}

impl Report {
    /// Of a kernel of which nothing is known yet.
    pub fn new(release: &str, console: &Path) -> Self {
        Self {
            release: release.to_owned(),
            console: console.to_owned(),
            attached: None,
            capabilities: Vec::new(),
            cases: Vec::new(),
            promises: Vec::new(),
            failed: Vec::new(),
            done: false,
        }
    }

    /// Takes one line of the guest.
    pub fn hear(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Line::Attached { release, uptime, load }) => {
                if release != self.release {
                    self.failed.push(format!("it runs {release}"));
                }
                self.attached = Some((uptime, load));
            }
            Ok(Line::Capability(capability)) => self.capabilities.push(capability),
            Ok(Line::Case(case)) => self.cases.push(case),
            Ok(Line::Promise { id, figure }) => {
                self.promises.push(format!("promise {id}: {figure} (Linux {})", self.release));
            }
            Ok(Line::Failed { why }) => self.failed.push(why),
            Ok(Line::Done) => self.done = true,
            Err(_) if line.is_empty() => {}
            Err(e) => self.failed.push(format!("{e}: {line}")),
        }
    }

    /// All that must not be, each on one line.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.failed.clone();
        if !self.done {
            problems.push(format!("the guest did not come to its end: see {}", self.console.display()));
        }
        // A program that this kernel has no use for, or no place, says so before it is loaded. A refusal is a defect.
        let refused = self.capabilities.iter().filter(|c| c.detail.contains("refused"));
        problems.extend(refused.map(|c| format!("{}: {}", c.name, c.detail)));
        let wrong = self.cases.iter().filter(|case| !case.wrong.is_empty());
        problems.extend(wrong.map(|case| format!("{}: {}: {}", case.suite, case.case, case.wrong)));
        problems
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((uptime, load)) = self.attached {
            let works = self.capabilities.iter().filter(|c| c.ok).count();
            let wrong = if self.problems().is_empty() { "" } else { "  WRONG" };
            let boot = uptime - load;
            write!(f, "{:<32} {boot:>7.1} s {load:>7.2} s  ", self.release)?;
            writeln!(f, "{works} of {} work{wrong}", self.capabilities.len())?;
            for c in self.capabilities.iter().filter(|c| !c.ok) {
                writeln!(f, "    {}: {}", c.name, c.detail)?;
            }
            return Ok(());
        }
        writeln!(f, "{}", self.release)?;
        self.cases.iter().try_for_each(|case| case.fmt(f))?;
        self.promises.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices: Vec<_> = self.devices.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let difference = self.kernel as i64 - self.ours as i64;
        let Self { case, figure, kernel, ours, allowed, .. } = self;
        write!(f, "  {case:<46} {figure:<12} {kernel:>8} {ours:>8} {difference:>6} {allowed:>6}  ")?;
        write!(f, "{}", devices.join(", "))?;
        if self.unattributed > 0 {
            write!(f, "; unattributed {}", self.unattributed)?;
        }
        if difference != 0 && !self.because.is_empty() {
            write!(f, " ({})", self.because)?;
        }
        writeln!(f, "{}", if self.wrong.is_empty() { "" } else { "  WRONG" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::new("6.1.0", Path::new("console.log"));
        lines.iter().for_each(|line| report.hear(line));
        report
    }

    const ATTACHED: &str = r#"{"line":"attached","release":"6.1.0","uptime":4.0,"load":0.5}"#;
    const DONE: &str = r#"{"line":"done"}"#;

    #[test]
    fn what_a_kernel_lacks_is_told_and_what_it_refuses_is_wrong() {
        let capability = |detail: &str| {
            format!(r#"{{"line":"capability","name":"tcp_x","ok":false,"detail":"{detail}"}}"#)
        };
        let lacks = report(&[ATTACHED, &capability("this kernel has no sock.x"), DONE]);
        assert!(lacks.problems().is_empty());
        assert!(lacks.to_string().contains("tcp_x: this kernel has no sock.x"));
        let refuses = report(&[ATTACHED, &capability("the kernel refused the program: x"), DONE]);
        assert_eq!(refuses.problems(), ["tcp_x: the kernel refused the program: x"]);
    }

    #[test]
    fn a_guest_that_breaks_off_or_tells_nonsense_is_wrong() {
        assert_eq!(report(&[ATTACHED]).problems().len(), 1);
        assert_eq!(report(&[ATTACHED, "{\"line\":", DONE]).problems().len(), 1);
        assert_eq!(
            report(&[r#"{"line":"attached","release":"5.10","uptime":1,"load":1}"#, DONE]).problems().len(),
            1
        );
    }

    #[test]
    fn a_wrong_case_is_a_problem_and_is_marked() {
        let case = r#"{"line":"case","suite":"reset","case":"refused","figure":"OutRsts","kernel":3,"ours":2,
            "unattributed":1,"allowed":0,"because":"","devices":{"eth0":2},"wrong":"one is missing"}"#;
        let report = report(&[case, DONE]);
        assert_eq!(report.problems(), ["reset: refused: one is missing"]);
        let text = report.to_string();
        assert!(text.contains("eth0 2; unattributed 1  WRONG"), "{text}");
    }
}
