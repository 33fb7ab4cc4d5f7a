//! How a checker is built in, and by which compiler.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{root, target};

/// Where a compiler with the library's source and Miri is, in place of rustup's nightly.
const TOOLCHAIN: &str = "NETMON_NIGHTLY";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A checker that is compiled in.
#[derive(Debug)]
pub struct Build {
    /// What its folder below `target/sanitize` is called.
    pub checker: &'static str,
    flags: &'static str,
    nightly: Option<Nightly>,
}

impl Build {
    /// AddressSanitizer with LeakSanitizer. The stable compiler has their runtime.
    pub fn address() -> Self {
        let flags = "-Zsanitizer=address -Cforce-frame-pointers=yes";
        Self { checker: "address", flags, nightly: None }
    }

    /// ThreadSanitizer. With the library built the same way nothing of Rust has to be suppressed; without, each lock of it would
    /// look like none.
    ///
    /// # Errors
    /// No compiler that has the library's source.
    pub fn thread() -> Result<Self> {
        Ok(Self { checker: "thread", flags: "-Zsanitizer=thread", nightly: Some(Nightly::find(false)?) })
    }

    /// Where it builds.
    pub fn folder(&self) -> PathBuf {
        target().join("sanitize").join(self.checker)
    }

    /// The agent that [`Build::cargo`] builds.
    pub fn agent(&self) -> PathBuf {
        self.folder().join(TRIPLE).join("debug/netmon")
    }

    /// `cargo WHAT` with the checker built in. With a target, build scripts and macros stay as they are.
    pub fn cargo(&self, what: &str) -> Command {
        let mut command = match &self.nightly {
            Some(nightly) => {
                let mut command = nightly.cargo();
                command.args([what, "-Zbuild-std"]);
                command
            }
            None => {
                let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                // The switch is not stable.
                command.arg(what).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command.args(["--target", TRIPLE]).current_dir(root());
        command.env("RUSTFLAGS", self.flags).env("CARGO_TARGET_DIR", self.folder());
        command
    }
}

/// What a checker takes is not here.
#[derive(Clone, Copy, Debug)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its compiler is not to be had here")
    }
}

/// A compiler that takes what is not stable, with its library's source.
#[derive(Debug)]
pub struct Nightly(PathBuf);

impl Nightly {
    /// The one that is named, or rustup's.
    ///
    /// # Errors
    /// [`Missing`]: there is none, or it lacks something; with what would help.
    pub fn find(with_miri: bool) -> Result<Self> {
        Self::look(with_miri).context(Missing)
    }

    fn look(with_miri: bool) -> Result<Self> {
        let found = match env::var_os(TOOLCHAIN) {
            Some(folder) => PathBuf::from(folder),
            None => {
                let which =
                    Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]).output();
                let which = which.context("no rustup")?;
                let rustc = String::from_utf8(which.stdout)?;
                Path::new(rustc.trim()).ancestors().nth(2).context("no nightly toolchain")?.to_owned()
            }
        };
        let mut missing = Vec::new();
        if !found.join("lib/rustlib/src/rust/library/std").exists() {
            missing.push("rust-src");
        }
        if with_miri && !found.join("bin/miri").exists() {
            missing.push("miri");
        }
        if !missing.is_empty() {
            bail!(
                "{} has no {}: rustup toolchain install nightly --component rust-src,miri, or name another's folder \
                 by {TOOLCHAIN}",
                found.display(),
                missing.join(" and no ")
            );
        }
        Ok(Self(found))
    }

    /// Its own cargo, with its own compiler, whatever runs this.
    pub fn cargo(&self) -> Command {
        let bin = self.0.join("bin");
        let mut command = Command::new(bin.join("cargo"));
        command.current_dir(root()).env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc"));
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        let rest = env::var_os("PATH").unwrap_or_default();
        if let Ok(path) = env::join_paths([bin].into_iter().chain(env::split_paths(&rest))) {
            command.env("PATH", path);
        }
        command
    }
}
