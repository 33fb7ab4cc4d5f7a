//! The Debian package: our files by `netmon-agent/packaging/debian`, the rest by debhelper.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::programs::output;
use super::{binary, fresh};

/// Who answers for a package when `DEBFULLNAME` and `DEBEMAIL` name nobody: nobody by mail.
const NAME: &str = "netmon authors";
const MAIL: &str = "netmon@packages.invalid";

/// Packs `tree` in `work`, as `version`.
///
/// # Errors
/// When debhelper or dpkg refuse.
pub fn build(source: &Path, tree: &Path, work: &Path, version: &str, epoch: u64) -> Result<PathBuf> {
    let folder = fresh(work)?.join(format!("netmon-{version}"));
    fs::create_dir_all(&folder)?;
    let debian = folder.join("debian");
    copy(tree, &folder.join("tree"))?;
    copy(&source.join("netmon-agent/packaging/debian"), &debian)?;
    // Debian's own place for zsh.
    let zsh = folder.join("tree/usr/share/zsh");
    fs::rename(zsh.join("site-functions"), zsh.join("vendor-completions"))?;
    let maintainer = maintainer();
    let date =
        output(Command::new("date").args(["--utc", "--rfc-email", "--date"]).arg(format!("@{epoch}")))?;
    for (from, to) in [("control", "control"), ("changelog.in", "changelog")] {
        let text = fs::read_to_string(debian.join(from)).with_context(|| from.to_owned())?;
        let text = text
            .replace("@MAINTAINER@", &maintainer)
            .replace("@VERSION@", version)
            .replace("@GLIBC@", binary::GLIBC);
        fs::write(debian.join(to), text.replace("@DATE@", date.trim()))?;
    }
    let mut command = Command::new("dpkg-buildpackage");
    command.args(["--build=binary", "--no-sign", "--host-arch", "amd64"]).current_dir(&folder);
    output(command.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("LC_ALL", "C.UTF-8"))?;
    Ok(work.join(format!("netmon_{version}_amd64.deb")))
}

/// Name and address of who answers for the packages.
pub fn maintainer() -> String {
    let told = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    format!("{} <{}>", told("DEBFULLNAME", NAME), told("DEBEMAIL", MAIL))
}

/// Copies a folder with all that it holds.
///
/// # Errors
/// When it can't be.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    output(
        Command::new("cp")
            .args(["--recursive", "--preserve=mode,links", "--no-target-directory"])
            .args([from, to]),
    )?;
    Ok(())
}
