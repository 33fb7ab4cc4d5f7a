//! Loss in bursts (Gilbert–Elliott): which outages are found, and how often a target is called down.

use std::time::Duration;

use netmon_agent::health::State;
use netmon_tests::sim::{
    Fate, Probe, Wire,
    channel::{Channel, Model},
    rivals::{Ewma, InARow},
};
use rand::{SeedableRng, rngs::SmallRng};

use crate::plan::{Bounds, DAY, Plan, WARM_UP, of_target, one_target};

const RTT: f64 = 0.01;
const TIMEOUT: f64 = 1.0;
/// Longer than this a total outage is found, wherever it begins (R4).
const FOUND: f64 = 5.2;
/// Shorter than this it is no `down`.
const IGNORED: f64 = 1.8;
/// Extra probes are at most this far apart: in a longer gap between two outages there is one, and it is answered.
const MERGED: f64 = 0.6;
/// Days of each model, at the usual effort.
const DAYS: f64 = 120.0;
const SHARDS: usize = 8;

/// What it is like, and its numbers.
fn models() -> [(&'static str, Model); 7] {
    let s = Duration::from_secs_f64;
    let total = |good, bad| Model { good: s(good), bad: s(bad), loss_good: 0.0, loss_bad: 1.0 };
    let lossy = |good, bad, loss_bad| Model { good: s(good), bad: s(bad), loss_good: 0.001, loss_bad };
    [
        ("0.3 s of silence a minute", total(60.0, 0.3)),
        ("1 s of silence every five", total(300.0, 1.0)),
        ("3 s of silence every ten", total(600.0, 3.0)),
        ("10 s of silence every half hour", total(1800.0, 10.0)),
        ("60 s of silence an hour", total(3600.0, 60.0)),
        ("10 s of 50 % loss every five minutes", lossy(300.0, 10.0, 0.5)),
        ("60 s of 30 % loss every half hour", lossy(1800.0, 60.0, 0.3)),
    ]
}

pub fn run(plan: &Plan, bounds: &mut Bounds) {
    let days = plan.scaled(DAYS);
    println!(
        "loss in bursts: {days:.1} days of each; spells of exponential length; downs a day, and the part found"
    );
    println!(
        "of total outages longer than {FOUND} s; `short`: our downs with no outage of {IGNORED} s or longer"
    );
    println!(
        "  {:<38} {:>6} {:>10} {:>8} {:>8} {:>9} {:>10} {:>8} {:>8} {:>6}",
        "mean spells",
        "loss",
        "3 in a row",
        "EWMA",
        "netmon",
        "outages",
        "3 in a row",
        "EWMA",
        "netmon",
        "short"
    );
    for (topic, (name, model)) in models().into_iter().enumerate() {
        let parts = plan.parallel(SHARDS, |part| {
            simulate(plan.seed(16 + topic as u64, part), model, days / SHARDS as f64)
        });
        let mut sum = Tally::default();
        parts.iter().for_each(|part| sum.add(part));
        let a_day = |n: u64| n as f64 / days;
        let found = |n: u64| match sum.outages {
            0 => "–".to_owned(),
            all => format!("{:.1} %", 100.0 * n as f64 / all as f64),
        };
        let total = model.loss_bad == 1.0;
        let word = if total {
            let all = sum.found[2] == sum.outages && sum.short == 0;
            bounds.check(
                all,
                format!("{name}: {} of {} outages found, {} short", sum.found[2], sum.outages, sum.short),
            )
        } else {
            ""
        };
        println!(
            "  {name:<38} {:>4.1} % {:>10.2} {:>8.2} {:>8.2} {:>9} {:>10} {:>8} {:>8} {:>6} {word}",
            100.0 * model.loss(),
            a_day(sum.downs[0]),
            a_day(sum.downs[1]),
            a_day(sum.downs[2]),
            sum.outages,
            found(sum.found[0]),
            found(sum.found[1]),
            found(sum.found[2]),
            if total { sum.short.to_string() } else { "–".to_owned() },
        );
    }
}

/// By three in a row, by EWMA, by ours.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    downs: [u64; 3],
    outages: u64,
    found: [u64; 3],
    short: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for i in 0..3 {
            self.downs[i] += other.downs[i];
            self.found[i] += other.found[i];
        }
        self.outages += other.outages;
        self.short += other.short;
    }
}

