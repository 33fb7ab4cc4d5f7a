//! Which targets were added. Pure: it reads no file and tells nobody.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Config, KeyError, TargetConfig, is_beyond};

/// Targets that may be added: a program that adds more has a list, and a list is a file.
pub const MOST: usize = 1000;

/// A target as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its keys, those of `[[target]]`.
    pub keys: Map<String, Value>,
    /// Whether it is kept across restarts.
    #[serde(skip)]
    pub persist: bool,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is one more.
    Added,
    /// One is another than before.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Why a wish is not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something is wrong with the target.
    #[error(transparent)]
    Bad(#[from] KeyError),
    /// The configuration has one of this name.
    #[error("target {0:?} is one of the configuration: change it there, and reload")]
    Configured(String),
    /// None of this name was added.
    #[error("no target {0:?} was added; `netmon target list` shows those that were")]
    Unknown(String),
    /// There are too many.
    #[error(
        "{MOST} targets were added, and no more may be: remove some, or write them into the configuration"
    )]
    Full,
    /// There are too many probes.
    #[error(
        "all targets together would ask for {wanted:.0} probes a second, and max_probes_per_second is {max}: lengthen its interval, or raise that in [agent]"
    )]
    TooFast {
        /// So many.
        wanted: u64,
        /// And no more than this.
        max: u32,
    },
    /// It can't be written down.
    #[error(
        "it can't be kept across restarts: {0}; without `persist` it would be added until the agent ends"
    )]
    NotKept(String),
}

/// The configuration and what was added to it.
#[derive(Clone, Debug)]
pub struct Registry {
    config: Arc<Config>,
    added: BTreeMap<String, Arc<Added>>,
}

#[derive(Debug)]
struct Added {
    entry: Entry,
    target: TargetConfig,
}

/// Those that are kept, as they are written down.
pub type Kept = BTreeMap<String, Entry>;

impl Registry {
    /// Nothing was added to this configuration yet.
    pub fn new(config: Config) -> Self {
        Self { config: Arc::new(config), added: BTreeMap::new() }
    }

    /// The configuration with what was added.
    pub fn whole(&self) -> Config {
        self.config.with(self.added.values().map(|added| added.target.clone()))
    }

    /// All that were added, by name.
    pub fn all(&self) -> Vec<(String, Entry)> {
        self.added.iter().map(|(name, added)| (name.clone(), added.entry.clone())).collect()
    }

    /// Those that are to be kept.
    pub fn kept(&self) -> Kept {
        let kept = self.added.iter().filter(|(_, added)| added.entry.persist);
        kept.map(|(name, added)| (name.clone(), added.entry.clone())).collect()
    }

    /// Adds a target, or changes one that was added.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn put(
        &mut self,
        name: &str,
        mut keys: Map<String, Value>,
        persist: bool,
    ) -> Result<Change, Refusal> {
        if self.is_configured(name) {
            return Err(Refusal::Configured(name.to_owned()));
        }
        let target = self.config.target(name, &keys)?;
        // It may be said again, and is kept once.
        keys.remove("name");
        let known = self.added.get(name);
        if known.is_none() && self.added.len() >= MOST {
            return Err(Refusal::Full);
        }
        let change = match known {
            None => Change::Added,
            Some(known) if known.target == target && known.entry.persist == persist => Change::Unchanged,
            Some(_) => Change::Changed,
        };
        let before = known.map_or(0.0, |known| known.target.rate());
        if target.rate() > before {
            let others: f64 = self.added.values().map(|added| added.target.rate()).sum();
            let wanted = self.config.rate() + others - before + target.rate();
            if is_beyond(wanted, self.config.max_probes) {
                return Err(Refusal::TooFast { wanted: wanted.ceil() as u64, max: self.config.max_probes });
            }
        }
        let entry = Entry { keys, persist };
        self.added.insert(name.to_owned(), Arc::new(Added { entry, target }));
        Ok(change)
    }

    /// Removes one that was added.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn remove(&mut self, name: &str) -> Result<(), Refusal> {
        match self.added.remove(name) {
            Some(_) => Ok(()),
            None if self.is_configured(name) => Err(Refusal::Configured(name.to_owned())),
            None => Err(Refusal::Unknown(name.to_owned())),
        }
    }

    /// From now on this configuration: what was added stays, with its defaults, but for what it has itself. What does not
    /// stay, and why. The cap on probes is no reason: the engine keeps to it, and nothing that is probed goes unasked.
    pub fn configure(&mut self, config: Config) -> Vec<String> {
        self.config = Arc::new(config);
        let all = std::mem::take(&mut self.added);
        let all = all.iter().map(|(name, added)| (name.clone(), added.entry.clone()));
        self.take(all.collect::<Vec<_>>())
    }

    /// Takes up what was kept. What can't be, and why.
    pub fn restore(&mut self, kept: Kept) -> Vec<String> {
        let beyond = kept.len().saturating_sub(MOST);
        let all = kept.into_iter().take(MOST).map(|(name, entry)| (name, Entry { persist: true, ..entry }));
        let mut said = self.take(all);
        if beyond > 0 {
            said.push(format!("{beyond} more than the {MOST} that there may be"));
        }
        said
    }

    fn take(&mut self, all: impl IntoIterator<Item = (String, Entry)>) -> Vec<String> {
        let mut said = Vec::new();
        let configured = self.config.targets.iter().map(|t| t.name.as_str());
        let configured: std::collections::HashSet<&str> = configured.collect();
        for (name, entry) in all {
            if configured.contains(name.as_str()) {
                said.push(format!("{name:?} is one of the configuration now"));
                continue;
            }
            match self.config.target(&name, &entry.keys) {
                Ok(target) => _ = self.added.insert(name, Arc::new(Added { entry, target })),
                Err(error) => said.push(format!("{name:?}: {error}")),
            }
        }
        said
    }

    fn is_configured(&self, name: &str) -> bool {
        self.config.targets.iter().any(|t| t.name == name)
    }
}
