//! The list of promises, `tests/promises.toml`, and whether what it names is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde::Deserialize;

use crate::Arguments;
use crate::step::root;

/// All of them, in the order of the page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    #[serde(rename = "promise")]
    pub promises: Vec<Promise>,
}

/// One promise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// Its name: letters, digits and hyphens.
    pub id: String,
    /// The heading it stands under.
    pub area: String,
    /// What is promised: a sentence for those who use netmon.
    pub words: String,
    pub proof: Proof,
    /// Words of the line of the proof's output that is the figure; without them it is the line `promise ID: …`, or that the
    /// test holds.
    #[serde(default)]
    pub reads: Option<String>,
    /// Takes minutes or more: proven only when it is named, or with `--all`.
    #[serde(default)]
    pub long: bool,
}

/// What proves it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Proof {
    /// A trial of the lab, by its name.
    Lab(String),
    /// The same in its long form.
    SlowLab(String),
    /// A test of a package.
    Test(Test),
    /// A task, as the words after `cargo xtask`.
    Task(String),
}

/// A test that cargo runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub package: String,
    /// The file or folder of `tests/` it is in; without it, one of the library's own.
    #[serde(default)]
    pub of: Option<String>,
    /// Its name, with its modules.
    pub name: String,
}

impl Proof {
    /// The whole command.
    pub fn command(&self) -> Vec<String> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match self {
            Self::Lab(name) | Self::SlowLab(name) => {
                [words("cargo test --quiet --package netmon-tests --test lab -- --exact"), vec![name.clone()]]
                    .concat()
            }
            Self::Test(Test { package, of, name }) => {
                let target = of.as_ref().map_or_else(|| "--lib".to_owned(), |of| format!("--test {of}"));
                words(&format!(
                    "cargo test --quiet --package {package} {target} -- --nocapture --exact {name}"
                ))
            }
            Self::Task(task) => words(&format!("cargo xtask {task}")),
        }
    }

    /// Whether the lab plays its long form.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::SlowLab(_))
    }

    /// By what name a test runner tells of it.
    pub fn test_name(&self) -> Option<&str> {
        match self {
            Self::Lab(name) | Self::SlowLab(name) | Self::Test(Test { name, .. }) => Some(name),
            Self::Task(_) => None,
        }
    }

    /// Why it can't be there; none when it is.
    fn absent(&self, root: &Path) -> Option<String> {
        let found = match self {
            Self::Lab(name) | Self::SlowLab(name) => has_trial(root, name),
            Self::Test(test) => has_test(root, test),
            Self::Task(task) => return no_task(root, task),
        };
        match found {
            Ok(true) => None,
            Ok(false) => Some(format!("no {:?}", self.test_name().unwrap_or_default())),
            Err(e) => Some(format!("{e:#}")),
        }
    }
}

impl List {
    /// Reads the list.
    ///
    /// # Errors
    /// With the place, when it can't be understood.
    pub fn read() -> Result<Self> {
        let path = root().join("tests/promises.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).context("tests/promises.toml")
    }

    fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text)?;
        let mut ids = BTreeSet::new();
        for Promise { id, words, .. } in &list.promises {
            let is_name = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            ensure!(is_name, "{id:?} is no name: letters, digits and hyphens");
            ensure!(ids.insert(id), "two promises are called {id}");
            ensure!(words.ends_with('.'), "{id}: its words are no sentence: {words:?}");
        }
        Ok(list)
    }

    /// Those that are named; of all, if none is, those that take no long time, or with `all` those too.
    ///
    /// # Errors
    /// When there is none of a name.
    pub fn choose(&self, names: &[String], all: bool) -> Result<Vec<&Promise>> {
        if names.is_empty() {
            return Ok(self.promises.iter().filter(|p| all || !p.long).collect());
        }
        let one = |name: &String| {
            let found = self.promises.iter().find(|p| p.id == *name);
            found.with_context(|| format!("no promise {name}; --list has them all"))
        };
        names.iter().map(one).collect()
    }

    /// What it names and is not there, each on one line.
    pub fn absent(&self) -> Vec<String> {
        let root = root();
        self.promises.iter().filter_map(|p| Some(format!("{}: {}", p.id, p.proof.absent(&root)?))).collect()
    }
}

/// Whether the lab has a trial of that name: in its tables, or as a scenario in a file.
fn has_trial(root: &Path, name: &str) -> Result<bool> {
    let (folder, extension, wanted) = match name.strip_prefix("scenario::") {
        Some(name) => ("tests/scenarios", "toml", format!("name = \"{name}\"")),
        None => ("tests/tests/lab", "rs", format!("\"{name}\"")),
    };
    contains(&root.join(folder), extension, &wanted)
}