/// When something was down: begin and end, seconds.
#[derive(Clone, Debug, Default)]
struct Spells {
    all: Vec<(f64, f64)>,
    down: bool,
}

impl Spells {
    fn take(&mut self, at: f64, down: bool) {
        if down && !self.down {
            self.all.push((at, f64::INFINITY));
        } else if !down
            && self.down
            && let Some((_, until)) = self.all.last_mut()
        {
            *until = at;
        }
        self.down = down;
    }

    /// Whether any of them has a part in this time.
    fn touches(&self, from: f64, until: f64) -> bool {
        let next = self.all.partition_point(|(_, end)| *end < from);
        self.all.get(next).is_some_and(|(begin, _)| *begin <= until)
    }
}

struct Bursty {
    rng: SmallRng,
    channel: Channel,
    /// Bad spells, seconds; those that no probe parts are one.
    bad: Vec<(f64, f64)>,
    row: (InARow, Spells),
    ewma: (Ewma, Spells),
}

impl Wire for Bursty {
    fn probe(&mut self, probe: &Probe<'_>) -> Fate {
        let bad = &mut self.bad;
        let lost = self.channel.loses(probe.at, &mut self.rng, |from, until| {
            let (from, until) = (from.as_secs_f64(), until.as_secs_f64());
            match bad.last_mut() {
                Some((_, end)) if from - *end < MERGED => *end = until,
                _ => bad.push((from, until)),
            }
        });
        if probe.regular {
            let known = probe.at.as_secs_f64() + if lost { TIMEOUT } else { RTT };
            self.row.1.take(known, self.row.0.take(lost));
            self.ewma.1.take(known, self.ewma.0.take(lost));
        }
        if lost { Fate::Silent } else { Fate::Answered { rtt: Duration::from_secs_f64(RTT) } }
    }
}

fn simulate(seed: u64, model: Model, days: f64) -> Tally {
    let mut rng = SmallRng::seed_from_u64(seed);
    let channel = Channel::new(model, &mut rng);
    let wire = Bursty {
        rng,
        channel,
        bad: Vec::new(),
        row: (InARow::three(), Spells::default()),
        ewma: (Ewma::default(), Spells::default()),
    };
    let mut agent = one_target(seed, wire);
    let mut ours = Spells::default();
    let end = WARM_UP + Duration::from_secs_f64(days * DAY);
    agent.run_until(end, &mut |at, event| {
        if let Some((_, state)) = of_target(event) {
            ours.take(at.as_secs_f64(), state == State::Down);
        }
    });
    let Bursty { bad, row, ewma, .. } = agent.wire;
    let all = [row.1, ewma.1, ours];
    let (start, end) = (WARM_UP.as_secs_f64(), end.as_secs_f64() - 2.0 * FOUND);
    let within = |at: f64| (start..end).contains(&at);
    let mut tally = Tally::default();
    for (i, spells) in all.iter().enumerate() {
        tally.downs[i] = spells.all.iter().filter(|(at, _)| within(*at)).count() as u64;
    }
    if model.loss_bad == 1.0 {
        for (from, until) in bad.iter().filter(|(from, until)| within(*from) && until - from > FOUND) {
            tally.outages += 1;
            for (found, spells) in tally.found.iter_mut().zip(&all) {
                *found += u64::from(spells.touches(*from, until + TIMEOUT));
            }
        }
        let long: Vec<_> = bad.iter().filter(|(from, until)| until - from >= IGNORED).collect();
        let explained = |at: f64| {
            let last = long.partition_point(|(from, _)| *from < at);
            last > 0 && long[last - 1].1 + FOUND >= at
        };
        tally.short = all[2].all.iter().filter(|(at, _)| within(*at) && !explained(*at)).count() as u64;
    }
    tally
}
