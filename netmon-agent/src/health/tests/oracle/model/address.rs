//! One address: what its probes say by R1, R4, R8, R9 and R13, worked out anew from the first one on each time.

use std::{net::IpAddr, time::Duration};

use super::{
    latency::Latency,
    net::{Reach, Way},
    wilson,
};
use crate::{
    health::{Settings, State},
    observation::FailureReason,
    time::Mono,
};

/// What happened to one address.
#[derive(Clone, Copy, Debug)]
pub enum Fact {
    Sent(u64),
    Reply(u64, Duration),
    Failed(u64, FailureReason),
    Inconclusive(u64),
    /// Probes under way will never be heard of.
    ProbesLost,
    /// R14: nothing is known any more.
    Forgotten,
    /// R3: no route to it stands any more, or it was probed while none stands.
    LinkLost,
    /// R3: one stands again.
    LinkBack,
    /// It takes the place of one that was up.
    Succeeded,
}

/// Six lost in a row make it down (R4): the suspect one and five extra.
const LOST: u32 = 6;

/// Probes under way that count, at most.
const UNDER_WAY: usize = 32;

/// Samples of R9's window, and fewest of them that say anything.
const WINDOW: usize = 60;
const ENOUGH: usize = 30;

/// What the facts say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub state: State,
    /// How the last probe that failed did.
    pub failure: Option<FailureReason>,
    /// By its answers.
    pub ever_up: bool,
    /// R9.
    pub lossy: bool,
    /// R8: replies in a row, while it is down.
    pub replies: u32,
    /// The last fact was a reply that is a sample: its round trip, and whether it is a norm for R11.
    pub sampled: Option<(Duration, bool)>,
    /// With the last fact it went down.
    pub fell: bool,
}

/// Works it out.
pub fn seen(facts: &[(Mono, Fact)], settings: &Settings) -> Seen {
    let mut it = Seen::default();
    let (mut under_way, mut samples) = (Vec::<u64>::new(), Vec::<u64>::new());
    let (mut lost, mut last_sample) = (0, None::<Mono>);
    let mut loss = Loss::default();
    for (at, fact) in facts {
        let at = *at;
        let before = it.state;
        (it.sampled, it.fell) = (None, false);
        let mut sample = None;
        match *fact {
            Fact::Sent(seq) => {
                push(&mut under_way, seq);
                let apart = |last: Mono| at.since(last) >= Duration::from_millis(1500);
                if it.state != State::Down && last_sample.is_none_or(apart) {
                    last_sample = Some(at);
                    push(&mut samples, seq);
                }
            }
            Fact::Reply(seq, rtt) => {
                if let Some(i) = under_way.iter().position(|s| *s == seq) {
                    // What left before it and is still out is lost, but proves no outage any more.
                    under_way.drain(..=i);
                    lost = 0;
                    it.replies += 1;
                    if it.state != State::Down || it.replies >= u32::from(settings.recovery_successes) {
                        (it.state, it.ever_up) = (State::Up, true);
                    }
                }
                loss.unanswered = 0;
                sample = take(&mut samples, seq).then_some(Some(rtt));
            }
            Fact::Failed(seq, reason) => {
                // What can't be sent never was under way.
                if take(&mut under_way, seq) || reason == FailureReason::SendError {
                    it.failure = Some(reason);
                    lost += 1;
                    it.replies = 0;
                    if lost >= LOST {
                        it.state = State::Down;
                    }
                }
                sample = take(&mut samples, seq).then_some(None);
            }
            Fact::Inconclusive(seq) => {
                take(&mut under_way, seq);
                take(&mut samples, seq);
            }
            Fact::ProbesLost => {
                under_way.clear();
                samples.clear();
            }
            Fact::Forgotten => {
                under_way.clear();
                samples.clear();
                (it.state, lost, loss) = (State::Unknown, 0, Loss::default());
            }
            Fact::LinkLost => {
                under_way.clear();
                (it.state, lost, it.replies) = (State::Down, 0, 0);
            }
            Fact::LinkBack => {
                under_way.clear();
                it.replies = 0;
            }
            Fact::Succeeded if it.state == State::Unknown => it.state = State::Up,
            Fact::Succeeded => {}
        }
        if before != State::Down && it.state == State::Down {
            // R9: an outage is no loss.
            samples.clear();
            loss.outage(at);
            (it.fell, it.replies, sample) = (true, 0, None);
        }
        if let Some(rtt) = sample {
            loss.record(at, rtt.is_none(), settings);
            let steady = it.state == State::Up && loss.since.is_none();
            it.sampled = rtt.map(|rtt| (rtt, steady));
        }
        it.lossy = loss.since.is_some();
    }
    it
}

