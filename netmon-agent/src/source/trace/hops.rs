//! Which hop is asked next, and where the path ends.
//!
//! Hops are asked several at once, from the near ones on. The probes of one hop leave at a pace of their own, since
//! routers limit how many errors they send (Linux: six at once, then one a second to each peer,
//! net/ipv4/inetpeer.c `inet_peer_xrlim_allow`). A hop that kept silent although a farther one answered is asked once
//! more, a second later: it may have been out of tokens.

use std::{net::IpAddr, time::Duration};

use super::path::{End, Hop, Reply};
use crate::{observation::FailureReason, time::Mono};

/// Hops asked at once. Beyond the destination as many more may be asked, and its answers are limited too.
const WINDOW: u8 = 6;
/// Between two probes of a hop.
const PACE: Duration = Duration::from_millis(100);
/// Between any two probes.
const GAP: Duration = Duration::from_millis(10);
/// Before a silent hop is asked again: by then a token has come in.
const AGAIN: Duration = Duration::from_secs(1);
/// After the last probe, where the path does not end well: a router knows only after three tries a second apart that a
/// neighbour does not answer (`mcast_solicit`, `retrans_time_ms`), and then says so.
const LINGER: Duration = Duration::from_millis(3500);
/// At so many distances the same router is met only where probes go in a circle. Two happen without: routers that pass
/// on what they should have dropped.
const CIRCLE: usize = 3;

/// What is to be done about hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HopStep {
    Ask { ttl: u8 },
    Wait(Mono),
    Done,
}

#[derive(Debug, Default)]
struct Slot {
    opened: Option<Mono>,
    /// When each probe was sent, and whether it was answered.
    asked: Vec<(Mono, bool)>,
    replies: Vec<Reply>,
}

#[derive(Debug)]
pub(super) struct Hops {
    probes: u8,
    timeout: Duration,
    slots: Vec<Slot>,
    last_sent: Option<Mono>,
}

impl Hops {
    /// `max`: how far; `probes`: to each hop.
    pub(super) fn new(max: u8, probes: u8, timeout: Duration) -> Self {
        let slots = (0..max.max(1)).map(|_| Slot::default()).collect();
        Self { probes: probes.max(1), timeout, slots, last_sent: None }
    }

    pub(super) fn step(&mut self, now: Mono) -> HopStep {
        let limit = self.limit();
        let Some(first) = (1..=limit).find(|ttl| !self.settled(*ttl, now)) else {
            return match self.last_sent.map(|at| at + LINGER) {
                Some(until) if now < until && matches!(self.end(), End::Silent { .. }) => {
                    HopStep::Wait(until)
                }
                _ => HopStep::Done,
            };
        };
        let last = limit.min(first.saturating_add(WINDOW - 1));
        let mut next: Option<(Mono, u8)> = None;
        let mut wake = now + self.timeout;
        for ttl in first..=last {
            match self.due(ttl, now) {
                Some(due) if next.is_none_or(|(earliest, _)| due < earliest) => next = Some((due, ttl)),
                Some(_) => {}
                None => wake = wake.min(self.deadline(ttl, now)),
            }
        }
        let earliest = self.last_sent.map_or(now, |at| at + GAP);
        match next.map(|(due, ttl)| (due.max(earliest), ttl)) {
            Some((due, ttl)) if due <= now => HopStep::Ask { ttl },
            Some((due, _)) => HopStep::Wait(due.min(wake)),
            None => HopStep::Wait(wake),
        }
    }

    /// A probe was sent; gives its number among those of its hop.
    pub(super) fn asked(&mut self, ttl: u8, now: Mono) -> usize {
        self.last_sent = Some(now);
        let slot = self.slot_mut(ttl);
        slot.asked.push((now, false));
        slot.asked.len() - 1
    }

    /// The `nth` probe of a hop was answered. A second answer to the same probe is passed over.
    pub(super) fn answered(&mut self, ttl: u8, nth: usize, reply: Reply) {
        let slot = self.slot_mut(ttl);
        if let Some((_, answered @ false)) = slot.asked.get_mut(nth) {
            *answered = true;
            slot.replies.push(reply);
        }
    }

    /// How the path ends as far as is known now.
    pub(super) fn end(&self) -> End {
        if let Some(hop) = self.reached_at() {
            return End::Reached { hop };
        }
        if let Some((hop, from, reason)) = self.refused_at() {
            return End::Unreachable { hop, from, reason };
        }
        if let Some((hop, again, from)) = self.circle() {
            return End::Loop { hop, again, from };
        }
        let asked = self.ttls().filter(|ttl| !self.slot(*ttl).asked.is_empty()).max().unwrap_or(0);
        End::Silent { last: self.last_answering(), asked }
    }

