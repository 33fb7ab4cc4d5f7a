//! The bounds that the rules promise, by simulation. `NETMON_SIM_DAYS` sets how many days of each are simulated; what
//! comes out is printed (`--nocapture`).

use super::*;
use crate::health::{fsm::AddressFsm, latency::Latency, loss::Loss};

const DAY: f64 = 86_400.0;

fn days(default: u64) -> u64 {
    std::env::var("NETMON_SIM_DAYS").ok().and_then(|d| d.parse().ok()).unwrap_or(default)
}

fn ms(t: u64) -> Mono {
    Mono::from_nanos(t * 1_000_000)
}

/// One address, probed every 2 s ±10 %; `answers` says of each probe by its departure whether it is answered, after
/// 10 ms. Tells every change with its time, milliseconds, and every regular probe's fate.
struct Line<A> {
    fsm: AddressFsm,
    settings: Settings,
    rng: SmallRng,
    now: u64,
    next: u64,
    seq: u64,
    pending: Vec<(u64, u64, bool)>,
    answers: A,
}

impl<A: FnMut(u64, &mut SmallRng) -> bool> Line<A> {
    fn new(seed: u64, answers: A) -> Self {
        Self {
            fsm: AddressFsm::default(),
            settings: Settings::default(),
            rng: SmallRng::seed_from_u64(seed),
            now: 0,
            next: 0,
            seq: 0,
            pending: Vec::new(),
            answers,
        }
    }

    fn send(&mut self) -> bool {
        self.seq += 1;
        self.fsm.sent(ms(self.now), self.seq, Duration::from_millis(200));
        let answered = (self.answers)(self.now, &mut self.rng);
        self.pending.push((self.now + if answered { 10 } else { TIMEOUT }, self.seq, answered));
        answered
    }

    fn run(&mut self, until: u64, mut tell: impl FnMut(u64, State), mut regular: impl FnMut(bool)) {
        let mut state = self.fsm.state();
        while self.now < until {
            let pending = self.pending.iter().map(|p| p.0).min().unwrap_or(until);
            let due = self.fsm.deadline().map_or(until, |d| d.as_nanos().div_ceil(1_000_000));
            self.now = self.next.min(pending).min(due).min(until).max(self.now);
            if self.next <= self.now {
                self.next = self.now + self.rng.random_range(1800..=2200);
                let answered = self.send();
                regular(answered);
            }
            if self.fsm.on_timer(ms(self.now), &self.settings) {
                self.send();
            }
            while let Some(i) = self.pending.iter().position(|p| p.0 <= self.now) {
                let (_, seq, answered) = self.pending.remove(i);
                match answered {
                    true => self.fsm.replied(ms(self.now), seq, &self.settings),
                    false => self.fsm.failed(ms(self.now), seq, FailureReason::Timeout, &self.settings),
                }
            }
            if self.fsm.state() != state {
                state = self.fsm.state();
                tell(self.now, state);
            }
        }
    }
}

#[test]
fn false_downs_a_day_are_within_their_bounds() {
    let days = days(10) as f64;
    for (loss, bound) in [(0.01, 1e-6), (0.05, 0.001), (0.1, 0.05), (0.2, 3.0)] {
        let mut line = Line::new(1, |_, rng: &mut SmallRng| !rng.random_bool(loss));
        let (mut downs, mut fixed, mut in_a_row, mut probes) = (0u64, 0u64, 0u64, 0u64);
        line.run(
            (days * DAY * 1000.0) as u64,
            |_, state| downs += u64::from(state == State::Down),
            |answered| {
                probes += 1;
                in_a_row = if answered { 0 } else { in_a_row + 1 };
                fixed += u64::from(in_a_row == 3);
            },
        );
        let (ours, theirs) = (downs as f64 / days, fixed as f64 / days);
        println!("{loss:4} loss: {theirs:8.3} a day by three in a row, {ours:.5} by R4; bound {bound}");
        // The yardstick first: three in a row come p³·(1 − p) times a probe.
        let expected = probes as f64 * f64::powi(loss, 3) * (1.0 - loss);
        assert!((fixed as f64 - expected).abs() <= 5.0 * expected.sqrt() + 1.0, "{fixed} of {expected}");
        let most = bound * days + 4.0 * (bound * days).sqrt();
        assert!(downs as f64 <= most, "{downs} in {days} days at {loss}");
    }
}

