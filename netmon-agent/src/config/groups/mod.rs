//! Documents in which Prometheus' file_sd and http_sd tell of targets: a list of groups, each a list of targets with the
//! labels that they have in common. Pure.
//!
//! What is written may be anybody's: nothing in it makes the reader work or remember beyond a fixed measure of its
//! length, and what is wrong is told with its place.

mod json;
pub(super) mod yaml;

use std::{ops::Range, path::Path};

use super::{
    error::{Fault, nearest},
    template::PREFIX,
};

/// Largest document, bytes: a hundred thousand targets are some three million.
pub const MAX_DOCUMENT: usize = 16 << 20;
/// Targets of one document at most.
const MAX_TARGETS: usize = 100_000;
/// Labels of all its groups at most.
const MAX_LABELS: usize = 1_000_000;
/// Longest target or label of ours, bytes: a URL may be long, all others are not.
const MAX_WORD: usize = 2048;

/// The two ways to write a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// By the ending of a file's name, as Prometheus takes it.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" | "JSON" => Some(Self::Json),
            "yml" | "yaml" | "YML" | "YAML" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// A text with its place in the document, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

impl Word {
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(self.at.clone(), message)
    }
}

/// Targets with labels in common.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) targets: Vec<Word>,
    /// Those that are for netmon.
    pub(super) labels: Vec<(Word, Word)>,
    /// How many are not.
    pub(super) other_labels: usize,
}

/// All groups of a document.
pub(super) fn parse(text: &str, format: Format) -> Result<Vec<Group>, Fault> {
    // Most likely it is about to be written: what was in it must not be lost on that account.
    if text.trim().is_empty() {
        return Err(Fault::at(0..0, "the document is empty").hint("no targets at all are written as []"));
    }
    match format {
        Format::Json => json::parse(text),
        Format::Yaml => yaml::parse(text),
    }
}

/// Gathers what a reader finds, within bounds.
#[derive(Debug, Default)]
struct Gatherer {
    groups: Vec<Group>,
    targets: usize,
    labels: usize,
    /// Bytes of all words: a text that YAML's aliases repeat counts each time.
    bytes: usize,
}

impl Gatherer {
    fn group(&mut self, at: usize) -> Result<(), Fault> {
        if self.groups.len() >= MAX_TARGETS {
            return Err(Fault::at(at..at, format!("more than {MAX_TARGETS} groups")));
        }
        self.groups.push(Group::default());
        Ok(())
    }

    fn target(&mut self, word: Word) -> Result<(), Fault> {
        self.targets += 1;
        if self.targets > MAX_TARGETS {
            return Err(word.fault(format!("more than {MAX_TARGETS} targets")));
        }
        self.check(&word)?;
        if let Some(group) = self.groups.last_mut() {
            group.targets.push(word);
        }
        Ok(())
    }

    /// Whether a label is for netmon: others are counted, and not looked at.
    fn is_ours(&mut self, label: &str, at: usize) -> Result<bool, Fault> {
        self.labels += 1;
        if self.labels > MAX_LABELS {
            return Err(Fault::at(at..at, format!("more than {MAX_LABELS} labels")));
        }
        let ours = label.starts_with(PREFIX);
        if let Some(group) = self.groups.last_mut().filter(|_| !ours) {
            group.other_labels += 1;
        }
        Ok(ours)
    }

    fn label(&mut self, label: Word, value: Word) -> Result<(), Fault> {
        self.check(&label)?;
        self.check(&value)?;
        let Some(group) = self.groups.last_mut() else { return Ok(()) };
        if group.labels.iter().any(|(known, _)| known.text == label.text) {
            return Err(label.fault(format!("label `{}` is there twice", label.text.escape_default())));
        }
        group.labels.push((label, value));
        Ok(())
    }

    fn check(&mut self, word: &Word) -> Result<(), Fault> {
        self.bytes += word.text.len();
        if word.text.len() > MAX_WORD {
            return Err(word.fault(format!("a text of more than {MAX_WORD} bytes")));
        }
        if self.bytes > MAX_DOCUMENT {
            return Err(word.fault(format!("more than {MAX_DOCUMENT} bytes of targets and labels")));
        }
        Ok(())
    }
}

const NO_LIST: &str = "the document is no list of groups";
const NO_LIST_HINT: &str = "as Prometheus has it: [{\"targets\": [\"host:port\"], \"labels\": {}}]";
const NO_GROUP: &str = "a group is no object with `targets` and `labels`";

/// A key of a group that is neither of the two.
fn unknown_key(key: &str, at: Range<usize>) -> Fault {
    let hint = match nearest(key, &["targets", "labels"]) {
        Some(known) => format!("did you mean `{known}`?"),
        None => "known here: targets, labels".to_owned(),
    };
    Fault::at(at, format!("unknown key `{}`", key.escape_default())).hint(hint)
}

#[cfg(test)]
mod tests;
