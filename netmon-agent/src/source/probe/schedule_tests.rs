//! The schedule in virtual time.

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

const T0: Mono = Mono::from_nanos(1_000_000_000_000);

fn target(id: u32, interval: Duration) -> TargetSpec {
    TargetSpec { interval, ..TargetSpec::new(TargetId(id), vec![IpAddr::from([10, 0, 0, 1])], Method::Icmp) }
}

fn pop_until(schedule: &mut Schedule, end: Mono, rng: &mut StdRng) -> Vec<(Mono, Key)> {
    let mut out = Vec::new();
    while let Some(at) = schedule.next().filter(|at| *at < end) {
        let due = schedule.pop(at, rng).unwrap();
        assert_eq!(due.missed, 0);
        out.push((at, schedule.lane(due.lane).unwrap().key));
    }
    out
}

fn pop_id(schedule: &mut Schedule, at: Mono, rng: &mut StdRng) -> TargetId {
    let due = schedule.pop(at, rng).unwrap();
    schedule.lane(due.lane).unwrap().key.0
}

#[test]
fn a_lane_that_is_gone_is_not_the_one_that_has_its_place() {
    let mut schedule = Schedule::new(0.1);
    let second = Duration::from_secs(1);
    schedule.set(T0, vec![target(1, second)]);
    let address = IpAddr::from([10, 0, 0, 1]);
    let old = schedule.find(&(TargetId(1), address)).unwrap();
    schedule.set(T0, vec![target(2, second)]);
    let new = schedule.find(&(TargetId(2), address)).unwrap();
    assert_eq!((old.index, schedule.find(&(TargetId(1), address))), (new.index, None));
    assert!(schedule.lane(old).is_none() && schedule.lane(new).is_some());
}

#[test]
fn in_steady_state_nothing_is_allocated() {
    let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(1));
    schedule.set(T0, (0..1_000).map(|i| target(i, Duration::from_secs(1))).collect());
    let capacities = |s: &Schedule| (s.slots.capacity(), s.free.capacity(), s.places.capacity());
    let before = capacities(&schedule);
    assert!(pop_until(&mut schedule, T0 + Duration::from_secs(20), &mut rng).len() > 19_000);
    assert_eq!(capacities(&schedule), before);
}

#[test]
fn few_new_targets_are_probed_at_once_and_then_part() {
    let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(1));
    schedule.set(T0, (0..10).map(|i| target(i, Duration::from_secs(2))).collect());
    let all = pop_until(&mut schedule, T0 + Duration::from_secs(2), &mut rng);
    assert!(all[..10].iter().all(|(at, _)| *at == T0));
    let second: Vec<_> = all[10..].iter().map(|(at, _)| at.since(T0).as_millis()).collect();
    assert_eq!(second[..9], [200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800]);
}

#[test]
fn many_new_targets_are_spread_over_the_interval() {
    let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(1));
    schedule.set(T0, (0..10_000).map(|i| target(i, Duration::from_secs(2))).collect());
    let firsts = pop_until(&mut schedule, T0 + Duration::from_millis(1_000), &mut rng);
    assert_eq!(firsts.len(), 5_000);
    assert_eq!(schedule.rate().round(), 5_000.0);
}

#[test]
fn an_unchanged_target_keeps_its_schedule_and_a_new_one_is_due_at_once() {
    let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(1));
    let second = Duration::from_secs(1);
    schedule.set(T0, vec![target(1, second)]);
    schedule.pop(T0, &mut rng).unwrap();
    let due = schedule.next().unwrap();
    let later = T0 + Duration::from_millis(300);
    schedule.set(later, vec![target(1, second), target(2, second)]);
    assert_eq!(pop_id(&mut schedule, later, &mut rng), TargetId(2));
    assert_eq!(schedule.pop(later, &mut rng), None);
    assert_eq!(pop_id(&mut schedule, due, &mut rng), TargetId(1));
}

