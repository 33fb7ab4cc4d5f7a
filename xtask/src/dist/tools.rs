//! The tools that make packages: pinned, below `target/tools`; and Debian's own, installed where this is root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian;
use crate::step::{cargo, run, target};

/// Zig, which links for any glibc, and what has cargo use it: from PyPI, and held against these sums.
const BUILD: &str = include_str!("requirements-build.txt");
/// What looks at the manifest and the container's file.
const CHECK: &str = include_str!("requirements-check.txt");

/// The oldest release of Kubernetes whose schema the manifests have to fit, and the newest known.
pub const KUBERNETES: [&str; 2] = ["1.25.0", "1.37.0"];

/// Program, crate and version of what cargo installs; each builds for some minutes.
const CRATES: [(&str, &str); 2] = [("cargo-cyclonedx", "0.5.9"), ("cargo-deny", "0.20.2")];

/// Has everything that a build needs.
///
/// # Errors
/// When something can't be had.
pub fn provide() -> Result<()> {
    debian::provide_packers()?;
    environment("build", BUILD, &["--require-hashes", "--only-binary", ":all:"])?;
    CRATES.iter().try_for_each(|(name, version)| install(name, version))
}

/// Programs from PyPI that a build needs, first in a command's `PATH`.
pub fn with_build(command: &mut Command) {
    let own = [folder().join("build/bin"), folder().join("bin")];
    if let Ok(path) = std::env::join_paths(own.into_iter().chain(debian::folders())) {
        command.env("PATH", path);
    }
}

/// A program that looks at files, of PyPI's.
///
/// # Errors
/// When it can't be had.
pub fn checker(program: &str) -> Result<PathBuf> {
    Ok(environment("check", CHECK, &[])?.join("bin").join(program))
}

/// A subcommand of cargo that was installed here.
pub fn subcommand(name: &str) -> Command {
    let mut command = cargo(&[name]);
    with_build(&mut command);
    command
}

/// Where zig and others keep what they have compiled.
pub fn cache(name: &str) -> PathBuf {
    folder().join("cache").join(name)
}

fn folder() -> PathBuf {
    target().join("tools")
}

/// A Python environment with exactly these packages; made anew when they are others.
fn environment(name: &str, requirements: &str, options: &[&str]) -> Result<PathBuf> {
    let folder = folder().join(name);
    let done = folder.join("requirements.txt");
    if fs::read_to_string(&done).is_ok_and(|had| had == requirements) {
        return Ok(folder);
    }
    let names = requirements.lines().filter_map(|l| l.split_once("==").map(|(name, _)| name));
    println!("installing {} from PyPI into {}", names.collect::<Vec<_>>().join(", "), folder.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .context("a Python environment; on Debian it needs: apt-get install python3-venv")?;
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, requirements)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    run(pip
        .args(["install", "--disable-pip-version-check"])
        .args(options)
        .arg("--requirement")
        .arg(&wanted))?;
    fs::rename(wanted, done)?;
    Ok(folder)
}

/// A crate's program of this very version.
fn install(name: &str, version: &str) -> Result<()> {
    let program = folder().join("bin").join(name);
    if program.exists() && installed(&folder(), name) == Some(version.to_owned()) {
        return Ok(());
    }
    println!("installing {name} {version} with cargo into {}: some minutes", folder().display());
    let mut command = cargo(&["install", "--locked", "--force", "--root"]);
    command.arg(folder()).arg("--target-dir").arg(cache("install")).arg(format!("{name}@{version}"));
    // What this workspace is built with is no business of theirs.
    run(command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))
}

/// The version that cargo notes of what it has installed, in `.crates.toml`: `"name 1.2.3 (source)" = [programs]`.
fn installed(root: &Path, name: &str) -> Option<String> {
    let note = fs::read_to_string(root.join(".crates.toml")).ok()?;
    let entry =
        |line: &str| line.trim_start_matches('"').strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    note.lines().find_map(entry).and_then(|rest| rest.split(' ').next().map(str::to_owned))
}
