//! Every scenario many times: how often it was right, and how long each verdict took.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    Took,
    format::{self, Scenario},
    lab_run, virtual_run,
};
use crate::{agent, lab};

/// Things happen at any moment of the usual interval.
const INTERVAL: Duration = Duration::from_secs(2);

/// Many times what the longest takes.
const LIMIT: Duration = Duration::from_secs(900);

/// What is run, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Scenarios whose name contains this.
    pub filter: String,
    /// How often each.
    pub runs: usize,
    /// So many at once in the lab.
    pub jobs: usize,
    /// Those marked `slow` in the lab, too.
    pub slow: bool,
    /// Whether the lab is left out.
    pub only_virtual: bool,
}

/// Times of one expected verdict.
#[derive(Debug, Default)]
struct Verdict {
    what: String,
    bound: Duration,
    times: Vec<Duration>,
}

/// The runs of one scenario on one stage.
#[derive(Debug, Default)]
struct Runs {
    right: usize,
    all: usize,
    verdicts: BTreeMap<usize, Verdict>,
}

impl Runs {
    fn note(&mut self, times: Option<Vec<Took>>) {
        self.all += 1;
        self.right += usize::from(times.is_some());
        for took in times.into_iter().flatten() {
            let verdict = self.verdicts.entry(took.step).or_default();
            (verdict.what, verdict.bound) = (took.what, took.bound);
            verdict.times.push(took.time);
        }
    }

    fn figures(&self, step: usize) -> String {
        let Some(verdict) = self.verdicts.get(&step).filter(|v| !v.times.is_empty()) else {
            return format!("{:>9} {:>9}", "–", "–");
        };
        let mut times = verdict.times.clone();
        times.sort_unstable();
        let seconds = |t: &Duration| format!("{:.3} s", t.as_secs_f64());
        format!("{:>9} {:>9}", seconds(&times[times.len() / 2]), seconds(&times[times.len() - 1]))
    }
}

/// Runs them all, prints the table, and tells whether every run was right.
///
/// # Errors
/// When a file is wrong, nothing matches, or no lab can be made here.
pub fn run(options: &Options) -> Result<bool> {
    let scenarios: Vec<Scenario> =
        format::all()?.into_iter().filter(|s| s.name.contains(&options.filter)).collect();
    ensure!(!scenarios.is_empty(), "no scenario is called like \"{}\"", options.filter);
    let in_lab =
        |s: &Scenario| !options.only_virtual && s.virtual_only.is_none() && (options.slow || !s.slow);
    if let Some(why) = lab::obstacle().filter(|_| scenarios.iter().any(in_lab)) {
        anyhow::bail!(why);
    }
    let mut virtually: Vec<Runs> = scenarios.iter().map(|_| Runs::default()).collect();
    for (scenario, runs) in scenarios.iter().zip(&mut virtually) {
        for seed in 0..options.runs as u64 {
            let result = virtual_run::run(scenario, seed);
            if let Err(e) = &result {
                eprintln!("WRONG in virtual time: {} with seed {seed}: {e:#}", scenario.name);
            }
            runs.note(result.ok());
        }
    }
    let really = play(&scenarios, options, in_lab);
    let right = print(&scenarios, &virtually, &really);
    Ok(right)
}

/// The lab's runs: one of each scenario after another, so that what disturbs the machine disturbs few of each.
fn play(scenarios: &[Scenario], options: &Options, in_lab: impl Fn(&Scenario) -> bool) -> Vec<Runs> {
    let rounds = (0..options.runs).flat_map(|round| (0..scenarios.len()).map(move |n| (round, n)));
    let mut queue: Vec<(usize, usize)> = rounds.filter(|(_, n)| in_lab(&scenarios[*n])).collect();
    queue.reverse();
    let first = queue.last().map_or(0, |(_, n)| *n);
    let left = Mutex::new(queue);
    let results: Mutex<Vec<Runs>> = Mutex::new(scenarios.iter().map(|_| Runs::default()).collect());
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((round, n)) = next else { return };
                    if n == first {
                        eprintln!("lab: round {} of {}", round + 1, options.runs);
                    }
                    let result = play_one(&scenarios[n], (round * scenarios.len() + n) as u64);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[n].note(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn play_one(scenario: &Scenario, seed: u64) -> Option<Vec<Took>> {
    let _watchdog = lab::Watchdog::new(&scenario.name, LIMIT);
    // Those of the runs before this one on the same thread.
    drop(agent::logs_of_this_thread());
    let mut rng = SmallRng::seed_from_u64(seed);
    match lab_run::run(scenario, &mut || INTERVAL.mul_f64(rng.random())) {
        Ok(times) => Some(times),
        Err(e) => {
            eprintln!("WRONG in the lab: {}: {e:#}\n{}", scenario.name, agent::logs_of_this_thread());
            None
        }
    }
}

fn print(scenarios: &[Scenario], virtually: &[Runs], really: &[Runs]) -> bool {
    println!("{:<66} {:>9} | {:<25} | in the lab", "", "", "in virtual time");
    let head = format!("{:>5} {:>9} {:>9}", "right", "median", "worst");
    println!("{:<66} {:>9} | {head} | {head}", "scenario: what happens: verdict", "bound");
    for ((scenario, virtual_runs), lab_runs) in scenarios.iter().zip(virtually).zip(really) {
        let count = |runs: &Runs| match runs.all {
            0 => "–".to_owned(),
            all => format!("{}/{all}", runs.right),
        };
        println!("{:<76} | {:>5} {:19} | {:>5}", scenario.name, count(virtual_runs), "", count(lab_runs));
        for (step, verdict) in &virtual_runs.verdicts {
            let what: String = verdict.what.chars().take(64).collect();
            let bound = format!("{:.1} s", verdict.bound.as_secs_f64());
            let (virtual_times, lab_times) = (virtual_runs.figures(*step), lab_runs.figures(*step));
            println!("  {what:<64} {bound:>9} | {:>5} {virtual_times} | {:>5} {lab_times}", "", "");
        }
    }
    let wrong = |runs: &[Runs]| runs.iter().map(|r| r.all - r.right).sum::<usize>();
    let all = |runs: &[Runs]| runs.iter().map(|r| r.all).sum::<usize>();
    println!(
        "{} scenarios; {} of {} runs in virtual time were wrong, {} of {} in the lab",
        scenarios.len(),
        wrong(virtually),
        all(virtually),
        wrong(really),
        all(really),
    );
    wrong(virtually) + wrong(really) == 0
}
