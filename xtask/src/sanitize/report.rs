//! What checkers report: found in what a test prints, and in the files of agents, whose addresses are given names here – a
//! program that is shut in can't start whoever would tell them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Lines by which a checker begins a report.
const BEGINNINGS: [&str; 3] = ["ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer"];

/// Whether a checker begins or sums up a report with this line.
pub fn is_finding(line: &str) -> bool {
    begins(line) || line.contains("SUMMARY: ") || line.starts_with("error: Undefined Behavior")
}

fn begins(line: &str) -> bool {
    BEGINNINGS.iter().any(|mark| line.contains(mark))
}

/// One report of an agent.
#[derive(Debug)]
pub struct Report {
    /// Its lines, with the names of functions where there were addresses.
    pub text: String,
    /// Functions of all of its stacks.
    functions: BTreeSet<String>,
}

impl Report {
    /// Its first line.
    pub fn title(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// Whether it goes through a function whose name has one of these in it.
    pub fn is_through(&self, names: &[String]) -> bool {
        self.functions.iter().any(|function| names.iter().any(|name| function.contains(name)))
    }
}

/// What suppressions of ThreadSanitizer's form have of functions' names, for races (`race:NAME`); of patterns they have none.
pub fn suppressed(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.trim().strip_prefix("race:")).map(str::to_owned).collect()
}

/// All reports in the files of `folder`, by runs of `program`. Words of a checker that are no report – it could not do what it
/// should – stand for one.
///
/// # Errors
/// A file can't be read, or addresses find no names.
pub fn read(folder: &Path, program: &Path) -> Result<Vec<Report>> {
    let mut texts = Vec::new();
    for file in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let text = String::from_utf8_lossy(&fs::read(file?.path())?).into_owned();
        texts.extend(split(&text));
    }
    let addresses: BTreeSet<&str> = texts.iter().flat_map(|text| text.lines()).filter_map(address).collect();
    let names = names(program, &addresses)?;
    Ok(texts.iter().map(|text| named(text, &names)).collect())
}

/// The reports of one file.
fn split(text: &str) -> Vec<String> {
    let mut reports: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_matches('=').is_empty()) {
        if begins(line) || reports.is_empty() {
            reports.push(String::new());
        }
        if let Some(report) = reports.last_mut() {
            *report += line;
            report.push('\n');
        }
    }
    reports
}

/// The address of a stack's line, as an offset into the program: `#0 <null> <null> (netmon+0x1234) (BuildId: …)`.
fn address(line: &str) -> Option<&str> {
    let frame = line.trim_start().strip_prefix('#')?;
    let (_, rest) = frame.split_once("netmon+")?;
    rest.split([')', ' ']).next()
}

/// Who is at these addresses: each function with its place, from the innermost of those that became one.
fn names(program: &Path, addresses: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<(String, String)>>> {
    if addresses.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut command = Command::new("addr2line");
    command.args(["--addresses", "--functions", "--inlines", "--demangle", "--exe"]).arg(program);
    let output = command.args(addresses).output().context("addr2line, of binutils")?;
    ensure!(output.status.success(), "addr2line: {}", String::from_utf8_lossy(&output.stderr));
    let asked: BTreeMap<u64, &str> =
        addresses.iter().filter_map(|address| Some((number(address)?, *address))).collect();
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut at = None;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        match number(line).and_then(|number| asked.get(&number)) {
            Some(address) => at = Some(*address),
            None => {
                let place = lines.next().unwrap_or_default();
                let entry = found.entry(at.context("addr2line tells of nothing")?.to_owned()).or_default();
                entry.push((line.to_owned(), place.to_owned()));
            }
        }
    }
    Ok(found)
}

fn number(hexadecimal: &str) -> Option<u64> {
    u64::from_str_radix(hexadecimal.strip_prefix("0x")?, 16).ok()
}

fn named(text: &str, names: &BTreeMap<String, Vec<(String, String)>>) -> Report {
    let mut report = Report { text: String::new(), functions: BTreeSet::new() };
    for line in text.lines() {
        match address(line).and_then(|address| names.get(address)) {
            None => report.text += &format!("{line}\n"),
            Some(frames) => {
                let number = line.split_whitespace().next().unwrap_or_default();
                for (function, place) in frames {
                    report.text += &format!("    {number} {function} {place}\n");
                    report.functions.insert(function.clone());
                }
            }
        }
    }
    report
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

    #[test]
    fn reports_are_told_apart_and_have_names() {
        let text = "==================\nWARNING: ThreadSanitizer: data race (pid=7)\n  Write of size 8 by thread T1:\n    \
                    #0 <null> <null> (netmon+0x12) (BuildId: a)\n    #1 <null> <null> (libc.so.6+0x99)\n\n\
                    ==================\nWARNING: ThreadSanitizer: data race (pid=7)\n    #0 <null> <null> (netmon+0x34)\n";
        let texts = split(text);
        assert_eq!(texts.len(), 2);
        let frame = |function: &str| (function.to_owned(), "a.c:1".to_owned());
        let names = BTreeMap::from([
            ("0x12".to_owned(), vec![frame("inner"), frame("outer")]),
            ("0x34".to_owned(), vec![frame("walIndexTryHdr")]),
        ]);
        let reports: Vec<Report> = texts.iter().map(|text| named(text, &names)).collect();
        assert!(reports[0].title().starts_with("WARNING: ThreadSanitizer: data race"));
        assert!(
            reports[0].text.contains("#0 inner a.c:1\n    #0 outer a.c:1\n")
                && reports[0].text.contains("libc")
        );
        let known = suppressed("# words\nrace:walIndexWriteHdr\nrace:walIndexTryHdr\n");
        assert_eq!(known.len(), 2);
        assert!(!reports[0].is_through(&known) && reports[1].is_through(&known));
    }

    #[test]
    fn other_words_of_a_checker_stand_for_a_report() {
        let reports = split("==7==LeakSanitizer has encountered a fatal error.\n==7==HINT: ptrace\n");
        assert_eq!(reports.len(), 1);
        assert_eq!(
            named(&reports[0], &BTreeMap::new()).title(),
            "==7==LeakSanitizer has encountered a fatal error."
        );
        assert!(split("").is_empty());
    }
}
