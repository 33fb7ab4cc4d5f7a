//! A trace as a state machine: it says what to send and until when to wait, and is told what came. It neither sends nor
//! reads a clock.

use std::{net::IpAddr, time::Duration};

use super::{
    hops::{HopStep, Hops},
    mtu::{Anchor, Outcome, Question, SMALL, Search},
    path::{Hop, Method, Path, Reply},
};
use crate::{
    observation::{FailureReason, StampSource},
    time::Mono,
};

/// An answer to a packet of the MTU search that takes longer than the slowest one so far times this is not waited for.
const SLOWER: u32 = 4;
/// But this long at least.
const LEAST_WAIT: Duration = Duration::from_millis(300);
/// Time to live of packets that are to come to the destination.
const FAR: u8 = u8::MAX;

/// What a trace is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) destination: IpAddr,
    pub(super) method: Method,
    pub(super) max_hops: u8,
    pub(super) probes: u8,
    pub(super) timeout: Duration,
    pub(super) mtu: bool,
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To learn who is at a distance.
    Hop,
    /// To learn whether a size passes.
    Mtu,
}

/// A packet to send, its fragmentation forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// Its number, from 0 on.
    pub(super) id: u16,
    pub(super) purpose: Purpose,
    pub(super) ttl: u8,
    /// Bytes with the IP header; TCP's is as large as the kernel makes it.
    pub(super) size: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send(Probe),
    /// Nothing until then, unless something comes.
    Wait(Mono),
    Done,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Who sent it; `None` for this host's own refusal.
    pub(super) from: Option<IpAddr>,
    pub(super) what: What,
    pub(super) rtt: Option<Duration>,
    pub(super) stamp: StampSource,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The destination answered as it should.
    Arrived,
    /// An ICMP error; with the MTU it tells, or 0.
    Failed { reason: FailureReason, mtu: u32 },
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Hop { ttl: u8, nth: usize },
    Mtu(Question),
}

#[derive(Debug)]
pub(super) struct Tracer {
    plan: Plan,
    hops: Hops,
    search: Option<Search>,
    /// By the probe's number.
    asked: Vec<Asked>,
    /// When the last packet of the search was sent.
    waiting: Option<Mono>,
    slowest: Duration,
    told: u8,
}

