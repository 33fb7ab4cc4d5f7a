//! The RPM, of the same files, by rpmbuild.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::programs::output;
use super::{deb, fresh};

/// Packs `tree` in `work`, as `version`.
///
/// # Errors
/// When rpmbuild refuses.
pub fn build(source: &Path, tree: &Path, work: &Path, version: &str, epoch: u64) -> Result<PathBuf> {
    fresh(work)?;
    let copy = work.join("tree");
    deb::copy(tree, &copy)?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        fs::copy(source.join(name), copy.join(name))?;
    }
    let date = output(
        Command::new("date")
            .args(["--utc", "+%a %b %d %Y", "--date"])
            .arg(format!("@{epoch}"))
            .env("LC_ALL", "C"),
    )?;
    let mut command = Command::new("rpmbuild");
    let mut define = |name: &str, value: &str| {
        command.arg("--define").arg(format!("{name} {value}"));
    };
    define("_topdir", &work.display().to_string());
    define("tree", &copy.display().to_string());
    define("program_version", version);
    define("changelog_date", date.trim());
    define("vendor", "netmon");
    define("packager", &deb::maintainer());
    // The same bytes wherever and whenever it is packed.
    define("_buildhost", "netmon");
    define("use_source_date_epoch_as_buildtime", "1");
    define("clamp_mtime_to_source_date_epoch", "1");
    // What RPM reads since 4.14, which RHEL 8 has.
    define("_binary_payload", "w19.zstdio");
    define("_build_id_links", "none");
    command.args(["-bb", "--target", "x86_64-linux", "--quiet"]);
    command.arg(source.join("netmon-agent/packaging/rpm/netmon.spec"));
    output(command.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("LC_ALL", "C.UTF-8"))?;
    Ok(work.join(format!("RPMS/x86_64/netmon-{version}-1.x86_64.rpm")))
}
