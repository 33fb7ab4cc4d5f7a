//! Random histories, played to the core and to a naive oracle beside it.
//!
//! `cargo test -p netmon-agent oracle` tries some hundred. `NETMON_HISTORIES=1000000` tries so many, on all
//! processors, and `--nocapture` shows what they came by; `NETMON_SEED` is the first seed. A history that fails is
//! printed with its seed and, made as short as it gets, as a list that [`replay`] takes.

mod catalogue;
mod coverage;
mod history;
mod invariants;
mod model;
mod regressions;
mod releases;
mod shrink;
mod step;
mod steps;
mod tell;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::*;
use coverage::Coverage;
use step::Step;
use world::Play;

/// How many there are where none is asked for: some ten seconds of a debug build.
const HISTORIES: u64 = 600;

/// Of so many one is looked at in every respect: run again, and run with its targets in the opposite order.
const THOROUGH: u64 = 16;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// Lets a history happen; what it came by, or what went wrong.
fn play(seed: u64, steps: &[Step], netlink: bool) -> Result<Coverage, String> {
    let run = |reversed, thorough| {
        let mut play = Play::new(seed, netlink, reversed, thorough);
        let done = catch_unwind(AssertUnwindSafe(|| play.all(steps)));
        done.unwrap_or_else(|_| Err("panicked, see above".to_owned())).map(|()| play)
    };
    let thorough = seed.is_multiple_of(THOROUGH);
    let first = run(false, thorough)?;
    if thorough {
        let again = run(false, false)?;
        if again.watcher.transcript != first.watcher.transcript
            || again.health.verdict() != first.health.verdict()
        {
            return Err("the same history gave another verdict".to_owned());
        }
        // What is judged at one time may be told in another order.
        let by_subject = |play: &Play| {
            let mut all = play.watcher.transcript.clone();
            all.sort_by(|a, b| (a.1.kind(), a.1.name()).cmp(&(b.1.kind(), b.1.name())));
            all
        };
        if by_subject(&run(true, false)?) != by_subject(&first) {
            return Err("another verdict for targets in another order".to_owned());
        }
    }
    Ok(first.coverage)
}

/// A history by hand, or one that failed.
#[track_caller]
fn replay(seed: u64, steps: &[Step]) {
    if let Err(e) = play(seed, steps, true) {
        panic!("{e}");
    }
}

/// The same where no netlink tells of links.
#[track_caller]
fn replay_without_links(seed: u64, steps: &[Step]) {
    if let Err(e) = play(seed, steps, false) {
        panic!("{e}");
    }
}

fn complain(seed: u64, error: &str) -> String {
    let (steps, netlink) = history::of_seed(seed);
    let same = |e: String| kind(&e) == kind(error);
    let short = shrink::shrink(steps, |steps| play(seed, steps, netlink).is_err_and(same));
    let why = play(seed, &short, netlink).err().unwrap_or_default();
    format!(
        "NETMON_SEED={seed} NETMON_HISTORIES=1, netlink: {netlink}\n{error}\n\nmade shorter: {short:?}\n{why}"
    )
}

/// Failures that are shown, of as many kinds.
const SHOWN: usize = 6;

/// What kind of failure it is: its words without the step, and without what follows the first line.
fn kind(error: &str) -> String {
    let words = error.split_once("}: ").or(error.split_once("): ")).map_or(error, |(_, words)| words);
    words.chars().take_while(|c| *c != '\n').filter(|c| c.is_alphabetic()).take(40).collect()
}

/// Plays so many, on as many threads as there are processors; with the first failure of each kind.
fn play_all(first: u64, many: u64) -> (Coverage, Vec<String>) {
    let next = AtomicU64::new(first);
    let failures = Mutex::new(BTreeMap::<String, (u64, String)>::new());
    let work = || {
        let mut all = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + many {
                return all;
            }
            let (steps, netlink) = history::of_seed(seed);
            match play(seed, &steps, netlink) {
                Ok(coverage) => all.add(&coverage),
                Err(error) => {
                    let mut failures = failures.lock().expect("no panic in here");
                    failures.entry(kind(&error)).or_insert((seed, error));
                    if failures.len() >= SHOWN {
                        next.store(first + many, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Coverage::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let coverage = thread.join().expect("panics are caught");
            if coverage.histories > 0 {
                all.add(&coverage);
            }
        }
    });
    let failures = failures.into_inner().expect("no panic in there");
    (all, failures.into_values().map(|(seed, error)| complain(seed, &error)).collect())
}

#[test]
fn the_core_and_the_oracle_agree_in_every_history() {
    let (first, many) = (number("NETMON_SEED").unwrap_or(0), number("NETMON_HISTORIES").unwrap_or(HISTORIES));
    let start = Mono::now();
    let (coverage, failed) = play_all(first, many);
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let took = Mono::now().since(start).as_secs_f64();
    println!("{coverage}{:.0} histories/s, {took:.1} s", coverage.histories as f64 / took);
    if many >= HISTORIES {
        assert_eq!(coverage.missed(), [], "no history came by them");
    }
    assert_eq!(coverage.impossible(), []);
}
