//! R9: how often light loss makes a target `degraded`, and how surely heavy loss does.

use std::time::Duration;

use netmon_agent::health::{Event, ReasonCode, State, Subject};
use netmon_tests::sim::{Fate, Probe, poisson, spread::Spread};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::plan::{Bounds, DAY, Plan, WARM_UP, one_target};

const RTT: Duration = Duration::from_millis(10);
/// Days of each ratio, at the usual effort.
const DAYS: f64 = 200.0;
const SHARDS: usize = 8;
/// Light loss. The bound is for 2 %: of 43,200 windows a day, each with all but one sample of the one before, 2.6e-5.
const LIGHT: [(f64, Option<f64>); 3] = [(0.01, None), (0.02, Some(1.12)), (0.03, None)];
/// Heavy loss, and the part that has to be found within a window of 60 samples.
const HEAVY: [(f64, Option<f64>); 3] = [(0.1, None), (0.2, Some(0.93)), (0.4, None)];
const TRIALS: f64 = 5000.0;
/// Clean before, seconds, and the window: 60 samples at 2 s ± 10 %, and the last one's time-out.
const CLEAN: f64 = 150.0;
const WINDOW: f64 = 122.0;

pub fn run(plan: &Plan, bounds: &mut Bounds) {
    let days = plan.scaled(DAYS);
    println!("degraded by loss (R9): {days:.1} days of each ratio; how often a day (95 %)");
    for (topic, (ratio, bound)) in LIGHT.into_iter().enumerate() {
        let parts = plan
            .parallel(SHARDS, |part| count(plan.seed(96 + topic as u64, part), ratio, days / SHARDS as f64));
        let n: u64 = parts.iter().sum();
        let (low, high) = poisson::interval(n);
        let a_day = |n: f64| n / days;
        let figures = format!("{:.3} ({:.3}–{:.3})", a_day(n as f64), a_day(low), a_day(high));
        let word = bound.map_or("", |b| bounds.check(a_day(low) <= b, format!("R9 at {ratio}: {figures}")));
        let bound = bound.map_or(String::new(), |b| format!("; bound {b}"));
        println!("  {:>4.0} % {figures:>26}{bound} {word}", 100.0 * ratio);
    }
    let trials = (plan.scaled(TRIALS) as usize).max(300);
    println!(
        "  found within 60 samples, and after how many seconds (minimum, mean, p50, p99, maximum): {trials} of each"
    );
    for (topic, (ratio, bound)) in HEAVY.into_iter().enumerate() {
        let all = plan.parallel(trials, |i| find(plan.seed(104 + topic as u64, i), ratio));
        let found = Spread::new(all.into_iter().flatten());
        let (n, part) = (trials as f64, found.count() as f64 / trials as f64);
        let word = bound.map_or("", |b| {
            // Not surely less: three standard errors.
            let least = b - 3.0 * (b * (1.0 - b) / n).sqrt();
            bounds.check(part >= least, format!("R9 finds {part:.3} of {ratio} loss"))
        });
        let bound = bound.map_or(String::new(), |b| format!("; bound {:.0} %", 100.0 * b));
        println!("  {:>4.0} % {:>6.1} % {found}{bound} {word}", 100.0 * ratio, 100.0 * part);
    }
}

/// Whether R9 has made the target degraded.
fn is_alarm(event: &Event) -> bool {
    let Event::Changed { subject: Subject::Target(_), state: State::Degraded, reasons, .. } = event else {
        return false;
    };
    reasons.iter().any(|r| r.code == ReasonCode::Loss)
}

/// A wire that loses so many from a time on, seconds.
fn lossy(seed: u64, ratio: f64, from: f64) -> impl FnMut(&Probe<'_>) -> Fate {
    let mut rng = SmallRng::seed_from_u64(seed);
    move |probe: &Probe<'_>| match probe.at.as_secs_f64() >= from && rng.random_bool(ratio) {
        true => Fate::Silent,
        false => Fate::Answered { rtt: RTT },
    }
}

fn count(seed: u64, ratio: f64, days: f64) -> u64 {
    let mut agent = one_target(seed, lossy(seed, ratio, 0.0));
    let mut entries = 0;
    let end = WARM_UP + Duration::from_secs_f64(days * DAY);
    agent.run_until(end, &mut |_, event| entries += u64::from(is_alarm(event)));
    entries
}

/// Seconds from the begin of the loss.
fn find(seed: u64, ratio: f64) -> Option<f64> {
    let mut agent = one_target(seed, lossy(seed, ratio, CLEAN));
    let mut found = None;
    agent.run_until(Duration::from_secs_f64(CLEAN + WINDOW), &mut |at, event| {
        if found.is_none() && is_alarm(event) {
            found = Some(at.as_secs_f64() - CLEAN);
        }
    });
    found
}
