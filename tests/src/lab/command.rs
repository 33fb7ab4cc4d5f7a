//! Running programs and saying plainly what went wrong.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` with `input` on its standard input and returns its standard output.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: then with its standard error.
pub fn run(command: &mut Command, input: &str) -> Result<String> {
    let shown = format!("{} {}", command.get_program().display(), join(command.get_args()));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    // A program that ends without reading its input is judged by its status, not by our broken pipe.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().with_context(|| format!("waiting for {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}: {} {input}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is: in `PATH`, in the system's own folders, or among those unpacked by `cargo xtask test`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debian/usr/bin");
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", unpacked].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn join<'a>(args: impl Iterator<Item = &'a OsStr>) -> String {
    args.map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
