//! Finds what can compile for BPF: a Rust compiler with its library's source, and a bpf-linker on the same LLVM.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{note::Note, root};

const LINKER_VERSION: &str = "0.13.0";
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];

/// Everything that takes part in making the object.
#[derive(Debug)]
pub struct Toolchain {
    /// Its `cargo`.
    pub cargo: PathBuf,
    /// Its `rustc`.
    pub rustc: PathBuf,
    /// Where the Rust library's source is; its path must not get into the object.
    pub library: PathBuf,
    /// The tool that strips.
    pub objcopy: PathBuf,
    /// The linker.
    pub linker: PathBuf,
    /// The compiler as it names itself, with its LLVM.
    pub compiler_name: String,
    /// The linker as it names itself, with its LLVM.
    pub linker_name: String,
}

impl Toolchain {
    /// Its `cargo`, with its own `rustc`.
    pub fn cargo_command(&self) -> Command {
        let mut command = clean_command(&self.cargo);
        command.env("RUSTC", &self.rustc);
        command
    }
}

/// Finds a toolchain, if there are several the one that built the committed object. Builds the linker when it is
/// missing.
///
/// # Errors
/// When there is none; the message says what to install.
pub fn find(install: bool) -> Result<Toolchain> {
    if install && compilers().is_empty() {
        install_packages()?;
    }
    let recorded = Note::read().ok().map(|note| note.compiler);
    let mut found = compilers();
    found.sort_by_key(|compiler| recorded.as_ref() != Some(&compiler.name));
    let compiler = found.into_iter().next().with_context(|| {
        format!(
            "no compiler for BPF. Install one of\n  Debian's: apt-get install {}\n  rustup's: rustup toolchain \
             install nightly --component rust-src, and the Debian package llvm-NN-dev of its LLVM (`rustc -vV`)\n\
             or, as root, let this command do it: --install",
            PACKAGES.join(" ")
        )
    })?;
    let linker = linker(&compiler)?;
    Ok(Toolchain {
        objcopy: compiler.llvm.join("bin/llvm-objcopy"),
        linker_name: format!("bpf-linker {LINKER_VERSION}, LLVM {}", compiler.llvm_version),
        linker,
        cargo: compiler.cargo,
        rustc: compiler.rustc,
        library: compiler.library,
        compiler_name: compiler.name,
    })
}

/// Installs Debian's compiler, its source and LLVM.
///
/// # Errors
/// When this is no Debian, not root, or apt fails.
pub fn install_packages() -> Result<()> {
    eprintln!("installing {}", PACKAGES.join(" "));
    run(Command::new("apt-get").arg("update"))?;
    run(Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Runs a command.
///
/// # Errors
/// When it can't be started or fails; the message names it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{} can't be run", describe(command)))?;
    ensure!(status.success(), "{} failed: {status}", describe(command));
    Ok(())
}

/// A command that neither the calling cargo's settings nor rustup reach.
///
/// Crates ship `rust-toolchain.toml` files that ask for components. A rustup proxy that is run in such a crate's
/// directory, without the toolchain it was told before, sets about installing them into the user's own toolchain,
/// and several at once leave it in ruins. So `RUSTUP_*` stays as it is, installing is forbidden, and the programs
/// given here must be the tools themselves, never the proxies (see [`Toolchain::cargo_command`]).
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if is_setting_of_cargo(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    command.env("RUSTUP_AUTO_INSTALL", "0");
    command
}

/// What the calling `cargo run` and the user's profile say of builds: it would get into the object. The directories
/// and the network settings stay.
fn is_setting_of_cargo(name: &str) -> bool {
    let kept = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"];
    let cargo = name == "CARGO" || name.starts_with("CARGO_");
    let compiler = ["RUSTC", "RUSTDOC", "RUSTFLAGS"].iter().any(|prefix| name.starts_with(prefix));
    // cargo points it at the library directory of its own toolchain.
    let library_path = name == "LD_LIBRARY_PATH";
    (cargo && !kept.iter().any(|prefix| name.starts_with(prefix))) || compiler || library_path
}

struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    library: PathBuf,
    /// `/usr/lib/llvm-NN`.
    llvm: PathBuf,
    llvm_version: String,
    llvm_major: String,
    name: String,
}

