//! Random histories, told by the fold and by one who looks at every second.

use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::machine::{EPOCH, Machine, S, Step, machine, step};
use crate::{
    health::{State, Subject},
    history::{
        outages::{CONTINUES, End, Outage, Summary, outages, placed, waited},
        record::{Change, Records, Waits},
        report::{Question, Whose, answer},
        segments::{segments, times},
        timeline::{Stretch, Timeline},
    },
    time::{Boot, Wall},
};

use State::{Down, Up};
use Step::{Restarts, Sees, Stalls};

/// An outage, in seconds.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    state: State,
    from: u64,
    to: u64,
    unobserved: u64,
    begun: bool,
    ended: bool,
}

/// The outages as one finds them who looks at every second.
fn naive(seen: &[Option<State>]) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
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
        let follows = last.filter(|(_, end)| *end == from).map(|(before, _)| before);
        // A state that is known to follow at once was seen to end the one before.
        if let (Some(outage), Some(before)) = (all.last_mut(), follows)
            && before == outage.state
            && outage.to == from
        {
            outage.ended = true;
        }
        if matches!(state, Down | State::Degraded) {
            let goes_on =
                last.is_some_and(|(before, end)| before == state && from - end <= CONTINUES.as_secs());
            match all.last_mut().filter(|_| goes_on) {
                Some(outage) => {
                    outage.unobserved += from - outage.to;
                    outage.to = to;
                    outage.ended = false;
                }
                None => {
                    let begun = follows.is_some();
                    all.push(Found { state, from, to, unobserved: 0, begun, ended: false });
                }
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
                let (unobserved, ended) = (o.unobserved.as_secs(), o.end == End::Seen);
                Found { state: o.state, from, to, unobserved, begun: o.begun, ended }
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
        let downs: Vec<_> = naive(&machine.seen).into_iter().filter(|o| o.state == Down).collect();
        prop_assert_eq!(summary.outages, downs.len() as u64);
        prop_assert_eq!(summary.longest.as_secs(), downs.iter().map(|o| o.to - o.from).max().unwrap_or(0));

        // The place that was told last in an outage stands in it. A look of no length is none, and what it told is not of it.
        let timeline = Timeline::new(&machine.records.runs, &machine.records.gaps);
        for outage in &outages {
            let is_seen = |second: Option<u64>| {
                let seen = second.and_then(|second| machine.seen.get(second as usize));
                seen == Some(&Some(outage.state))
            };
            let last = machine.records.changes.iter().rfind(|c| {
                let at = timeline.at(c.run, c.at).unwrap();
                let second = at.as_nanos() / S - EPOCH;
                c.diagnosis.is_some()
                    && c.state == outage.state
                    && at >= outage.stretch.from
                    && at <= outage.stretch.to
                    && (is_seen(Some(second)) || is_seen(second.checked_sub(1)))
            });
            if let Some(last) = last {
                let told = outage.diagnosis.map(|told| &machine.records.changes[told]);
                prop_assert_eq!(told, Some(last));
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
fn a_long_time_without_a_look_ends_an_outage_though_the_agent_ran_on() {
    let long = CONTINUES.as_secs() + 1;
    let parts =
        |steps: &[Step]| found(&machine(steps).records).1.into_iter().map(|o| o.stretch).collect::<Vec<_>>();
    let apart = [stretch(0, 10), stretch(10 + long, 20 + long)];
    assert_eq!(parts(&[Sees(Down, 10), Stalls(long, Down), Sees(Down, 10)]), apart);
    // Nor does one look make two times of one: it has no length, and what it looks at is from before.
    let twice = [Sees(Down, 10), Stalls(183, Down), Stalls(long - 183, Down), Sees(Down, 10)];
    assert_eq!(parts(&twice), apart);
    let once = [Sees(Down, 10), Stalls(long - 1, Down), Sees(Down, 10)];
    assert_eq!(parts(&once), [stretch(0, 19 + long)]);
}

#[test]
fn each_part_has_the_place_that_was_known_by_its_end() {
    let long = Stalls(CONTINUES.as_secs() + 1, Down);
    let steps = [
        Sees(Up, 5),
        Sees(Down, 5),
        Step::Diagnosed,
        Sees(Down, 5),
        long.clone(),
        Sees(Down, 5),
        long,
        Step::Diagnosed,
        Sees(Down, 5),
        Stalls(5, Down),
        Sees(Down, 5),
        Sees(Up, 5),
    ];
    let machine = machine(&steps);
    let (_, outages) = found(&machine.records);
    let told: Vec<_> = outages
        .iter()
        .map(|o| {
            let place = machine.records.changes[o.diagnosis.unwrap()].diagnosis.as_deref().unwrap();
            (o.begun, o.end, o.unobserved.as_secs(), place)
        })
        .collect();
    assert_eq!(told, [(true, End::Unseen, 0, "1"), (false, End::Unseen, 0, "1"), (false, End::Seen, 5, "2")]);
}

#[test]
fn what_is_found_by_the_first_look_was_not_seen_to_begin() {
    let (_, outages) =
        found(&machine(&[Sees(Up, 10), Stalls(20, Down), Sees(Down, 10), Sees(Up, 5)]).records);
    assert_eq!((outages[0].stretch, outages[0].begun, outages[0].end), (stretch(30, 40), false, End::Seen));
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
