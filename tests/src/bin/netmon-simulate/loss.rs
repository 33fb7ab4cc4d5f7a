//! Independent loss: how often a target that works is called down.
//!
//! What is rarer than once in the time simulated can't be counted. It is reckoned beside, by importance sampling: how
//! likely the loss of one probe ends in `down`, simulated with every further probe lost at even chance and each `down`
//! weighed by the ratio of the chances; times the losses a day that were counted.

use std::{cell::Cell, rc::Rc, time::Duration};

use netmon_agent::health::State;
use netmon_tests::promise;
use netmon_tests::sim::{
    Fate, Probe, Wire, poisson,
    rivals::{Ewma, InARow},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::plan::{Bounds, DAY, Plan, WARM_UP, of_target, one_target};

const RTT: Duration = Duration::from_millis(10);
/// Independent loss, and how many false downs a day there may be.
const RATIOS: [(f64, f64); 4] = [(0.01, 1e-6), (0.05, 0.001), (0.1, 0.05), (0.2, 3.0)];
/// Pieces of each ratio, each with draws of its own.
const SHARDS: usize = 16;
/// First losses of each piece by importance sampling, at the usual effort.
const CYCLES: f64 = 20_000.0;
/// While a reply is awaited that is late already, each probe is lost with this chance.
const TILTED: f64 = 0.5;

pub fn run(plan: &Plan, bounds: &mut Bounds) {
    println!("independent loss: {:.0} days of each ratio, one target at 2 s; false downs a day", plan.days);
    println!(
        "  {:>5} {:>12} {:>10} {:>10} {:>34} {:>22} {:>8}",
        "loss", "3 in a row", "expected", "EWMA", "netmon, counted (95 %)", "netmon, reckoned", "bound"
    );
    // One in 64 of them ends in `down`: six more have to be lost.
    let cycles = (plan.scaled(CYCLES) as u64).max(500);
    let mut figures = Vec::new();
    for (topic, (ratio, bound)) in RATIOS.into_iter().enumerate() {
        let seed = |part| plan.seed(topic as u64, part);
        let counted = plan.parallel(SHARDS, |part| count(seed(part), ratio, plan.days / SHARDS as f64));
        let weighed = plan.parallel(SHARDS, |part| weigh(seed(part + SHARDS as u64), ratio, cycles));
        let mut t = Tally::default();
        counted.iter().for_each(|part| t.add(part));
        let mut w = Weighed::default();
        weighed.iter().for_each(|part| w.add(part));
        let a_day = |n: f64| n / plan.days;
        let (low, high) = poisson::interval(t.ours);
        let (low, high) = (a_day(low), a_day(high));
        let (chance, error) = w.chance();
        let firsts = a_day(t.first_losses as f64);
        let (reckoned, uncertain) = (firsts * chance, 1.96 * firsts * error);
        // Met where the reckoning says so surely and the count does not speak against it.
        let kept = reckoned + uncertain <= bound && low <= bound;
        let word =
            bounds.check(kept, format!("false downs at {} % loss: {reckoned:.2e} a day", ratio * 100.0));
        println!(
            "  {:>3.0} % {:>12.3} {:>10.3} {:>10.2} {:>34} {:>22} {:>8} {word}",
            ratio * 100.0,
            a_day(t.row as f64),
            a_day(t.probes as f64) * ratio.powi(3) * (1.0 - ratio),
            a_day(t.ewma as f64),
            format!("{}: {} ({}–{})", t.ours, short(a_day(t.ours as f64)), short(low), short(high)),
            format!("{} ± {}", short(reckoned), short(uncertain)),
            short(bound),
        );
        figures.push(format!(
            "{:.0} % lost: {} of at most {} a day",
            ratio * 100.0,
            short(reckoned),
            short(bound)
        ));
    }
    promise("false-downs", format_args!("in {:.0} days of each: {}", plan.days, figures.join("; ")));
}

/// Few digits, whatever the magnitude.
fn short(v: f64) -> String {
    if v == 0.0 || (0.001..1e4).contains(&v) { format!("{v:.4}") } else { format!("{v:.1e}") }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    probes: u64,
    /// Lost regular probes after one that was answered.
    first_losses: u64,
    row: u64,
    ewma: u64,
    ours: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.probes += other.probes;
        self.first_losses += other.first_losses;
        self.row += other.row;
        self.ewma += other.ewma;
        self.ours += other.ours;
    }
}

struct Draws {
    rng: SmallRng,
    ratio: f64,
    lost_before: bool,
    row: (InARow, bool),
    ewma: (Ewma, bool),
    tally: Tally,
}

