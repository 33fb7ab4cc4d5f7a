//! Which targets were added. Pure: it reads no file and tells nobody.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Base;
use crate::config::{Config, KeyError, LeftOut, TargetConfig, is_beyond, merge};

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
    /// None of this name was added, and discovery has found one.
    #[error("target {0:?} was found by discovery, not added: take it out where it is found")]
    Found(String),
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

/// The configuration, what was found, and what was added to it.
#[derive(Clone, Debug)]
pub struct Registry {
    base: Base,
    added: BTreeMap<String, Arc<Added>>,
}

#[derive(Debug)]
struct Added {
    entry: Entry,
    target: TargetConfig,
}

/// All targets together.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The configuration with all of them.
    pub config: Arc<Config>,
    /// What was found and is not in it.
    pub left_out: LeftOut,
    /// What of that is on account of those that were added.
    pub yielding: LeftOut,
}

/// Those that are kept, as they are written down.
pub type Kept = BTreeMap<String, Entry>;

impl Registry {
    /// Nothing was added to this configuration yet.
    pub fn new(base: impl Into<Base>) -> Self {
        Self { base: base.into(), added: BTreeMap::new() }
    }

    /// The configuration with what was added, and with what was found and leaves room for those: by its name, and within
    /// `max_probes_per_second`.
    pub fn whole(&self) -> Whole {
        let Base { file, config, left_out } = &self.base;
        if self.added.is_empty() {
            let (config, left_out) = (Arc::clone(config), left_out.clone());
            return Whole { config, left_out, yielding: LeftOut::default() };
        }
        let wanted = file.with(self.added.values().map(|added| added.target.clone()));
        let merged = merge(&wanted, "those that were added", [("discovery", self.found())]);
        let left_out = left_out.and(&merged.left_out);
        Whole { config: Arc::new(merged.config), left_out, yielding: merged.left_out }
    }

    /// What was found, in its order: it stands behind what the file has.
    fn found(&self) -> &[TargetConfig] {
        self.base.config.targets.get(self.base.file.targets.len()..).unwrap_or_default()
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
        let target = self.base.file.target(name, &keys)?;
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
        if known.is_none_or(|known| target.rate() > known.target.rate()) {
            let whole = self.whole().config;
            // What it stands in place of, added or found, makes room for it.
            let before = whole.targets.iter().find(|t| t.name == name).map_or(0.0, TargetConfig::rate);
            let wanted = whole.rate() - before + target.rate();
            if is_beyond(wanted, whole.max_probes) {
                return Err(Refusal::TooFast { wanted: wanted.ceil() as u64, max: whole.max_probes });
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
            None if self.found().iter().any(|t| t.name == name) => Err(Refusal::Found(name.to_owned())),
            None => Err(Refusal::Unknown(name.to_owned())),
        }
    }

    /// From now on this configuration: what was added stays, with its defaults, but for what it has itself. What does not
    /// stay, and why. The cap on probes is no reason: the engine keeps to it, and nothing that is probed goes unasked.
    pub fn configure(&mut self, base: impl Into<Base>) -> Vec<String> {
        self.base = base.into();
        let all = std::mem::take(&mut self.added);
        let all = all.iter().map(|(name, added)| (name.clone(), added.entry.clone()));
        self.take(all.collect::<Vec<_>>())
    }

    /// From now on this is found, beside the same file.
    pub fn find(&mut self, base: impl Into<Base>) {
        self.base = base.into();
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
        let configured = self.base.file.targets.iter().map(|t| t.name.as_str());
        let configured: std::collections::HashSet<&str> = configured.collect();
        for (name, entry) in all {
            if configured.contains(name.as_str()) {
                said.push(format!("{name:?} is one of the configuration now"));
                continue;
            }
            match self.base.file.target(&name, &entry.keys) {
                Ok(target) => _ = self.added.insert(name, Arc::new(Added { entry, target })),
                Err(error) => said.push(format!("{name:?}: {error}")),
            }
        }
        said
    }

    fn is_configured(&self, name: &str) -> bool {
        self.base.file.targets.iter().any(|t| t.name == name)
    }
}
