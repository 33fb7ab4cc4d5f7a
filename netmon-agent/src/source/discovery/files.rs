//! Which files there are, and which of them to read now.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::config::{Format, MAX_DOCUMENT};

/// What patterns stand for.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories that are there and can't be read.
    pub(super) unread: Vec<(PathBuf, io::Error)>,
}

/// Finds the files.
pub(super) fn list(patterns: &[PathBuf]) -> Listed {
    let mut listed = Listed::default();
    for pattern in patterns {
        let Some((folder, last)) = parts(pattern) else { continue };
        if !last.contains(['*', '?', '[', '{']) {
            // A link to nowhere counts as none.
            match fs::metadata(pattern) {
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                _ => drop(listed.files.insert(pattern.clone())),
            }
            continue;
        }
        match fs::read_dir(folder) {
            Ok(entries) => {
                // Made once: a directory may have a hundred thousand others.
                let Some(glob) = glob(&last) else { continue };
                let all = entries.flatten().map(|entry| entry.path());
                let there = |path: &PathBuf| fs::metadata(path).is_ok_and(|m| m.is_file());
                listed.files.extend(all.filter(|path| matches(&glob, &last, path)).filter(there));
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) => listed.unread.push((folder.to_owned(), e)),
        }
    }
    listed
}

/// Whether one of the patterns stands for this file.
pub(super) fn is_meant(patterns: &[PathBuf], path: &Path) -> bool {
    patterns.iter().any(|pattern| {
        pattern == path
            || parts(pattern).is_some_and(|(folder, last)| {
                path.parent() == Some(folder) && glob(&last).is_some_and(|glob| matches(&glob, &last, path))
            })
    })
}

/// The directories to be told about.
pub(super) fn folders<'a>(patterns: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<PathBuf> {
    patterns.filter_map(|pattern| Some(pattern.parent()?.to_owned())).collect()
}

fn parts(pattern: &Path) -> Option<(&Path, String)> {
    Some((pattern.parent()?, pattern.file_name()?.to_str()?.to_owned()))
}

fn glob(pattern: &str) -> Option<globset::GlobMatcher> {
    // The configuration has checked that it is one.
    globset::Glob::new(pattern).ok().map(|glob| glob.compile_matcher())
}

/// As in the shell: what begins with a dot is meant only by what does so.
fn matches(glob: &globset::GlobMatcher, pattern: &str, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let hidden = name.starts_with('.') && !pattern.starts_with('.');
    !hidden && glob.is_match(name)
}

/// Whether everything in the file's directory is complete: a link to another directory was put in a place there.
pub(super) fn parent_of(path: &Path, complete: &HashSet<PathBuf>) -> bool {
    path.parent().is_some_and(|folder| complete.contains(folder))
}

/// What of a document is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("is no file; a directory, a pipe or a device tells of no targets")]
    NoFile,
    #[error("has more than {} MiB; split it", MAX_DOCUMENT >> 20)]
    Large,
    #[error("is no UTF-8 at byte {0}; write it anew: iconv -t UTF-8")]
    NotUtf8(usize),
    #[error("ends in none of .json, .yml and .yaml")]
    NoFormat,
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<(String, Format), ReadError> {
    let format = Format::of(path).ok_or(ReadError::NoFormat)?;
    // A pipe without a writer must not hold it up.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ReadError::NoFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_DOCUMENT {
        return Err(ReadError::Large);
    }
    let text = String::from_utf8(bytes).map_err(|e| ReadError::NotUtf8(e.utf8_error().valid_up_to()))?;
    Ok((text, format))
}

/// Inode, size, and the times of the last change of its content and of itself. A link is followed.
type Stamp = (u64, u64, (i64, i64), (i64, i64));

/// What a look at a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is as it was when it was last read.
    Same,
    /// It is another, and may be read.
    Now,
    /// It is another, and may be about to be written: half of a YAML document is one, too.
    Later,
}

/// How files were when they were last read, and last looked at.
#[derive(Debug, Default)]
pub(super) struct Looks(HashMap<PathBuf, Seen>);

#[derive(Debug, Default)]
struct Seen {
    read: Option<Stamp>,
    looked: Option<Stamp>,
}

