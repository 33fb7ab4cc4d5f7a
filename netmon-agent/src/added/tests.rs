use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::merge;

fn config(text: &str) -> Config {
    Config::parse(&format!("[defaults]\nauto_targets = false\n{text}"), Path::new("t")).unwrap()
}

fn keys(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn host(host: &str) -> Map<String, Value> {
    keys(&json!({ "host": host }))
}

fn names(config: &Config) -> Vec<&str> {
    config.targets.iter().map(|t| t.name.as_str()).collect()
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn start(&self, text: &str) -> Added {
        Added::at(config(text), self.folder.path().join(FILE), Boot::now(), Wall::now())
    }
}

#[test]
fn what_is_added_reaches_the_core_and_a_restart_has_what_is_kept() {
    let world = World::new();
    let added = world.start("[[target]]\nhost = \"own\"");
    let mut wanted = added.subscribe();
    assert_eq!(names(&wanted.borrow_and_update().config), ["own"]);
    assert_eq!(added.put("b", host("192.0.2.1"), true), Ok(Change::Added));
    assert_eq!(added.put("a", host("192.0.2.2"), false), Ok(Change::Added));
    assert_eq!(names(&wanted.borrow_and_update().config), ["own", "a", "b"]);
    assert_eq!(added.put("a", host("192.0.2.2"), false), Ok(Change::Unchanged));
    assert!(!wanted.has_changed().unwrap(), "nothing to do for the core");
    assert_eq!(added.put("a", host("192.0.2.3"), false), Ok(Change::Changed));
    assert_eq!(wanted.borrow_and_update().config.targets[1].host, "192.0.2.3");
    assert_eq!(added.put("own", host("192.0.2.1"), false), Err(Refusal::Configured("own".into())));
    assert_eq!(added.remove("own"), Err(Refusal::Configured("own".into())));
    assert_eq!(added.remove("c"), Err(Refusal::Unknown("c".into())));
    assert!(matches!(added.put("c", host("x y"), true), Err(Refusal::Bad(_))));
    assert!(!wanted.has_changed().unwrap());

    let next = world.start("[[target]]\nhost = \"own\"");
    assert_eq!(names(&next.subscribe().borrow().config), ["own", "b"]);
    assert!(next.all()[0].1.persist);
    // The same, from now on until the agent ends; and then gone for good.
    assert_eq!(next.put("b", host("192.0.2.1"), false), Ok(Change::Changed));
    assert!(world.start("").all().is_empty());
}

#[test]
fn a_configuration_takes_over_what_it_names_and_a_bad_one_nothing() {
    let world = World::new();
    let added = world.start("");
    added.put("a", host("192.0.2.1"), true).unwrap();
    added.put("b", host("192.0.2.2"), false).unwrap();
    let wanted = added.subscribe();
    let before = Arc::clone(&wanted.borrow().config);
    added.refuse();
    assert!(!wanted.borrow().valid && Arc::ptr_eq(&before, &wanted.borrow().config));
    added.put("c", host("192.0.2.3"), false).unwrap();
    assert!(!wanted.borrow().valid, "what is added makes the file no better");

    let file = config("interval = \"7s\"\n[[target]]\nname = \"a\"\nhost = \"192.0.2.9\"");
    added.reload(file, Boot::now());
    let now = wanted.borrow().clone();
    assert!(now.valid);
    assert_eq!(names(&now.config), ["a", "b", "c"]);
    assert_eq!(now.config.targets[0].host, "192.0.2.9");
    assert_eq!(now.config.targets[1].interval.as_secs(), 7, "its defaults are those of the file");
    assert!(world.start("").all().is_empty(), "the file has it now");
}

/// A file with what discovery has found, each probed every two seconds.
fn finding(file: &str, found: &[(&str, &str)]) -> Base {
    let file = Arc::new(config(file));
    let found: Vec<_> = found.iter().map(|(name, at)| file.target(name, &host(at)).unwrap()).collect();
    let merged = merge(&file, "the configuration", [("rack", &*found)]);
    Base { file, config: Arc::new(merged.config), left_out: merged.left_out }
}

#[test]
fn what_is_added_stands_in_place_of_what_is_found_and_the_file_before_both() {
    let world = World::new();
    let text = "[[target]]\nname = \"own\"\nhost = \"192.0.2.1\"";
    let base = finding(text, &[("own", "192.0.2.7"), ("a", "192.0.2.8"), ("b", "192.0.2.9")]);
    let start = || Added::at(base.clone(), world.folder.path().join(FILE), Boot::now(), Wall::now());
    let added = start();
    let wanted = added.subscribe();
    let now = || wanted.borrow().clone();
    let hosts = || -> Vec<(String, String)> {
        now().config.targets.iter().map(|t| (t.name.clone(), t.host.clone())).collect()
    };
    let is = |all: &[(&str, &str)]| {
        all.iter().map(|(n, h)| ((*n).to_owned(), (*h).to_owned())).collect::<Vec<_>>()
    };
    assert!(Arc::ptr_eq(&now().config, &base.config), "nothing is copied where nothing was added");
    assert_eq!(now().left_out.duplicates, 1);
    assert_eq!(added.put("own", host("192.0.2.2"), true), Err(Refusal::Configured("own".into())));
    assert_eq!(added.remove("a"), Err(Refusal::Found("a".into())));
    assert_eq!(added.put("a", host("192.0.2.2"), true), Ok(Change::Added));
    assert_eq!(hosts(), is(&[("own", "192.0.2.1"), ("a", "192.0.2.2"), ("b", "192.0.2.9")]));
    assert_eq!(now().left_out.duplicates, 2);
    assert!(
        now().left_out.messages[1].contains("\"a\" of discovery is one of those that were added already")
    );

    // What is found later takes nothing away that was added, now or after a restart.
    let read = now().read;
    added.refuse();
    added.found(finding(text, &[("a", "192.0.2.8"), ("c", "192.0.2.3")]));
    assert_eq!(hosts(), is(&[("own", "192.0.2.1"), ("a", "192.0.2.2"), ("c", "192.0.2.3")]));
    assert!(!now().valid && now().read == read, "no file was read");
    let next = start();
    assert_eq!(next.all()[0].0, "a");
    assert_eq!(next.subscribe().borrow().config.targets[1].host, "192.0.2.2");
    assert_eq!(added.remove("a"), Ok(()));
    assert_eq!(hosts(), is(&[("own", "192.0.2.1"), ("a", "192.0.2.8"), ("c", "192.0.2.3")]));
    assert_eq!(now().left_out.counts(), [("duplicate", 0), ("limit", 0), ("rate", 0)]);
}

#[test]
fn what_is_found_leaves_the_pace_to_what_was_added() {
    let text = "[agent]\nmax_probes_per_second = 1";
    let mut registry = Registry::new(finding(text, &[("a", "192.0.2.1")]));
    registry.put("b", host("192.0.2.2"), false).unwrap();
    assert_eq!(registry.put("c", host("192.0.2.3"), false), Err(Refusal::TooFast { wanted: 2, max: 1 }));
    assert_eq!(registry.put("a", host("192.0.2.3"), false), Ok(Change::Added), "in place of the found one");
    registry.find(finding(text, &[("a", "192.0.2.1"), ("d", "192.0.2.4")]));
    let whole = registry.whole();
    assert_eq!(names(&whole.config), ["a", "b"]);
    assert_eq!((whole.yielding.duplicates, whole.yielding.beyond_rate), (1, 1));
    // Without those it would have been taken.
    assert_eq!(whole.left_out, whole.yielding);
}

#[test]
fn what_cannot_be_kept_is_not_added() {
    let world = World::new();
    let path = world.folder.path().join("none").join(FILE);
    let added = Added::at(config(""), path, Boot::now(), Wall::now());
    let refused = added.put("a", host("192.0.2.1"), true);
    assert!(
        matches!(&refused, Err(Refusal::NotKept(said)) if said.contains("make the directory")),
        "{refused:?}"
    );
    assert!(added.all().is_empty() && added.subscribe().borrow().config.targets.is_empty());
    assert_eq!(added.put("a", host("192.0.2.1"), false), Ok(Change::Added));
}

#[test]
fn there_is_an_end_to_their_number_and_to_their_pace() {
    let mut registry = Registry::new(config("interval = \"10s\""));
    for i in 0..MOST {
        registry.put(&format!("t{i}"), host("192.0.2.1"), false).unwrap();
    }
    assert_eq!(registry.put("more", host("192.0.2.1"), false), Err(Refusal::Full));
    assert_eq!(registry.put("t0", host("192.0.2.2"), false), Ok(Change::Changed));

    let mut registry = Registry::new(config("interval = \"1s\"\n[agent]\nmax_probes_per_second = 3"));
    let paced = |interval: &str| keys(&json!({ "host": "h", "interval": interval }));
    registry.put("a", paced("1s"), false).unwrap();
    registry.put("b", paced("1s"), false).unwrap();
    assert_eq!(registry.put("a", paced("400ms"), false), Err(Refusal::TooFast { wanted: 4, max: 3 }));
    assert_eq!(registry.put("a", paced("500ms"), false), Ok(Change::Changed));
    assert!(matches!(registry.put("c", paced("1h"), false), Err(Refusal::TooFast { .. })));
    // A file with less room for them throws none of them out.
    assert_eq!(registry.configure(config("[agent]\nmax_probes_per_second = 1")), Vec::<String>::new());
    assert_eq!(registry.put("a", paced("1s"), false), Ok(Change::Changed), "slower than it was");
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize, bool),
    Remove(usize),
    Configure(Vec<usize>),
    Find(Vec<usize>),
    Restart(Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || prop::collection::vec(0..6usize, 0..3);
    let step = prop_oneof![
        4 => (0..6usize, 0..3usize, any::<bool>()).prop_map(|(n, h, persist)| Step::Put(n, h, persist)),
        2 => (0..6usize).prop_map(Step::Remove),
        1 => some().prop_map(Step::Configure),
        2 => some().prop_map(Step::Find),
        1 => some().prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..40)
}

/// A file with these targets, of which those are found as well.
fn with_names(numbers: &[usize], found: &[usize]) -> Base {
    let numbers: std::collections::BTreeSet<_> = numbers.iter().collect();
    let all = numbers.iter().map(|n| format!("[[target]]\nname = \"t{n}\"\nhost = \"own\"\n"));
    let found: Vec<_> = found.iter().map(|n| format!("t{n}")).collect();
    let found: Vec<_> = found.iter().map(|name| (name.as_str(), "found")).collect();
    finding(&all.collect::<String>(), &found)
}

proptest! {
    /// Beside a map that is kept by hand.
    #[test]
    fn any_history_leaves_what_was_last_wanted(steps in steps()) {
        let mut registry = Registry::new(with_names(&[], &[]));
        let (mut own, mut found): (Vec<usize>, Vec<usize>) = Default::default();
        let mut file: Vec<String> = Vec::new();
        let mut model: BTreeMap<String, (String, bool)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(n, h, persist) => {
                    let (name, at) = (format!("t{n}"), format!("192.0.2.{h}"));
                    let done = registry.put(&name, host(&at), persist);
                    if file.contains(&name) {
                        prop_assert_eq!(done, Err(Refusal::Configured(name)));
                        continue;
                    }
                    let expected = match model.insert(name, (at.clone(), persist)) {
                        None => Change::Added,
                        Some(before) if before == (at, persist) => Change::Unchanged,
                        Some(_) => Change::Changed,
                    };
                    prop_assert_eq!(done, Ok(expected));
                }
                Step::Remove(n) => {
                    let name = format!("t{n}");
                    let expected = model.remove(&name).is_some();
                    prop_assert_eq!(registry.remove(&name).is_ok(), expected);
                }
                Step::Find(numbers) => {
                    found = numbers;
                    let kept = registry.kept();
                    registry.find(with_names(&own, &found));
                    prop_assert_eq!(registry.kept(), kept);
                }
                Step::Configure(numbers) => {
                    own = numbers;
                    let base = with_names(&own, &found);
                    file = names(&base.file).iter().map(|n| (*n).to_owned()).collect();
                    let left_out = registry.configure(base);
                    let before = model.len();
                    model.retain(|name, _| !file.contains(name));
                    prop_assert_eq!(left_out.len(), before - model.len());
                }
                Step::Restart(numbers) => {
                    own = numbers;
                    let base = with_names(&own, &found);
                    file = names(&base.file).iter().map(|n| (*n).to_owned()).collect();
                    let kept = serde_json::to_string(&registry.kept()).unwrap();
                    registry = Registry::new(base);
                    registry.restore(serde_json::from_str(&kept).unwrap());
                    model.retain(|name, (_, persist)| *persist && !file.contains(name));
                }
            }
            let Whole { config: whole, yielding, .. } = registry.whole();
            let mut expected: Vec<String> = file.iter().chain(model.keys()).cloned().collect();
            let mut yields = std::collections::BTreeSet::new();
            for name in found.iter().map(|n| format!("t{n}")) {
                if model.contains_key(&name) {
                    yields.insert(name);
                } else if !expected.contains(&name) {
                    expected.push(name);
                }
            }
            prop_assert_eq!(names(&whole), expected);
            prop_assert_eq!(yielding.duplicates, yields.len());
            for (name, entry) in registry.all() {
                let (at, persist) = &model[&name];
                prop_assert_eq!((&entry.keys, entry.persist), (&host(at), *persist));
                let target = whole.targets.iter().find(|t| t.name == name).unwrap();
                prop_assert_eq!(&target.host, at);
            }
        }
    }
}
