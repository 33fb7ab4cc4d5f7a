//! Examples that are packages of their own, as what they stand on is too heavy for everybody's build.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::step::{cargo, root, run, target};
use crate::tool;

/// The S3 server, pinned: it is downloaded from PyPI.
const MOTO: &str = "moto[server]==5.2.5";

#[derive(Debug, Subcommand)]
pub enum Which {
    /// Uploads to S3 that an outage cuts: object_store with netmon's Retryer, beside its own retries (root). At the first
    /// time builds object_store, and downloads an S3 server to `target/s3`: some minutes, and 320 MB.
    S3 {
        /// `--runs N`, `--outage SECONDS`, `--parts N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// Builds it and what it needs, and runs it.
///
/// # Errors
/// At the first step that fails.
pub fn perform(which: &Which) -> Result<()> {
    let Which::S3 { options } = which;
    let folder = target().join("s3");
    let moto = moto(&folder)?;
    let package = |task: &str| {
        let mut command = cargo(&[task, "--quiet", "--locked", "--manifest-path"]);
        command.arg(manifest()).arg("--target-dir").arg(&folder);
        command
    };
    run(&mut package("test"))?;
    run(&mut package("build"))?;
    let mut bench = tool("netmon-bench", &["s3".to_owned()]);
    bench.args(options).arg("--programs").arg(folder.join("debug")).arg("--moto").arg(moto);
    run(&mut bench)
}

/// The package of the S3 example, which is no member of the workspace.
pub fn manifest() -> PathBuf {
    root().join("netmon-agent/client/examples/s3/Cargo.toml")
}

/// The S3 server, in a Python environment of its own.
fn moto(folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("python");
    let program = environment.join("bin/moto_server");
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .context("a Python environment; on Debian it needs: apt-get install python3-venv")?;
        let pip = environment.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", MOTO]))?;
    }
    Ok(program)
}
