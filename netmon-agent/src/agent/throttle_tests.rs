//! The controller against a simulated agent: what it takes is `base + k / factor`.

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_secs(5);

/// A plant and its controller in virtual time.
struct Plant {
    throttle: Throttle,
    now: Mono,
    cpu: Duration,
    /// The factor after each step.
    factors: Vec<f64>,
}

impl Plant {
    fn new(limits: Limits) -> Self {
        Self {
            throttle: Throttle::new(limits),
            now: Mono::default(),
            cpu: Duration::ZERO,
            factors: Vec::new(),
        }
    }

    /// Runs for so many seconds, with CPU and memory by the factor.
    fn run(&mut self, seconds: u64, mut cpu: impl FnMut(f64) -> f64, mut memory: impl FnMut(f64) -> u64) {
        for _ in 0..seconds / STEP.as_secs() {
            let factor = self.throttle.factor();
            self.now = self.now + STEP;
            self.cpu += STEP.mul_f64(cpu(factor));
            let before = self.throttle.factor();
            let changed = self.throttle.read(Usage { at: self.now, cpu: self.cpu, memory: memory(factor) });
            assert_eq!(changed, before != self.throttle.factor());
            self.factors.push(self.throttle.factor());
        }
    }

    fn changes(&self, from: usize) -> usize {
        self.factors[from..].windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

fn cpu_limit(limit: f64) -> Limits {
    Limits { cpu: Some(limit), memory: None }
}

fn nothing(_: f64) -> u64 {
    0
}

#[test]
fn use_within_the_limits_changes_nothing() {
    let mut plant = Plant::new(Limits { cpu: Some(0.05), memory: Some(100) });
    plant.run(3600, |_| 0.049, |_| 99);
    assert!(!plant.throttle.is_on() && plant.changes(0) == 0);
}

#[test]
fn a_short_peak_changes_nothing() {
    let mut plant = Plant::new(Limits { cpu: Some(0.05), memory: Some(100) });
    plant.run(300, |_| 0.01, |_| 50);
    plant.run(5, |_| 0.2, |_| 500);
    plant.run(300, |_| 0.01, |_| 50);
    assert_eq!(plant.changes(0), 0);
}

#[test]
fn without_limits_nothing_is_too_much() {
    let mut plant = Plant::new(Limits::default());
    plant.run(3600, |_| 4.0, |_| u64::MAX);
    assert!(!plant.throttle.is_on());
}

#[test]
fn too_much_cpu_is_throttled_within_a_minute_and_held() {
    let mut plant = Plant::new(cpu_limit(0.05));
    plant.run(35, |f| 0.01 + 0.10 / f, nothing);
    assert!(plant.throttle.is_on());
    let account = plant.throttle.account();
    assert!(account.starts_with("CPU 11.00 % of 5.00 % of a core"), "what led to it: {account}");
    plant.run(265, |f| 0.01 + 0.10 / f, nothing);
    let factor = plant.throttle.factor();
    assert!(0.01 + 0.10 / factor <= 0.05 && factor < 6.0, "{factor}");
    let settled = plant.factors.len();
    plant.run(4 * 3600, |f| 0.01 + 0.10 / f, nothing);
    assert_eq!(plant.changes(settled), 0, "it swings");
}

#[test]
fn what_no_pace_changes_ends_at_the_highest_factor() {
    let mut plant = Plant::new(cpu_limit(0.05));
    plant.run(3600, |_| 0.5, nothing);
    assert_eq!(plant.throttle.factor(), HIGHEST);
    assert!(plant.changes(0) <= 3);
}

#[test]
fn once_it_takes_little_for_a_minute_it_comes_back_step_by_step() {
    let mut plant = Plant::new(cpu_limit(0.05));
    plant.run(300, |f| 0.4 / f, nothing);
    let factor = plant.throttle.factor();
    assert!(factor >= 8.0, "{factor}");
    plant.run(50, |f| 0.01 / f, nothing);
    assert_eq!(plant.throttle.factor(), factor);
    plant.run(150, |f| 0.01 / f, nothing);
    assert!(!plant.throttle.is_on(), "{:?}", plant.factors);
    assert!(plant.factors.windows(2).all(|p| p[1] >= p[0] * 0.69), "{:?}", plant.factors);
}

#[test]
fn generous_limits_end_it_at_once_and_close_ones_do_not() {
    let mut plant = Plant::new(cpu_limit(0.001));
    plant.run(120, |f| 0.1 / f, nothing);
    assert_eq!(plant.throttle.factor(), HIGHEST);
    assert!(!plant.throttle.set_limits(cpu_limit(0.1)), "0.1 at full pace is no less than its nine tenths");
    assert!(plant.throttle.is_on());
    assert!(plant.throttle.set_limits(cpu_limit(0.5)));
    assert!(!plant.throttle.is_on());
    plant.run(600, |f| 0.1 / f, nothing);
    assert!(!plant.throttle.is_on());
}

#[test]
fn limits_that_are_switched_off_end_it() {
    let mut plant = Plant::new(cpu_limit(0.001));
    plant.run(60, |_| 0.1, nothing);
    assert!(plant.throttle.is_on());
    assert!(plant.throttle.set_limits(Limits::default()));
    assert!(!plant.throttle.is_on());
}

#[test]
fn memory_stretches_less_and_comes_back_when_there_is_room() {
    let mut plant = Plant::new(Limits { cpu: Some(0.05), memory: Some(100_000_000) });
    plant.run(600, |_| 0.01, |_| 150_000_000);
    assert_eq!(plant.throttle.factor(), HIGHEST_FOR_MEMORY);
    assert!(plant.throttle.account().contains("150 MB of 100 MB"), "{}", plant.throttle.account());
    plant.run(300, |_| 0.01, |_| 80_000_000);
    assert!(!plant.throttle.is_on());
}

#[test]
fn memory_that_comes_with_the_pace_makes_it_ever_more_patient() {
    let mut plant = Plant::new(Limits { cpu: None, memory: Some(100_000_000) });
    // At full pace 120 MB, at a stretch 50: without patience it would go back and forth every three minutes.
    plant.run(12 * 3600, |_| 0.0, |f| if f < 1.3 { 120_000_000 } else { 50_000_000 });
    let raises = plant.factors.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!(raises <= 40, "{raises}");
    assert_eq!(plant.throttle.patience, MOST_PATIENCE);
}

proptest! {
    #[test]
    fn it_settles_below_the_limit_and_stays(
        base in 0.0f64..0.8,
        k in 0.0f64..10.0,
        seed in proptest::collection::vec(-0.03f64..0.03, 64),
    ) {
        let limit = 0.05;
        let mut plant = Plant::new(cpu_limit(limit));
        let mut i = 0;
        let mut cpu = |f: f64| {
            i += 1;
            limit * (base + k / f) * (1.0 + seed[i % seed.len()])
        };
        plant.run(1800, &mut cpu, nothing);
        let factor = plant.throttle.factor();
        let settled = plant.factors.len();
        prop_assert!(factor == HIGHEST || base + k / factor <= 1.04, "{base} + {k} / {factor}");
        prop_assert!(factor > 1.0 || base + k <= 1.03);
        plant.run(2 * 3600, &mut cpu, nothing);
        prop_assert!(plant.changes(settled) <= 2, "{:?}", &plant.factors[settled..]);
    }

    #[test]
    fn a_factor_that_was_lowered_is_never_too_low(base in 0.0f64..0.9, k in 1.0f64..10.0, less in 0.0f64..1.0) {
        let limit = 0.05;
        let mut plant = Plant::new(cpu_limit(limit));
        plant.run(900, |f| limit * (base + k / f), nothing);
        let before = plant.factors.len();
        let k = k * less;
        plant.run(3600, |f| limit * (base + k / f), nothing);
        let after = &plant.factors[before..];
        let lowered = after.iter().position(|f| *f < after[0]).unwrap_or(0);
        prop_assert!(after[lowered..].windows(2).all(|pair| pair[1] <= pair[0]), "{after:?}");
        prop_assert!(base + k > ENOUGH * 0.97 || plant.throttle.factor() == 1.0, "{base} {k} {after:?}");
    }
}