#[test]
fn of_many_targets_those_that_stay_are_probed_as_if_nothing_had_changed() {
    const MANY: u32 = 1500;
    let mut rng = StdRng::seed_from_u64(1);
    let usual = |i| target(i, Duration::from_secs(2));
    let later = T0 + Duration::from_millis(4_321);
    // Of two that begin alike, one is told of others in the midst of a round.
    let mut departures = [false, true].map(|reloaded| {
        let mut schedule = Schedule::new(0.0);
        schedule.set(T0, (0..MANY).map(usual).collect());
        pop_until(&mut schedule, later, &mut rng);
        if reloaded {
            let others = [TargetSpec { timeout: Duration::from_millis(1), ..usual(7) }, usual(MANY)];
            schedule.set(later, (8..MANY).rev().map(usual).chain(others).collect());
        }
        let all = pop_until(&mut schedule, later + Duration::from_secs(5), &mut rng);
        let stays = |key: &Key| (8..MANY).contains(&key.0.0);
        let mut stayed: Vec<_> = all.into_iter().filter(|(_, key)| stays(key)).collect();
        stayed.sort_by_key(|(at, key)| (*key, *at));
        stayed
    });
    let [with, without] = [departures[1].len(), departures[0].len()];
    assert!(with > 2 * 1_400, "{with}");
    assert_eq!(with, without);
    // In a dense schedule departures are gathered to ticks, which what is new may shift: by less than one of them.
    let [first, second] = &mut departures;
    for ((a, key), (b, other)) in first.iter().zip(second.iter()) {
        assert_eq!(key, other);
        assert!(a.since(*b).max(b.since(*a)) < Duration::from_millis(50), "{key:?}: {a:?} {b:?}");
    }
}

#[test]
fn a_shorter_interval_counts_at_once_and_a_removed_target_is_silent() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, vec![target(1, Duration::from_secs(60)), target(2, Duration::from_secs(60))]);
    while schedule.pop(T0, &mut rng).is_some() {}
    schedule.set(T0, vec![target(1, Duration::from_secs(1))]);
    assert_eq!(schedule.next(), Some(T0 + Duration::from_secs(1)));
    assert_eq!(pop_id(&mut schedule, T0 + Duration::from_secs(1), &mut rng), TargetId(1));
    schedule.set(T0, vec![]);
    assert_eq!((schedule.next(), schedule.len()), (None, 0));
}

#[test]
fn a_count_ends_a_lane() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, vec![TargetSpec { count: Some(3), ..target(1, Duration::from_secs(1)) }]);
    assert_eq!(pop_until(&mut schedule, T0 + Duration::from_secs(60), &mut rng).len(), 3);
    assert_eq!(schedule.next(), None);
}

#[test]
fn a_long_stall_is_not_made_up_for_and_ends_no_later_than_an_interval_on() {
    let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(1));
    let second = Duration::from_secs(1);
    schedule.set(T0, (0..100).map(|i| target(i, second)).collect());
    pop_until(&mut schedule, T0 + second, &mut rng);
    let woken = T0 + Duration::from_secs(30);
    let mut missed = 0;
    for _ in 0..100 {
        missed += schedule.pop(woken, &mut rng).unwrap().missed;
    }
    assert_eq!(schedule.pop(woken, &mut rng), None);
    assert!((2_700..=3_000).contains(&missed), "{missed}");
    let next = pop_until(&mut schedule, woken + Duration::from_millis(1_001), &mut rng);
    let first_half = next.iter().filter(|(at, _)| at.since(woken) < second / 2).count();
    assert!((20..80).contains(&first_half), "{first_half} of {}", next.len());
}

#[test]
fn ticks_gather_only_where_probes_are_dense() {
    assert_eq!(tick(10.0), Duration::ZERO);
    assert_eq!(tick(1_000.0), Duration::from_millis(20));
    assert_eq!(tick(10_000.0), Duration::from_millis(10));
}

/// Departures of one lane until `end`, its probe of each turn being sent or not as `sends` says.
fn departures(
    schedule: &mut Schedule,
    end: Mono,
    rng: &mut StdRng,
    sends: impl Fn(Mono) -> bool,
) -> Vec<Mono> {
    let mut out = Vec::new();
    while let Some(at) = schedule.next().filter(|at| *at < end) {
        let due = schedule.pop(at, rng).unwrap();
        match sends(at) {
            true => schedule.sent(due.lane, at),
            false => schedule.unsent(due.lane, at, rng),
        }
        out.push(at);
    }
    out
}

fn gaps(times: &[Mono]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect()
}

fn only(schedule: &Schedule) -> LaneId {
    schedule.find(&(TargetId(1), IpAddr::from([10, 0, 0, 1]))).unwrap()
}

#[test]
fn a_lane_that_nothing_can_be_sent_from_waits_ever_longer_until_it_can() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, vec![target(1, Duration::from_secs(2))]);
    let mended = T0 + Duration::from_secs(2_000);
    let all = departures(&mut schedule, T0 + Duration::from_secs(2_220), &mut rng, |at| at > mended);
    assert_eq!(gaps(&all)[..9], [4, 8, 16, 32, 64, 128, 256, 300, 300]);
    let after: Vec<Mono> = all.into_iter().filter(|at| *at > mended).collect();
    assert!(after.len() > 5 && gaps(&after).iter().all(|gap| *gap == 2), "{:?}", gaps(&after));
    assert_eq!(schedule.backing_off, 0);
}

