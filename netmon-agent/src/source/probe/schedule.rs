//! When each address is probed next. Pure: time and chance come in as arguments.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rand::{Rng, RngExt};

use super::{backoff::Backoff, cap::Cap, wheel::Wheel};
use crate::{
    observation::{Method, PathOptions, TargetId},
    time::Mono,
};

/// New addresses up to this many are probed at once (rule R1); more are spread over their interval, so that a start
/// with thousands is no burst.
const AT_ONCE: usize = 256;
/// Below this many probes a second each is sent at its own time; above it they are gathered to ticks.
const DENSE: f64 = 200.0;
/// Extra probes of one address that may wait for the cap: rule R4's burst and what rule R8 asks for beside.
const WAITING: u8 = 8;

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
    backoff: Backoff,
    /// Extra probes that wait for their turn.
    waiting: u8,
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

#[cfg(any(test, feature = "fuzzing"))]
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
    /// It missed them because of the cap, not because the engine was late.
    pub(super) capped: bool,
    /// Beside its schedule.
    pub(super) extra: bool,
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
    /// Intervals are this much longer, 1 or more.
    stretch: f64,
    cap: Cap,
    /// What was due at the last turn and found no token, is due now.
    held: bool,
    /// Extra probes in the order they were asked for.
    extras: VecDeque<LaneId>,
    /// Whether an extra probe comes before a scheduled one next: they take turns.
    extra_first: bool,
    /// Lanes whose probes can't be sent.
    backing_off: usize,
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
            stretch: 1.0,
            cap: Cap::none(),
            held: false,
            extras: VecDeque::new(),
            extra_first: true,
            backing_off: 0,
        }
    }

    /// At most so many probes a second, scheduled and extra; anything but a positive number lifts the cap.
    pub(super) fn set_cap(&mut self, now: Mono, rate: f64) {
        self.cap.set(now, rate);
    }

    /// Makes every interval so many times as long as it was given, 1 or more, what is left of the present ones
    /// included: lanes that are evenly apart stay so.
    pub(super) fn stretch(&mut self, now: Mono, factor: f64) {
        let ratio = factor / std::mem::replace(&mut self.stretch, factor);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(lane) = &mut slot.lane else { continue };
            // A wait for want of a route is not of the interval's making.
            if let Some(due) = lane.due.filter(|due| *due > now && !lane.backoff.is_on()) {
                let due = now + due.since(now).mul_f64(ratio);
                lane.due = Some(due);
                self.wheel.set(index as u32, due);
            }
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
            let (offset, first) = start(i, total, spec.interval.mul_f64(self.stretch));
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
                backoff: Backoff::default(),
                waiting: 0,
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
            let within = now + spec.interval.mul_f64(self.stretch);
            let due = lane.due.map_or(within, |due| due.min(within));
            lane.due = Some(due);
            // What it was waiting for may be what was changed.
            self.backing_off -= usize::from(lane.backoff.is_on());
            lane.backoff = Backoff::default();
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
            self.backing_off -= usize::from(lane.backoff.is_on());
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
        self.rate / self.stretch
    }

    /// When there is next something to send, and a token for it.
    pub(super) fn next(&mut self) -> Option<Mono> {
        let due = if self.extras.is_empty() { self.wheel.next() } else { Some(Mono::default()) };
        due.map(|due| due.max(self.cap.ready()))
    }

    /// Asks for a probe beside the schedule. False where so many of this lane wait already that the turn of one more
    /// has passed.
    pub(super) fn ask(&mut self, id: LaneId) -> bool {
        let Some(lane) = self.lane(id) else { return true };
        if lane.waiting == WAITING {
            return false;
        }
        lane.waiting += 1;
        self.extras.push_back(id);
        true
    }

    /// Takes what is to be sent at `now`: an extra probe, or that of the lane that is due the longest, to about a
    /// millisecond, whose next time is set. What finds no token waits.
    pub(super) fn pop(&mut self, now: Mono, rng: &mut impl Rng) -> Option<Due> {
        if !self.cap.take(now) {
            self.held = !self.extras.is_empty() || self.wheel.next().is_some_and(|due| due <= now);
            return None;
        }
        self.extra_first = !self.extra_first;
        let found = match self.extra_first {
            true => self.pop_extra().or_else(|| self.pop_due(now, rng)),
            false => self.pop_due(now, rng).or_else(|| self.pop_extra()),
        };
        if found.is_none() {
            self.cap.put_back();
            self.held = false;
        }
        found
    }

    fn pop_extra(&mut self) -> Option<Due> {
        loop {
            let id = self.extras.pop_front()?;
            if let Some(lane) = self.lane(id) {
                lane.waiting -= 1;
                return Some(Due { lane: id, missed: 0, capped: false, extra: true });
            }
        }
    }

    fn pop_due(&mut self, now: Mono, rng: &mut impl Rng) -> Option<Due> {
        let (index, due) = self.wheel.pop(now)?;
        let (jitter, stretch, capped) = (self.jitter, self.stretch, self.held);
        let slot = &mut self.slots[index as usize];
        let id = LaneId { index, generation: slot.generation };
        let lane = slot.lane.as_mut()?;
        lane.scheduled += 1;
        if lane.spec.count.is_some_and(|count| lane.scheduled >= count) {
            lane.due = None;
            return Some(Due { lane: id, missed: 0, capped, extra: false });
        }
        let interval = lane.spec.interval.max(Duration::from_millis(1)).mul_f64(stretch);
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
        Some(Due { lane: id, missed, capped, extra: false })
    }

    /// A lane's probe left: whatever kept those before it is mended.
    pub(super) fn sent(&mut self, id: LaneId, now: Mono) {
        let stretch = self.stretch;
        let Some(lane) = self.lane(id).filter(|lane| lane.backoff.is_on()) else { return };
        lane.backoff = Backoff::default();
        let within = now + lane.spec.interval.mul_f64(stretch);
        let due = lane.due.map(|due| due.min(within));
        lane.due = due;
        self.backing_off -= 1;
        if let Some(due) = due {
            self.wheel.set(id.index, due);
        }
    }

    /// A lane's scheduled probe could not be sent from here: the next one waits longer.
    pub(super) fn unsent(&mut self, id: LaneId, now: Mono, rng: &mut impl Rng) {
        let (jitter, stretch) = (self.jitter, self.stretch);
        let Some(lane) = self.lane(id).filter(|lane| lane.due.is_some()) else { return };
        let was_on = lane.backoff.is_on();
        let wait = lane.backoff.failed(now, lane.spec.interval.mul_f64(stretch));
        let due = now + if jitter == 0.0 { wait } else { wait.mul_f64(rng.random_range(1.0 - jitter..=1.0)) };
        lane.due = Some(due);
        self.backing_off += usize::from(!was_on);
        self.wheel.set(id.index, due);
    }

    /// Routes, links or addresses are others now: what could not be sent is tried at once, or, where that is much,
    /// spread over an interval.
    pub(super) fn retry_unsent(&mut self, now: Mono) {
        let total = std::mem::take(&mut self.backing_off);
        if total == 0 {
            return;
        }
        let mut i = 0;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(lane) = slot.lane.as_mut().filter(|lane| lane.backoff.is_on()) else { continue };
            let (offset, _) = start(i, total, lane.spec.interval);
            i += 1;
            let earliest = lane.backoff.retry();
            if let Some(due) = lane.due {
                let due = due.min(earliest.max(now + offset));
                lane.due = Some(due);
                self.wheel.set(index as u32, due);
            }
        }
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
#[path = "schedule_tests.rs"]
mod tests;
