//! All files as they are installed, in one folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{licences, programs};
use crate::step::run;

/// The list of what lies in the repository, from the workspace's root.
const LIST: &str = "netmon-agent/packaging/files.toml";

/// Shells, and where each looks for completions.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/netmon"),
    ("zsh", "usr/share/zsh/site-functions/_netmon"),
    ("fish", "usr/share/fish/vendor_completions.d/netmon.fish"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    file: Vec<Entry>,
}

/// One file, or all that a pattern `folder/*.ending` names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    from: String,
    to: String,
    #[serde(default)]
    executable: bool,
}

/// One file of the repository, and where it is installed.
#[derive(Debug, PartialEq, Eq)]
pub struct Installed {
    pub from: PathBuf,
    /// Without the leading slash.
    pub to: PathBuf,
    pub executable: bool,
}

/// Every file that is listed.
///
/// # Errors
/// When the list can't be read, or names what is not there.
pub fn listed(source: &Path) -> Result<Vec<Installed>> {
    let text = fs::read_to_string(source.join(LIST)).context(LIST)?;
    let list: List = toml::from_str(&text).context(LIST)?;
    let mut files = Vec::new();
    for entry in &list.file {
        let to =
            entry.to.strip_prefix('/').with_context(|| format!("{LIST}: {} is no whole path", entry.to))?;
        for from in named(source, &entry.from)? {
            let name = from.file_name().context("a file has a name")?;
            let to = if to.ends_with('/') { Path::new(to).join(name) } else { to.into() };
            files.push(Installed { from, to, executable: entry.executable });
        }
    }
    Ok(files)
}

/// The file, or the files of a folder whose names end as in `*.ending`; in order.
fn named(source: &Path, from: &str) -> Result<Vec<PathBuf>> {
    let Some((folder, ending)) = from.split_once('*') else {
        ensure!(source.join(from).is_file(), "{LIST}: there is no {from}");
        return Ok(vec![source.join(from)]);
    };
    let entries = fs::read_dir(source.join(folder)).with_context(|| format!("{LIST}: {from}"))?;
    let mut found = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>>>()?;
    found.retain(|path| path.is_file() && path.to_string_lossy().ends_with(ending));
    found.sort();
    ensure!(!found.is_empty(), "{LIST}: {from} names no file");
    Ok(found)
}

/// Makes the tree, with what the program writes of itself.
///
/// # Errors
/// When a file is missing, or the program does not run.
pub fn make(source: &Path, binary: &Path, tree: &Path) -> Result<()> {
    for file in listed(source)? {
        let bytes = fs::read(&file.from)?;
        if file.to.starts_with("usr/lib/systemd/system") {
            put(tree, &file.to, with_places(&String::from_utf8(bytes)?).as_bytes(), false)?;
        } else {
            put(tree, &file.to, &bytes, file.executable)?;
        }
    }
    put(tree, Path::new("usr/bin/netmon"), &fs::read(binary)?, true)?;
    run(Command::new(binary).args(["man", "--dir"]).arg(tree.join("usr/share/man/man1")))?;
    for (shell, to) in SHELLS {
        let text = programs::output(Command::new(binary).args(["completions", shell]))?;
        put(tree, Path::new(to), text.as_bytes(), false)?;
    }
    let schema = programs::output(Command::new(binary).args(["config", "schema"]))?;
    put(tree, Path::new("usr/share/netmon/netmon.schema.json"), schema.as_bytes(), false)?;
    let texts = licences::texts(source)?;
    put(tree, Path::new("usr/share/doc/netmon/THIRD-PARTY"), texts.as_bytes(), false)
}

/// A unit whose commands are whole paths: the files in the repository name programs alone, wherever these are, but a package
/// knows its own, and Debian 11's systemd-analyze takes a name for a program that is not there.
fn with_places(unit: &str) -> String {
    const PLACES: [(&str, &str); 3] =
        [("netmon", "/usr/bin/netmon"), ("install", "/usr/bin/install"), ("kill", "/bin/kill")];
    let placed = |line: &str| {
        let (key, command) = line.split_once('=').filter(|(key, _)| key.starts_with("Exec"))?;
        let (program, rest) = command.split_once(' ')?;
        let (_, place) = PLACES.iter().find(|(name, _)| *name == program)?;
        Some(format!("{key}={place} {rest}\n"))
    };
    unit.lines().map(|line| placed(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

/// Writes one file, with its folders.
///
/// # Errors
/// When it can't be written.
pub fn put(tree: &Path, to: &Path, bytes: &[u8], executable: bool) -> Result<()> {
    let path = tree.join(to);
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_units_are_whole_paths_in_a_package() {
        let unit = "[Service]\nUser=netmon\nExecStart=netmon run\nExecReload=kill -HUP $MAINPID\n";
        let wanted =
            "[Service]\nUser=netmon\nExecStart=/usr/bin/netmon run\nExecReload=/bin/kill -HUP $MAINPID\n";
        assert_eq!(with_places(unit), wanted);
    }
}
