//! When each address is probed next. Pure: time and chance come in as arguments.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rand::{Rng, RngExt};

use super::wheel::Wheel;
use crate::{
    observation::{Method, PathOptions, TargetId},
    time::Mono,
};

/// New addresses up to this many are probed at once (rule R1); more are spread over their interval, so that a start
/// with thousands is no burst.
const AT_ONCE: usize = 256;
/// Below this many probes a second each is sent at its own time; above it they are gathered to ticks.
const DENSE: f64 = 200.0;

/// What to probe, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// Whose.
    pub id: TargetId,
    /// Each is probed on its own schedule.
    pub addresses: Vec<IpAddr>,
    /// How.
    pub method: Method,
    /// Which way its packets go.
    pub path: Arc<PathOptions>,
    /// For ICMP where no ICMP socket can be had: TCP ports to try at once instead, at most 8; one that answers, be it
    /// with a refusal, is a reply.
    pub fallback_ports: Vec<u16>,
    /// Time from one probe to the next, ±[`super::Options::jitter`]. At least 1 ms.
    pub interval: Duration,
    /// After this a probe has failed; stretched by [`super::EngineHandle::set_timeout_scale`].
    pub timeout: Duration,
    /// Stop after this many probes; `None`: never.
    pub count: Option<u64>,
    /// Interface index that link-local IPv6 addresses belong to; 0 where there is none.
    pub scope: u32,
    /// No router lies between. Such targets have sockets of their own: a neighbour that does not answer keeps what was
    /// sent to it in the send buffer, up to three seconds, and must not fill that of all others.
    pub on_link: bool,
}

impl TargetSpec {
    /// A target probed every 2 s with a time-out of 1 s, for ever, with TCP ports 53 and 443 in ICMP's place.
    pub fn new(id: TargetId, addresses: Vec<IpAddr>, method: Method) -> Self {
        Self {
            id,
            addresses,
            method,
            path: Arc::default(),
            fallback_ports: vec![53, 443],
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            count: None,
            scope: 0,
            on_link: false,
        }
    }
}

/// An address of a target.
pub(super) type Key = (TargetId, IpAddr);

/// One address's own schedule and count.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: Key,
    /// Shared by the addresses of a target; its own list of addresses is empty.
    pub(super) spec: Rc<TargetSpec>,
    /// The place of the prober that serves it; none when there is no socket for it.
    pub(super) place: Option<u16>,
    seq: u64,
    scheduled: u64,
    /// The highest number answered so far.
    pub(super) answered: u64,
    due: Option<Mono>,
    first: Option<Duration>,
}

impl Lane {
    /// The number of the next probe, counted from 1.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

/// A lane's place, and which of those that had it in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneId {
    index: u32,
    generation: u32,
}

#[cfg(test)]
impl LaneId {
    pub(super) fn of_test(index: u32) -> Self {
        Self { index, generation: 0 }
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    lane: Option<Lane>,
}

/// A lane whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) lane: LaneId,
    /// Turns it has missed.
    pub(super) missed: u64,
}

#[derive(Debug)]
pub(super) struct Schedule {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// For changes of targets only: probes know their lane's place.
    places: HashMap<Key, u32>,
    wheel: Wheel,
    jitter: f64,
    rate: f64,
}

