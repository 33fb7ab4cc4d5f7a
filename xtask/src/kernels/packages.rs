//! Debian packages of any suite, below `target/`: fetched by APT with a configuration and state of its own, verified
//! by APT with Debian's keyring, unpacked, never installed.
//!
//! The machine's own APT settings stay in force (its mirror, its proxy), its lists, its cache and what it has installed
//! are left alone. None of it needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
/// What APT and dpkg know of the machine: a copy of it tells which libraries need not be fetched.
const STATUS: &str = "/var/lib/dpkg/status";

/// An APT of our own, with a folder for all it keeps.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    /// Whether it reads the machine's sources or `folder`'s.
    sources: Sources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sources {
    Machine,
    Own,
}

impl Apt {
    /// One that sees the suites named, and nothing of the machine's packages.
    ///
    /// # Errors
    /// Without `apt-get`, without Debian's keyring, or when a suite can't be had.
    pub fn of_suites(folder: &Path, suites: &[&str]) -> Result<Self> {
        let apt = Self::new(folder, Sources::Own)?;
        ensure!(Path::new(KEYRING).exists(), "no {KEYRING}: apt-get install debian-archive-keyring");
        let mirrors = Mirrors::of_machine();
        let lines = suites.iter().map(|suite| {
            let mirror = if suite.ends_with("-security") { &mirrors.security } else { &mirrors.main };
            format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n")
        });
        fs::write(apt.folder.join("sources.list"), lines.collect::<String>())?;
        fs::write(apt.folder.join("state/status"), "")?;
        apt.update()?;
        Ok(apt)
    }

    /// One that sees what the machine's own sources have, for programs that are to run with its libraries.
    ///
    /// # Errors
    /// Without `apt-get`, or when the sources can't be read.
    pub fn of_machine(folder: &Path) -> Result<Self> {
        let apt = Self::new(folder, Sources::Machine)?;
        fs::copy(STATUS, apt.folder.join("state/status")).context(STATUS)?;
        apt.update()?;
        Ok(apt)
    }

    /// What a package depends on by name, alternatives included; the newest version it can see.
    ///
    /// # Errors
    /// When there is no such package.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let text = output(self.command("apt-cache").args(["depends", "--important", package]))
            .with_context(|| format!("no package {package}"))?;
        // `  Depends: name`, or ` |Depends: name` where another follows that would do as well.
        let names = text.lines().filter_map(|line| {
            let (kind, name) = line.trim_start_matches([' ', '|']).split_once(": ")?;
            kind.ends_with("Depends").then(|| name.trim().to_owned())
        });
        Ok(names.collect())
    }

    /// Fetches these packages and unpacks them into `into`.
    ///
    /// # Errors
    /// When one can't be had or is not what its signed list says.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let archives = self.folder.join("cache/archives");
        output(self.command("apt-get").args(["--quiet", "download"]).args(packages).current_dir(&archives))?;
        self.unpack_archives(into)
    }

    /// Fetches a package with all that it needs and the machine lacks, and unpacks them into `into`.
    ///
    /// # Errors
    /// As [`Self::unpack`].
    pub fn unpack_with_dependencies(&self, package: &str, into: &Path) -> Result<()> {
        let options = ["--quiet", "--yes", "--no-install-recommends", "--download-only", "install", package];
        output(self.command("apt-get").args(options))?;
        self.unpack_archives(into)
    }

    fn unpack_archives(&self, into: &Path) -> Result<()> {
        fs::create_dir_all(into)?;
        for entry in fs::read_dir(self.folder.join("cache/archives"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "deb") {
                output(Command::new("dpkg-deb").arg("-x").args([&path, &into.to_owned()]))?;
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn new(folder: &Path, sources: Sources) -> Result<Self> {
        ensure!(output(Command::new("apt-get").arg("--version")).is_ok(), "there is no apt-get here");
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(sub)).with_context(|| folder.display().to_string())?;
        }
        Ok(Self { folder: folder.to_owned(), sources })
    }

    fn update(&self) -> Result<()> {
        // A list that can't be had is only a warning by default.
        output(self.command("apt-get").args(["--quiet", "--error-on=any", "update"])).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.display();
        let mut option = |name: &str, value: String| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        option("Dir::State", format!("{folder}/state"));
        option("Dir::State::status", format!("{folder}/state/status"));
        option("Dir::Cache", format!("{folder}/cache"));
        option("Acquire::Languages", "none".to_owned());
        // It would fetch as a user of its own, who may not write here.
        if crate::debian::is_root() {
            option("APT::Sandbox::User", "root".to_owned());
        }
        if self.sources == Sources::Own {
            option("Dir::Etc::sourcelist", format!("{folder}/sources.list"));
            option("Dir::Etc::sourceparts", "/dev/null".to_owned());
            option("Dir::Etc::preferencesparts", "/dev/null".to_owned());
            option("APT::Architecture", "amd64".to_owned());
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command
    }
}

/// Where Debian and its security updates are fetched from.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirrors {
    pub main: String,
    security: String,
}

impl Mirrors {
    /// Those of the machine's sources; Debian's public ones when it has none.
    pub fn of_machine() -> Self {
        let format = ["indextargets", "--format", "$(REPO_URI)"];
        Self::among(&output(Command::new("apt-get").args(format)).unwrap_or_default())
    }

    fn among(addresses: &str) -> Self {
        let ending = |end: &str| {
            let mut found = addresses.lines().map(|line| line.trim().trim_end_matches('/'));
            found.find(|address| address.ends_with(end)).map(str::to_owned)
        };
        let main = ending("/debian").unwrap_or_else(|| DEFAULT_MIRROR.to_owned());
        let security = ending("/debian-security").unwrap_or_else(|| format!("{main}-security"));
        Self { main, security }
    }
}

/// What a command prints; its errors are APT's, which name the suite or package.
fn output(command: &mut Command) -> Result<String> {
    let shown = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("{shown} can't be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("E:")).collect();
        bail!("{shown}: {}", if errors.is_empty() { said.trim().to_owned() } else { errors.join(" ") });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_the_machines_own() {
        let mirrors = Mirrors::among(
            "https://elsewhere.example/apt/\nhttp://mirror.example/debian/\nhttp://mirror.example/debian-security/\n",
        );
        assert_eq!(mirrors.main, "http://mirror.example/debian");
        assert_eq!(mirrors.security, "http://mirror.example/debian-security");
    }

    #[test]
    fn without_sources_it_is_debians_public_mirror() {
        let mirrors = Mirrors::among("https://elsewhere.example/apt/\n");
        assert_eq!(mirrors.main, DEFAULT_MIRROR);
        assert_eq!(mirrors.security, format!("{DEFAULT_MIRROR}-security"));
    }
}
