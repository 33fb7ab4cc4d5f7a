//! The probe engine without sockets. It follows `source/probe` turn by turn: read, judge, send, tell.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use netmon_agent::{
    health::TargetSpec,
    observation::{Evidence, FailureReason, Observation, ProbeEvent, ProbeOutcome, StampSource, TargetId},
    plan::Planned,
    time::Mono,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::wire::{Fate, Probe, Unsent, Wire};

/// Each interval is multiplied by 1 ± this: `probe::Options::default()`.
const JITTER: f64 = 0.1;
/// A turn that is later than this proves nothing by the time-outs it finds (R13): `inflight::LATE_TURN`.
const LATE_TURN: Duration = Duration::from_millis(100);
/// An answer is still known for so long after its time-out: `inflight::LATE_ANSWER`.
const LATE_ANSWER: Duration = Duration::from_secs(4);
/// How long the word that a probe left may wait for its reply: `worker::HOLD`.
const HOLD: Duration = Duration::from_millis(50);
/// More than this is told at once: `worker::HELD`.
const HELD: usize = 256;
/// Extra probes of one lane that may wait: `schedule::WAITING`.
const WAITING: u8 = 8;
/// Addresses up to this many start at once: `schedule::AT_ONCE`.
const AT_ONCE: usize = 256;
/// The longest wait of a lane that can't send, and the shortest before it is tried again: `backoff`.
const LONGEST: Duration = Duration::from_secs(300);
const SHORTEST: Duration = Duration::from_millis(250);

/// One address's schedule.
#[derive(Debug)]
struct Lane {
    spec: TargetSpec,
    address: IpAddr,
    interval: Duration,
    timeout: Duration,
    seq: u64,
    /// The highest number answered so far.
    answered: u64,
    due: Mono,
    /// From the first probe to the second, so that lanes end up evenly apart.
    first: Option<Duration>,
    /// Scheduled probes in a row that could not be sent, and when the last was tried.
    unsent: u8,
    tried: Mono,
    waiting: u8,
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Turn,
    Answer {
        seq: u64,
        rtt: Duration,
        deadline: Mono,
    },
    Failure {
        seq: u64,
        reason: FailureReason,
        reporter: Option<IpAddr>,
    },
    /// `rtt` where an answer comes all the same.
    TimeOut {
        seq: u64,
        sent: Mono,
        rtt: Option<Duration>,
    },
    Late {
        seq: u64,
        rtt: Duration,
    },
}

/// Something that is to happen to a lane.
#[derive(Clone, Copy, Debug)]
struct Item {
    at: Mono,
    /// What was put in first comes first.
    order: u64,
    lane: u32,
    what: What,
}

impl Ord for Item {
    /// The earliest is the greatest: the heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Item {}

#[derive(Debug)]
pub(super) struct Engine {
    lanes: Vec<Lane>,
    items: BinaryHeap<Item>,
    order: u64,
    asked: VecDeque<u32>,
    scale: u8,
    told: Vec<Observation>,
    only_departures: bool,
    held_until: Option<Mono>,
    /// Of one turn; kept for its room.
    now: Vec<Item>,
    rng: SmallRng,
}

impl Engine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            lanes: Vec::new(),
            items: BinaryHeap::new(),
            order: 0,
            asked: VecDeque::new(),
            scale: 1,
            told: Vec::new(),
            only_departures: true,
            held_until: None,
            now: Vec::new(),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Makes these the targets. An address that stays keeps its schedule and its numbers.
    pub(super) fn set(&mut self, now: Mono, targets: &[Planned]) {
        let mut kept = HashSet::new();
        let mut new = Vec::new();
        for (p, address) in targets.iter().flat_map(|p| p.spec.addresses.iter().map(move |a| (p, *a))) {
            if !kept.insert((p.spec.id, address)) {
                continue;
            }
            let Some(i) = self.find(p.spec.id, address) else {
                new.push((p, address));
                continue;
            };
            let lane = &mut self.lanes[i as usize];
            let changed = lane.interval != p.interval || lane.spec.method != p.spec.method;
            lane.spec = p.spec.clone();
            (lane.interval, lane.timeout) = (p.interval, p.timeout);
            if changed {
                lane.unsent = 0;
                lane.due = lane.due.min(now + p.interval);
                let due = lane.due;
                self.push(due, i, What::Turn);
            }
        }
        for lane in &mut self.lanes {
            lane.gone |= !kept.contains(&(lane.spec.id, lane.address));
        }
        let total = new.len();
        for (i, (p, address)) in new.into_iter().enumerate() {
            let part = |i: usize| p.interval.mul_f64(i as f64 / total as f64);
            let (offset, first) =
                if total > AT_ONCE { (part(i), p.interval) } else { (Duration::ZERO, part(i + 1)) };
            self.lanes.push(Lane {
                spec: p.spec.clone(),
                address,
                interval: p.interval,
                timeout: p.timeout,
                seq: 0,
                answered: 0,
                due: now + offset,
                first: Some(first),
                unsent: 0,
                tried: now,
                waiting: 0,
                gone: false,
            });
            self.push(now + offset, (self.lanes.len() - 1) as u32, What::Turn);
        }
    }

