//! How many regions of some files were reached: LLVM's own tools on what `-C instrument-coverage` counted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{About, folder};
use crate::debian;
use crate::step::root;

/// `llvm-profdata` and `llvm-cov`. What rustc writes only those of its own LLVM read.
#[derive(Debug)]
pub(super) struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

/// Regions, and those that were reached.
#[derive(Debug, Default)]
pub(super) struct Regions {
    all: u64,
    reached: u64,
    /// The same file by file.
    pub(super) files: BTreeMap<String, Regions>,
}

impl Regions {
    /// Those that were reached, of a hundred.
    pub(super) fn percent(&self) -> f64 {
        100.0 * self.reached as f64 / self.all.max(1) as f64
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5.1} % of {}", self.percent(), self.all)
    }
}

impl Tools {
    /// Those of the LLVM that rustc has; Debian's, installed if that can be.
    ///
    /// # Errors
    /// They can't be had.
    pub(super) fn find() -> Result<Self> {
        let rustc = Command::new("rustc").arg("-vV").output().context("rustc")?;
        let said = String::from_utf8_lossy(&rustc.stdout).into_owned();
        let version = said.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let major = version.and_then(|v| v.split('.').next()).context("rustc does not tell its LLVM")?;
        let (profdata, cov) = (format!("llvm-profdata-{major}"), format!("llvm-cov-{major}"));
        debian::provide_named(&cov, &format!("llvm-{major}"))?;
        let found = |name: &str| debian::find(name).with_context(|| format!("there is no {name}"));
        Ok(Self { profdata: found(&profdata)?, cov: found(&cov)? })
    }

    /// What a target's last run reached of these files.
    pub(super) fn regions(&self, program: &Path, name: &str, about: &About) -> Result<Regions> {
        let raw = folder().join("profiles").join(name).with_extension("profraw");
        let profile = raw.with_extension("profdata");
        let merged =
            Command::new(&self.profdata).args(["merge", "-sparse", "-o"]).arg(&profile).arg(&raw).output()?;
        ensure!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
        let mut command = Command::new(&self.cov);
        command.args(["export", "-instr-profile"]).arg(&profile).arg(program).arg("-sources");
        let exported = command.args(about.files.iter().map(|file| root().join(file))).output()?;
        ensure!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        Ok(count(&serde_json::from_slice(&exported.stdout)?, about))
    }
}

/// Code regions by where they stand: one that was compiled several times is one, and reached if any of them was.
fn count(told: &Value, about: &About) -> Regions {
    let mut spans: BTreeMap<PathBuf, BTreeMap<Vec<u64>, bool>> = BTreeMap::new();
    // Every mangling has a name as its length and its letters.
    let beside: Vec<String> = about.beside.iter().map(|name| format!("{}{name}", name.len())).collect();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for function in list(&told["data"][0]["functions"]) {
        let name = function["name"].as_str().unwrap_or_default();
        if beside.iter().any(|beside| name.contains(beside)) {
            continue;
        }
        let files = list(&function["filenames"]);
        for region in list(&function["regions"]) {
            // Line, column, line, column, count, file, expanded file, kind; kind 0 is code.
            let numbers: Vec<u64> = list(&region).iter().filter_map(Value::as_u64).collect();
            let [span @ .., reached, file, _, 0] = numbers.as_slice() else { continue };
            let file = files.get(*file as usize).and_then(Value::as_str).map(Path::new);
            let Some(file) = file.and_then(|file| file.strip_prefix(root()).ok()) else { continue };
            if about.files.iter().any(|of| of == file) {
                let spans = spans.entry(file.to_owned()).or_default();
                *spans.entry(span.to_vec()).or_default() |= *reached > 0;
            }
        }
    }
    let mut regions = Regions::default();
    for (file, spans) in spans {
        let (all, reached) = (spans.len() as u64, spans.values().filter(|reached| **reached).count() as u64);
        regions.all += all;
        regions.reached += reached;
        regions.files.insert(file.display().to_string(), Regions { all, reached, files: BTreeMap::new() });
    }
    regions
}
