use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

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
    assert_eq!(added.reload(Err("bad"), Boot::now()), Err("bad"));
    assert!(!wanted.borrow().valid && Arc::ptr_eq(&before, &wanted.borrow().config));
    added.put("c", host("192.0.2.3"), false).unwrap();
    assert!(!wanted.borrow().valid, "what is added makes the file no better");

    let file = config("interval = \"7s\"\n[[target]]\nname = \"a\"\nhost = \"192.0.2.9\"");
    added.reload(Ok::<_, String>(file), Boot::now()).unwrap();
    let now = wanted.borrow().clone();
    assert!(now.valid);
    assert_eq!(names(&now.config), ["a", "b", "c"]);
    assert_eq!(now.config.targets[0].host, "192.0.2.9");
    assert_eq!(now.config.targets[1].interval.as_secs(), 7, "its defaults are those of the file");
    assert!(world.start("").all().is_empty(), "the file has it now");
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
    Restart(Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || prop::collection::vec(0..6usize, 0..3);
    let step = prop_oneof![
        4 => (0..6usize, 0..3usize, any::<bool>()).prop_map(|(n, h, persist)| Step::Put(n, h, persist)),
        2 => (0..6usize).prop_map(Step::Remove),
        1 => some().prop_map(Step::Configure),
        1 => some().prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..40)
}

fn with_names(numbers: &[usize]) -> Config {
    let numbers: std::collections::BTreeSet<_> = numbers.iter().collect();
    let all = numbers.iter().map(|n| format!("[[target]]\nname = \"t{n}\"\nhost = \"own\"\n"));
    config(&all.collect::<String>())
}

proptest! {
    /// Beside a map that is kept by hand.
    #[test]
    fn any_history_leaves_what_was_last_wanted(steps in steps()) {
        let mut registry = Registry::new(with_names(&[]));
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
                Step::Configure(numbers) => {
                    let config = with_names(&numbers);
                    file = names(&config).iter().map(|n| (*n).to_owned()).collect();
                    let left_out = registry.configure(config);
                    let before = model.len();
                    model.retain(|name, _| !file.contains(name));
                    prop_assert_eq!(left_out.len(), before - model.len());
                }
                Step::Restart(numbers) => {
                    let config = with_names(&numbers);
                    file = names(&config).iter().map(|n| (*n).to_owned()).collect();
                    let kept = serde_json::to_string(&registry.kept()).unwrap();
                    registry = Registry::new(config);
                    registry.restore(serde_json::from_str(&kept).unwrap());
                    model.retain(|name, (_, persist)| *persist && !file.contains(name));
                }
            }
            let whole = registry.whole();
            let expected: Vec<&str> = file.iter().map(String::as_str).chain(model.keys().map(String::as_str)).collect();
            prop_assert_eq!(names(&whole), expected);
            for (name, entry) in registry.all() {
                let (at, persist) = &model[&name];
                prop_assert_eq!((&entry.keys, entry.persist), (&host(at), *persist));
                let target = whole.targets.iter().find(|t| t.name == name).unwrap();
                prop_assert_eq!(&target.host, at);
            }
        }
    }
}