impl Tracer {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            hops: Hops::new(plan.max_hops.min(FAR - 1), plan.probes, plan.timeout),
            plan,
            search: None,
            asked: Vec::new(),
            waiting: None,
            slowest: Duration::ZERO,
            told: 0,
        }
    }

    /// What to do now. After `Send`, call it again.
    pub(super) fn step(&mut self, now: Mono) -> Step {
        if self.search.is_none() {
            match self.hops.step(now) {
                HopStep::Ask { ttl } => {
                    let nth = self.hops.asked(ttl, now);
                    return self.send(Asked::Hop { ttl, nth });
                }
                HopStep::Wait(until) => return Step::Wait(until),
                HopStep::Done if !self.plan.mtu => return Step::Done,
                HopStep::Done => self.search = Some(self.new_search()),
            }
        }
        self.step_search(now)
    }

    /// Takes an answer to the probe of this number.
    pub(super) fn heard(&mut self, id: u16, heard: &Heard) {
        match self.asked.get(usize::from(id)) {
            Some(Asked::Hop { ttl, nth }) => {
                let Some(from) = heard.from else { return };
                let reply = self.reply(from, heard);
                if let Some(rtt) = reply.rtt.filter(|rtt| *rtt < self.plan.timeout) {
                    self.slowest = self.slowest.max(rtt);
                }
                self.hops.answered(*ttl, *nth, reply);
            }
            Some(Asked::Mtu(question)) => {
                let (question, outcome) = (*question, self.outcome(*question, heard));
                self.learn(question, outcome);
            }
            None => {}
        }
    }

    /// The next hop in order of which nothing more is to be expected. One that is silent comes only once a farther one
    /// has answered.
    pub(super) fn settled_hop(&mut self, now: Mono) -> Option<Hop> {
        let hop = self.hops.settled_hop(self.told.checked_add(1)?, now)?;
        self.told = hop.ttl;
        Some(hop)
    }

    /// All that is known.
    pub(super) fn path(&self) -> Path {
        let hops = self.hops.found();
        let hop_of = |by| hops.iter().find(|hop| hop.addresses().contains(&by)).map(|hop| hop.ttl);
        Path {
            destination: self.plan.destination,
            method: self.plan.method,
            end: self.hops.end(),
            mtu: self.search.as_ref().and_then(|search| search.result(hop_of)),
            unmatched: 0,
            hops,
        }
    }

    fn step_search(&mut self, now: Mono) -> Step {
        let patience = (self.slowest * SLOWER).max(LEAST_WAIT).min(self.plan.timeout);
        loop {
            let Some(search) = &mut self.search else { return Step::Done };
            let Some(question) = search.question() else { return Step::Done };
            match self.waiting.map(|at| at + patience) {
                Some(until) if now < until => return Step::Wait(until),
                Some(_) => {
                    self.waiting = None;
                    search.learn(question, Outcome::Silent);
                }
                None => {
                    self.waiting = Some(now);
                    return self.send(Asked::Mtu(question));
                }
            }
        }
    }

    fn send(&mut self, asked: Asked) -> Step {
        let id = self.asked.len() as u16;
        self.asked.push(asked);
        Step::Send(match asked {
            Asked::Hop { ttl, .. } => Probe { id, purpose: Purpose::Hop, ttl, size: SMALL },
            Asked::Mtu(Question { ttl, size }) => Probe { id, purpose: Purpose::Mtu, ttl, size },
        })
    }

    fn learn(&mut self, question: Question, outcome: Outcome) {
        let Some(search) = &mut self.search else { return };
        let before = search.question();
        search.learn(question, outcome);
        if before == Some(question) || search.question() != before {
            self.waiting = None;
        }
    }

    fn new_search(&self) -> Search {
        let path = self.path();
        // A router that lets a probe end there, whatever its size, answers for the way up to it.
        let passes = |hop: &&Hop| hop.replies.iter().any(|reply| reply.reason.is_none() && !reply.arrived);
        let routers: Vec<u8> = path.hops.iter().filter(passes).map(|hop| hop.ttl).collect();
        let destination = path.reached().then_some(Anchor::Destination(FAR));
        let anchors = destination.into_iter().chain(routers.last().copied().map(Anchor::Hop)).collect();
        Search::new(self.plan.destination.is_ipv6(), anchors, routers)
    }

    fn reply(&self, from: IpAddr, heard: &Heard) -> Reply {
        let (reason, arrived) = match heard.what {
            What::Arrived => (None, true),
            What::Failed { reason: FailureReason::TtlExceeded, .. } => (None, false),
            What::Failed { reason, .. } => {
                let arrived = from == self.plan.destination;
                // The very answer that a probe to a closed port is after.
                let expected =
                    arrived && reason == FailureReason::PortUnreachable && self.plan.method == Method::Udp;
                ((!expected).then_some(reason), arrived)
            }
        };
        Reply { from, rtt: heard.rtt, stamp: heard.stamp, reason, arrived }
    }

    fn outcome(&self, question: Question, heard: &Heard) -> Outcome {
        match heard.what {
            What::Failed { reason: FailureReason::PacketTooBig, mtu } => {
                Outcome::TooBig { by: heard.from, bytes: mtu }
            }
            What::Failed { reason: FailureReason::TtlExceeded, .. } if question.ttl != FAR => Outcome::Passed,
            What::Failed { .. } if heard.from != Some(self.plan.destination) => Outcome::Silent,
            What::Arrived | What::Failed { .. } => Outcome::Passed,
        }
    }
}

#[cfg(test)]
#[path = "tracer_tests.rs"]
mod tests;
