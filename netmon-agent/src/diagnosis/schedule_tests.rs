use proptest::prelude::*;

use super::*;

fn ms(t: u64) -> Mono {
    Mono::from_nanos((1_000_000 + t) * 1_000_000)
}

fn id(n: u32) -> TargetId {
    TargetId(n)
}

fn count(s: &Scheduler, outcome: Outcome) -> u64 {
    s.counts()[outcome as usize]
}

fn open(s: &mut Scheduler, t: u64) -> Option<TargetId> {
    s.next(ms(t), |_| Still::Open)
}

#[test]
fn a_look_waits_for_what_may_explain_the_target() {
    let mut s = Scheduler::new(Settings::default());
    assert_eq!(s.due(), None);
    s.want(ms(0), id(1));
    assert_eq!((s.due(), open(&mut s, 1999)), (Some(ms(2000)), None));
    assert_eq!(open(&mut s, 2000), Some(id(1)));
    for (still, outcome) in [(Still::Explained, Outcome::Explained), (Still::Recovered, Outcome::Recovered)] {
        let mut s = Scheduler::new(Settings::default());
        s.want(ms(0), id(1));
        assert_eq!(s.next(ms(2000), |_| still), None);
        assert_eq!((count(&s, outcome), s.due()), (1, None));
    }
    s.ended(Outcome::Located);
    s.want(ms(3000), id(2));
    s.forget(id(2));
    assert_eq!((count(&s, Outcome::Recovered), s.due()), (1, None));
}

#[test]
fn nothing_is_looked_at_before_the_first_verdict() {
    let mut s = Scheduler::new(Settings::default());
    s.want(ms(0), id(1));
    assert_eq!(s.next(ms(2000), |_| Still::TooEarly), None);
    assert_eq!(s.due(), Some(ms(4000)), "it keeps its place in the queue and does not spin");
    assert_eq!(open(&mut s, 4000), Some(id(1)));
}

#[test]
fn one_at_a_time_and_so_many_a_minute() {
    let mut s = Scheduler::new(Settings { per_minute: 2, ..Settings::default() });
    for n in 1..=4 {
        s.want(ms(0), id(n));
    }
    assert_eq!(open(&mut s, 2000), Some(id(1)));
    assert_eq!((open(&mut s, 3000), s.due()), (None, None), "another is under way");
    s.ended(Outcome::Located);
    assert_eq!(open(&mut s, 5000), Some(id(2)));
    s.ended(Outcome::Failed);
    assert_eq!((open(&mut s, 5001), s.due()), (None, Some(ms(62_000))));
    assert_eq!(open(&mut s, 62_000), Some(id(3)));
    s.ended(Outcome::Located);
    assert_eq!(s.due(), Some(ms(65_000)));
    assert_eq!((count(&s, Outcome::Located), count(&s, Outcome::Failed)), (2, 1));
}

#[test]
fn a_target_that_comes_and_goes_is_looked_at_ever_more_seldom() {
    let mut s = Scheduler::new(Settings { per_minute: 60, ..Settings::default() });
    let mut looks = Vec::new();
    // Down every five seconds, for an hour.
    for t in (0..3_600_000).step_by(500) {
        if t % 5000 == 0 {
            s.want(ms(t), id(1));
        }
        if open(&mut s, t).is_some() {
            looks.push(t / 1000);
            s.ended(Outcome::Inconclusive);
        }
    }
    assert_eq!(looks, [2, 37, 102, 227, 472, 957, 1922, 2887]);
    assert!(count(&s, Outcome::TooSoon) > 600);
    // Left alone for long enough, it is like any other.
    s.want(ms(9_000_000), id(1));
    assert_eq!(open(&mut s, 9_002_000), Some(id(1)));
    s.ended(Outcome::Located);
    s.want(ms(9_033_000), id(1));
    assert_eq!(open(&mut s, 9_035_000), Some(id(1)));
}

#[test]
fn the_queue_has_an_end_and_a_switch() {
    let mut s = Scheduler::new(Settings::default());
    for n in 0..1000 {
        s.want(ms(u64::from(n)), id(n));
        s.want(ms(u64::from(n)), id(n));
    }
    assert_eq!(count(&s, Outcome::QueueFull), 2 * (1000 - QUEUE as u64));
    s.configure(Settings { enabled: false, ..Settings::default() });
    s.want(ms(2000), id(2000));
    assert_eq!((s.due(), open(&mut s, 10_000)), (None, None));
}

#[derive(Clone, Copy, Debug)]
enum Do {
    Want(u32),
    Forget(u32),
    Step(u8),
    End,
}

fn doings() -> impl Strategy<Value = Vec<(u64, Do)>> {
    let one = prop_oneof![
        4 => (0u32..40).prop_map(Do::Want),
        1 => (0u32..40).prop_map(Do::Forget),
        4 => (0u8..4).prop_map(Do::Step),
        2 => Just(Do::End),
    ];
    prop::collection::vec((0u64..4000, one), 1..400)
}

proptest! {
    #[test]
    fn no_history_breaks_a_bound(doings in doings(), per_minute in 1u32..8) {
        let settings = Settings { per_minute, ..Settings::default() };
        let mut s = Scheduler::new(settings);
        let (mut now, mut wanted, mut running) = (0, 0u64, None);
        let mut begun: Vec<(u64, TargetId)> = Vec::new();
        for (wait, what) in doings {
            now += wait;
            match what {
                Do::Want(n) => {
                    let queued = s.queue.iter().any(|(waiting, _)| *waiting == id(n));
                    wanted += u64::from(!queued);
                    s.want(ms(now), id(n));
                }
                Do::Forget(n) => s.forget(id(n)),
                Do::Step(kind) => {
                    let still = [Still::Open, Still::Explained, Still::Recovered, Still::TooEarly];
                    if let Some(target) = s.next(ms(now), |_| still[usize::from(kind)]) {
                        prop_assert!(running.is_none(), "two at a time");
                        let last = begun.iter().rfind(|(_, t)| *t == target);
                        prop_assert!(last.is_none_or(|(at, _)| now - at >= 30_000), "{target:?} too soon");
                        begun.push((now, target));
                        running = Some(target);
                    }
                    prop_assert!(s.due().is_none_or(|due| due > ms(now)), "it would spin");
                }
                Do::End => {
                    if running.take().is_some() {
                        s.ended(Outcome::Located);
                    }
                }
            }
            let minute = begun.iter().filter(|(at, _)| now - at < 60_000).count();
            prop_assert!(minute <= per_minute as usize && s.queue.len() <= QUEUE);
            // Every wish is counted once, waits, or is being fulfilled.
            let settled: u64 = s.counts().iter().sum();
            let open = s.queue.len() as u64 + u64::from(running.is_some());
            prop_assert_eq!(settled + open, wanted);
        }
    }
}
