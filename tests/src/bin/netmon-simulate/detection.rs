//! From a blackhole to `down` and back, at every phase of the interval.

use std::time::Duration;

use netmon_agent::health::State;
use netmon_tests::sim::{
    Fate, Probe, Wire,
    rivals::{Ewma, InARow},
    spread::Spread,
};

use crate::plan::{Bounds, Plan, of_target, one_target};

const RTT: f64 = 0.01;
const TIMEOUT: f64 = 1.0;
/// Before the outage, and the part of it that the phase is taken from: the longest interval.
const WARM: f64 = 20.0;
const LONGEST: f64 = 2.2;
/// At the usual effort.
const TRIALS: f64 = 20_000.0;
const SHARDS: usize = 8;
const NAMES: [&str; 3] = ["3 in a row", "EWMA", "netmon"];

pub fn run(plan: &Plan, bounds: &mut Bounds) {
    let trials = (plan.scaled(TRIALS) as u64).max(200);
    blackholes(plan, bounds, trials);
    short_outages(plan, bounds, trials);
}

fn blackholes(plan: &Plan, bounds: &mut Bounds, trials: u64) {
    println!(
        "detection: {trials} blackholes at every phase of 2 s ± 10 %; seconds; a mark is 0.25 s, from 2 s to 9 s"
    );
    let header = "   min    mean     p50     p99     max";
    println!("  {:<22} {header}", "blackhole to down");
    let times = run_trials(plan, 32, trials, |i| 12.0 + LONGEST * fraction(i));
    let down: [Spread; 3] = std::array::from_fn(|d| Spread::new(times.iter().map(|t| t.fell[d])));
    let up: [Spread; 3] = std::array::from_fn(|d| Spread::new(times.iter().map(|t| t.rose[d])));
    for (d, name) in NAMES.iter().enumerate() {
        println!("  {name:<22} {} {}", down[d], down[d].bars(2.0, 9.0, 28));
    }
    println!("  {:<22} {header}", "its end to up");
    for (d, name) in NAMES.iter().enumerate() {
        println!("  {name:<22} {} {}", up[d], up[d].bars(0.0, 7.0, 28));
    }
    let found = down[2].count() as u64 == trials && up[2].count() as u64 == trials;
    // R4 at I = 2 s; the mean is 4.0 by its last digit.
    for (kept, what) in [
        (found, "every blackhole and its end are seen".to_owned()),
        (down[2].max() <= 5.2, format!("down within 5.2 s at most: {:.3}", down[2].max())),
        (down[2].mean() < 4.05, format!("down within 4.0 s in the mean: {:.3}", down[2].mean())),
        (up[2].max() <= 3.0, format!("up within 3 s at most (R8): {:.3}", up[2].max())),
    ] {
        let word = bounds.check(kept, what.clone());
        println!("  {what}: {word}");
    }
}

fn short_outages(plan: &Plan, bounds: &mut Bounds, trials: u64) {
    println!("  total outages called down, by their length: {trials} of each");
    for (topic, length) in [1.0, 1.799, 2.0, 2.5, 3.0, 4.0, 5.2, 6.6].into_iter().enumerate() {
        let times = run_trials(plan, 40 + topic as u64, trials, |_| length);
        let seen = |d: usize| times.iter().filter(|t| !t.fell[d].is_nan()).count() as u64;
        let percent = |n: u64| format!("{:.1} %", 100.0 * n as f64 / trials as f64);
        let shares: Vec<_> = (0..3).map(|d| format!("{} {}", NAMES[d], percent(seen(d)))).collect();
        let word = match length {
            l if l < 1.8 => bounds.check(seen(2) == 0, format!("{} outages of {l} s are down", seen(2))),
            l if l >= 5.2 => {
                bounds.check(seen(2) == trials, format!("only {} outages of {l} s are down", seen(2)))
            }
            _ => "",
        };
        println!("  {length:>5.1} s: {} {word}", shares.join(", "));
    }
}

/// Seconds from the begin to down, and from the end to up; NaN where that never was. By three in a row, EWMA, ours.
#[derive(Clone, Copy, Debug)]
struct Times {
    fell: [f64; 3],
    rose: [f64; 3],
}

/// A part of one, evenly spread over the trials and no neighbour of that of the trial before.
fn fraction(i: u64) -> f64 {
    (i * 7919 % 10_007) as f64 / 10_007.0
}

/// `length` gives the length of a trial's outage, seconds.
fn run_trials(plan: &Plan, topic: u64, trials: u64, length: impl Fn(u64) -> f64 + Sync) -> Vec<Times> {
    let shard = |part: u64| -> Vec<Times> {
        let mine = (0..trials).skip(part as usize).step_by(SHARDS);
        mine.map(|i| {
            let from = WARM + LONGEST * i as f64 / trials as f64;
            trial(plan.seed(topic, i), from, from + length(i))
        })
        .collect()
    };
    plan.parallel(SHARDS, shard).into_iter().flatten().collect()
}

struct Hole {
    from: f64,
    until: f64,
    row: InARow,
    ewma: Ewma,
    times: Times,
}

impl Hole {
    /// Detector `d` says at `at` that it is down, or up.
    fn note(&mut self, d: usize, at: f64, down: bool) {
        let (fell, rose) = (&mut self.times.fell[d], &mut self.times.rose[d]);
        if down && fell.is_nan() {
            *fell = at - self.from;
        } else if !down && !fell.is_nan() && rose.is_nan() {
            *rose = at - self.until;
        }
    }
}

impl Wire for Hole {
    fn probe(&mut self, probe: &Probe<'_>) -> Fate {
        let at = probe.at.as_secs_f64();
        let lost = (self.from..self.until).contains(&at);
        if probe.regular {
            let known = at + if lost { TIMEOUT } else { RTT };
            let (row, ewma) = (self.row.take(lost), self.ewma.take(lost));
            self.note(0, known, row);
            self.note(1, known, ewma);
        }
        if lost { Fate::Silent } else { Fate::Answered { rtt: Duration::from_secs_f64(RTT) } }
    }
}

fn trial(seed: u64, from: f64, until: f64) -> Times {
    let times = Times { fell: [f64::NAN; 3], rose: [f64::NAN; 3] };
    let mut agent =
        one_target(seed, Hole { from, until, row: InARow::three(), ewma: Ewma::default(), times });
    let mut changes = Vec::with_capacity(4);
    agent.run_until(Duration::from_secs_f64(until + 20.0), &mut |at, event| {
        changes.extend(of_target(event).map(|(_, state)| (at.as_secs_f64(), state == State::Down)));
    });
    let mut hole = agent.wire;
    changes.into_iter().for_each(|(at, down)| hole.note(2, at, down));
    hole.times
}
