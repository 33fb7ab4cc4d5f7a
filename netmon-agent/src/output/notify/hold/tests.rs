use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    output::notify::rule::{States, Subjects},
    time::Boot,
};

const S: u64 = 1_000_000_000;

fn rule(after: u64, states: &[State], initial: bool) -> Rule {
    let words = ["network", "target:*"].map(str::to_owned);
    let states = States::of(states.iter().copied());
    Rule { subjects: Subjects::parse(&words).unwrap(), states, after: Duration::from_secs(after), initial }
}

const KNOWN: [State; 3] = [Up, Degraded, Down];

fn change(subject: Subject, state: State, seq: u64) -> Arc<ChangeEvent> {
    let (at, previous) = (Boot::default(), Unknown);
    Arc::new(ChangeEvent { seq, at, subject, previous, state, reasons: Vec::new(), diagnosis: None })
}

fn at(second: u64) -> Mono {
    Mono::from_nanos(second * S)
}

/// What is told of one subject that has these states from these seconds on, as (second, previous, state).
fn told(rule: Rule, history: &[(u64, State)], until: u64) -> Vec<(u64, State, State)> {
    let mut tracker = Tracker::new(rule);
    let mut all = Vec::new();
    let mut history = history.iter().peekable();
    for second in 0..=until {
        let mut poll = |tracker: &mut Tracker| {
            while let Some(notice) = tracker.poll(at(second)) {
                assert!(notice.due <= at(second));
                all.push((second, notice.previous, notice.change.state));
            }
        };
        // What is due at this very moment has held to it.
        poll(&mut tracker);
        while let Some((_, state)) = history.next_if(|(s, _)| *s == second) {
            tracker.see(at(second), &change(Subject::Network, *state, second));
        }
        poll(&mut tracker);
    }
    all
}

use State::{Degraded, Down, Unknown, Up};

#[test]
fn without_a_hold_every_change_is_told_at_once() {
    let history = [(0, Unknown), (1, Up), (5, Down), (6, Up)];
    assert_eq!(told(rule(0, &KNOWN, true), &history, 9), [(1, Unknown, Up), (5, Up, Down), (6, Down, Up)]);
}

#[test]
fn what_is_up_at_the_start_may_be_left_out_and_what_is_not_never() {
    assert_eq!(told(rule(0, &KNOWN, false), &[(1, Up), (5, Down)], 9), [(5, Up, Down)]);
    assert_eq!(told(rule(0, &KNOWN, false), &[(1, Down), (5, Up)], 9), [(1, Unknown, Down), (5, Down, Up)]);
}

#[test]
fn a_flap_is_not_told_and_what_holds_is() {
    let flap = [(0, Up), (20, Down), (25, Up), (40, Down), (41, Degraded), (45, Down)];
    assert_eq!(told(rule(10, &KNOWN, true), &flap, 60), [(10, Unknown, Up), (55, Up, Down)]);
    // It came back, so there is nothing to tell.
    assert_eq!(told(rule(10, &KNOWN, true), &[(0, Up), (20, Down), (29, Up)], 60), [(10, Unknown, Up)]);
}

#[test]
fn what_is_not_told_counts_all_the_same() {
    // The second fault is one of its own, though nobody was told that the first was over.
    let history = [(0, Up), (1, Down), (2, Up), (3, Down)];
    assert_eq!(told(rule(0, &[Down], true), &history, 9), [(1, Up, Down), (3, Up, Down)]);
}

#[test]
fn not_knowing_is_passed_over_unless_it_is_asked_for() {
    let history = [(0, Up), (5, Unknown), (7, Up), (20, Unknown), (22, Down)];
    assert_eq!(told(rule(0, &KNOWN, true), &history, 30), [(0, Unknown, Up), (22, Up, Down)]);
    let all = told(rule(0, &State::ALL, true), &history[..3], 30);
    assert_eq!(all, [(0, Unknown, Up), (5, Up, Unknown), (7, Unknown, Up)]);
}

