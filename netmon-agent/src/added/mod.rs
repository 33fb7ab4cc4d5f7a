//! Targets that programs add while the agent runs, over the socket: which there are (pure), where they are kept, and how
//! the core learns of them, of the file and of what discovery finds. Of one name the file's comes first, then one that was
//! added, then one that was found.

mod registry;
mod store;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};
use tokio::sync::watch;

pub use registry::{Change, Entry, MOST, Refusal, Registry, Whole};
pub use store::{Store, StoreError};

use crate::{
    config::{Config, LeftOut},
    time::{Boot, Wall},
};

/// The name of the file that they are kept in, beside the history.
pub const FILE: &str = "targets.json";

/// What is wanted of the core: the configuration, with what was added to it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The last configuration that was valid, with the targets that were found and those that were added.
    pub config: Arc<Config>,
    /// What was found and is not in it.
    pub left_out: LeftOut,
    /// Whether it is the last that was read.
    pub valid: bool,
    /// When it was read.
    pub read: Boot,
}

/// A configuration, and what discovery makes of it.
#[derive(Clone, Debug)]
pub struct Base {
    /// As the file has it.
    pub file: Arc<Config>,
    /// The same with what was found.
    pub config: Arc<Config>,
    /// What was found and is not in that.
    pub left_out: LeftOut,
}

impl From<Config> for Base {
    fn from(config: Config) -> Self {
        let file = Arc::new(config);
        Self { config: Arc::clone(&file), file, left_out: LeftOut::default() }
    }
}

/// The targets that were added, and the only way to change what the core is told. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Added {
    inner: Arc<Mutex<Inner>>,
    wanted: Arc<watch::Sender<Wanted>>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    store: Store,
    /// What was found and yields to those that were added.
    yielding: LeftOut,
}

impl Added {
    /// With those that are kept beside the history. What can't be read of them is told in the log, and no reason not to
    /// start.
    pub fn new(base: Base, now: Boot, wall: Wall) -> Self {
        let path = place(&base.file);
        Self::at(base, path, now, wall)
    }

    /// The same with those kept in this file.
    pub fn at(base: impl Into<Base>, path: PathBuf, now: Boot, wall: Wall) -> Self {
        let mut registry = Registry::new(base);
        let mut store = Store::new(path);
        match store.load(wall) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                let n = kept.len();
                for said in registry.restore(kept) {
                    tracing::warn!("a target that was kept is left out: {said}");
                }
                tracing::info!("{n} targets were kept in {}", store.path().display());
            }
            Err(error) => tracing::warn!("no targets from {}: {error}", store.path().display()),
        }
        let Whole { config, left_out, yielding } = registry.whole();
        if yielding != LeftOut::default() {
            yielding.log();
        }
        let first = Wanted { config, left_out, valid: true, read: now };
        Self {
            inner: Arc::new(Mutex::new(Inner { registry, store, yielding })),
            wanted: Arc::new(watch::Sender::new(first)),
        }
    }

    /// What is wanted now, and each time that it changes.
    pub fn subscribe(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// From now on this configuration, which was read anew; what was added stays, but for what the file has itself now.
    pub fn reload(&self, base: impl Into<Base>, now: Boot) {
        let mut inner = self.lock();
        let left_out = inner.registry.configure(base);
        for said in &left_out {
            tracing::warn!("a target that was added is left out from now on: {said}");
        }
        let kept = inner.registry.kept();
        if !left_out.is_empty()
            && let Err(error) = inner.store.save(&kept)
        {
            tracing::warn!("what is kept of targets is as before: {error}");
        }
        let (config, left_out) = inner.whole();
        self.wanted.send_replace(Wanted { config, left_out, valid: true, read: now });
    }

    /// A file was read that is no configuration: nothing changes, but that everybody can see that it was there.
    pub fn refuse(&self) {
        self.wanted.send_modify(|wanted| wanted.valid = false);
    }

    /// From now on this is found, beside the same file. Nothing that was added goes on account of it.
    pub fn found(&self, base: impl Into<Base>) {
        let mut inner = self.lock();
        inner.registry.find(base);
        let (config, left_out) = inner.whole();
        self.wanted.send_if_modified(|wanted| {
            let is_other = !Arc::ptr_eq(&wanted.config, &config) || wanted.left_out != left_out;
            (wanted.config, wanted.left_out) = (config, left_out);
            is_other
        });
    }

    /// Adds a target, or changes one that was added before. May wait for a disk.
    ///
    /// # Errors
    /// See [`Refusal`]; then nothing has changed.
    pub fn put(&self, name: &str, keys: Map<String, Value>, persist: bool) -> Result<Change, Refusal> {
        self.change(|registry| registry.put(name, keys, persist))
    }

    /// Removes a target that was added. May wait for a disk.
    ///
    /// # Errors
    /// See [`Refusal`]; then nothing has changed.
    pub fn remove(&self, name: &str) -> Result<(), Refusal> {
        self.change(|registry| registry.remove(name).map(|()| Change::Changed)).map(drop)
    }

    /// All that were added, by name.
    pub fn all(&self) -> Vec<(String, Entry)> {
        self.lock().registry.all()
    }

    /// All or nothing: what is to be kept is on the disk before anybody is told.
    fn change(
        &self,
        change: impl FnOnce(&mut Registry) -> Result<Change, Refusal>,
    ) -> Result<Change, Refusal> {
        let mut inner = self.lock();
        let mut next = inner.registry.clone();
        let done = change(&mut next)?;
        let kept = next.kept();
        if kept != inner.registry.kept() {
            inner.store.save(&kept).map_err(|error| Refusal::NotKept(error.to_string()))?;
        }
        inner.registry = next;
        if done != Change::Unchanged {
            let (config, left_out) = inner.whole();
            self.wanted.send_modify(|wanted| (wanted.config, wanted.left_out) = (config, left_out));
        }
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The whole, and what is left out of it. Tells the log where that is on account of what was added.
    fn whole(&mut self) -> (Arc<Config>, LeftOut) {
        let Whole { config, left_out, yielding } = self.registry.whole();
        if yielding != self.yielding {
            yielding.log();
            self.yielding = yielding;
        }
        (config, left_out)
    }
}

/// Where they are kept: beside the history, also where none is.
fn place(config: &Config) -> PathBuf {
    config.ledger.path.parent().unwrap_or(Path::new("/")).join(FILE)
}

#[cfg(test)]
mod tests;
