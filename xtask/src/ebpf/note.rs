//! What made the committed object, and from what: the text file beside it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::root;

/// The note's contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// The compiler, as it names itself.
    pub compiler: String,
    /// The linker, as it names itself.
    pub linker: String,
    /// SHA-256 of all that the object is made from: see [`source_hash`].
    pub source: String,
    /// SHA-256 of the object.
    pub object: String,
}

impl Note {
    /// Reads the committed note.
    ///
    /// # Errors
    /// When there is none, or a line is missing.
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string(path()).with_context(|| path().display().to_string())?;
        Self::parse(&text)
    }

    /// Writes it beside the object.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self) -> Result<()> {
        let Self { compiler, linker, source, object } = self;
        let text = format!(
            "# Made by `cargo xtask build-ebpf`; proved by `cargo xtask verify-ebpf`.\n\
             compiler: {compiler}\nlinker: {linker}\nsource-sha256: {source}\nobject-sha256: {object}\n"
        );
        fs::write(path(), text).with_context(|| path().display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(str::to_owned).with_context(|| format!("the note has no line `{name}`"))
        };
        Ok(Self {
            compiler: field("compiler")?,
            linker: field("linker")?,
            source: field("source-sha256")?,
            object: field("object-sha256")?,
        })
    }
}

/// SHA-256 over the kernel side's sources and over the versions of the crates compiled into it.
///
/// # Errors
/// When a file can't be read or `sha256sum` can't be run.
pub fn source_hash() -> Result<String> {
    let mut files = vec![root().join("netmon-ebpf/Cargo.toml")];
    for entry in fs::read_dir(root().join("netmon-ebpf/src"))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut bytes = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root()).unwrap_or(file);
        let contents = fs::read(file).with_context(|| file.display().to_string())?;
        writeln!(bytes, "{} {}", name.display(), contents.len())?;
        bytes.extend(contents);
    }
    for line in crate_versions(&fs::read_to_string(root().join("Cargo.lock"))?) {
        writeln!(bytes, "{line}")?;
    }
    hash(&bytes)
}

/// SHA-256, in hexadecimal.
///
/// # Errors
/// When `sha256sum` (coreutils) can't be run.
pub fn hash(bytes: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("sha256sum can't be run")?;
    child.stdin.take().context("sha256sum has no input")?.write_all(bytes)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "sha256sum failed: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

fn path() -> PathBuf {
    root().join(Path::new("netmon-ebpf/prebuilt/netmon.bpf.txt"))
}

/// `name version checksum` of the crates that end up in the object.
fn crate_versions(lock: &str) -> Vec<String> {
    let value = |line: &str, key: &str| {
        Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").map(|package| {
        let field = |key| package.lines().find_map(|line| value(line, key)).unwrap_or_default();
        [field("name"), field("version"), field("checksum")]
    });
    let in_object = |name: &str| name.starts_with("aya-ebpf") || name.starts_with("aya-log-");
    packages.filter(|[name, ..]| in_object(name)).map(|fields| fields.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_object_is_the_one_of_its_note_and_of_this_source() {
        let note = Note::read().unwrap();
        let object = fs::read(super::super::committed_object()).unwrap();
        assert_eq!(note.object, hash(&object).unwrap(), "the object is not the note's");
        assert_eq!(
            note.source,
            source_hash().unwrap(),
            "netmon-ebpf has changed since its object was built: `cargo xtask build-ebpf`"
        );
    }

    #[test]
    fn hash_is_sha256() {
        assert_eq!(hash(b"").unwrap(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn only_crates_of_the_object_count() {
        let lock = "[[package]]\nname = \"aya\"\nversion = \"1\"\n\n[[package]]\nname = \"aya-ebpf\"\n\
            version = \"2\"\nchecksum = \"ab\"\n";
        assert_eq!(crate_versions(lock), ["aya-ebpf 2 ab"]);
    }
}