    /// Asks for a probe beside the schedule.
    pub(super) fn ask(&mut self, target: TargetId, address: IpAddr) {
        let Some(i) = self.find(target, address) else { return };
        let lane = &mut self.lanes[i as usize];
        if lane.waiting < WAITING {
            lane.waiting += 1;
            self.asked.push_back(i);
        }
    }

    /// R13: the factor on the time-outs of probes that leave from now on.
    pub(super) fn set_timeout_scale(&mut self, scale: u8) {
        self.scale = scale.clamp(1, 8);
    }

    /// The network is another now: what could not be sent is tried again.
    pub(super) fn retry_unsent(&mut self, now: Mono) {
        for i in 0..self.lanes.len() {
            let lane = &mut self.lanes[i];
            if std::mem::take(&mut lane.unsent) > 0 && !lane.gone {
                lane.due = lane.due.min((lane.tried + SHORTEST).max(now));
                let due = lane.due;
                self.push(due, i as u32, What::Turn);
            }
        }
    }

    /// The machine slept, and its network with it: what was on its way to it is lost.
    pub(super) fn lose_arrivals(&mut self) {
        let silence = |item: Item| match item.what {
            What::Turn | What::TimeOut { rtt: None, .. } => Some(item),
            What::Answer { seq, deadline, rtt } => {
                let sent = Mono::from_nanos(item.at.as_nanos() - rtt.as_nanos() as u64);
                Some(Item { at: deadline, what: What::TimeOut { seq, sent, rtt: None }, ..item })
            }
            What::TimeOut { seq, sent, .. } => {
                Some(Item { what: What::TimeOut { seq, sent, rtt: None }, ..item })
            }
            // Errors come at once or after a second; that one of them is told after a suspend does no harm.
            What::Failure { .. } => Some(item),
            What::Late { .. } => None,
        };
        self.items = std::mem::take(&mut self.items).into_iter().filter_map(silence).collect();
    }

    /// When it next has something to do that is no one else's doing.
    pub(super) fn next(&self, now: Mono) -> Option<Mono> {
        if !self.asked.is_empty() {
            return Some(now);
        }
        [self.items.peek().map(|item| item.at), self.held_until].into_iter().flatten().min()
    }

    /// Whether what is due next is of its own planning, and not an arrival.
    pub(super) fn has_planned(&self) -> bool {
        let next = self.items.peek().map(|item| item.what);
        self.asked.is_empty() && matches!(next, Some(What::Turn | What::TimeOut { .. }))
    }

    /// One turn at `now`, `since_start` being the same on the wire's clock. What is to be told goes to `out`.
    pub(super) fn turn(
        &mut self,
        now: Mono,
        since_start: Duration,
        wire: &mut impl Wire,
        out: &mut Vec<Observation>,
    ) {
        let mut due = std::mem::take(&mut self.now);
        while let Some(item) = self.items.peek().filter(|item| item.at <= now).copied() {
            self.items.pop();
            due.push(item);
        }
        let planned = |item: &&Item| matches!(item.what, What::Turn | What::TimeOut { .. });
        let lag = due.iter().find(planned).map_or(Duration::ZERO, |item| now.since(item.at));
        due.iter().for_each(|item| self.read(now, item));
        due.iter().for_each(|item| self.judge(now, lag, item));
        while let Some(i) = self.asked.pop_front() {
            self.lanes[i as usize].waiting -= 1;
            self.send(now, since_start, i, false, wire);
        }
        for item in due.drain(..) {
            if matches!(item.what, What::Turn) && self.lanes[item.lane as usize].due == item.at {
                self.reschedule(now, item.lane);
                self.send(now, since_start, item.lane, true, wire);
            }
        }
        self.now = due;
        self.tell_or_hold(now, out);
    }

    fn find(&self, target: TargetId, address: IpAddr) -> Option<u32> {
        let is = |lane: &Lane| !lane.gone && lane.spec.id == target && lane.address == address;
        self.lanes.iter().position(is).map(|i| i as u32)
    }

    fn push(&mut self, at: Mono, lane: u32, what: What) {
        self.order += 1;
        self.items.push(Item { at, order: self.order, lane, what });
    }

    fn say(&mut self, at: Mono, lane: u32, seq: u64, outcome: ProbeOutcome) {
        let lane = &self.lanes[lane as usize];
        if lane.gone {
            return;
        }
        self.only_departures &= outcome == ProbeOutcome::Sent;
        let event = ProbeEvent { target: lane.spec.id, address: lane.address, seq, outcome };
        self.told.push(Observation { at, evidence: Evidence::Probe(event) });
    }

