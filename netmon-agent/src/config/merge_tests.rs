use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("t")).unwrap()
}

/// Targets by name and host, probed every `interval` seconds.
fn targets(all: &[(u8, u8)]) -> Vec<TargetConfig> {
    let one = |(name, host): &(u8, u8)| {
        let text = format!("[[target]]\nname = \"t{name}\"\nhost = \"10.0.0.{host}\"\n");
        config(&text).targets.remove(0)
    };
    all.iter().map(one).collect()
}

#[test]
fn the_first_of_a_name_stays_and_the_file_comes_first() {
    let base = config("[[target]]\nname = \"t1\"\nhost = \"10.0.0.1\"\n");
    let (a, b) = (targets(&[(1, 9), (2, 2), (3, 3)]), targets(&[(2, 2), (3, 4), (4, 4)]));
    let merged = merge(&base, "the configuration", [("a", &*a), ("b", &*b)]);
    let hosts: Vec<_> = merged.config.targets.iter().map(|t| (&*t.name, &*t.host)).collect();
    assert_eq!(hosts, [("t1", "10.0.0.1"), ("t2", "10.0.0.2"), ("t3", "10.0.0.3"), ("t4", "10.0.0.4")]);
    assert_eq!(merged.left_out.counts(), [("duplicate", 2), ("limit", 0), ("rate", 0)]);
    assert_eq!(
        merged.left_out.messages,
        [
            "\"t1\" of a is one of the configuration already, and that stays",
            "\"t3\" of b is one of a already, and that stays"
        ]
    );
}

#[test]
fn what_is_too_much_is_left_out_and_told() {
    let found = targets(&(0..10).map(|i| (i, i + 1)).collect::<Vec<_>>());
    let merged = merge(&config("[discovery]\nmax_targets = 4"), "the configuration", [("a", &*found)]);
    assert_eq!((merged.config.targets.len(), merged.left_out.beyond_limit), (4, 6));
    assert_eq!(merged.left_out.messages.len(), MESSAGES);
    assert!(merged.left_out.messages[0].contains("\"t4\" of a is beyond max_targets = 4"));
    // Each is probed every two seconds.
    let merged = merge(&config("[agent]\nmax_probes_per_second = 3"), "the configuration", [("a", &*found)]);
    assert_eq!((merged.config.targets.len(), merged.left_out.beyond_rate), (6, 4));
}

#[test]
fn limits_grow_with_what_is_found_unless_they_are_given() {
    let one = targets(&[(0, 1)]).remove(0);
    let many: Vec<TargetConfig> =
        (0..9000).map(|i| TargetConfig { name: format!("n{i}"), ..one.clone() }).collect();
    let merged = merge(&config(""), "the configuration", [("a", &*many)]);
    assert!(merged.config.limits.cpu.is_some_and(|cpu| cpu > 0.2), "{:?}", merged.config.limits);
    assert!(merged.config.limits.memory.is_some_and(|memory| memory > 100_000_000));
    let merged =
        merge(&config("[limits]\ncpu = 0.1\nmemory = \"off\""), "the configuration", [("a", &*many)]);
    assert_eq!((merged.config.limits.cpu, merged.config.limits.memory), (Some(0.1), None));
}

#[test]
fn the_rest_of_the_configuration_stays_as_it_is() {
    let base = config(
        "[defaults]\ninterval = \"7s\"\n[devices]\nrequired = [\"eth9\"]\n[[target]]\nhost = \"10.0.0.1\"\n",
    );
    let merged = merge(&base, "the configuration", []);
    assert_eq!(format!("{:?}", merged.config), format!("{base:?}"));
}

fn lists() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0..8_u8, 1..4_u8), 0..12)
}

proptest! {
    /// Beside a model: the first of each name, in order, up to the limit.
    #[test]
    fn merging_is_the_first_of_each_name_up_to_the_limit(
        own in prop::collection::btree_map(0..4_u8, 1..4_u8, 0..3),
        (a, b) in (lists(), lists()),
        max in 1..6_u32,
    ) {
        let mut base = config(&format!("[discovery]\nmax_targets = {max}"));
        let own: Vec<(u8, u8)> = own.into_iter().collect();
        base.targets = targets(&own);
        let merged = merge(&base, "the configuration", [("a", &*targets(&a)), ("b", &*targets(&b))]);

        let mut model = own.clone();
        let (mut duplicates, mut beyond) = (0, 0);
        for (name, host) in a.iter().chain(&b) {
            match model.iter().find(|(known, _)| known == name) {
                Some((_, known)) => duplicates += usize::from(known != host),
                None if model.len() - own.len() >= max as usize => beyond += 1,
                None => model.push((*name, *host)),
            }
        }
        prop_assert_eq!(&merged.config.targets, &targets(&model));
        prop_assert_eq!((merged.left_out.duplicates, merged.left_out.beyond_limit), (duplicates, beyond));
    }

    #[test]
    fn a_difference_counts_each_name_once(
        old in prop::collection::btree_map(0..8_u8, 1..4_u8, 0..8),
        new in prop::collection::btree_map(0..8_u8, 1..4_u8, 0..8),
    ) {
        let list = |all: &BTreeMap<u8, u8>| targets(&all.iter().map(|(n, h)| (*n, *h)).collect::<Vec<_>>());
        let d = Difference::of(&list(&old), &list(&new));
        let both = || new.iter().filter(|(name, _)| old.contains_key(name));
        prop_assert_eq!(d.stayed, both().filter(|(name, host)| old[name] == **host).count());
        prop_assert_eq!(d.changed, both().count() - d.stayed);
        prop_assert_eq!((d.came, d.went), (new.len() - both().count(), old.len() - both().count()));
        prop_assert_eq!(d.is_none(), old == new);
    }
}
