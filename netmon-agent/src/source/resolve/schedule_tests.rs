use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(ms: u64) -> Mono {
    Mono::from_nanos(ms * 1_000_000)
}

fn names(all: &[&str]) -> HashSet<Arc<str>> {
    all.iter().map(|n| Arc::from(*n)).collect()
}

fn one() -> (Schedule, Arc<str>) {
    let mut s = Schedule::new(Pace::default());
    s.set(at(0), &names(&["a"]));
    (s, Arc::from("a"))
}

/// Looks it up when it is due, to this end, and tells the pause in milliseconds.
fn pause(s: &mut Schedule, end: End, luck: f64) -> u64 {
    let due = s.due().unwrap();
    let name = s.begin(due).unwrap();
    s.end(due, &name, end, luck);
    s.due().unwrap().since(due).as_millis() as u64
}

#[test]
fn an_answer_is_used_for_its_time_to_live_within_bounds() {
    for (ttl, luck, expected) in [
        (60, 0.0, 60_000),
        (60, 1.0, 66_000),
        (0, 0.0, 5_000),
        (4, 1.0, 5_500),
        (86_400, 0.0, 3_600_000),
        (86_400, 1.0, 3_600_000),
    ] {
        let (mut s, _) = one();
        pause(&mut s, End::Answered(MINUTE), 0.0);
        assert_eq!(pause(&mut s, End::Answered(Duration::from_secs(ttl)), luck), expected, "{ttl} s");
    }
}

#[test]
fn first_answers_are_spread_over_half_their_time() {
    for (ttl, luck, expected) in [(60, 0.0, 30_000), (60, 1.0, 60_000), (6, 0.0, 5_000)] {
        let (mut s, _) = one();
        assert_eq!(pause(&mut s, End::Answered(Duration::from_secs(ttl)), luck), expected);
    }
}

#[test]
fn failures_double_the_pause_up_to_a_minute_and_an_answer_ends_that() {
    let (mut s, _) = one();
    let pauses: Vec<u64> = (0..9).map(|_| pause(&mut s, End::Failed, 0.0) / 1000).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(pause(&mut s, End::Failed, 1.0), 66_000);
    pause(&mut s, End::Answered(MINUTE), 0.0);
    assert_eq!(pause(&mut s, End::Failed, 0.0), 1000);
}

#[test]
fn failures_of_this_machine_pause_up_to_five_minutes() {
    let (mut s, _) = one();
    let pauses: Vec<u64> = (0..11).map(|_| pause(&mut s, End::FailedHere, 0.0) / 1000).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(pause(&mut s, End::Failed, 0.0), 60_000, "now it is the resolver's");
    for _ in 0..200 {
        pause(&mut s, End::Failed, 0.0);
    }
    assert_eq!(pause(&mut s, End::Failed, 0.0), 60_000);
}

#[test]
fn half_an_answer_is_asked_for_again_soon_but_no_later_than_its_time() {
    let (mut s, _) = one();
    let pauses: Vec<u64> = (0..7).map(|_| pause(&mut s, End::Partly(MINUTE), 0.0) / 1000).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60]);
    assert_eq!(pause(&mut s, End::Partly(Duration::from_secs(7)), 0.0), 7000);
}

#[test]
fn no_more_than_so_many_are_under_way() {
    let all: Vec<String> = (0..1000).map(|i| format!("n{i}")).collect();
    let mut s = Schedule::new(Pace::default());
    s.set(at(0), &names(&all.iter().map(String::as_str).collect::<Vec<_>>()));
    let begun: Vec<_> = std::iter::from_fn(|| s.begin(at(0))).collect();
    assert_eq!((begun.len(), s.due()), (UNDER_WAY, None));
    s.end(at(10), &begun[0], End::Answered(MINUTE), 0.5);
    assert!(s.begin(at(10)).is_some());
    assert_eq!(s.begin(at(10)), None);
}

#[test]
fn a_thousand_names_do_not_come_due_together() {
    let all: Vec<String> = (0..1000).map(|i| format!("n{i}")).collect();
    let mut s = Schedule::new(Pace::default());
    s.set(at(0), &names(&all.iter().map(String::as_str).collect::<Vec<_>>()));
    for i in 0..1000 {
        let name = s.begin(at(0)).unwrap();
        s.end(at(0), &name, End::Answered(MINUTE), f64::from(i) / 1000.0);
    }
    let within = |second: u64| {
        let span = (at(second * 1000), Arc::from(""))..(at(second * 1000 + 1000), Arc::from(""));
        s.queue.range(span).count()
    };
    assert_eq!((0..30).map(within).sum::<usize>(), 0);
    assert!((30..60).all(|second| within(second) <= 40));
}

#[test]
fn a_changed_network_makes_all_names_due_but_none_too_often() {
    let (mut s, _) = one();
    for _ in 0..8 {
        pause(&mut s, End::Failed, 0.0);
    }
    let due = s.due().unwrap();
    let name = s.begin(due).unwrap();
    s.hurry(due);
    s.end(due + Duration::from_millis(100), &name, End::Failed, 0.0);
    let end = due + Duration::from_millis(100);
    assert_eq!(s.due(), Some(end + Duration::from_secs(1)), "the pauses begin anew, even for one under way");
    pause(&mut s, End::Failed, 0.0);
    let begun = end + Duration::from_secs(1);
    s.hurry(begun + Duration::from_millis(300));
    assert_eq!(s.due(), Some(begun + Duration::from_secs(1)), "a second after it was asked last");

    pause(&mut s, End::Answered(MINUTE), 0.0);
    let begun = begun + Duration::from_secs(1);
    for _ in 0..10 {
        s.hurry(begun + Duration::from_millis(300));
    }
    assert_eq!(s.due(), Some(begun + Duration::from_secs(5)));
    s.hurry(begun + Duration::from_secs(20));
    assert_eq!(s.due(), Some(begun + Duration::from_secs(5)), "nothing is put off");
}

#[test]
fn a_name_that_goes_is_not_asked_for_and_one_that_comes_back_is_asked_once() {
    let (mut s, a) = one();
    assert_eq!(s.begin(at(0)), Some(Arc::clone(&a)));
    s.set(at(1), &names(&[]));
    assert_eq!(s.due(), None);
    s.set(at(2), &names(&["a"]));
    s.end(at(3), &a, End::Failed, 0.0);
    assert_eq!(s.due(), Some(at(2)), "what was asked before it came back leaves it as it is");
    assert_eq!(s.begin(at(3)), Some(a));
    assert_eq!((s.due(), s.under_way), (None, 1));
}
