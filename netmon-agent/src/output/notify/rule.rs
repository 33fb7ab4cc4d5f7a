//! Which changes a notifier is told of. Pure.

use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::health::{State, Subject};

/// What is told, and how long it has to hold first.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Of whom.
    pub subjects: Subjects,
    /// Which states are told when they are reached.
    pub states: States,
    /// For so long a state holds before it is told; zero: it is told at once.
    pub after: Duration,
    /// Whether what is `up` at the agent's start, or when it is first seen, is told too.
    pub initial: bool,
}

/// A set of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States([bool; State::ALL.len()]);

impl States {
    /// These.
    pub fn of(states: impl IntoIterator<Item = State>) -> Self {
        let mut all = [false; State::ALL.len()];
        states.into_iter().for_each(|state| all[state as usize] = true);
        Self(all)
    }

    /// Whether a state is among them.
    pub fn has(self, state: State) -> bool {
        self.0[state as usize]
    }
}

/// Whose states: the network's, and those of devices and targets by the pattern of their names.
#[derive(Clone, Debug)]
pub struct Subjects {
    network: bool,
    devices: GlobSet,
    targets: GlobSet,
    words: Vec<String>,
}

/// A word that names no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Of no kind.
    #[error("\"{0}\" is neither \"network\", \"device:PATTERN\" nor \"target:PATTERN\"")]
    Kind(String),
    /// A pattern that can't be read.
    #[error("bad pattern \"{0}\": {1}")]
    Pattern(String, String),
}

impl Subjects {
    /// Those that the words name: `network`, `device:eth*`, `target:vcenter`.
    ///
    /// # Errors
    /// The number of the first word that names none, and why.
    pub fn parse(words: &[String]) -> Result<Self, (usize, SubjectError)> {
        let (mut network, mut devices, mut targets) = (false, GlobSetBuilder::new(), GlobSetBuilder::new());
        for (i, word) in words.iter().enumerate() {
            let bad = |pattern: &str, why: String| (i, SubjectError::Pattern(pattern.to_owned(), why));
            let (into, pattern) = match word.split_once(':') {
                Some(("device", pattern)) => (&mut devices, pattern),
                Some(("target", pattern)) => (&mut targets, pattern),
                None if word == "network" => {
                    network = true;
                    continue;
                }
                _ => return Err((i, SubjectError::Kind(word.escape_default().to_string()))),
            };
            if pattern.is_empty() {
                return Err(bad(pattern, "it is empty; `*` is all".to_owned()));
            }
            let glob = GlobBuilder::new(pattern).build();
            into.add(glob.map_err(|e| bad(&pattern.escape_default().to_string(), e.kind().to_string()))?);
        }
        let made = |builder: GlobSetBuilder| {
            builder.build().map_err(|e| (0, SubjectError::Pattern(words.join(", "), e.kind().to_string())))
        };
        Ok(Self { network, devices: made(devices)?, targets: made(targets)?, words: words.to_vec() })
    }

    /// The words that they were named by.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether a subject is among them.
    pub fn has(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Network => self.network,
            Subject::Device(name) => self.devices.is_match(name),
            Subject::Target(name) => self.targets.is_match(name),
        }
    }
}

impl PartialEq for Subjects {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(words: &[&str]) -> Result<Subjects, (usize, SubjectError)> {
        Subjects::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_subject_is_found_by_its_kind_and_the_pattern_of_its_name() {
        let some = subjects(&["network", "device:eth*", "target:https://a.example/*", "target:db"]).unwrap();
        let device = |name: &str| Subject::Device(name.to_owned());
        let target = |name: &str| Subject::Target(name.to_owned());
        assert!(some.has(&Subject::Network) && some.has(&device("eth0")) && some.has(&target("db")));
        assert!(some.has(&target("https://a.example/x/y")), "a slash is a character as any other");
        assert!(!some.has(&device("db")) && !some.has(&target("eth0")) && !some.has(&device("veth1")));
        assert!(!subjects(&["device:*"]).unwrap().has(&Subject::Network));
    }

    #[test]
    fn a_word_that_names_nothing_is_named() {
        let wrong = |words: &[&str]| subjects(words).unwrap_err();
        assert!(matches!(wrong(&["network", "overall"]), (1, SubjectError::Kind(_))));
        assert!(matches!(wrong(&["scope:dns"]), (0, SubjectError::Kind(_))));
        assert!(matches!(wrong(&["device:"]), (0, SubjectError::Pattern(..))));
        assert!(matches!(wrong(&["target:a["]), (0, SubjectError::Pattern(..))));
    }

    #[test]
    fn states_are_a_set() {
        let some = States::of([State::Down, State::Degraded]);
        assert_eq!(State::ALL.map(|s| some.has(s)), [false, false, true, true]);
    }
}
