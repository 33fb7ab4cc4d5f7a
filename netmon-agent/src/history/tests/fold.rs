//! Random histories, told by the fold and by one who looks at every second.

use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use crate::{
    health::{State, Subject},
    history::{
        outages::{CONTINUES, End, Outage, Summary, outages, placed, waited},
        record::{Change, Gap, Records, Run, Waits},
        report::{Question, Whose, answer},
        segments::{segments, times},
        timeline::{Stretch, Timeline},
    },
    time::{Boot, Wall},
};

use State::{Down, Up};
use Step::{Restarts, Sees, Stalls};

const S: u64 = 1_000_000_000;
/// When the first boot was, on a clock that is right.
const EPOCH: u64 = 1_700_000_000;

/// What happens to the machine in one second, or for some.
#[derive(Clone, Debug)]
enum Step {
    /// The agent sees this state for so long.
    Sees(State, u64),
    /// It is told more of the fault.
    Diagnosed,
    /// It stands still for so long, whatever the state is then.
    Stalls(u64, State),
    /// It is killed, and started again after so long.
    Restarts(u64),
    /// The machine is booted, which takes so long.
    Boots(u64),
    /// Somebody sets the clock by so many seconds.
    Sets(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let state = || prop_oneof![Just(State::Unknown), Just(Up), Just(State::Degraded), Just(Down)];
    prop_oneof![
        8 => (state(), 1u64..200).prop_map(|(state, n)| Sees(state, n)),
        1 => Just(Step::Diagnosed),
        2 => (3u64..=600, state()).prop_map(|(n, state)| Stalls(n, state)),
        2 => (1u64..900).prop_map(Restarts),
        1 => (1u64..900).prop_map(Step::Boots),
        1 => (-5000i64..5000).prop_map(Step::Sets),
    ]
}

/// A machine with its clocks, and what its agents write down.
struct Machine {
    /// Seconds that have really passed, of the time line that the records should give.
    now: u64,
    boots: u64,
    booted: u64,
    set: i64,
    state: State,
    records: Records,
    /// What one knows who looked at each second: none while nobody did.
    seen: Vec<Option<State>>,
    details: u64,
}

impl Machine {
    fn new() -> Self {
        let mut machine = Self {
            now: 0,
            boots: 1,
            booted: 0,
            set: 0,
            state: State::Unknown,
            records: Records::default(),
            seen: Vec::new(),
            details: 0,
        };
        machine.start();
        machine
    }

    fn boot(&self) -> Boot {
        Boot::from_nanos((self.now - self.booted) * S)
    }

    fn start(&mut self) {
        let (id, boot) = (self.records.runs.len() as i64 + 1, self.boots.to_string());
        let (started, seen) = (self.boot(), self.boot());
        self.records.runs.push(Run { id, boot, started, seen, offset: 0, clean: false });
        self.state = State::Unknown;
        self.sign();
    }

    /// The last sign of life, with a clock that somebody has set right in the end: of each boot the last counts.
    fn sign(&mut self) {
        let (seen, offset) = (self.boot(), ((EPOCH + self.booted) * S) as i64);
        let run = self.records.runs.last_mut().unwrap();
        (run.seen, run.offset) = (seen, offset);
    }

    fn write(&mut self, state: State, diagnosis: Option<String>) {
        let (at, run) = (self.boot(), self.records.runs.last().unwrap().id);
        let told = Wall::from_nanos(((EPOCH + self.now) as i64 + self.set) as u64 * S);
        let (subject, previous, reasons) = (Subject::Network, self.state, String::new());
        let change = Change { run, seq: 0, at, told, subject, previous, state, reasons, diagnosis };
        self.records.changes.push(change);
        self.state = state;
    }