impl Wire for Draws {
    fn probe(&mut self, probe: &Probe<'_>) -> Fate {
        let lost = self.rng.random_bool(self.ratio);
        if probe.regular {
            self.tally.probes += 1;
            self.tally.first_losses += u64::from(lost && !self.lost_before);
            self.tally.row += falls(&mut self.row.1, self.row.0.take(lost));
            self.tally.ewma += falls(&mut self.ewma.1, self.ewma.0.take(lost));
        }
        self.lost_before = lost;
        if lost { Fate::Silent } else { Fate::Answered { rtt: RTT } }
    }
}

/// 1 where it is down now and was not before.
fn falls(was: &mut bool, down: bool) -> u64 {
    u64::from(!std::mem::replace(was, down) && down)
}

/// So many days of one target.
fn count(seed: u64, ratio: f64, days: f64) -> Tally {
    let draws = Draws {
        rng: SmallRng::seed_from_u64(seed),
        ratio,
        lost_before: false,
        row: (InARow::three(), false),
        ewma: (Ewma::default(), false),
        tally: Tally::default(),
    };
    let mut agent = one_target(seed, draws);
    agent.run_until(WARM_UP, &mut |_, _| {});
    agent.wire.tally = Tally::default();
    let mut ours = 0;
    agent.run_until(WARM_UP + Duration::from_secs_f64(days * DAY), &mut |_, event| {
        ours += u64::from(of_target(event).is_some_and(|(_, state)| state == State::Down));
    });
    Tally { ours, ..agent.wire.tally }
}

/// What became of first losses.
#[derive(Clone, Copy, Debug, Default)]
struct Weighed {
    cycles: u64,
    sum: f64,
    squares: f64,
}

impl Weighed {
    fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// The chance that a first loss ends in `down`, and its standard error.
    fn chance(&self) -> (f64, f64) {
        let n = self.cycles as f64;
        let mean = self.sum / n;
        (mean, ((self.squares / n - mean * mean).max(0.0) / n).sqrt())
    }
}

/// What the wire and the listener share.
#[derive(Debug)]
struct Cycle {
    /// A probe was lost and none has been answered since.
    open: Cell<bool>,
    weight: Cell<f64>,
    down: Cell<bool>,
    begun: Cell<u64>,
}

struct Tilted {
    rng: SmallRng,
    ratio: f64,
    cycle: Rc<Cycle>,
}

impl Wire for Tilted {
    fn probe(&mut self, _: &Probe<'_>) -> Fate {
        let (p, cycle) = (self.ratio, &self.cycle);
        let lost = if cycle.down.get() {
            // Its weight is told already; let it come back.
            self.rng.random_bool(p)
        } else if cycle.open.get() {
            let lost = self.rng.random_bool(TILTED);
            let ratio = if lost { p / TILTED } else { (1.0 - p) / (1.0 - TILTED) };
            cycle.weight.set(cycle.weight.get() * ratio);
            cycle.open.set(lost);
            lost
        } else {
            // How often this happens is counted elsewhere.
            let lost = self.rng.random_bool(TILTED);
            if lost {
                cycle.open.set(true);
                cycle.weight.set(1.0);
                cycle.begun.set(cycle.begun.get() + 1);
            }
            lost
        };
        if lost { Fate::Silent } else { Fate::Answered { rtt: RTT } }
    }
}

/// So many first losses, and what they weigh.
fn weigh(seed: u64, ratio: f64, cycles: u64) -> Weighed {
    let cycle = Rc::new(Cycle {
        open: Cell::new(false),
        weight: Cell::new(1.0),
        down: Cell::new(false),
        begun: Cell::new(0),
    });
    let wire = Tilted { rng: SmallRng::seed_from_u64(seed), ratio, cycle: Rc::clone(&cycle) };
    let mut agent = one_target(seed, wire);
    let mut w = Weighed::default();
    let mut warm = 0;
    let mut until = WARM_UP;
    while w.cycles < cycles {
        agent.run_until(until, &mut |_, event| match of_target(event) {
            Some((_, State::Down)) => {
                cycle.down.set(true);
                if warm > 0 {
                    w.sum += cycle.weight.get();
                    w.squares += cycle.weight.get().powi(2);
                }
            }
            Some((State::Down, _)) => {
                cycle.down.set(false);
                cycle.open.set(false);
            }
            _ => {}
        });
        if warm == 0 {
            warm = cycle.begun.get().max(1);
        }
        w.cycles = cycle.begun.get().saturating_sub(warm);
        until += WARM_UP;
    }
    w
}
