//! Every scenario file in virtual time, at twenty phases: each verdict with its reasons and within its bound.

use netmon_tests::scenario::{format, virtual_run};

const SEEDS: u64 = 20;

#[test]
fn every_scenario_is_right_at_every_phase() {
    let mut wrong = Vec::new();
    for scenario in format::all().unwrap() {
        for seed in 0..SEEDS {
            if let Err(e) = virtual_run::run(&scenario, seed) {
                wrong.push(format!("{} with seed {seed}: {e:#}", scenario.name));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_history() {
    let all = format::all().unwrap();
    let scenario = all.iter().find(|s| s.name == "a_blackhole_both_ways").unwrap();
    let times = |seed| format!("{:?}", virtual_run::run(scenario, seed).unwrap());
    assert_eq!(times(1), times(1));
    assert_ne!(times(1), times(2), "a seed is a phase");
}

#[test]
fn what_was_promised_is_there() {
    let all = format::all().unwrap();
    assert!(all.len() >= 40, "{} scenarios", all.len());
}
