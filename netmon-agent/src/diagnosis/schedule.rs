//! Which target is looked at, and when. One look at a time, so many a minute, none of one target soon after another, and
//! a queue that ends: an outage of thousands is as quiet as one of six.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{observation::TargetId, time::Mono};

/// Targets that may wait for a look.
const QUEUE: usize = 16;

/// A look waits for this long: its gateway, its link or its own recovery may explain the target meanwhile (R4 finds a
/// gateway at most half an interval later than what lies behind it).
const SETTLE: Duration = Duration::from_secs(2);

/// A target that is looked at again and again is looked at half as often each time, down to a so-manyth.
const LONGEST: u32 = 32;

const MINUTE: Duration = Duration::from_secs(60);

/// `[diagnosis]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is looked at; the evidence in hand names places in any case.
    pub enabled: bool,
    /// Shortest time from one look at a target to the next; doubled each time while it keeps coming and going.
    pub pause: Duration,
    /// Most looks in any minute, all targets together.
    pub per_minute: u32,
    /// Longest time for a look.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            pause: Duration::from_secs(30),
            per_minute: 6,
            timeout: Duration::from_secs(12),
        }
    }
}

/// What became of the wish to look at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was looked at, and the place is known.
    Located,
    /// It was looked at, and the place is no better known than before.
    Inconclusive,
    /// It could not be looked at.
    Failed,
    /// It was well again before that, or while it was looked at.
    Recovered,
    /// The evidence in hand explained it before that.
    Explained,
    /// It was looked at a short while ago.
    TooSoon,
    /// Too many others waited.
    QueueFull,
}

impl Outcome {
    /// Every outcome, in the order of [`Scheduler::counts`].
    pub const ALL: [Self; 7] = [
        Self::Located,
        Self::Inconclusive,
        Self::Failed,
        Self::Recovered,
        Self::Explained,
        Self::TooSoon,
        Self::QueueFull,
    ];

    /// The word for it in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Located => "located",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Explained => "explained",
            Self::TooSoon => "too_soon",
            Self::QueueFull => "queue_full",
        }
    }
}

/// How things stand with a target whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Still {
    /// A look would tell more.
    Open,
    /// It would not: the place is known.
    Explained,
    /// It has no fault any more.
    Recovered,
    /// Nothing is known of the whole yet.
    TooEarly,
}

/// A look at a target in the past.
#[derive(Clone, Copy, Debug)]
struct Past {
    at: Mono,
    /// The shortest time to the next.
    pause: Duration,
}

/// The scheduler. All decisions, no clock.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    /// Who waits, and from when on it may be looked at; in the order of that time.
    queue: VecDeque<(TargetId, Mono)>,
    running: Option<TargetId>,
    /// Begun in the last minute.
    begun: VecDeque<Mono>,
    past: HashMap<TargetId, Past>,
    counts: [u64; Outcome::ALL.len()],
}

impl Scheduler {
    /// One that has nothing to do.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            queue: VecDeque::new(),
            running: None,
            begun: VecDeque::new(),
            past: HashMap::new(),
            counts: [0; Outcome::ALL.len()],
        }
    }

    /// Other settings.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
        if !settings.enabled {
            self.queue.clear();
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How often each of [`Outcome::ALL`] came about.
    pub fn counts(&self) -> [u64; Outcome::ALL.len()] {
        self.counts
    }

    /// A target changed for the worse, and the evidence in hand leaves open where.
    pub fn want(&mut self, now: Mono, target: TargetId) {
        if !self.settings.enabled || self.queue.iter().any(|(waiting, _)| *waiting == target) {
            return;
        }
        let again = self.past.get(&target).is_some_and(|past| now.since(past.at) < past.pause);
        if again || self.running == Some(target) {
            self.count(Outcome::TooSoon);
        } else if self.queue.len() == QUEUE {
            self.count(Outcome::QueueFull);
        } else {
            self.queue.push_back((target, now + SETTLE));
        }
    }

    /// A target is well again, or no more.
    pub fn forget(&mut self, target: TargetId) {
        if let Some(i) = self.queue.iter().position(|(waiting, _)| *waiting == target) {
            self.queue.remove(i);
            self.count(Outcome::Recovered);
        }
    }

    /// When [`Scheduler::next`] may have something; none while a look is under way or nothing waits.
    pub fn due(&self) -> Option<Mono> {
        let (_, from) = self.queue.front().filter(|_| self.running.is_none())?;
        let room = self.full().then(|| self.begun.front().map(|at| *at + MINUTE)).flatten();
        Some(room.map_or(*from, |room| room.max(*from)))
    }

    /// The target to look at now, if it is time to; `still` tells how things stand with one. What came of the look has
    /// to be told by [`Scheduler::ended`].
    pub fn next(&mut self, now: Mono, mut still: impl FnMut(TargetId) -> Still) -> Option<TargetId> {
        while self.begun.front().is_some_and(|at| now.since(*at) >= MINUTE) {
            self.begun.pop_front();
        }
        while self.due().is_some_and(|due| due <= now) {
            let (target, _) = self.queue.pop_front()?;
            match still(target) {
                Still::Open => {
                    self.begin(now, target);
                    return Some(target);
                }
                Still::Explained => self.count(Outcome::Explained),
                Still::Recovered => self.count(Outcome::Recovered),
                Still::TooEarly => self.queue.push_back((target, now + SETTLE)),
            }
        }
        None
    }

    /// The look that was under way came to this.
    pub fn ended(&mut self, outcome: Outcome) {
        self.running = None;
        self.count(outcome);
    }

    fn begin(&mut self, now: Mono, target: TargetId) {
        self.running = Some(target);
        self.begun.push_back(now);
        let usual = self.settings.pause;
        // One that was left alone for four times as long begins anew.
        self.past.retain(|_, past| now.since(past.at) < past.pause * 4);
        let pause = self.past.get(&target).map_or(usual, |past| (past.pause * 2).min(usual * LONGEST));
        self.past.insert(target, Past { at: now, pause });
    }

    fn full(&self) -> bool {
        self.begun.len() >= self.settings.per_minute as usize
    }

    fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