    fn pass(&mut self, seconds: u64, seen: Option<State>) {
        self.seen.extend(std::iter::repeat_n(seen, seconds as usize));
        self.now += seconds;
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Sees(state, n) => {
                if state != self.state {
                    self.write(state, None);
                }
                self.pass(n, Some(state).filter(|s| *s != State::Unknown));
            }
            Step::Diagnosed => {
                if matches!(self.state, Down | State::Degraded) {
                    self.details += 1;
                    self.write(self.state, Some(self.details.to_string()));
                }
            }
            Stalls(n, after) => {
                let (from, run) = (self.boot(), self.records.runs.last().unwrap().id);
                self.pass(n, None);
                self.records.gaps.push(Gap { run, from, to: self.boot() });
                if after != self.state {
                    self.write(after, None);
                }
            }
            Restarts(n) => {
                self.sign();
                self.pass(n, None);
                self.start();
            }
            Step::Boots(n) => {
                self.sign();
                self.pass(n, None);
                self.boots += 1;
                self.booted = self.now - 1;
                self.start();
            }
            Step::Sets(by) => self.set += by,
        }
        self.sign();
    }
}

/// The outages as one finds them who looks at every second.
fn naive(seen: &[Option<State>]) -> Vec<(State, u64, u64, u64, bool)> {
    let mut all: Vec<(State, u64, u64, u64, bool)> = Vec::new();
    let mut i = 0;
    // The last known state and the second after it.
    let mut last: Option<(State, u64)> = None;
    while i < seen.len() {
        let Some(state) = seen[i] else {
            i += 1;
            continue;
        };
        let from = i as u64;
        while i < seen.len() && seen[i] == Some(state) {
            i += 1;
        }
        let to = i as u64;
        // A state that is known to follow at once was seen to end the one before.
        if let (Some(outage), Some((before, end))) = (all.last_mut(), last)
            && end == from
            && before == outage.0
            && outage.2 == end
        {
            outage.4 = true;
        }
        if matches!(state, Down | State::Degraded) {
            let goes_on =
                last.is_some_and(|(before, end)| before == state && from - end <= CONTINUES.as_secs());
            match all.last_mut().filter(|_| goes_on) {
                Some(outage) => {
                    outage.3 += from - outage.2;
                    outage.2 = to;
                    outage.4 = false;
                }
                None => all.push((state, from, to, 0, false)),
            }
        }
        last = Some((state, to));
    }
    all
}

fn wall(second: u64) -> Wall {
    Wall::from_nanos((EPOCH + second) * S)
}

fn stretch(from: u64, to: u64) -> Stretch {
    Stretch { from: wall(from), to: wall(to) }
}

