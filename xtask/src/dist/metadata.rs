//! What can be told of the packages without building them: part of `cargo xtask test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::programs::output;
use super::{tools, tree};
use crate::debian;
use crate::step::root;

/// The scripts that run as root where a package is installed.
const SCRIPTS: [&str; 4] =
    ["ping-group", "debian/netmon.postinst", "debian/netmon.prerm", "debian/netmon.postrm"];

/// Files that are listed exist, nothing of `packaging/` that is to be installed is left out, manifests fit Kubernetes'
/// schemas, the container's file and the scripts have no faults that linters know, and `deny.toml` can be read.
///
/// # Errors
/// At the first that does not hold.
pub fn check() -> Result<()> {
    let root = root();
    let packaging = root.join("netmon-agent/packaging");
    let listed: BTreeSet<_> = tree::listed(&root)?.into_iter().map(|f| f.from).collect();
    for folder in ["systemd", "sysusers.d"] {
        for entry in fs::read_dir(packaging.join(folder))? {
            let path = entry?.path();
            ensure!(listed.contains(&path), "{} is in no package: see files.toml", path.display());
        }
    }
    let deny = fs::read_to_string(root.join("deny.toml")).context("deny.toml")?;
    let deny: toml::Table = toml::from_str(&deny).context("deny.toml")?;
    ensure!(
        ["licenses", "bans", "sources", "advisories"].iter().all(|key| deny.contains_key(*key)),
        "deny.toml"
    );
    match debian::find("shellcheck") {
        Some(shellcheck) => {
            let scripts = SCRIPTS.map(|script| packaging.join(script));
            output(Command::new(shellcheck).args(["--shell=dash", "--severity=style"]).args(scripts))?;
        }
        None => println!("scripts are not looked at: apt-get install shellcheck"),
    }
    manifests(&packaging)?;
    println!("{} files, {} scripts, the manifests", listed.len(), SCRIPTS.len());
    Ok(())
}

/// Kubernetes' manifests and the container's file.
///
/// # Errors
/// When one is not what its schema or its linter says.
pub fn manifests(packaging: &Path) -> Result<()> {
    let validate = tools::checker("kubernetes-validate")?;
    for version in tools::KUBERNETES {
        let mut command = Command::new(&validate);
        command.args(["--strict", "--quiet", "--kubernetes-version", version]);
        output(command.arg(packaging.join("kubernetes/netmon.yaml")))?;
    }
    output(Command::new(tools::checker("hadolint")?).arg(packaging.join("container/Containerfile")))?;
    Ok(())
}