#[test]
fn a_blackhole_is_seen_within_its_bound_at_every_phase() {
    let (mut sum, mut worst) = (0, 0);
    const TRIALS: u64 = 3000;
    for trial in 0..TRIALS {
        let start = 20_000 + trial * 7919 % 10_007;
        let mut line = Line::new(trial, |t, _: &mut SmallRng| t < start);
        let mut down = None;
        line.run(start + 20_000, |t, state| down = down.or((state == State::Down).then_some(t)), |_| {});
        let took = down.unwrap() - start;
        sum += took;
        worst = worst.max(took);
    }
    println!("blackhole to down: mean {} ms, worst {worst} ms", sum / TRIALS);
    assert!(worst <= 5200 && sum / TRIALS <= 4100, "{worst} {}", sum / TRIALS);
}

#[test]
fn a_short_outage_is_no_down_at_any_phase() {
    for trial in 0..3000 {
        let start = 20_000 + trial * 7919 % 10_007;
        let mut line = Line::new(trial, |t, _: &mut SmallRng| !(start..start + 1800).contains(&t));
        line.run(start + 20_000, |t, state| assert_ne!(state, State::Down, "at {t}"), |_| {});
    }
}

/// One sample every two seconds, each lost with this probability.
fn lose(loss: &mut Loss, rng: &mut SmallRng, t: &mut u64, ratio: f64) {
    *t += 2000;
    let lost = rng.random_bool(ratio);
    loss.record(ms(*t), lost, &Settings::default());
    if !lost {
        loss.replied();
    }
}

#[test]
fn r9_sees_heavy_loss_and_not_light_loss() {
    let mut rng = SmallRng::seed_from_u64(2);
    let (mut entries, mut t) = (0, 0);
    let mut loss = Loss::default();
    let days = days(50);
    for _ in 0..days * DAY as u64 / 2 {
        let was = loss.is_degraded();
        lose(&mut loss, &mut rng, &mut t, 0.02);
        entries += u64::from(!was && loss.is_degraded());
    }
    let a_day = entries as f64 / days as f64;
    let (trials, mut found) = (2000, 0);
    for _ in 0..trials {
        let (mut loss, mut t) = (Loss::default(), 0);
        for _ in 0..60 {
            lose(&mut loss, &mut rng, &mut t, 0.0);
        }
        for _ in 0..60 {
            lose(&mut loss, &mut rng, &mut t, 0.2);
        }
        found += u32::from(loss.is_degraded());
    }
    println!("R9: {a_day:.2} entries a day at 2 % loss; {found} of {trials} within two minutes of 20 %");
    // 2.6e-5 of the windows; there are 43,200 a day, each with all but one sample of the one before.
    assert!(a_day <= 43_200.0 * 2.6e-5, "{a_day}");
    assert!(f64::from(found) >= 0.93 * f64::from(trials), "{found}");
}

/// Of a normal distribution, by Box and Muller.
fn normal(rng: &mut SmallRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (v * std::f64::consts::TAU).cos()
}

#[test]
fn r11_is_silent_on_what_is_usual() {
    // Milliseconds at second t: a quiet LAN, a jittery WAN with spikes, one that slows by half each evening, a radio
    // link with a heavy tail.
    type Model = (&'static str, fn(f64, &mut SmallRng) -> f64);
    let models: [Model; 4] = [
        ("lan", |_, rng| 0.3 * (0.2 * normal(rng)).exp()),
        ("wan", |_, rng| {
            let spike = if rng.random_bool(0.05) { 10.0 } else { 1.0 };
            25.0 * (0.3 * normal(rng)).exp() * spike
        }),
        ("evening", |t, rng| {
            let slow = 1.0 + 0.25 * (1.0 - (t / DAY * std::f64::consts::TAU).cos());
            40.0 * slow * (0.15 * normal(rng)).exp()
        }),
        ("radio", |_, rng| 60.0 / rng.random_range(0.05..1.0f64).powf(0.7)),
    ];
    let days = days(5);
    for (name, model) in models {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut latency = Latency::default();
        let settings = Settings::default();
        let mut falses = 0;
        for i in 0..days * DAY as u64 / 2 {
            let rtt = Duration::from_secs_f64(model(2.0 * i as f64, &mut rng) / 1e3);
            let was = latency.is_degraded();
            latency.record(ms(2000 * i), rtt, true, &settings);
            falses += u32::from(!was && latency.is_degraded());
        }
        println!("R11: {falses} false in {days} days of {name}");
        assert_eq!(falses, 0, "{name}");
    }
}