fn compilers() -> Vec<Compiler> {
    let rustup = |tool: &str| {
        let path = output(clean_command(Path::new("rustup")).args(["which", "--toolchain", "nightly", tool]))
            .ok()?;
        Some(PathBuf::from(path.trim()))
    };
    let nightly = rustup("cargo").zip(rustup("rustc"));
    let debian = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    nightly.into_iter().chain([debian]).filter_map(|(cargo, rustc)| examine(cargo, rustc).ok()).collect()
}

fn examine(cargo: PathBuf, rustc: PathBuf) -> Result<Compiler> {
    let about = output(clean_command(&rustc).arg("-vV"))?;
    let field = |name: &str| {
        let line = about.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("rustc tells no {name}"))
    };
    let llvm_version = field("LLVM version:")?.to_owned();
    let llvm_major = llvm_version.split('.').next().unwrap_or_default().to_owned();
    let llvm = Path::new("/usr/lib").join(format!("llvm-{llvm_major}"));
    ensure!(llvm.join("bin/llvm-config").exists(), "no {}", llvm.display());

    let sysroot = output(clean_command(&rustc).args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    ensure!(library.join("library/core").exists(), "no {}", library.display());
    let library = fs::canonicalize(&library)?;
    ensure!(cargo.exists(), "no {}", cargo.display());
    let first_line = about.lines().next().unwrap_or_default();
    let name = format!("{first_line}, LLVM {llvm_version}");
    Ok(Compiler { cargo, rustc, library, llvm, llvm_version, llvm_major, name })
}

/// Under `target`, for it is bound to one LLVM and nobody else's.
fn linker(compiler: &Compiler) -> Result<PathBuf> {
    let prefix = root().join(format!("target/bpf-linker-{LINKER_VERSION}-llvm-{}", compiler.llvm_version));
    let linker = prefix.join("bin/bpf-linker");
    if output(Command::new(&linker).arg("--version")).is_ok_and(|version| version.contains(LINKER_VERSION)) {
        return Ok(linker);
    }
    eprintln!("building bpf-linker {LINKER_VERSION} with LLVM {}", compiler.llvm_version);
    let path = env::var_os("PATH").unwrap_or_default();
    // Its build script asks the first llvm-config of PATH where the libraries are.
    let path = env::join_paths([compiler.llvm.join("bin")].into_iter().chain(env::split_paths(&path)))?;
    run(clean_command(&compiler.cargo)
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--no-default-features"])
        .args(["--features", &format!("llvm-{}", compiler.llvm_major)])
        .arg("--root")
        .arg(&prefix)
        .arg("--target-dir")
        .arg(prefix.join("build"))
        .env("PATH", path)
        .env("RUSTC", &compiler.rustc)
        .env("LLVM_PREFIX", &compiler.llvm))?;
    // Hundreds of megabytes that nothing needs again.
    fs::remove_dir_all(prefix.join("build"))?;
    Ok(linker)
}

/// What a command prints.
///
/// # Errors
/// When it can't be started, fails, or prints no UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} can't be run", describe(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", describe(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn describe(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustup_keeps_its_settings_and_may_install_nothing() {
        for name in [
            "RUSTUP_TOOLCHAIN",
            "RUSTUP_HOME",
            "RUSTUP_AUTO_INSTALL",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "PATH",
        ] {
            assert!(!is_setting_of_cargo(name), "{name}");
        }
        for name in [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "CARGO_TARGET_DIR",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "LD_LIBRARY_PATH",
        ] {
            assert!(is_setting_of_cargo(name), "{name}");
        }
        let command = clean_command(Path::new("cargo"));
        let install = command.get_envs().find(|(name, _)| *name == "RUSTUP_AUTO_INSTALL");
        assert_eq!(install.and_then(|(_, value)| value), Some("0".as_ref()));
    }
}
