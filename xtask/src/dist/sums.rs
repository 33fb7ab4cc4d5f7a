//! `SHA256SUMS`, as sha256sum writes and checks them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::programs::output;

/// Writes them of `files`, which lie in `folder`.
///
/// # Errors
/// When a file can't be read.
pub fn write(folder: &Path, files: &[PathBuf]) -> Result<()> {
    fs::write(folder.join("SHA256SUMS"), of(files)?)?;
    Ok(())
}

/// The sum and the name of each file, a line each.
///
/// # Errors
/// When a file can't be read.
pub fn of(files: &[PathBuf]) -> Result<String> {
    let mut lines = String::new();
    for file in files {
        let folder = file.parent().context("a file has a folder")?;
        let name = file.file_name().context("a file has a name")?;
        lines += &output(Command::new("sha256sum").arg("--").arg(name).current_dir(folder))?;
    }
    Ok(lines)
}

/// Prints size and sum of each.
///
/// # Errors
/// When a file can't be read.
pub fn show(files: &[PathBuf]) -> Result<()> {
    for (file, line) in files.iter().zip(of(files)?.lines()) {
        println!("{:>10} B  {line}", fs::metadata(file)?.len());
    }
    Ok(())
}
