//! An agent that gets no processor, is stopped or suspended (R13, R14): what it takes for an outage of others.

use std::{cell::RefCell, rc::Rc, time::Duration};

use netmon_agent::health::{Event, State, Subject};
use netmon_tests::sim::{Agent, Fate, Probe, Wire, channel::exponential, rivals::InARow, spread::Spread};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::plan::{Bounds, DAY, Plan, WARM_UP, of_target, one_target};

const RTT: f64 = 0.08;
const TIMEOUT: f64 = 1.0;
/// Real loss, so that there are bursts to be starved in.
const LOSS: f64 = 0.01;
/// How soon after a departure it may lose the processor: before the answer is there.
const STEP: f64 = 0.05;
/// Days of each, at the usual effort.
const DAYS: f64 = 60.0;
const SHARDS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Both threads stand still, every so many seconds in the mean, for so long.
    Stalls {
        every: f64,
        least: f64,
        most: f64,
    },
    /// Half of the departures are the last thing it does for a while.
    AfterSends {
        least: f64,
        most: f64,
    },
    /// The core's next deadline is late, or the probe engine's.
    LateCore {
        least: f64,
        most: f64,
    },
    LateEngine {
        least: f64,
        most: f64,
    },
    /// The machine sleeps.
    Suspends {
        every: f64,
        least: f64,
        most: f64,
    },
}

impl Kind {
    /// Whether a program of one thread would have been held up likewise.
    fn is_of_both(self) -> bool {
        matches!(self, Self::Stalls { .. } | Self::AfterSends { .. })
    }
}

const KINDS: [(&str, Kind); 7] = [
    ("stands still 0.1–3 s, every 5 s", Kind::Stalls { every: 5.0, least: 0.1, most: 3.0 }),
    ("0.1–3 s after every second departure", Kind::AfterSends { least: 0.1, most: 3.0 }),
    ("0.9–2.9 s after every second departure", Kind::AfterSends { least: 0.9, most: 2.9 }),
    ("core late by 0.1–3 s, every 5 s", Kind::LateCore { least: 0.1, most: 3.0 }),
    ("engine late by 0.1–3 s, every 5 s", Kind::LateEngine { least: 0.1, most: 3.0 }),
    ("stopped 5–60 s, every 10 min", Kind::Stalls { every: 600.0, least: 5.0, most: 60.0 }),
    ("suspended 10 s – 1 h, every hour", Kind::Suspends { every: 3600.0, least: 10.0, most: 3600.0 }),
];

pub fn run(plan: &Plan, bounds: &mut Bounds) {
    let days = plan.scaled(DAYS);
    println!(
        "starvation: {days:.1} days of each, at {:.0} % loss; naive: three time-outs in a row, its deadlines looked",
        100.0 * LOSS
    );
    println!("at before its socket; unknown: spells of it, and the seconds from waking to the next verdict");
    println!(
        "  {:<40} {:>10} {:>14} {:>12} {:>14} {:>8} {:>8}",
        "the agent", "spells", "naive downs", "our downs", "unknown", "mean", "max"
    );
    for (topic, (name, kind)) in KINDS.into_iter().enumerate() {
        let parts = plan.parallel(SHARDS, |part| {
            Run::new(plan.seed(80 + topic as u64, part), kind).run(days / SHARDS as f64)
        });
        let sum = |f: fn(&Tally) -> u64| parts.iter().map(f).sum::<u64>();
        let ours = sum(|t| t.ours);
        let woken = Spread::new(parts.iter().flat_map(|t| t.woken.iter().copied()));
        let word = bounds.check(ours == 0, format!("{ours} false downs while the agent {name}"));
        println!(
            "  {name:<40} {:>10} {:>14} {:>12} {:>14} {:>8} {:>8} {word}",
            sum(|t| t.spells),
            if kind.is_of_both() { sum(|t| t.naive).to_string() } else { "–".to_owned() },
            ours,
            sum(|t| t.unknown),
            seconds(woken.mean()),
            seconds(woken.max()),
        );
    }
}

fn seconds(s: f64) -> String {
    if s.is_nan() { "–".to_owned() } else { format!("{s:.2}") }
}

#[derive(Clone, Debug, Default)]
struct Tally {
    spells: u64,
    naive: u64,
    ours: u64,
    unknown: u64,
    /// Seconds from waking to the first verdict.
    woken: Vec<f64>,
}

/// Regular probes under way: when they left, and whether an answer comes.
type UnderWay = Rc<RefCell<Vec<(f64, bool)>>>;

struct Lossy {
    rng: SmallRng,
    sent: UnderWay,
}

impl Wire for Lossy {
    fn probe(&mut self, probe: &Probe<'_>) -> Fate {
        let lost = self.rng.random_bool(LOSS);
        if probe.regular {
            self.sent.borrow_mut().push((probe.at.as_secs_f64(), !lost));
        }
        if lost { Fate::Silent } else { Fate::Answered { rtt: Duration::from_secs_f64(RTT) } }
    }
}