/// R9: the samples, and since when it is too many that were lost.
#[derive(Default)]
struct Loss {
    lost: Vec<bool>,
    /// Samples lost since any probe was answered.
    unanswered: usize,
    fell: Option<Mono>,
    since: Option<Mono>,
}

impl Loss {
    fn record(&mut self, at: Mono, lost: bool, settings: &Settings) {
        if self.fell.take().is_some_and(|fell| at.since(fell) > Duration::from_secs(120)) {
            *self = Self::default();
        }
        self.unanswered = if lost { self.unanswered + 1 } else { 0 };
        self.lost.push(lost);
        let window = self.lost.len().saturating_sub(WINDOW);
        self.lost.drain(..window);
        if self.lost.len() < ENOUGH {
            return;
        }
        let lost = self.lost.iter().filter(|lost| **lost).count();
        match self.since {
            None if wilson::lower(lost as f64, self.lost.len() as f64) > settings.loss_ratio => {
                self.since = Some(at);
            }
            Some(since)
                if lost <= settings.loss_left as usize && at.since(since) >= settings.degraded_dwell =>
            {
                self.since = None;
            }
            _ => {}
        }
    }

    fn outage(&mut self, at: Mono) {
        let kept = self.lost.len().saturating_sub(self.unanswered);
        self.lost.truncate(kept);
        (self.unanswered, self.fell) = (0, Some(at));
    }
}

fn push(all: &mut Vec<u64>, seq: u64) {
    all.push(seq);
    let over = all.len().saturating_sub(UNDER_WAY);
    all.drain(..over);
}

fn take(all: &mut Vec<u64>, seq: u64) -> bool {
    let found = all.iter().position(|s| *s == seq);
    found.map(|i| all.remove(i)).is_some()
}

/// One address with all that happened to it.
#[derive(Clone, Debug)]
pub struct Addr {
    pub address: IpAddr,
    pub reach: Reach,
    pub way: Option<Way>,
    facts: Vec<(Mono, Fact)>,
    pub seen: Seen,
    pub latency: Latency,
    pub lonely: Lonely,
}

impl Addr {
    pub fn new(at: Mono, address: IpAddr, reach: Reach, way: Option<Way>) -> Self {
        Self {
            address,
            reach,
            way,
            facts: Vec::new(),
            seen: Seen::default(),
            latency: Latency::default(),
            lonely: Lonely { silent: at, ..Lonely::default() },
        }
    }

    /// Takes a fact. `slow` is R11's word after it.
    pub fn learn(&mut self, at: Mono, fact: Fact, slow: bool, settings: &Settings) -> Result<(), String> {
        self.facts.push((at, fact));
        self.seen = seen(&self.facts, settings);
        if self.seen.fell || matches!(fact, Fact::Forgotten) {
            self.latency.outage();
        }
        self.lonely.learn(at, fact, &self.seen);
        let told = self.latency.learn(at, self.seen.sampled, slow, settings);
        told.map_err(|e| format!("R11, {}: {e}", self.address))
    }
}

/// R7: bounds on whether other hosts' echoes say that this one's silence is its own. Between them the core's word is
/// taken.
#[derive(Clone, Debug, Default)]
pub struct Lonely {
    silent: Mono,
    down: Option<Mono>,
    /// An echo left after it fell silent, or surely after it was down, and came back.
    heard: (bool, bool),
    /// The first probe after that.
    proof: (Option<u64>, Option<u64>),
    pub may: bool,
    pub must: bool,
}

impl Lonely {
    fn learn(&mut self, at: Mono, fact: Fact, seen: &Seen) {
        match fact {
            Fact::Reply(..) => *self = Self { silent: at, down: self.down, ..Self::default() },
            Fact::Forgotten => self.unsure(),
            Fact::Sent(seq) => {
                self.proof.0 = self.proof.0.or(self.heard.0.then_some(seq));
                self.proof.1 = self.proof.1.or(self.heard.1.then_some(seq));
            }
            Fact::Failed(seq, reason) if reason != FailureReason::SendError => {
                self.may |= self.proof.0.is_some_and(|proof| seq >= proof);
                self.must |= self.proof.1.is_some_and(|proof| seq >= proof);
            }
            _ => {}
        }
        if seen.state == State::Down {
            self.down.get_or_insert(at);
        } else {
            self.down = None;
            self.unsure();
        }
    }

    /// An echo that left at this time came back, by the same link or not.
    pub fn heard(&mut self, left: Mono, same_link: bool) {
        self.heard.0 |= left >= self.silent;
        self.heard.1 |= same_link && self.down.is_some_and(|down| left > down.max(self.silent));
    }

    /// The way is another now, or nothing is known.
    pub fn unsure(&mut self) {
        (self.heard.1, self.proof.1, self.must) = (false, None, false);
        self.down = None;
    }
}
