//! The program, linked for an old glibc, without a word of the machine that built it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{ElfFile, FileHeader, SectionHeader};

use super::{programs, tools};
use crate::step::{root, run};

/// What it is built for.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The oldest glibc that it runs with: what Rust's own standard library needs.
pub const GLIBC: &str = "2.17";

/// Builds it from the workspace in `source`, below `build`.
///
/// # Errors
/// When it does not build, or is not what [`examine`] asks for.
pub fn build(source: &Path, build: &Path, epoch: u64) -> Result<PathBuf> {
    let mut command = tools::subcommand("zigbuild");
    command.args(["--locked", "--profile", "dist", "--package", "netmon-agent", "--bin", "netmon"]);
    command.arg("--target").arg(format!("{TARGET}.{GLIBC}")).arg("--target-dir").arg(build);
    let renamed = renamed(source)?;
    let flags: Vec<_> =
        renamed.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    let c_flags: Vec<_> =
        renamed[..2].iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
    let wrappers =
        std::env::var_os("CARGO_ZIGBUILD_CACHE_DIR").unwrap_or_else(|| tools::cache("zigbuild").into());
    command
        .current_dir(source)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CFLAGS", c_flags.join(" "))
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env("CARGO_ZIGBUILD_CACHE_DIR", wrappers)
        .env("ZIG_GLOBAL_CACHE_DIR", tools::cache("zig"))
        .env("ZIG_LOCAL_CACHE_DIR", tools::cache("zig"));
    run(&mut command)?;
    let binary = build.join(TARGET).join("dist/netmon");
    examine(&binary, source)?;
    Ok(binary)
}

/// That it runs with the glibc that is promised, and holds no paths of this machine.
///
/// # Errors
/// When it does not, or is no program for Linux.
pub fn examine(binary: &Path, source: &Path) -> Result<()> {
    let (floor, promised) = (Facts::of(binary)?.floor, version(GLIBC).context("a version")?);
    ensure!(floor <= promised, "{} needs glibc {}.{}, not {GLIBC}", binary.display(), floor.0, floor.1);
    let bytes = fs::read(binary)?;
    for (path, _) in renamed(source)?.iter().chain([&(root(), "")]) {
        let path = path.display().to_string();
        ensure!(!holds(&bytes, path.as_bytes()), "{} holds the path {path}", binary.display());
    }
    Ok(())
}

/// Prints what it is.
///
/// # Errors
/// When it can't be read.
pub fn describe(binary: &Path) -> Result<()> {
    let facts = Facts::of(binary)?;
    let (major, minor) = facts.floor;
    println!(
        "{:.1} MB; needs glibc {major}.{minor} or newer, of {}",
        fs::metadata(binary)?.len() as f64 / 1e6,
        facts.libraries.join(", ")
    );
    Ok(())
}

/// Folders of this machine, and what stands for each in messages: the sources, the crates, Rust's own library.
fn renamed(source: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cargo"))
    });
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let rustc = programs::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(source))?;
    let library = Path::new(rustc.trim()).join("lib/rustlib/src/rust");
    Ok(vec![(source.to_owned(), "/netmon"), (home.join("registry/src"), "/cargo"), (library, "/rust")])
}

/// What a program needs of the system's libraries.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    /// The newest version of glibc among its symbols' versions.
    floor: (u32, u32),
    /// The libraries, by name.
    libraries: Vec<String>,
}

impl Facts {
    fn of(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let file = ElfFile::<FileHeader64<Endianness>>::parse(&*bytes)?;
        let (endian, sections) = (file.endian(), file.elf_section_table());
        let mut facts = Self { floor: (0, 0), libraries: Vec::new() };
        for section in sections.iter() {
            let Some((mut needed, link)) = section.gnu_verneed(endian, &*bytes)? else { continue };
            let strings = sections.strings(endian, &*bytes, link)?;
            while let Some((library, mut versions)) = needed.next()? {
                facts.libraries.push(String::from_utf8_lossy(library.file(endian, strings)?).into_owned());
                while let Some(one) = versions.next()? {
                    let name = String::from_utf8_lossy(one.name(endian, strings)?).into_owned();
                    facts.floor =
                        facts.floor.max(name.strip_prefix("GLIBC_").and_then(version).unwrap_or_default());
                }
            }
        }
        ensure!(file.elf_header().e_type(endian) == object::elf::ET_DYN, "no position-independent program");
        Ok(facts)
    }
}

/// `2.17` or `2.2.5`, by its first two numbers.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_needs_the_systems_glibc() {
        let facts = Facts::of(&std::env::current_exe().unwrap()).unwrap();
        assert!(facts.floor >= (2, 17), "{facts:?}");
        assert!(facts.libraries.iter().any(|l| l == "libc.so.6"), "{facts:?}");
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("2.17").unwrap() > version("2.2.5").unwrap());
        assert_eq!(version("PRIVATE"), None);
    }
}