#[test]
fn nothing_is_told_while_nothing_is_known_and_the_hold_goes_on() {
    let history = [(0, Up), (20, Down), (25, Unknown), (40, Down)];
    assert_eq!(told(rule(10, &KNOWN, true), &history, 60), [(10, Unknown, Up), (40, Up, Down)]);
    let other = [(0, Up), (20, Down), (25, Unknown), (40, Up)];
    assert_eq!(told(rule(10, &KNOWN, true), &other, 60), [(10, Unknown, Up)]);
}

#[test]
fn the_newest_word_on_a_state_is_what_is_told() {
    let mut tracker = Tracker::new(rule(10, &KNOWN, true));
    tracker.see(at(0), &change(Subject::Network, Down, 1));
    tracker.see(at(4), &change(Subject::Network, Down, 2));
    assert_eq!(tracker.next(), Some(at(10)));
    assert_eq!(tracker.poll(at(10)).map(|n| n.change.seq), Some(2));
}

#[test]
fn who_is_no_more_is_forgotten_and_others_are_not() {
    let mut tracker = Tracker::new(rule(10, &KNOWN, true));
    let target = |name: &str| Subject::Target(name.to_owned());
    for name in ["a", "b"] {
        tracker.see(at(0), &change(target(name), Down, 1));
    }
    tracker.see(at(0), &change(Subject::Device("eth0".into()), Down, 1));
    tracker.retain(|subject| *subject != target("a"));
    let told = tracker.poll(at(10)).map(|n| n.subject().clone());
    assert_eq!((told, tracker.poll(at(10)).is_none()), (Some(target("b")), true));
}

#[test]
fn another_rule_knows_what_was_told() {
    let mut tracker = Tracker::new(rule(0, &KNOWN, true));
    tracker.see(at(0), &change(Subject::Network, Down, 1));
    assert!(tracker.poll(at(0)).is_some());
    let mut tracker = tracker.with_rule(rule(5, &KNOWN, true));
    tracker.see(at(1), &change(Subject::Network, Down, 2));
    assert!(tracker.next().is_none(), "told already");
    tracker.see(at(2), &change(Subject::Network, Up, 3));
    assert_eq!(tracker.poll(at(7)).map(|n| n.previous), Some(Down));
}

/// The definition, by looking at every second: a state is told when nothing else was known for `after` seconds, and it
/// is another than the last of which that was so.
fn by_definition(after: u64, history: &[(u64, State)], until: u64) -> Vec<(u64, State, State)> {
    let (mut all, mut held) = (Vec::new(), Unknown);
    let mut run: Option<(State, u64)> = None;
    let mut now = Unknown;
    for second in 0..=until {
        let judge = |run: Option<(State, u64)>, now, held: &mut State, all: &mut Vec<_>| {
            if let Some((state, since)) = run
                && state == now
                && state != *held
                && second - since >= after
            {
                all.push((second, *held, state));
                *held = state;
            }
        };
        judge(run, now, &mut held, &mut all);
        for (_, state) in history.iter().filter(|(s, _)| *s == second) {
            now = *state;
            // What was told already is the ground that others stand out from.
            let same = run.is_some_and(|(s, _)| s == now);
            if now != Unknown && !same {
                run = Some((now, second));
            }
        }
        judge(run, now, &mut held, &mut all);
    }
    all
}

proptest! {
    #[test]
    fn any_history_is_told_by_the_definition(
        after in 0u64..8,
        steps in prop::collection::vec((1u64..10, 0usize..4), 0..40),
    ) {
        let mut second = 0;
        let history: Vec<(u64, State)> = steps.iter().map(|(pause, state)| {
            second += pause;
            (second, State::ALL[*state])
        }).collect();
        let all = told(rule(after, &KNOWN, true), &history, second + 20);
        prop_assert_eq!(&all, &by_definition(after, &history, second + 20));
        // Each is another than the one before, which it names.
        let mut before = Unknown;
        for (_, previous, state) in all {
            prop_assert!(previous == before && state != before);
            before = state;
        }
    }
}