    /// Hops from the first to the last that answered or ends the path.
    pub(super) fn found(&self) -> Vec<Hop> {
        let last = self.limit().min(self.last_answering().unwrap_or(0));
        (1..=last).map(|ttl| self.hop(ttl)).collect()
    }

    /// The hop, when nothing more is to be expected of it and a farther one, or itself, has answered.
    pub(super) fn settled_hop(&self, ttl: u8, now: Mono) -> Option<Hop> {
        let known = ttl <= self.limit() && self.settled(ttl, now) && self.last_answering() >= Some(ttl);
        known.then(|| self.hop(ttl))
    }

    fn hop(&self, ttl: u8) -> Hop {
        let slot = self.slot(ttl);
        Hop { ttl, sent: slot.asked.len() as u8, replies: slot.replies.clone() }
    }

    /// The farthest hop there is any sense in asking.
    fn limit(&self) -> u8 {
        let end = self.reached_at();
        let end = end.or_else(|| self.refused_at().map(|(hop, ..)| hop));
        end.or_else(|| self.circle().map(|(_, again, _)| again)).unwrap_or(self.slots.len() as u8)
    }

    fn reached_at(&self) -> Option<u8> {
        self.ttls().find(|ttl| self.slot(*ttl).replies.iter().any(|r| r.arrived))
    }

    fn refused_at(&self) -> Option<(u8, IpAddr, FailureReason)> {
        self.ttls().find_map(|ttl| {
            let replies = &self.slot(ttl).replies;
            replies.iter().find_map(|r| r.reason.map(|reason| (ttl, r.from, reason)))
        })
    }

    fn circle(&self) -> Option<(u8, u8, IpAddr)> {
        let mut met: Vec<(IpAddr, Vec<u8>)> = Vec::new();
        for ttl in self.ttls() {
            for from in self.hop(ttl).addresses() {
                let index = met.iter().position(|(a, _)| *a == from).unwrap_or_else(|| {
                    met.push((from, Vec::new()));
                    met.len() - 1
                });
                met[index].1.push(ttl);
                if let [first, .., again] = met[index].1[..]
                    && met[index].1.len() == CIRCLE
                {
                    return Some((first, again, from));
                }
            }
        }
        None
    }

    fn last_answering(&self) -> Option<u8> {
        self.ttls().rfind(|ttl| !self.slot(*ttl).replies.is_empty())
    }

    /// Probes this hop may have: one more where it alone is silent.
    fn allowed(&self, ttl: u8) -> usize {
        let alone = self.slot(ttl).replies.is_empty() && self.last_answering() > Some(ttl);
        usize::from(self.probes) + usize::from(alone)
    }

    fn settled(&self, ttl: u8, now: Mono) -> bool {
        let slot = self.slot(ttl);
        let over = |(at, answered): &(Mono, bool)| *answered || now >= *at + self.timeout;
        slot.asked.len() >= self.allowed(ttl) && slot.asked.iter().all(over)
    }

    /// When the hop's next probe is due; `None` when it has had them all.
    fn due(&mut self, ttl: u8, now: Mono) -> Option<Mono> {
        let (allowed, probes) = (self.allowed(ttl), usize::from(self.probes));
        let wait = AGAIN.max(self.timeout);
        let slot = self.slot_mut(ttl);
        let opened = *slot.opened.get_or_insert(now);
        let asked = slot.asked.len();
        if asked >= allowed {
            return None;
        }
        let last = slot.asked.last().map(|(at, _)| *at);
        Some(last.map_or(opened, |at| at + if asked < probes { PACE } else { wait }))
    }

    /// When the last of the hop's probes that wait for an answer will have waited long enough.
    fn deadline(&self, ttl: u8, now: Mono) -> Mono {
        let waiting = self.slot(ttl).asked.iter().filter(|(_, answered)| !answered);
        waiting.map(|(at, _)| *at + self.timeout).filter(|at| *at > now).min().unwrap_or(now + self.timeout)
    }

    fn ttls(&self) -> std::ops::RangeInclusive<u8> {
        1..=self.slots.len() as u8
    }

    fn slot(&self, ttl: u8) -> &Slot {
        &self.slots[usize::from(ttl) - 1]
    }

    fn slot_mut(&mut self, ttl: u8) -> &mut Slot {
        &mut self.slots[usize::from(ttl) - 1]
    }
}