impl Seen {
    /// Takes the file as it is now. One that is not known to be complete is read when it has not changed from one look
    /// to the next.
    fn judge(&mut self, stamp: Option<Stamp>, complete: bool) -> Look {
        let still = self.looked.is_some() && self.looked == stamp;
        self.looked = stamp;
        if stamp.is_some() && self.read == stamp {
            return Look::Same;
        }
        if complete || still || stamp.is_none() {
            self.read = stamp;
            return Look::Now;
        }
        Look::Later
    }
}

impl Looks {
    pub(super) fn of(&mut self, path: &Path, complete: bool) -> Look {
        let stamp = fs::metadata(path)
            .map(|m| (m.ino(), m.size(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())));
        self.0.entry(path.to_owned()).or_default().judge(stamp.ok(), complete)
    }

    /// It could not be read though it is there: the next look tries again, as it is.
    pub(super) fn forget(&mut self, path: &Path) {
        if let Some(seen) = self.0.get_mut(path) {
            seen.read = None;
        }
    }

    pub(super) fn retain(&mut self, files: &BTreeSet<PathBuf>) {
        self.0.retain(|path, _| files.contains(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_when_it_is_closed_or_stays_as_it_is_for_a_look() {
        let stamp = |size| Some((1, size, (0, 0), (0, 0)));
        let mut seen = Seen::default();
        assert_eq!(seen.judge(stamp(10), true), Look::Now);
        assert_eq!(seen.judge(stamp(10), false), Look::Same);
        // Somebody writes to it.
        assert_eq!(seen.judge(stamp(20), false), Look::Later);
        assert_eq!(seen.judge(stamp(30), false), Look::Later);
        assert_eq!(seen.judge(stamp(30), false), Look::Now, "and has stopped");
        assert_eq!(seen.judge(stamp(30), true), Look::Same);
        assert_eq!(seen.judge(stamp(40), true), Look::Now, "and has closed it");
        // What can't be looked at is tried each time, and says why.
        assert_eq!(seen.judge(None, false), Look::Now);
        assert_eq!(seen.judge(None, false), Look::Now);
        assert_eq!(seen.judge(stamp(40), false), Look::Later);
    }

    #[test]
    fn what_could_not_be_read_is_tried_again_though_it_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "[]").unwrap();
        let mut looks = Looks::default();
        assert_eq!(looks.of(&path, true), Look::Now);
        assert_eq!(looks.of(&path, false), Look::Same);
        looks.forget(&path);
        assert_eq!(looks.of(&path, false), Look::Now);
    }

    #[test]
    fn patterns_stand_for_files_as_in_the_shell() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.json", "b.json", ".c.json", "d.yml", "e.json.tmp"] {
            fs::write(at(name), "[]").unwrap();
        }
        fs::create_dir(at("f.json")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("g.json")).unwrap();
        std::os::unix::fs::symlink(at("d.yml"), at("h.json")).unwrap();
        let names = |patterns: &[&str]| -> Vec<String> {
            let patterns: Vec<PathBuf> = patterns.iter().map(|p| at(p)).collect();
            let listed = list(&patterns);
            assert!(listed.unread.is_empty() && listed.files.iter().all(|f| is_meant(&patterns, f)));
            listed.files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(&["*.json"]), ["a.json", "b.json", "h.json"]);
        assert_eq!(names(&["d.yml", "none.json", "[ab].json", "a.json"]), ["a.json", "b.json", "d.yml"]);
        assert_eq!(names(&["g.json", "none/*.json", "none/x.json"]), [] as [&str; 0]);
        // Named outright, a directory is something that somebody should mend.
        assert_eq!(names(&["f.json"]), ["f.json"]);
        assert!(matches!(read(&at("f.json")), Err(ReadError::NoFile | ReadError::Io(_))));
        assert!(!is_meant(&[at("*.json")], &at(".c.json")) && !is_meant(&[at("*.json")], &at("x/a.json")));
    }

    #[test]
    fn what_is_no_document_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, b"[\xff]").unwrap();
        assert!(matches!(read(&path), Err(ReadError::NotUtf8(1))));
        fs::write(&path, vec![b' '; MAX_DOCUMENT + 1]).unwrap();
        assert!(matches!(read(&path), Err(ReadError::Large)));
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&path), Err(ReadError::NoFile)));
    }
}
