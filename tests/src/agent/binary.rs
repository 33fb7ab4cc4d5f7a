//! Which `netmon` is under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, anyhow, ensure};

/// The binary named by `NETMON_BIN`; otherwise the one of this workspace, built now in release form.
///
/// # Errors
/// When it does not build; the compiler has said why on standard error.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| find().map_err(|e| format!("{e:#}")));
    found.as_deref().map_err(|e| anyhow!("{e}"))
}

fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("NETMON_BIN") {
        let path = std::path::absolute(named)?;
        ensure!(path.is_file(), "NETMON_BIN names {}, which is no file", path.display());
        return Ok(path);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "netmon-agent", "--bin", "netmon"])
        .current_dir(&workspace)
        .status()?;
    ensure!(status.success(), "the agent does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    Ok(std::path::absolute(target.join("release/netmon"))?)
}