struct Run {
    kind: Kind,
    rng: SmallRng,
    agent: Agent<Lossy>,
    sent: UnderWay,
    naive: (InARow, bool),
    woken: Woken,
    tally: Tally,
}

/// When the last spell ended, where that is one moment, and whether the whole is unknown.
#[derive(Clone, Copy, Debug, Default)]
struct Woken {
    at: Option<f64>,
    unknown: bool,
}

impl Run {
    fn new(seed: u64, kind: Kind) -> Self {
        let sent = UnderWay::default();
        let wire = Lossy { rng: SmallRng::seed_from_u64(seed), sent: Rc::clone(&sent) };
        let rng = SmallRng::seed_from_u64(!seed);
        let agent = one_target(seed, wire);
        Self {
            kind,
            rng,
            agent,
            sent,
            naive: (InARow::three(), false),
            woken: Woken::default(),
            tally: Tally::default(),
        }
    }

    fn run(mut self, days: f64) -> Tally {
        self.agent.run_until(WARM_UP, &mut |_, _| {});
        self.sent.borrow_mut().clear();
        let end = self.agent.now() + Duration::from_secs_f64(days * DAY);
        while self.agent.now() < end {
            match self.kind {
                Kind::Stalls { every, least, most } => {
                    self.wait(every);
                    self.stall(least, most);
                }
                Kind::AfterSends { least, most } => {
                    self.pass(STEP);
                    let now = self.agent.now().as_secs_f64();
                    let just_sent = self.sent.borrow().last().is_some_and(|(at, _)| now - at < STEP);
                    if just_sent && self.rng.random() {
                        self.stall(least, most);
                    }
                }
                Kind::LateCore { least, most } => {
                    self.wait(5.0);
                    let by = self.draw(least, most);
                    self.agent.late(Duration::from_secs_f64(by));
                    self.tally.spells += 1;
                }
                Kind::LateEngine { least, most } => {
                    self.wait(5.0);
                    let by = self.draw(least, most);
                    self.agent.late_engine(Duration::from_secs_f64(by));
                    self.tally.spells += 1;
                }
                Kind::Suspends { every, least, most } => {
                    self.wait(every);
                    self.conclude(f64::INFINITY);
                    self.sent.borrow_mut().clear();
                    let time = self.draw(least, most);
                    self.agent.suspend(Duration::from_secs_f64(time));
                    self.tally.spells += 1;
                    self.woken.at = Some(self.agent.now().as_secs_f64());
                }
            }
        }
        self.tally
    }

    fn draw(&mut self, least: f64, most: f64) -> f64 {
        self.rng.random_range(least..=most)
    }

    fn wait(&mut self, mean: f64) {
        let time = exponential(Duration::from_secs_f64(mean), &mut self.rng);
        self.pass(time.as_secs_f64());
    }

    fn pass(&mut self, seconds: f64) {
        let until = self.agent.now() + Duration::from_secs_f64(seconds);
        let (tally, woken) = (&mut self.tally, &mut self.woken);
        self.agent.run_until(until, &mut |at, event| {
            let Some((_, state)) = of_target(event) else {
                return note_network(tally, woken, at, event);
            };
            tally.ours += u64::from(state == State::Down);
        });
        self.conclude(until.as_secs_f64());
    }

    /// Nobody runs for a while; what the naive one then finds overdue is lost to it, though the answer is there.
    fn stall(&mut self, least: f64, most: f64) {
        let (from, time) = (self.agent.now().as_secs_f64(), self.draw(least, most));
        let until = from + time;
        self.conclude(from);
        self.agent.stall(Duration::from_secs_f64(time));
        let waiting = std::mem::take(&mut *self.sent.borrow_mut());
        for (at, answered) in waiting {
            if at + TIMEOUT <= until {
                self.judge(true);
            } else if answered && at + RTT <= until {
                self.judge(false);
            } else {
                self.sent.borrow_mut().push((at, answered));
            }
        }
        self.tally.spells += 1;
        self.woken.at = Some(until);
        // Nothing is due before it ends.
        self.pass(time);
    }

    /// What is known by `now` of probes that nothing held up.
    fn conclude(&mut self, now: f64) {
        loop {
            let first = self.sent.borrow().first().copied();
            let Some((at, answered)) = first else { return };
            if at + if answered { RTT } else { TIMEOUT } > now {
                return;
            }
            self.sent.borrow_mut().remove(0);
            self.judge(!answered);
        }
    }

    fn judge(&mut self, lost: bool) {
        let down = self.naive.0.take(lost);
        self.tally.naive += u64::from(down && !self.naive.1);
        self.naive.1 = down;
    }
}

fn note_network(tally: &mut Tally, woken: &mut Woken, at: Duration, event: &Event) {
    let Event::Changed { subject: Subject::Network, state, .. } = event else { return };
    let was_unknown = std::mem::replace(&mut woken.unknown, *state == State::Unknown);
    if woken.unknown {
        tally.unknown += 1;
    } else if was_unknown {
        tally.woken.extend(woken.at.map(|woken| at.as_secs_f64() - woken));
    }
}