impl Schedule {
    /// `jitter`: each interval is multiplied by 1 ± this.
    pub(super) fn new(jitter: f64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            wheel: Wheel::default(),
            jitter: jitter.clamp(0.0, 0.5),
            rate: 0.0,
        }
    }

    /// Makes these the targets. An address that stays keeps its schedule and its numbers.
    pub(super) fn set(&mut self, now: Mono, targets: Vec<TargetSpec>) {
        let mut kept = HashSet::new();
        let mut new = Vec::new();
        for mut target in targets {
            let addresses = std::mem::take(&mut target.addresses);
            let spec = Rc::new(target);
            for address in addresses {
                let key = (spec.id, address);
                if kept.insert(key) && !self.keep(now, &key, &spec) {
                    new.push((key, spec.clone()));
                }
            }
        }
        let gone: Vec<u32> =
            self.places.iter().filter(|(key, _)| !kept.contains(*key)).map(|(_, index)| *index).collect();
        gone.into_iter().for_each(|index| self.remove(index));
        let total = new.len();
        for (i, (key, spec)) in new.into_iter().enumerate() {
            let (offset, first) = start(i, total, spec.interval);
            let first = (self.jitter > 0.0).then_some(first);
            self.add(Lane {
                key,
                spec,
                place: None,
                seq: 0,
                scheduled: 0,
                answered: 0,
                due: Some(now + offset),
                first,
            });
        }
        let lanes = self.slots.iter().filter_map(|slot| slot.lane.as_ref());
        self.rate = lanes.map(|l| 1.0 / l.spec.interval.as_secs_f64().max(0.001)).sum();
    }

    /// Whether there is a lane for it already, which then goes by the new specification.
    fn keep(&mut self, now: Mono, key: &Key, spec: &Rc<TargetSpec>) -> bool {
        let Some(index) = self.places.get(key).copied() else { return false };
        let Some(lane) = &mut self.slots[index as usize].lane else { return false };
        if lane.spec != *spec {
            let due = lane.due.map_or(now + spec.interval, |due| due.min(now + spec.interval));
            lane.due = Some(due);
            self.wheel.set(index, due);
        }
        lane.spec = spec.clone();
        true
    }

    fn add(&mut self, lane: Lane) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        self.places.insert(lane.key, index);
        if let Some(due) = lane.due {
            self.wheel.set(index, due);
        }
        self.slots[index as usize].lane = Some(lane);
    }

    fn remove(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        if let Some(lane) = slot.lane.take() {
            self.places.remove(&lane.key);
        }
        self.wheel.remove(index);
        self.free.push(index);
    }

    /// The lane of an address.
    pub(super) fn find(&self, key: &Key) -> Option<LaneId> {
        let index = *self.places.get(key)?;
        Some(LaneId { index, generation: self.slots[index as usize].generation })
    }

    /// The lane, unless it is gone.
    pub(super) fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.lane.as_mut()
    }

    /// Every lane.
    pub(super) fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.slots.iter_mut().filter_map(|slot| slot.lane.as_mut())
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Probes a second, all lanes together.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// When the next lane is due.
    pub(super) fn next(&mut self) -> Option<Mono> {
        self.wheel.next()
    }

    /// Takes a lane that is due at `now`, the longest first to about a millisecond, and sets its next time.
    pub(super) fn pop(&mut self, now: Mono, rng: &mut impl Rng) -> Option<Due> {
        let (index, due) = self.wheel.pop(now)?;
        let jitter = self.jitter;
        let slot = &mut self.slots[index as usize];
        let id = LaneId { index, generation: slot.generation };
        let lane = slot.lane.as_mut()?;
        lane.scheduled += 1;
        if lane.spec.count.is_some_and(|count| lane.scheduled >= count) {
            lane.due = None;
            return Some(Due { lane: id, missed: 0 });
        }
        let interval = lane.spec.interval.max(Duration::from_millis(1));
        let gap = match lane.first.take() {
            Some(first) => first,
            None if jitter == 0.0 => interval,
            None => interval.mul_f64(rng.random_range(1.0 - jitter..=1.0 + jitter)),
        };
        let mut next = due + gap;
        let mut missed = 0;
        if next <= now {
            // A late turn is not made up for, and those that were late together part again.
            missed = (now.since(due).as_nanos() / interval.as_nanos()) as u64;
            next = now + if jitter == 0.0 { interval } else { interval.mul_f64(rng.random_range(0.1..=1.0)) };
        }
        lane.due = Some(next);
        self.wheel.set(index, next);
        Some(Due { lane: id, missed })
    }
}

/// When the `i`th of `total` new lanes is first probed, from now, and how long after that the second time: so that
/// lanes of one interval end up evenly apart.
fn start(i: usize, total: usize, interval: Duration) -> (Duration, Duration) {
    if total > AT_ONCE {
        return (interval.mul_f64(i as f64 / total as f64), interval);
    }
    (Duration::ZERO, interval.mul_f64((i + 1) as f64 / total as f64))
}

/// How long what is due may wait to be handled with what follows: for some twenty probes, from 10 to 20 ms. Nothing is
/// lost by it: the kernel stamps arrivals.
pub(super) fn tick(rate: f64) -> Duration {
    if rate < DENSE { Duration::ZERO } else { Duration::from_secs_f64((20.0 / rate).clamp(0.010, 0.020)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const T0: Mono = Mono::from_nanos(1_000_000_000_000);

    fn target(id: u32, interval: Duration) -> TargetSpec {
        TargetSpec {
            interval,
            ..TargetSpec::new(TargetId(id), vec![IpAddr::from([10, 0, 0, 1])], Method::Icmp)
        }
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
    }
}