#[test]
fn what_could_not_be_sent_is_tried_at_once_when_told_to_and_not_in_a_flood() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, vec![target(1, Duration::from_secs(2))]);
    departures(&mut schedule, T0 + Duration::from_secs(300), &mut rng, |_| false);
    let now = T0 + Duration::from_secs(300);
    schedule.retry_unsent(now);
    assert_eq!(schedule.next(), Some(now));
    for _ in 0..1_000 {
        let Some(due) = schedule.pop(now, &mut rng) else { continue };
        schedule.unsent(due.lane, now, &mut rng);
        schedule.retry_unsent(now);
    }
    assert_eq!(schedule.next(), Some(now + Duration::from_millis(250)));
    let due = schedule.pop(now + Duration::from_millis(250), &mut rng).unwrap();
    schedule.sent(due.lane, now + Duration::from_millis(250));
    schedule.retry_unsent(now + Duration::from_millis(300));
    assert_eq!(schedule.next(), Some(now + Duration::from_millis(2_250)), "a sound lane keeps its pace");
}

#[test]
fn many_that_could_not_be_sent_are_spread() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, (0..1_000).map(|i| target(i, Duration::from_secs(2))).collect());
    departures(&mut schedule, T0 + Duration::from_secs(300), &mut rng, |_| false);
    let now = T0 + Duration::from_secs(300);
    schedule.retry_unsent(now);
    let first = pop_until(&mut schedule, now + Duration::from_secs(1), &mut rng);
    assert!((450..=550).contains(&first.len()), "{}", first.len());
}

#[test]
fn a_target_that_is_told_otherwise_begins_anew() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, vec![target(1, Duration::from_secs(2))]);
    departures(&mut schedule, T0 + Duration::from_secs(600), &mut rng, |_| false);
    let now = T0 + Duration::from_secs(600);
    schedule.set(now, vec![target(1, Duration::from_secs(3))]);
    assert!(schedule.next().unwrap() <= now + Duration::from_secs(3));
    assert_eq!(schedule.backing_off, 0);
    schedule.set(now, vec![]);
    schedule.set(now, vec![target(1, Duration::from_secs(3))]);
    assert_eq!(schedule.next(), Some(now));
}

#[test]
fn extra_probes_leave_during_a_wait_and_do_not_lengthen_it() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, vec![target(1, Duration::from_secs(2))]);
    departures(&mut schedule, T0 + Duration::from_secs(100), &mut rng, |_| false);
    let due = schedule.next();
    let id = only(&schedule);
    assert!(schedule.ask(id));
    let now = T0 + Duration::from_secs(100);
    let extra = schedule.pop(now, &mut rng).unwrap();
    assert_eq!((extra.extra, schedule.next()), (true, due));
    // One that leaves ends it.
    assert!(schedule.ask(id));
    let extra = schedule.pop(now, &mut rng).unwrap();
    schedule.sent(extra.lane, now);
    assert!(schedule.next().unwrap().since(now) <= Duration::from_secs(2));
}

#[test]
fn a_stretch_lengthens_every_interval_and_its_end_shortens_them_at_once() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set(T0, (0..1_000).map(|i| target(i, Duration::from_secs(1))).collect());
    let second = Duration::from_secs(1);
    assert_eq!(pop_until(&mut schedule, T0 + second, &mut rng).len(), 1_000);
    schedule.stretch(T0 + second, 4.0);
    assert_eq!(schedule.rate().round(), 250.0);
    let slow = pop_until(&mut schedule, T0 + second * 9, &mut rng).len();
    assert!((1_990..=2_010).contains(&slow), "{slow}");
    schedule.stretch(T0 + second * 9, 1.0);
    for k in 9..20 {
        let each = pop_until(&mut schedule, T0 + second * (k + 1), &mut rng).len();
        assert!((990..=1_010).contains(&each), "{each}");
    }
}

#[test]
fn what_is_over_the_cap_waits_and_only_a_turn_that_passed_is_counted() {
    let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(1));
    schedule.set_cap(T0, 100.0);
    // Four hundred a second are wanted.
    schedule.set(T0, (0..400).map(|i| target(i, Duration::from_secs(1))).collect());
    let (mut sent, mut capped, mut lagged) = (Vec::new(), 0, 0);
    let mut seen = HashSet::new();
    while let Some(at) = schedule.next().filter(|at| *at < T0 + Duration::from_secs(60)) {
        while let Some(due) = schedule.pop(at, &mut rng) {
            sent.push(at);
            seen.insert(schedule.lane(due.lane).unwrap().key.0);
            *if due.capped { &mut capped } else { &mut lagged } += due.missed;
        }
    }
    assert_eq!(seen.len(), 400, "everybody has a turn");
    assert!((5_990..=6_006).contains(&sent.len()), "{}", sent.len());
    assert!((14_000..=20_000).contains(&capped) && lagged == 0, "{capped} {lagged}");
}