    /// What came. The kernel's stamp tells when, however late it is read.
    fn read(&mut self, now: Mono, item: &Item) {
        match item.what {
            What::Answer { seq, rtt, .. } => {
                let lane = &mut self.lanes[item.lane as usize];
                let reordered = seq < lane.answered;
                lane.answered = lane.answered.max(seq);
                let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: None, reordered };
                self.say(now, item.lane, seq, reply);
            }
            What::Failure { seq, reason, reporter } => {
                self.say(now, item.lane, seq, ProbeOutcome::Failed { reason, reporter });
            }
            What::Late { seq, rtt } => self.say(now, item.lane, seq, ProbeOutcome::Late { rtt }),
            What::TimeOut { .. } | What::Turn => {}
        }
    }

    /// What did not come.
    fn judge(&mut self, now: Mono, lag: Duration, item: &Item) {
        let What::TimeOut { seq, sent, rtt } = item.what else { return };
        let failed = ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None };
        let late = rtt.map(|rtt| (sent + rtt, rtt));
        // An answer that is there, too late by its stamp, proves the time-out.
        let proved = late.is_some_and(|(at, _)| at <= now);
        let outcome = if lag > LATE_TURN && !proved { ProbeOutcome::Inconclusive { lag } } else { failed };
        self.say(now, item.lane, seq, outcome);
        match late {
            Some((_, rtt)) if proved => self.say(now, item.lane, seq, ProbeOutcome::Late { rtt }),
            Some((at, rtt)) if at <= item.at + LATE_ANSWER => {
                self.push(at, item.lane, What::Late { seq, rtt });
            }
            _ => {}
        }
    }

    /// Sets the time of a lane's next turn. A late turn is not made up for, and those late together part again.
    fn reschedule(&mut self, now: Mono, i: u32) {
        let lane = &mut self.lanes[i as usize];
        if lane.gone {
            return;
        }
        let gap = match lane.first.take() {
            Some(first) => first,
            None => lane.interval.mul_f64(self.rng.random_range(1.0 - JITTER..=1.0 + JITTER)),
        };
        let mut next = lane.due + gap;
        if next <= now {
            next = now + lane.interval.mul_f64(self.rng.random_range(0.1..=1.0));
        }
        lane.due = next;
        self.push(next, i, What::Turn);
    }

    fn send(&mut self, now: Mono, since_start: Duration, i: u32, regular: bool, wire: &mut impl Wire) {
        let lane = &mut self.lanes[i as usize];
        if lane.gone {
            return;
        }
        lane.seq += 1;
        let (seq, timeout) = (lane.seq, lane.timeout * u32::from(self.scale));
        let (address, target) = (lane.address, &lane.spec);
        let fate = wire.probe(&Probe { at: since_start, target, address, timeout, regular });
        let deadline = now + timeout;
        let (at, what) = match fate {
            Fate::Unsent { reason } => return self.unsent(now, i, seq, reason, regular),
            Fate::Answered { rtt } if rtt <= timeout => (now + rtt, What::Answer { seq, rtt, deadline }),
            Fate::Answered { rtt } => (deadline, What::TimeOut { seq, sent: now, rtt: Some(rtt) }),
            Fate::Failed { after, reason, reporter } if after < timeout => {
                (now + after, What::Failure { seq, reason, reporter })
            }
            Fate::Failed { .. } | Fate::Silent => (deadline, What::TimeOut { seq, sent: now, rtt: None }),
        };
        let again = (std::mem::take(&mut lane.unsent) > 0).then(|| lane.due.min(now + lane.interval));
        if let Some(due) = again.filter(|due| *due != lane.due) {
            lane.due = due;
            self.push(due, i, What::Turn);
        }
        self.push(at, i, what);
        self.say(now, i, seq, ProbeOutcome::Sent);
    }

    fn unsent(&mut self, now: Mono, i: u32, seq: u64, reason: Unsent, regular: bool) {
        let failed = |reason| ProbeOutcome::Failed { reason, reporter: None };
        let outcome = match reason {
            Unsent::NoBuffer => ProbeOutcome::Inconclusive { lag: Duration::ZERO },
            Unsent::TooLarge => failed(FailureReason::PacketTooBig),
            Unsent::NoRoute | Unsent::Forbidden => failed(FailureReason::SendError),
        };
        if reason == Unsent::NoRoute && regular {
            let lane = &mut self.lanes[i as usize];
            lane.unsent = lane.unsent.saturating_add(1);
            lane.tried = now;
            let doubled = 1u32.checked_shl(lane.unsent.into()).and_then(|n| lane.interval.checked_mul(n));
            let wait = doubled.unwrap_or(LONGEST).min(LONGEST).max(lane.interval);
            lane.due = now + wait.mul_f64(self.rng.random_range(1.0 - JITTER..=1.0));
            let due = lane.due;
            self.push(due, i, What::Turn);
        }
        self.say(now, i, seq, outcome);
    }

    fn tell_or_hold(&mut self, now: Mono, out: &mut Vec<Observation>) {
        match self.told.first() {
            Some(first) if self.only_departures && self.told.len() < HELD && now.since(first.at) < HOLD => {
                self.held_until = Some(first.at + HOLD);
            }
            _ => {
                out.append(&mut self.told);
                self.only_departures = true;
                self.held_until = None;
            }
        }
    }
}
