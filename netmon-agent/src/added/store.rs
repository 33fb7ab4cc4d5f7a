//! The file that targets are kept in: JSON, replaced whole, so that it is the old one or the new one at any moment.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::registry::Kept;
use crate::{history, time::Wall};

/// Largest file that is read, bytes: all that may be added, each with the longest body, are less.
const MAX_FILE: u64 = 32 << 20;
/// Of the file. One of another version is of another netmon.
const VERSION: u32 = 1;

/// Why there is nothing from the file, or nothing in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system's word.
    #[error("{}: {source}; {}", path.display(), remedy(source))]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none of ours, or damaged.
    #[error("{why}; it was moved to {}", aside.display())]
    SetAside {
        /// What is wrong with it.
        why: String,
        /// Where it is now.
        aside: PathBuf,
    },
    /// It could be neither read nor moved, and is not to be replaced.
    #[error("{} is left as it is: {why}; mend it or move it away, and start the agent anew", path.display())]
    InTheWay {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => {
            "make the directory, owned by the agent's user, or set `path` in [history] to one that is"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let the agent's user write there, or set `path` in [history] to where it may"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room",
        _ => "see whether the disk is well",
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    targets: Kept,
}

/// The file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Something that can't be read is there: it must not be replaced.
    blocked: Option<String>,
}

impl Store {
    /// The file at `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path, blocked: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept; none where there is no file. One that can't be understood is moved aside, and never deleted.
    ///
    /// # Errors
    /// It can't be read, or was moved aside.
    pub fn load(&mut self, now: Wall) -> Result<Option<Kept>, StoreError> {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                self.blocked = Some(format!("it could not be read when the agent started: {source}"));
                return Err(StoreError::Io { path: self.path.clone(), source });
            }
        };
        let why = match parse(&text) {
            Ok(kept) => return Ok(Some(kept)),
            Err(why) => why,
        };
        match history::move_aside(&self.path, now) {
            Ok(aside) => Err(StoreError::SetAside { why, aside }),
            Err(error) => {
                let why = format!("{why}, and it can't be moved aside: {error}");
                self.blocked = Some(why.clone());
                Err(StoreError::InTheWay { path: self.path.clone(), why })
            }
        }
    }

    /// Keeps these, and no others. When it returns they are on the disk, by the disk's word.
    ///
    /// # Errors
    /// They can't be written; then the file is as before.
    pub fn save(&mut self, kept: &Kept) -> Result<(), StoreError> {
        if let Some(why) = &self.blocked {
            return Err(StoreError::InTheWay { path: self.path.clone(), why: why.clone() });
        }
        let document = Document { version: VERSION, targets: kept.clone() };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|e| StoreError::Io { path: self.path.clone(), source: e.into() })?;
        self.replace(text.as_bytes()).map_err(|source| {
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            StoreError::Io { path: directory.to_owned(), source }
        })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        // What a crash has left, or whatever else is there, is not written to.
        match fs::remove_file(&new) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&new)?;
            file.write_all(bytes)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        // The new name is on the disk only when its directory is.
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(text: &[u8]) -> Result<Kept, String> {
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it has more than {} MiB", MAX_FILE >> 20));
    }
    let document: Document = serde_json::from_slice(text).map_err(|e| format!("it is damaged: {e}"))?;
    match document.version {
        VERSION => Ok(document.targets),
        other => Err(format!("it is of version {other}, and this netmon's is {VERSION}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::added::Entry;

    fn kept(names: &[&str]) -> Kept {
        let entry = |name: &str| {
            let keys = json!({ "host": name }).as_object().cloned().unwrap();
            (name.to_owned(), Entry { keys, persist: false })
        };
        names.iter().map(|name| entry(name)).collect()
    }

    #[test]
    fn what_is_kept_comes_back_and_no_other_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.json");
        let load = || Store::new(path.clone()).load(Wall::now());
        assert!(load().unwrap().is_none());
        for names in [&["a", "b\u{e9}"][..], &["c"], &[]] {
            // As a crash may have left it.
            fs::write(folder.path().join("targets.json.new"), "{").unwrap();
            Store::new(path.clone()).save(&kept(names)).unwrap();
            assert_eq!(load().unwrap(), Some(kept(names)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_damaged_is_moved_aside_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.json");
        let half = r#"{"version":1,"targets":{"a":{"keys":{"ho"#;
        for (i, text) in
            [half, "", "\0\0\0", r#"{"version":2,"targets":{}}"#, r#"{"version":1}"#].iter().enumerate()
        {
            fs::write(&path, text).unwrap();
            let mut store = Store::new(path.clone());
            let Err(StoreError::SetAside { aside, .. }) = store.load(Wall::now()) else { panic!("{text}") };
            assert_eq!(fs::read_to_string(&aside).unwrap(), *text);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), i + 1);
            store.save(&kept(&["a"])).unwrap();
            assert_eq!(store.load(Wall::now()).unwrap(), Some(kept(&["a"])));
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_replaced_and_a_missing_directory_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.json");
        fs::create_dir(&path).unwrap();
        let mut store = Store::new(path.clone());
        assert!(matches!(store.load(Wall::now()), Err(StoreError::Io { .. })));
        assert!(matches!(store.save(&kept(&["a"])), Err(StoreError::InTheWay { .. })));
        assert!(path.is_dir());

        let said =
            Store::new(folder.path().join("none/targets.json")).save(&kept(&["a"])).unwrap_err().to_string();
        assert!(said.contains("none: ") && said.contains("make the directory"), "{said}");
    }
}
