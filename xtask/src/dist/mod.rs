//! `cargo xtask dist`: what people install, in `target/dist`, each time the same bytes from the same commit.
//!
//! One program is built for an old glibc, and one tree of files is made around it; the .deb, the .rpm and the container's
//! root are that tree in three wrappings. What each tool does is its own: cargo-zigbuild links, debhelper and rpmbuild
//! pack, cargo-cyclonedx lists.

mod binary;
mod check;
mod container;
mod crates;
mod deb;
pub mod imports;
mod licences;
pub mod metadata;
mod programs;
mod rpm;
mod sbom;
mod sums;
mod tools;
mod tree;
mod twice;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::{Steps, root, target};

/// The version of the workspace, and so of every package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Pack this program, which was built before, instead of building one.
    #[arg(long, value_name = "FILE", conflicts_with = "twice")]
    program: Option<PathBuf>,
    /// Then prove them (root, on Debian): lintian, rpmlint, an installation of each in a fresh root, the manifests against
    /// Kubernetes' schemas, the advisories. A root of Debian 12 and one of Debian 11 are downloaded to target/roots: 150 MB.
    #[arg(long)]
    check: bool,
    /// Then build all of it again from a clone in another folder, and compare the bytes.
    #[arg(long)]
    twice: bool,
}

/// Where the program is from.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    /// Built now, by cargo in this folder.
    Build(&'a Path),
    /// Here already.
    Built(&'a Path),
}

/// What there is after a build.
#[derive(Debug)]
pub struct Made {
    /// The program.
    pub binary: PathBuf,
    /// All files as they are installed.
    pub tree: PathBuf,
    /// The packages.
    pub deb: PathBuf,
    pub rpm: PathBuf,
    /// The container's build context: Containerfile and its root.
    pub container: PathBuf,
    /// What to hand out, the packages and the rest.
    pub files: Vec<PathBuf>,
}

/// Makes the packages, and proves them where that is asked for.
///
/// # Errors
/// At the first step that fails.
pub fn perform(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    let program = match &options.program {
        Some(program) => Program::Built(program),
        None => Program::Build(&target().join("dist-build")),
    };
    let made = make(&mut steps, &root(), &folder(), program)?;
    if options.twice {
        steps.measure("a second time, elsewhere", |_| twice::compare(&made))?;
    }
    if options.check {
        check::all(&mut steps, &made)?;
    }
    steps.report()?;
    println!("== {}", folder().display());
    sums::show(&made.files)
}

/// Everything from the sources in `source` to the files in `folder`.
///
/// # Errors
/// At the first step that fails.
pub fn make(steps: &mut Steps, source: &Path, folder: &Path, program: Program<'_>) -> Result<Made> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let work = fresh(&folder.join("work"))?;
    let epoch = epoch(source)?;
    steps.measure("tools", |_| tools::provide())?;
    let mut binary = PathBuf::new();
    steps.measure("program", |_| {
        binary = match program {
            Program::Build(folder) => binary::build(source, folder, epoch)?,
            Program::Built(file) => {
                binary::examine(file, source)?;
                file.canonicalize()?
            }
        };
        binary::describe(&binary)
    })?;
    let tree = work.join("tree");
    steps.measure("tree of files", |_| tree::make(source, &binary, &tree))?;
    let (mut deb, mut rpm, mut sbom, mut image) = Default::default();
    steps.measure("Debian package", |_| {
        deb = deb::build(source, &tree, &work.join("deb"), VERSION, epoch)?;
        Ok(())
    })?;
    steps.measure("RPM", |_| {
        rpm = rpm::build(source, &tree, &work.join("rpm"), VERSION, epoch)?;
        Ok(())
    })?;
    let container = work.join("container");
    steps.measure("container", |_| {
        image = container::make(source, &tree, &container, epoch)?;
        Ok(())
    })?;
    steps.measure("bill of materials", |_| {
        sbom = sbom::make(source, &work, epoch)?;
        Ok(())
    })?;
    let mut files = Vec::new();
    for file in [Some(deb), Some(rpm), image, Some(sbom)].into_iter().flatten() {
        let to = folder.join(file.file_name().context("a file has a name")?);
        fs::rename(&file, &to).with_context(|| to.display().to_string())?;
        files.push(to);
    }
    let program = folder.join("netmon");
    // It may be the one of the last time, which would be emptied by a copy to itself.
    let copied = fs::read(&binary).with_context(|| binary.display().to_string())?;
    fs::write(&program, copied)?;
    fs::set_permissions(&program, fs::metadata(&binary)?.permissions())?;
    files.push(program);
    sums::write(folder, &files)?;
    let [deb, rpm] = [&files[0], &files[1]].map(Clone::clone);
    Ok(Made { binary, tree, deb, rpm, container, files })
}

/// Where everything is made.
fn folder() -> PathBuf {
    target().join("dist")
}

/// The time that every file has: that of the commit, or `SOURCE_DATE_EPOCH`; seconds since 1970.
fn epoch(source: &Path) -> Result<u64> {
    if let Some(told) = std::env::var_os("SOURCE_DATE_EPOCH") {
        let told = told.to_string_lossy().into_owned();
        return told.parse().with_context(|| format!("SOURCE_DATE_EPOCH={told} is no number of seconds"));
    }
    let log = programs::output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(source))
        .context("the time of the commit; without git set SOURCE_DATE_EPOCH")?;
    log.trim().parse().context("the time of the commit")
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(folder.to_owned())
}