#[test]
fn a_burst_of_extra_probes_keeps_to_the_cap_and_lets_scheduled_ones_pass() {
    let (mut schedule, mut rng) = (Schedule::new(0.0), StdRng::seed_from_u64(1));
    schedule.set_cap(T0, 100.0);
    schedule.set(T0, (0..50).map(|i| target(i, Duration::from_secs(1))).collect());
    let ids: Vec<LaneId> =
        (0..50).map(|i| schedule.find(&(TargetId(i), IpAddr::from([10, 0, 0, 1]))).unwrap()).collect();
    let refused = (0..10).flat_map(|_| &ids).filter(|id| !schedule.ask(**id)).count();
    assert_eq!(refused, 50 * 2, "eight may wait");
    let (mut extra, mut all) = (0, 0);
    while let Some(at) = schedule.next().filter(|at| *at < T0 + Duration::from_secs(4)) {
        while let Some(due) = schedule.pop(at, &mut rng) {
            extra += usize::from(due.extra);
            all += 1;
        }
    }
    assert!((400..=405).contains(&all) && (195..=205).contains(&extra), "{extra} of {all}");
    schedule.set(T0, vec![]);
    assert_eq!(schedule.pop(T0 + Duration::from_secs(9), &mut rng), None, "nobody's probes are dropped");
}

proptest! {
    #[test]
    fn gaps_stay_within_the_jitter_and_their_mean_is_the_interval(seed: u64, ms in 10u64..10_000) {
        let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(seed));
        let interval = Duration::from_millis(ms);
        schedule.set(T0, vec![target(1, interval)]);
        let all = pop_until(&mut schedule, T0 + interval * 200, &mut rng);
        for pair in all[1..].windows(2) {
            let gap = pair[1].0.since(pair[0].0);
            prop_assert!(gap >= interval.mul_f64(0.899) && gap <= interval.mul_f64(1.101));
        }
        prop_assert!((195..=206).contains(&all.len()), "{}", all.len());
    }

    /// Whatever becomes of probes that leave (answered, lost, refused, inconclusive for a full buffer) never reaches
    /// the schedule; extra probes, and one that could not be sent once, change no pace after them either (rule R8).
    #[test]
    fn nothing_but_a_probe_that_cannot_be_sent_slows_the_pace(
        seed: u64,
        history in proptest::collection::vec((0u8..4, 1u64..3_000), 1..200),
    ) {
        let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(seed));
        let interval = Duration::from_secs(2);
        schedule.set(T0, vec![target(1, interval)]);
        let (id, mut now, mut last) = (only(&schedule), T0, None::<Mono>);
        for (what, ms) in history {
            let end = now + Duration::from_millis(ms);
            match what {
                0 => drop(schedule.ask(id)),
                // As the kernel says when an extra probe found room.
                1 => schedule.sent(id, now),
                2 => schedule.retry_unsent(now),
                _ => {}
            }
            while let Some(at) = schedule.next().map(|at| at.max(now)).filter(|at| *at < end) {
                let due = schedule.pop(at, &mut rng).unwrap();
                // Lost or answered: only that it left is told. Of one that met a full buffer, nothing is.
                if what % 2 == 0 {
                    schedule.sent(due.lane, at);
                }
                if due.extra {
                    continue;
                }
                if let Some(last) = last {
                    let gap = at.since(last);
                    prop_assert!(gap >= interval.mul_f64(0.899) && gap <= interval.mul_f64(1.101), "{gap:?}");
                }
                last = Some(at);
            }
            now = end;
        }
    }

    #[test]
    fn a_wait_is_never_longer_than_five_minutes(seed: u64, ms in 20u64..300_000, fails in 1usize..40) {
        let (mut schedule, mut rng) = (Schedule::new(0.1), StdRng::seed_from_u64(seed));
        schedule.set(T0, vec![target(1, Duration::from_millis(ms))]);
        for _ in 0..fails {
            let at = schedule.next().unwrap();
            let due = schedule.pop(at, &mut rng).unwrap();
            schedule.unsent(due.lane, at, &mut rng);
            prop_assert!(schedule.next().unwrap().since(at) <= Duration::from_secs(300));
        }
    }
}
