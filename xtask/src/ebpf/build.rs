//! Source to object: the same bytes from the same compiler, wherever the checkout lies.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    Options, committed_object,
    note::{self, Note},
    root,
    toolchain::{self, Toolchain, clean_command, run},
};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object and writes it, with its note, to where it is committed.
///
/// # Errors
/// When there is no toolchain or it fails.
pub fn build(options: &Options) -> Result<()> {
    let toolchain = toolchain::find(options.install)?;
    let object = compile(&toolchain)?;
    let path = committed_object();
    fs::write(&path, &object).with_context(|| path.display().to_string())?;
    Note {
        compiler: toolchain.compiler_name,
        linker: toolchain.linker_name,
        source: note::source_hash()?,
        object: note::hash(&object)?,
    }
    .write()?;
    println!("{}: {} bytes", path.display(), object.len());
    Ok(())
}

/// Builds the object and returns its bytes.
///
/// # Errors
/// When a tool fails.
pub fn compile(toolchain: &Toolchain) -> Result<Vec<u8>> {
    let target_dir = root().join("target/ebpf");
    run(toolchain
        .cargo_command()
        .current_dir(root())
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "netmon-ebpf",
            "--bin",
            "netmon-ebpf",
        ])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        // Lets a stable compiler build its own `core`, as a nightly may.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain)?.join("\x1f"))
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        // BTF is made from debug information.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none"))?;

    let linked = target_dir.join(TARGET).join("release/netmon-ebpf");
    let stripped = target_dir.join("netmon.bpf.o");
    strip(&toolchain.objcopy, &linked, &stripped)?;
    fs::read(&stripped).with_context(|| stripped.display().to_string())
}

fn flags(toolchain: &Toolchain) -> Result<Vec<String>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".to_owned(),
        remap(&root(), "/netmon"),
        remap(&home, "/cargo"),
        remap(&toolchain.library, "/rust"),
    ];
    // Where the sources came from must not show either: a mirror gives the same bytes. This task's own dependencies are
    // there already, so the folder is.
    if let Ok(sources) = fs::read_dir(home.join("registry/src")) {
        flags.extend(sources.flatten().map(|source| remap(&source.path(), "/cargo")));
    }
    Ok(flags)
}

/// Leaves the programs, the maps and the types: DWARF and line numbers are ten times as much.
fn strip(objcopy: &Path, from: &Path, to: &Path) -> Result<()> {
    run(clean_command(objcopy)
        .arg("--strip-debug")
        .args([".BTF.ext", ".rel.BTF.ext", ".rel.BTF"].map(|section| format!("--remove-section={section}")))
        .args([from, to]))
}
