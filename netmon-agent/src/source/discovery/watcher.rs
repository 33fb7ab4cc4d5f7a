//! inotify: tells when to look at which files.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    os::fd::AsFd,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
};

use crate::sys::Readable;

/// Watches directories: a file that another takes the place of is another inode.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Inotify,
    readable: Readable,
    /// Each with whether it is one whose files matter, or only above such a one.
    folders: HashMap<WatchDescriptor, (PathBuf, bool)>,
}

impl Watcher {
    /// One that watches nothing yet. Must be called in a runtime with I/O.
    ///
    /// # Errors
    /// When a user may have no more of them (`fs.inotify.max_user_instances`).
    pub(super) fn new() -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let readable = Readable::new(inotify.as_fd())?;
        Ok(Self { inotify, readable, folders: HashMap::new() })
    }

    /// From now on these directories. Of one that is not there the nearest one above is watched, for it to come.
    ///
    /// # Errors
    /// When one can't be watched at all.
    pub(super) fn follow(&mut self, wanted: &BTreeSet<PathBuf>) -> Result<(), Errno> {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let mut kept: HashMap<WatchDescriptor, (PathBuf, bool)> = HashMap::new();
        let mut result = Ok(());
        for folder in wanted {
            let mut missing = Errno::ENOENT;
            let found = folder.ancestors().find_map(|above| {
                match self.inotify.add_watch(above, flags) {
                    // One that was made anew has another descriptor.
                    Ok(watch) => Some((watch, above, above == folder)),
                    Err(errno) => {
                        missing = errno;
                        None
                    }
                }
            });
            match found {
                Some((watch, folder, matters)) => {
                    kept.entry(watch).or_insert_with(|| (folder.to_owned(), matters)).1 |= matters;
                }
                None => result = Err(missing),
            }
        }
        for watch in self.folders.keys().filter(|watch| !kept.contains_key(watch)) {
            // The kernel has taken it away by itself where the directory is gone.
            let _ = self.inotify.rm_watch(*watch);
        }
        self.folders = kept;
        result
    }

    /// Returns when something has happened, or was since the last call.
    pub(super) async fn ready(&self) {
        self.readable.ready().await;
    }

    /// What happened: files that are complete now, and directories all of whose files are. Nothing at all where nobody
    /// has to look.
    pub(super) fn read(&mut self) -> Option<HashSet<PathBuf>> {
        let mut complete = HashSet::new();
        let mut look = false;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EINTR) => continue,
                // Nothing more; or what is more can't be read, and is looked for all the same.
                Err(errno) => return (look || errno != Errno::EAGAIN).then_some(complete),
            };
            for event in events {
                look |= match self.folders.get(&event.wd) {
                    Some((folder, true)) => note(&event, folder, &mut complete),
                    // What is missing below it may be there now.
                    Some((_, false)) => event.mask.contains(AddWatchFlags::IN_ISDIR) || event.name.is_none(),
                    None => true,
                };
            }
        }
    }
}

/// Whether an event is one to look for, and what is complete by it.
fn note(event: &InotifyEvent, folder: &Path, complete: &mut HashSet<PathBuf>) -> bool {
    let Some(path) = event.name.as_ref().map(|name| folder.join(name)) else { return true };
    let meta = fs::symlink_metadata(&path);
    if event.mask.contains(AddWatchFlags::IN_CREATE) {
        // One that is only just made is written next, and closed then. A link is complete at once.
        return !meta.is_ok_and(|m| m.is_file() && m.nlink() == 1);
    }
    if event.mask.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO) {
        match meta.is_ok_and(|m| m.is_symlink() || m.is_dir()) {
            // As Kubernetes does it: all files are links by way of one link, and that is changed.
            true => complete.insert(folder.to_owned()),
            false => complete.insert(path),
        };
    }
    true
}
