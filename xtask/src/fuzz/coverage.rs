//! How many regions of some files were reached: LLVM's own tools on what `-C instrument-coverage` counted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::folder;
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

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.reached as f64 / self.all.max(1) as f64;
        write!(f, "{:5.1} % of {}", 100.0 * ratio, self.all)
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
    pub(super) fn regions(&self, program: &Path, name: &str, files: &[PathBuf]) -> Result<Regions> {
        let raw = folder().join("profiles").join(name).with_extension("profraw");
        let profile = raw.with_extension("profdata");
        let merged =
            Command::new(&self.profdata).args(["merge", "-sparse", "-o"]).arg(&profile).arg(&raw).output()?;
        ensure!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
        let mut command = Command::new(&self.cov);
        command
            .args(["export", "-summary-only", "-instr-profile"])
            .arg(&profile)
            .arg(program)
            .arg("-sources");
        let exported = command.args(files.iter().map(|file| root().join(file))).output()?;
        ensure!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        let told: Value = serde_json::from_slice(&exported.stdout)?;
        let mut regions = Regions::default();
        for file in told["data"][0]["files"].as_array().context("no files in what llvm-cov tells")? {
            let count = |what: &str| file["summary"]["regions"][what].as_u64().context("no regions");
            let of_file =
                Regions { all: count("count")?, reached: count("covered")?, files: BTreeMap::new() };
            regions.all += of_file.all;
            regions.reached += of_file.reached;
            let name = file["filename"].as_str().unwrap_or_default();
            let name =
                name.strip_prefix(&root().display().to_string()).unwrap_or(name).trim_start_matches('/');
            regions.files.insert(name.to_owned(), of_file);
        }
        ensure!(
            regions.files.len() == files.len(),
            "of {} files {} are told",
            files.len(),
            regions.files.len()
        );
        Ok(regions)
    }
}
