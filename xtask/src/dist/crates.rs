//! The crates that the program is made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::binary::TARGET;
use super::programs::output;
use crate::step::cargo;

/// Name and version.
pub type Id = (String, String);

/// One crate, as its manifest tells of it.
#[derive(Clone, Debug)]
pub struct Crate {
    pub licence: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether it is of this workspace.
    pub own: bool,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<String>,
    manifest_path: PathBuf,
    source: Option<String>,
}

/// Each crate of `cargo tree --edges normal` of the agent, for the target that is built, macros included.
///
/// # Errors
/// When cargo can't tell.
pub fn of_agent(source: &Path) -> Result<BTreeMap<Id, Crate>> {
    let mut tree = cargo(&["tree", "--locked", "--package", "netmon-agent", "--edges", "normal"]);
    tree.args(["--target", TARGET, "--prefix", "none", "--no-dedupe", "--format", "{p}"]).current_dir(source);
    let tree = output(&mut tree)?;
    let mut known = BTreeMap::new();
    for package in packages(source, &["--filter-platform", TARGET])? {
        let licence = package.license.or(package.license_file).unwrap_or_default();
        let folder = package.manifest_path.parent().context("a manifest has a folder")?.to_owned();
        let own = package.source.is_none();
        known.insert((package.name, package.version), Crate { licence, folder, own });
    }
    tree.lines()
        .filter(|l| !l.trim().is_empty())
        .map(|line| {
            let id = id(line).with_context(|| format!("cargo tree: {line}"))?;
            let found = known.get(&id).with_context(|| format!("cargo metadata has no {} {}", id.0, id.1))?;
            Ok((id, found.clone()))
        })
        .collect()
}

/// The folders of the workspace's own packages.
///
/// # Errors
/// When cargo does not answer.
pub fn folders(source: &Path) -> Result<Vec<PathBuf>> {
    let folder = |package: Package| Some(package.manifest_path.parent()?.to_owned());
    Ok(packages(source, &["--no-deps"])?.into_iter().filter_map(folder).collect())
}

fn packages(source: &Path, arguments: &[&str]) -> Result<Vec<Package>> {
    let mut metadata = cargo(&["metadata", "--locked", "--format-version", "1"]);
    let metadata: Metadata = serde_json::from_str(&output(metadata.args(arguments).current_dir(source))?)?;
    Ok(metadata.packages)
}

/// `name v1.2.3 (proc-macro)`.
fn id(line: &str) -> Option<Id> {
    let mut words = line.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cargo_tree_names_a_crate() {
        let wanted = Some(("serde_derive".to_owned(), "1.0.228".to_owned()));
        assert_eq!(id("serde_derive v1.0.228 (proc-macro)"), wanted);
        assert_eq!(id("(*)"), None);
    }
}
