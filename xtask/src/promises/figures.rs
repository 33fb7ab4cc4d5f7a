//! The figures that were found last, `tests/figures.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::list::{List, Promise};
use crate::step::root;

const HEAD: &str = "# What the proofs of promises.toml told last: written by `cargo xtask promises`.\n\n";

/// By the promise's name.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<String, Figure>);

/// One figure, and of what machine it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub figure: String,
    pub place: String,
}

/// The machine, in words that name none.
#[derive(Debug)]
pub struct Place(String);

impl Place {
    /// This one: its kernel and how many processors it has.
    ///
    /// # Errors
    /// When the kernel does not tell its release.
    pub fn here() -> Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self::of(&release, cores))
    }

    fn of(release: &str, cores: usize) -> Self {
        // What a builder appends says nothing of the kernel's behaviour.
        let version =
            release.trim().split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or_default();
        let cores = if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
        Self(format!("Linux {version}, {cores}"))
    }
}

impl Figures {
    /// Those that were kept; none where none were.
    ///
    /// # Errors
    /// When the file can't be understood.
    pub fn read() -> Result<Self> {
        match fs::read_to_string(file()) {
            Ok(text) => toml::from_str(&text).context("tests/figures.toml"),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).context("tests/figures.toml"),
        }
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self) -> Result<()> {
        let text = toml::to_string(self).context("the figures as TOML")?;
        fs::write(file(), format!("{HEAD}{text}")).context("tests/figures.toml")
    }

    /// Takes a new figure of a promise.
    pub fn put(&mut self, promise: &Promise, figure: String, place: &Place) {
        println!("{:<28} {figure}", promise.id);
        self.0.insert(promise.id.clone(), Figure { figure, place: place.0.clone() });
    }

    /// That of a promise.
    pub fn get(&self, id: &str) -> Option<&Figure> {
        self.0.get(id)
    }

    /// Names of figures that the list has no promise for.
    pub fn unknown(&self, list: &List) -> Vec<String> {
        self.0.keys().filter(|id| list.promises.iter().all(|p| p.id != **id)).cloned().collect()
    }
}

fn file() -> PathBuf {
    root().join("tests/figures.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_no_machine() {
        assert_eq!(Place::of("6.1.0-18-amd64\n", 2).0, "Linux 6.1.0, 2 cores");
        assert_eq!(Place::of("6.18.44-of-somebody", 1).0, "Linux 6.18.44, 1 core");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let figure = Figure { figure: "0 of \"1\" | 2".to_owned(), place: "Linux 6.1.0, 2 cores".to_owned() };
        let figures = Figures(BTreeMap::from([("a-b".to_owned(), figure.clone())]));
        let again: Figures = toml::from_str(&toml::to_string(&figures).unwrap()).unwrap();
        assert_eq!(again.get("a-b"), Some(&figure));
    }
}