fn found(records: &Records) -> (Vec<crate::history::segments::Segment>, Vec<Outage>) {
    let timeline = Timeline::new(&records.runs, &records.gaps);
    let changes: Vec<&Change> = records.changes.iter().collect();
    let segments = segments(&timeline, &changes);
    let outages = outages(&segments, None);
    (segments, outages)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_is_what_one_finds_who_looks_at_every_second(steps in prop::collection::vec(step(), 1..60)) {
        let mut machine = Machine::new();
        steps.iter().for_each(|step| machine.play(step));
        let (segments, outages) = found(&machine.records);

        let told: Vec<_> = outages
            .iter()
            .map(|o| {
                let second = |at: Wall| at.as_nanos() / S - EPOCH;
                let (from, to) = (second(o.stretch.from), second(o.stretch.to));
                (o.state, from, to, o.unobserved.as_secs(), o.end == End::Seen)
            })
            .collect();
        prop_assert_eq!(&told, &naive(&machine.seen), "{:?}", machine.records);

        // Any window: time in each state, and what is left was not observed.
        let all = machine.seen.len() as u64;
        for (from, to) in [(0, all), (all / 3, all / 2), (all / 2, all + 100)] {
            let told = times(&segments, stretch(from, to));
            let within = |i: u64| i >= from && i < to;
            for state in State::ALL {
                let seconds = (0..all).filter(|i| within(*i) && machine.seen[*i as usize] == Some(state)).count();
                if state != State::Unknown {
                    prop_assert_eq!(told[state as usize], Duration::from_secs(seconds as u64));
                }
            }
            let sum: Duration = told.iter().sum();
            prop_assert_eq!(sum, Duration::from_secs(to - from));
        }
        let summary = Summary::of(times(&segments, stretch(0, all)), &outages);
        let downs: Vec<_> = naive(&machine.seen).into_iter().filter(|o| o.0 == Down).collect();
        prop_assert_eq!(summary.outages, downs.len() as u64);
        prop_assert_eq!(summary.longest.as_secs(), downs.iter().map(|o| o.2 - o.1).max().unwrap_or(0));

        // A place that was told last stands in the outage that it was told in.
        for outage in &outages {
            let window = outage.stretch;
            let timeline = Timeline::new(&machine.records.runs, &machine.records.gaps);
            let mut last = machine.records.changes.iter().filter(|c| c.diagnosis.is_some()).filter(|c| {
                let at = timeline.at(c.run, c.at).unwrap();
                at >= window.from && at < window.to
            });
            // Told at the very end of what was observed, it may belong to a stretch of no length.
            if let (Some(last), Some(told)) = (last.next_back(), outage.diagnosis) {
                let told = machine.records.changes[told].diagnosis.as_ref().unwrap().parse::<u64>().unwrap();
                prop_assert!(told >= last.diagnosis.as_ref().unwrap().parse::<u64>().unwrap());
            }
        }
    }

    #[test]
    fn what_is_known_of_days_adds_up(steps in prop::collection::vec(step(), 1..60)) {
        let mut machine = Machine::new();
        machine.pass(1, None);
        steps.iter().for_each(|step| machine.play(step));
        machine.play(&Step::Boots(100_000));
        steps.iter().for_each(|step| machine.play(step));
        let window = stretch(0, machine.seen.len() as u64);
        let question = Question { window, subject: None, limit: 10_000, zone: TimeZone::UTC };
        let told = answer(&machine.records, &question, None);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        let sum = |f: fn(&netmon_client::wire::Times) -> f64| told.days.iter().map(|d| f(&d.times)).sum::<f64>();
        let times = told.summary.times;
        prop_assert!(near(sum(|t| t.up_seconds), times.up_seconds));
        prop_assert!(near(sum(|t| t.down_seconds), times.down_seconds));
        prop_assert!(near(sum(|t| t.unobserved_seconds), times.unobserved_seconds));
        prop_assert_eq!(told.days.iter().map(|d| d.outages).sum::<u64>(), told.summary.outages);
        prop_assert_eq!(told.omitted, 0);
        let few = answer(&machine.records, &Question { limit: 1, ..question }, None);
        prop_assert_eq!(few.outages.last(), told.outages.last());
        prop_assert_eq!(few.omitted as usize + few.outages.len(), told.outages.len());
    }
}

fn machine(steps: &[Step]) -> Machine {
    let mut machine = Machine::new();
    steps.iter().for_each(|step| machine.play(step));
    machine
}

#[test]
fn an_outage_over_a_restart_is_one_and_nobody_looked_meanwhile() {
    let machine = machine(&[Sees(Up, 10), Sees(Down, 10), Restarts(5), Sees(Down, 10), Sees(Up, 10)]);
    let (_, outages) = found(&machine.records);
    assert_eq!(outages.len(), 1);
    assert_eq!((outages[0].stretch, outages[0].unobserved), (stretch(10, 35), Duration::from_secs(5)));
    assert!(outages[0].begun && outages[0].end == End::Seen);
}

#[test]
fn an_outage_that_was_over_when_somebody_looked_again_was_not_seen_to_end() {
    let machine = machine(&[Sees(Down, 10), Restarts(5), Sees(Up, 10)]);
    let (segments, outages) = found(&machine.records);
    assert_eq!((outages[0].stretch, outages[0].end, outages[0].begun), (stretch(0, 10), End::Unseen, false));
    let told = times(&segments, stretch(0, 25)).map(|t| t.as_secs());
    assert_eq!(told, [5, 10, 0, 10], "time without an agent is no time up");
}

#[test]
fn what_was_down_before_and_after_a_long_time_is_two_outages() {
    let long = CONTINUES.as_secs() + 1;
    let machine = machine(&[Sees(Down, 10), Restarts(long), Sees(Down, 10), Stalls(long, Up)]);
    let (_, outages) = found(&machine.records);
    assert_eq!(outages.len(), 2);
    assert!(outages.iter().all(|o| o.length() == Duration::from_secs(10) && o.end == End::Unseen));
}

#[test]
fn a_suspend_is_no_time_up() {
    let machine = machine(&[Sees(Up, 100), Stalls(800, State::Unknown), Sees(Up, 100)]);
    let (segments, _) = found(&machine.records);
    assert_eq!(times(&segments, stretch(0, 1000)).map(|t| t.as_secs()), [800, 200, 0, 0]);
}