fn has_test(root: &Path, test: &Test) -> Result<bool> {
    let package = match test.package.as_str() {
        "netmon-client" => "netmon-agent/client",
        "netmon-tests" => "tests",
        other => other,
    };
    let package = root.join(package);
    // A test of several files may have its first one beside their folder.
    let places = match &test.of {
        None => vec![package.join("src")],
        Some(of) => [of.clone(), format!("{of}.rs")].map(|name| package.join("tests").join(name)).to_vec(),
    };
    let there: Vec<_> = places.iter().filter(|place| place.exists()).collect();
    ensure!(!there.is_empty(), "no {}", places[0].display());
    let name = test.name.rsplit("::").next().unwrap_or(&test.name);
    for place in there {
        if contains(place, "rs", &format!("fn {name}("))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why cargo xtask, or the program behind it, would not take the words; none where it would.
fn no_task(root: &Path, task: &str) -> Option<String> {
    let words: Vec<&str> = task.split_whitespace().collect();
    if let Err(e) = Arguments::try_parse_from([&["cargo xtask"][..], &words].concat()) {
        return Some(e.to_string());
    }
    // The rest is the program's own; which of its measurements is meant, its files tell.
    let (folders, name) = match words.as_slice() {
        ["bench", name, ..] => (
            &["tests/src/bin/netmon-bench", "netmon-agent/benches", "netmon-agent/client/benches"][..],
            *name,
        ),
        ["simulate", name, ..] => (&["tests/src/bin/netmon-simulate"][..], *name),
        _ => return None,
    };
    // `bench wait` and `bench client` are names of others' (`main.rs`).
    let is_other = ["wait", "client"].contains(&name);
    let is_there = |folder: &&str| {
        let folder = root.join(folder);
        folder.join(format!("{name}.rs")).exists() || folder.join(name).is_dir()
    };
    (!is_other && !folders.iter().any(is_there)).then(|| format!("no measurement {name:?}"))
}

/// Whether a file with that ending, at or below `path`, has these words.
fn contains(path: &Path, extension: &str, words: &str) -> Result<bool> {
    if path.is_file() {
        return Ok(fs::read_to_string(path)?.contains(words));
    }
    if !path.is_dir() {
        bail!("no {}", path.display());
    }
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path)? {
        entries.push(entry?.path());
    }
    for entry in entries {
        let wanted = entry.is_dir() || entry.extension().is_some_and(|e| e == extension);
        if wanted && contains(&entry, extension, words)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[promise]]\nid = \"a-b\"\narea = \"A\"\nwords = \"It is so.\"\nproof = ";

    fn proof(text: &str) -> Proof {
        List::parse(&format!("{ONE}{text}\n")).unwrap().promises.remove(0).proof
    }

    #[test]
    fn a_proof_that_is_not_there_is_told() {
        for there in [
            "{ lab = \"life::sigterm_ends_it_cleanly\" }",
            "{ slow_lab = \"scenario::stopped_for_a_minute\" }",
            "{ test = { package = \"netmon-agent\", of = \"netlink\", name = \"an_event_is_told_at_once\" } }",
            "{ test = { package = \"netmon-agent\", name = \"sys::x::lines_that_find_no_room_are_counted_where_they_are_missing\" } }",
            "{ task = \"bench kills --runs 10\" }",
            "{ task = \"bench api scrape 1000\" }",
            "{ task = \"simulate loss --years 1\" }",
            "{ task = \"kernels --suites probe\" }",
        ] {
            assert_eq!(proof(there).absent(&root()), None, "{there}");
        }
        for absent in [
            "{ lab = \"life::it_never_was\" }",
            "{ lab = \"scenario::it_never_was\" }",
            "{ test = { package = \"netmon-agent\", of = \"netlink\", name = \"it_never_was\" } }",
            "{ test = { package = \"netmon-agent\", of = \"nowhere\", name = \"it_never_was\" } }",
            "{ task = \"bench nonsense\" }",
            "{ task = \"nonsense\" }",
        ] {
            assert!(proof(absent).absent(&root()).is_some(), "{absent}");
        }
    }

    #[test]
    fn a_proof_is_a_command() {
        assert_eq!(proof("{ task = \"bench flaps\" }").command(), ["cargo", "xtask", "bench", "flaps"]);
        let test = proof("{ test = { package = \"p\", of = \"t\", name = \"m::n\" } }").command().join(" ");
        assert_eq!(test, "cargo test --quiet --package p --test t -- --nocapture --exact m::n");
        assert!(proof("{ slow_lab = \"a::b\" }").is_slow());
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        let one = format!("{ONE}{{ lab = \"a\" }}\n");
        assert!(List::parse(&one.repeat(2)).unwrap_err().to_string().contains("two promises"));
        assert!(List::parse(&one.replace("a-b", "a b")).is_err());
        assert!(List::parse(&one.replace("so.", "so")).is_err());
        assert!(List::parse(&one.replace("area", "arena")).is_err());
        let list = List::parse(&one).unwrap();
        assert!(list.choose(&["x".to_owned()], false).is_err());
        assert_eq!(list.choose(&["a-b".to_owned()], false).unwrap().len(), 1);
    }
}
