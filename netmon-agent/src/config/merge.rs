//! Targets of the file and those that were found become one configuration; two configurations are compared. Pure.

use std::collections::{HashMap, HashSet};

use super::{Config, TargetConfig, is_beyond};

/// Messages about single targets that are kept, the first of them.
const MESSAGES: usize = 5;

/// A configuration with what was found.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The whole.
    pub config: Config,
    /// What was found and is not in it.
    pub left_out: LeftOut,
}

/// Found targets that are not probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// For their name is another's already.
    pub duplicates: usize,
    /// Beyond `max_targets`.
    pub beyond_limit: usize,
    /// Beyond `max_probes_per_second`.
    pub beyond_rate: usize,
    /// The first few, in words.
    pub messages: Vec<String>,
}

impl LeftOut {
    /// The reasons as words of a label, with how many.
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        [("duplicate", self.duplicates), ("limit", self.beyond_limit), ("rate", self.beyond_rate)]
    }
}

/// Adds what was found by each source, in order, to the targets of `base`, which `theirs` names for messages: those of the
/// file, and those that were added to it. Of several with one name the first stays, and those of `base` come before all;
/// two that are the same in everything are one. What goes beyond `max_targets` or `max_probes_per_second` is left out,
/// the last first, so that the same is left out each time.
pub fn merge<'a>(
    base: &Config,
    theirs: &'a str,
    found: impl IntoIterator<Item = (&'a str, &'a [TargetConfig])>,
) -> Merged {
    let mut targets = base.targets.clone();
    let mut names: HashMap<String, (usize, &str)> =
        targets.iter().enumerate().map(|(i, t)| (t.name.clone(), (i, theirs))).collect();
    let mut rate = base.rate();
    let mut left_out = LeftOut::default();
    let mut taken = 0;
    for (source, all) in found {
        for target in all {
            if let Some((at, first)) = names.get(&target.name) {
                if targets[*at] != *target {
                    left_out.duplicates += 1;
                    left_out.tell(|| {
                        format!("\"{}\" of {source} is one of {first} already, and that stays", target.name)
                    });
                }
            } else if taken >= base.discovery.max_targets {
                left_out.beyond_limit += 1;
                left_out.tell(|| {
                    let max = base.discovery.max_targets;
                    format!("\"{}\" of {source} is beyond max_targets = {max} of [discovery]", target.name)
                });
            } else if is_beyond(rate + target.rate(), base.max_probes) {
                left_out.beyond_rate += 1;
                left_out.tell(|| {
                    let max = base.max_probes;
                    format!(
                        "\"{}\" of {source} is beyond max_probes_per_second = {max} of [agent]",
                        target.name
                    )
                });
            } else {
                taken += 1;
                rate += target.rate();
                names.insert(target.name.clone(), (targets.len(), source));
                targets.push(target.clone());
            }
        }
    }
    let limits = base.open.close(targets.len(), rate);
    // Not `base.clone()`: its list of targets would be copied for nothing.
    let config = Config { targets, limits, ..base.without_targets() };
    Merged { config, left_out }
}

impl LeftOut {
    /// These and more of them.
    pub fn and(&self, more: &Self) -> Self {
        let messages = self.messages.iter().chain(&more.messages).take(MESSAGES);
        Self {
            duplicates: self.duplicates + more.duplicates,
            beyond_limit: self.beyond_limit + more.beyond_limit,
            beyond_rate: self.beyond_rate + more.beyond_rate,
            messages: messages.cloned().collect(),
        }
    }

    /// Tells the log.
    pub fn log(&self) {
        for message in &self.messages {
            tracing::warn!("target left out: {message}");
        }
        let [(_, duplicates), (_, limit), (_, rate)] = self.counts();
        tracing::warn!(duplicates, limit, rate, "found targets that are left out");
    }

    fn tell(&mut self, message: impl FnOnce() -> String) {
        if self.messages.len() < MESSAGES {
            self.messages.push(message());
        }
    }
}

/// What changed from one list of targets to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Names that are new.
    pub came: usize,
    /// Names that are gone.
    pub went: usize,
    /// Names that stayed, with another host, pace or way.
    pub changed: usize,
    /// What is as it was.
    pub stayed: usize,
}

impl Difference {
    /// From `old` to `new`.
    pub fn of(old: &[TargetConfig], new: &[TargetConfig]) -> Self {
        let known: HashMap<&str, &TargetConfig> = old.iter().map(|t| (t.name.as_str(), t)).collect();
        let mut difference = Self::default();
        let mut kept = HashSet::new();
        for t in new {
            match known.get(t.name.as_str()) {
                None => difference.came += 1,
                Some(before) => {
                    kept.insert(t.name.as_str());
                    match *before == t {
                        true => difference.stayed += 1,
                        false => difference.changed += 1,
                    }
                }
            }
        }
        difference.went = known.len() - kept.len();
        difference
    }

    /// Whether nothing did.
    pub fn is_none(&self) -> bool {
        self.came + self.went + self.changed == 0
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