#[test]
fn what_lasts_has_no_end() {
    let mut machine = machine(&[Sees(Up, 10), Sees(Down, 10)]);
    let run = machine.records.runs[0].id;
    let window = stretch(0, 20_000);
    let question = Question { window, subject: None, limit: 10, zone: TimeZone::UTC };
    assert!(machine.records.keep_alive(run, Boot::from_nanos(30 * S)));
    let told = answer(&machine.records, &question, Some(run));
    assert_eq!((told.outages[0].end.clone(), told.outages[0].seconds), (None, 20.0));
    assert_eq!(told.until, "2023-11-14T22:13:50.000Z", "of what is to come nothing is known");
    // Without its agent it is what it was when last seen.
    let told = answer(&machine.records, &question, None);
    assert_eq!(told.outages[0].end.as_deref(), Some("2023-11-14T22:13:50.000Z"));
    assert!(!told.outages[0].end_seen);
}

#[test]
fn the_clock_as_it_was_is_told_where_it_was_stepped() {
    let machine = machine(&[Sees(Up, 10), Step::Sets(-3600), Sees(Down, 10), Sees(Up, 10)]);
    let question = Question { window: stretch(0, 30), subject: None, limit: 10, zone: TimeZone::UTC };
    let told = answer(&machine.records, &question, None);
    let outage = &told.outages[0];
    assert_eq!(outage.start, "2023-11-14T22:13:30.000Z");
    assert_eq!(outage.start_told.as_deref(), Some("2023-11-14T21:13:30.000Z"));
    assert_eq!(outage.seconds, 10.0, "a step of the clock makes nothing longer");
}

#[test]
fn those_who_waited_stand_in_the_outage_that_they_waited_through() {
    let machine = machine(&[Sees(Up, 10), Sees(Down, 10), Sees(Up, 10), Sees(Down, 10), Sees(Up, 10)]);
    let timeline = Timeline::new(&machine.records.runs, &[]);
    let wait = |job: &str, from: u64, to: u64| Waits {
        run: 1,
        subject: Subject::Network,
        job: job.into(),
        uid: 0,
        count: 2,
        from: Boot::from_nanos(from * S),
        to: Boot::from_nanos(to * S),
        total: Duration::from_secs(2 * (to - from)),
        longest: Duration::from_secs(to - from),
    };
    let waits =
        [wait("a", 5, 20), wait("a", 12, 20), wait("b", 15, 45), wait("c", 20, 29), wait("d", 41, 60)];
    let (_, outages) = found(&machine.records);
    fn laid<'a>(timeline: &Timeline, waits: &'a [Waits]) -> Vec<(Stretch, &'a Waits)> {
        waits.iter().filter_map(|w| Some((placed(timeline, w)?, w))).collect()
    }
    let names = |o: &Outage| {
        let told = waited(o.stretch, &laid(&timeline, &waits));
        told.jobs.into_iter().map(|j| (j.name, j.count, j.longest.as_secs())).collect::<Vec<_>>()
    };
    assert_eq!(names(&outages[0]), [("b".to_owned(), 2, 30), ("a".to_owned(), 4, 15)]);
    assert_eq!(names(&outages[1]), [("b".to_owned(), 2, 30)]);
    let many: Vec<Waits> = (0..100).map(|i| wait(&format!("job{i}"), 10, 11 + i)).collect();
    let told = waited(outages[0].stretch, &laid(&timeline, &many));
    assert_eq!((told.jobs.len(), told.others.count), (crate::history::outages::MAX_JOBS, 2 * 68));
    assert_eq!((told.jobs[0].name.as_str(), told.others.longest.as_secs()), ("job99", 68));
}

#[test]
fn subjects_are_named_in_three_ways() {
    let (device, target) = (Subject::Device("a:b".into()), Subject::Target("a:b".into()));
    assert!(Whose::read("a:b").is(&device) && Whose::read("a:b").is(&target));
    assert!(Whose::read("device:a:b").is(&device) && !Whose::read("device:a:b").is(&target));
    assert!(Whose::read("network").is(&Subject::Network));
    assert!(!Whose::read("network").is(&Subject::Target("network".into())));
    assert!(Whose::read("target:network").is(&Subject::Target("network".into())));
}
