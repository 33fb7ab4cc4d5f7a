//! R11: how often a latency that is usual is called too much, and how soon one that is not.

use std::{cell::RefCell, rc::Rc, time::Duration};

use netmon_agent::health::{Event, ReasonCode, State, Subject};
use netmon_tests::sim::{Fate, Probe, Wire, poisson, rivals::ControlChart, spread::Spread};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::plan::{Bounds, DAY, Plan, WARM_UP, one_target};

/// Days of each model, at the usual effort.
const DAYS: f64 = 200.0;
const SHARDS: usize = 8;
/// Shifts of each size, at the usual effort; how long before them a base is learnt, and after them they may be found.
const TRIALS: f64 = 400.0;
const LEARN: f64 = 2.0 * 3600.0;
const WATCH: f64 = 600.0;

/// Milliseconds at a second.
type Model = (&'static str, fn(f64, &mut SmallRng) -> f64);

const MODELS: [Model; 5] = [
    ("LAN, 0.3 ms", |_, rng| 0.3 * (0.2 * normal(rng)).exp()),
    ("WAN, 25 ms, one in twenty ten times as long", |_, rng| {
        let spike = if rng.random_bool(0.05) { 10.0 } else { 1.0 };
        25.0 * (0.3 * normal(rng)).exp() * spike
    }),
    ("WAN, 40 ms, half as slow again each evening", |t, rng| {
        let slow = 1.0 + 0.25 * (1.0 - (t / DAY * std::f64::consts::TAU).cos());
        40.0 * slow * (0.15 * normal(rng)).exp()
    }),
    ("radio, 60 ms, heavy tail", |_, rng| 60.0 / rng.random_range(0.05..1.0f64).powf(0.7)),
    ("busy link, spells of three times as long", |t, rng| {
        // Ten seconds in every five minutes or so.
        let spell = (t / 10.0) as u64;
        let busy = (spell.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(32);
        20.0 * (0.2 * normal(rng)).exp() * if busy { 3.0 } else { 1.0 }
    }),
];

/// Of a normal distribution, by Box and Muller.
fn normal(rng: &mut SmallRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (v * std::f64::consts::TAU).cos()
}

pub fn run(plan: &Plan, bounds: &mut Bounds) {
    falses(plan, bounds);
    shifts(plan);
}

fn falses(plan: &Plan, bounds: &mut Bounds) {
    let days = plan.scaled(DAYS);
    println!(
        "latency: {days:.1} days of each; alarms a day of what is usual (R11 beside an EWMA control chart)"
    );
    println!("  {:<46} {:>10} {:>32}", "round trip", "EWMA", "netmon (95 %)");
    for (topic, (name, model)) in MODELS.into_iter().enumerate() {
        let parts = plan.parallel(SHARDS, |part| {
            let seed = plan.seed(48 + topic as u64, part);
            alarms(seed, model, days / SHARDS as f64)
        });
        let (chart, ours) = parts.iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        let (low, high) = poisson::interval(ours);
        let a_day = |n: f64| n / days;
        // None in 20 days, and so in any number of them: not surely more than one in twenty.
        let word = bounds.check(a_day(low) <= 1.0 / 20.0, format!("{ours} false alarms of latency: {name}"));
        println!(
            "  {name:<46} {:>10.1} {:>32} {word}",
            a_day(chart as f64),
            format!("{ours}: {:.3} ({:.3}–{:.3})", a_day(ours as f64), a_day(low), a_day(high)),
        );
    }
}

fn shifts(plan: &Plan) {
    let trials = (plan.scaled(TRIALS) as usize).max(4);
    println!(
        "  found within ten minutes of a shift, and after how many seconds: {trials} of each; R11 lets be what is not \
         twice as long and 10 ms longer"
    );
    println!(
        "  {:<46} {:>6} {:>8} {:>40} {:>8} {:>14}",
        "", "times", "netmon", "min    mean     p50     p99     max", "EWMA", "median"
    );
    for (topic, (name, model)) in MODELS.into_iter().enumerate() {
        for factor in [2.0, 3.0, 5.0] {
            let all = plan.parallel(trials, |i| {
                shift(plan.seed(56 + topic as u64, i << 8 | factor as u64), model, factor)
            });
            let (ours, chart) = (Spread::new(all.iter().map(|t| t.0)), Spread::new(all.iter().map(|t| t.1)));
            let part = |s: &Spread| format!("{:.0} %", 100.0 * s.count() as f64 / trials as f64);
            let figures = if ours.count() > 0 { ours.to_string() } else { "–".to_owned() };
            println!(
                "  {name:<46} {factor:>6} {:>8} {figures:>40} {:>8} {:>12.1} s",
                part(&ours),
                part(&chart),
                chart.quantile(0.5)
            );
        }
    }
}

struct Path {
    rng: SmallRng,
    model: fn(f64, &mut SmallRng) -> f64,
    /// From here on it is so many times as long.
    shift: (f64, f64),
    chart: (ControlChart, bool),
    /// When the chart's alarms were raised, seconds.
    alarms: Rc<RefCell<Vec<f64>>>,
}

impl Wire for Path {
    fn probe(&mut self, probe: &Probe<'_>) -> Fate {
        let at = probe.at.as_secs_f64();
        let factor = if at >= self.shift.0 { self.shift.1 } else { 1.0 };
        let rtt = (self.model)(at, &mut self.rng) * factor / 1000.0;
        // What comes after the time-out has no round trip.
        if probe.regular && rtt < 1.0 {
            let slow = self.chart.0.take(rtt);
            if slow && !self.chart.1 {
                self.alarms.borrow_mut().push(at + rtt);
            }
            self.chart.1 = slow;
        }
        Fate::Answered { rtt: Duration::from_secs_f64(rtt) }
    }
}

fn path(seed: u64, model: fn(f64, &mut SmallRng) -> f64, shift: (f64, f64)) -> Path {
    let chart = (ControlChart::default(), false);
    Path { rng: SmallRng::seed_from_u64(seed), model, shift, chart, alarms: Rc::default() }
}

/// Whether R11 has made the target degraded.
fn is_alarm(event: &Event) -> bool {
    let Event::Changed { subject: Subject::Target(_), state: State::Degraded, reasons, .. } = event else {
        return false;
    };
    reasons.iter().any(|r| r.code == ReasonCode::Latency)
}

/// Alarms of the chart and of R11.
fn alarms(seed: u64, model: fn(f64, &mut SmallRng) -> f64, days: f64) -> (u64, u64) {
    let mut agent = one_target(seed, path(seed, model, (f64::INFINITY, 1.0)));
    let mut ours = 0;
    let end = WARM_UP + Duration::from_secs_f64(days * DAY);
    agent.run_until(end, &mut |_, event| ours += u64::from(is_alarm(event)));
    let chart = agent.wire.alarms.borrow().len() as u64;
    (chart, ours)
}

/// Seconds from a shift to the alarm of R11 and of the chart; NaN where there is none, or was one before.
fn shift(seed: u64, model: fn(f64, &mut SmallRng) -> f64, factor: f64) -> (f64, f64) {
    let mut agent = one_target(seed, path(seed, model, (LEARN, factor)));
    let mut ours = f64::NAN;
    agent.run_until(Duration::from_secs_f64(LEARN + WATCH), &mut |at, event| {
        if ours.is_nan() && is_alarm(event) {
            ours = at.as_secs_f64() - LEARN;
        }
    });
    let alarms = agent.wire.alarms.borrow();
    let chart = alarms.iter().find(|at| **at >= LEARN).map_or(f64::NAN, |at| at - LEARN);
    (if ours < 0.0 { f64::NAN } else { ours }, chart)
}
