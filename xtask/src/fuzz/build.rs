//! The program that libFuzzer drives.
//!
//! libFuzzer wants its counters in the code (`-fsanitize-coverage`), LLVM's coverage wants others; both are passes that a
//! stable rustc takes. They go into netmon's own crates alone, by this very program as rustc's wrapper: so the two hundred
//! others are built once and without, and what is reached in them counts for nothing.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::folder;
use crate::step::{cargo, root, run};

/// Set, it makes this program a wrapper of rustc (`RUSTC_WRAPPER` of cargo).
const WRAPS: &str = "NETMON_XTASK_WRAPS_RUSTC";

/// What is instrumented.
const CRATES: [&str; 3] = ["netmon_agent", "netmon_client", "netmon_fuzz"];

/// As `clang -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping` would.
const FLAGS: [&str; 12] = [
    "-C",
    "passes=sancov-module",
    "-C",
    "llvm-args=-sanitizer-coverage-level=4",
    "-C",
    "llvm-args=-sanitizer-coverage-trace-compares",
    "-C",
    "llvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-C",
    "llvm-args=-sanitizer-coverage-pc-table",
    "-C",
    "instrument-coverage",
];

/// What AddressSanitizer is built for: with a target that is named, nothing that runs in the build itself has it.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds it, with AddressSanitizer if that is wanted; where it is.
///
/// # Errors
/// The build failed.
pub(super) fn build(sanitize: bool) -> Result<PathBuf> {
    let this = std::env::current_exe().context("this program's own path")?;
    let mut command = cargo(&["build", "--locked", "--features", "libfuzzer", "--bin", "netmon-fuzz"]);
    command.arg("--manifest-path").arg(root().join("fuzz/Cargo.toml"));
    command.env("RUSTC_WRAPPER", this).env(WRAPS, "1");
    let program = match sanitize {
        true => {
            // The stable compiler has the runtime, and the switch behind this. Every crate has it, other than the counters.
            command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
            command.args(["--target", TRIPLE]);
            folder().join("address").join(TRIPLE).join("debug/netmon-fuzz")
        }
        false => folder().join("debug/netmon-fuzz"),
    };
    run(command.arg("--target-dir").arg(if sanitize { folder().join("address") } else { folder() }))?;
    Ok(program)
}

/// Runs rustc as cargo asks for it, where this is its wrapper; `None` where it is not.
pub fn wrap() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next()?;
    let arguments: Vec<_> = arguments.collect();
    let named = arguments.iter().position(|a| a == "--crate-name").and_then(|at| arguments.get(at + 1));
    let ours = named.is_some_and(|name| CRATES.iter().any(|ours| name == ours));
    let mut command = Command::new(rustc);
    command.args(&arguments).env_remove(WRAPS);
    if ours {
        command.args(FLAGS);
    }
    Some(match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(e) => {
            eprintln!("xtask: rustc: {e}");
            ExitCode::FAILURE
        }
    })
}
