//! `cargo xtask test` and the part of it that needs no root.

use anyhow::Result;

use crate::dashboards;
use crate::debian;
use crate::dist;
use crate::ebpf;
use crate::example;
use crate::kernels;
use crate::promises;
use crate::races;
use crate::step::{Steps, cargo, root, target};

/// Everything: packages, lint, build, unit tests, the lab, the kernel object, the kernels that have to take it.
///
/// # Errors
/// At the first step that fails; of the two suites of tests, both are run.
pub fn test() -> Result<()> {
    let mut steps = Steps::default();
    steps.measure("packages", |_| debian::provide())?;
    lint(&mut steps)?;
    steps.measure("types of dashboards", |_| dashboards::check_types())?;
    steps.measure("packaging", |_| dist::metadata::check())?;
    steps
        .run("build", &mut cargo(&["build", "--release", "--package", "netmon-agent", "--bin", "netmon"]))?;
    steps.measure("imports", |_| dist::imports::check(&target().join("release/netmon")))?;
    steps.suite("tests", &mut cargo(&["test", "--workspace", "--exclude", "netmon-tests", "--no-fail-fast"]));
    races::short(&mut steps)?;
    let mut corpora = cargo(&["test", "--locked", "--no-fail-fast", "--manifest-path"]);
    steps.suite(
        "hostile input",
        corpora.arg(root().join("fuzz/Cargo.toml")).arg("--target-dir").arg(target()),
    );
    if !debian::is_root() {
        println!("the lab's trials need root and will be ignored");
    }
    let mut lab = cargo(&["test", "--package", "netmon-tests", "--no-fail-fast"]);
    steps.suite("lab", lab.env("NETMON_BIN", target().join("release/netmon")));
    let options = ebpf::Options { install: debian::is_root() };
    steps.measure("kernel object", |_| ebpf::verify(&options))?;
    steps.measure("kernels", |_| kernels::pass())?;
    steps.report()
}

/// Formatting, generated files, clippy, documentation.
///
/// # Errors
/// At the first that finds something.
pub fn lint(steps: &mut Steps) -> Result<()> {
    steps.run("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    steps.measure("dashboards", |_| dashboards::check())?;
    steps.measure("promises", |_| promises::check())?;
    steps.run(
        "format of the S3 example",
        cargo(&["fmt", "--check", "--manifest-path"]).arg(example::manifest()),
    )?;
    steps.run(
        "format of the fuzz targets",
        cargo(&["fmt", "--check", "--manifest-path"]).arg(root().join("fuzz/Cargo.toml")),
    )?;
    // With the ways in for fuzzing and for checkers of memory, which are built for nothing else here.
    let features = "netmon-agent/fuzzing,netmon-agent/checked,netmon-client/fuzzing";
    let clippy = ["clippy", "--workspace", "--all-targets", "--features", features, "--", "-D", "warnings"];
    steps.run("clippy", &mut cargo(&clippy))?;
    let doc = ["doc", "--workspace", "--no-deps"];
    steps.run("documentation", cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))
}
