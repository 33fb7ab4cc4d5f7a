use std::{collections::VecDeque, time::Duration};

use super::{Policy, Statistics};
use crate::State;

/// The release after an outage is spread over this part of it …
const SPREAD_PART: u32 = 10;
/// … and this at most.
const SPREAD_MOST: Duration = Duration::from_secs(10);
/// How long a pause outlasts the loss of the agent: one that is started anew has a verdict after 3.5 s.
const GRACE: Duration = Duration::from_secs(10);

/// What is known of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// Up or degraded: worth an attempt.
    Usable,
    /// Down: an attempt would be wasted.
    Unusable,
    /// No agent, or it has no verdict. Nothing waits for it; a pause that an outage began outlasts it by ten seconds.
    #[default]
    Unknown,
}

impl From<State> for Network {
    fn from(state: State) -> Self {
        match state {
            State::Up | State::Degraded => Self::Usable,
            State::Down => Self::Unusable,
            State::Unknown => Self::Unknown,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The work is done.
    Success,
    /// Another attempt may do better.
    Retryable {
        /// The server's wish: not sooner than this after now.
        retry_after: Option<Duration>,
    },
    /// Another attempt would fail the same way.
    Permanent,
}

impl Outcome {
    /// A failure that may pass, with no wish of the server's.
    pub const RETRYABLE: Self = Self::Retryable { retry_after: None };
}

/// What a sleep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pause {
    /// The delay after a failure.
    Backoff,
    /// The network is back, and has to stay for a while ([`Policy::stable`]).
    Stable,
    /// The network is back for good: everybody comes back at a moment of their own ([`Policy::spread`]), and not before
    /// a server's wish.
    Release,
    /// All attempts have failed, the last one so recently that an outage may yet turn out to have cut it
    /// ([`Policy::hindsight`]): the verdict waits for that.
    Hindsight,
}

/// What there is to do now. Times are those of the caller's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start an attempt and say so ([`Engine::attempt_started`]).
    Run {
        /// Its number from 1, refunded ones counted.
        attempt: u32,
    },
    /// Ask again at `until`, or when the network changes.
    Sleep {
        /// When.
        until: Duration,
        /// What for.
        why: Pause,
    },
    /// An outage: ask again when the network changes, or at `until`.
    AwaitNetwork {
        /// When; none: without end.
        until: Option<Duration>,
    },
    /// An attempt is under way. At `until` its time is over, or everybody's is: end it and say so.
    Running {
        /// When; none: without end.
        until: Option<Duration>,
    },
    /// It succeeded.
    Done,
    /// It failed for good.
    GiveUp(GaveUp),
}

/// Why it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GaveUp {
    /// All attempts failed.
    Exhausted,
    /// [`Policy::max_time`] is over, or would be before the next attempt.
    MaxTime,
    /// An error that no other attempt can mend.
    Permanent,
    /// [`Policy::max_time`] is over, and the network is still not back.
    NoNetwork,
    /// The machine's budget of retries is used up.
    NoBudget,
    /// The caller wanted no more.
    Cancelled,
}

impl GaveUp {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Exhausted, Self::MaxTime, Self::Permanent, Self::NoNetwork, Self::NoBudget, Self::Cancelled];

    /// The word for it, as in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::MaxTime => "max_time",
            Self::Permanent => "permanent",
            Self::NoNetwork => "no_network",
            Self::NoBudget => "no_budget",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Decides when to try, when to wait and when to give up. It reads no clock, draws no random number and runs nothing:
/// its caller asks [`step`](Self::step) what to do, and tells what happened.
///
/// Time is a [`Duration`] since any fixed origin, and never goes back: an earlier one counts as the latest told.
///
/// ```
/// use std::time::Duration;
/// use netmon_client::retry::{Engine, Network, Outcome, Pause, Policy, Step};
///
/// let second = Duration::from_secs;
/// let mut engine = Engine::new(Policy::default(), second(0), Network::Usable);
/// assert_eq!(engine.step(second(0), || 0.5), Step::Run { attempt: 1 });
/// engine.attempt_started(second(0));
/// engine.network(second(2), Network::Unusable); // the link is lost …
/// engine.attempt_ended(second(3), Outcome::RETRYABLE); // … and the upload with it
/// assert_eq!(engine.step(second(3), || 0.5), Step::AwaitNetwork { until: Some(second(3600)) });
/// engine.network(second(32), Network::Usable);
/// assert_eq!(engine.step(second(32), || 0.5), Step::Sleep { until: second(37), why: Pause::Stable });
/// // Half of a tenth of thirty seconds.
/// let release = Step::Sleep { until: Duration::from_millis(38_500), why: Pause::Release };
/// assert_eq!(engine.step(second(37), || 0.5), release);
/// assert_eq!(engine.step(second(39), || 0.5), Step::Run { attempt: 2 });
/// assert_eq!(engine.attempts_left(), Some(5), "the one that was cut cost nothing");
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    policy: Policy,
    started: Duration,
    now: Duration,
    network: Network,
    /// From the news of it until its release.
    outage: Option<Outage>,
    phase: Phase,
    /// Failures that were charged.
    failures: u32,
    /// When the latest of these were, as far as an outage could still excuse them.
    recent: VecDeque<Duration>,
    /// A server's wish.
    not_before: Duration,
    statistics: Statistics,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Duration,
    /// How long it had lasted when it was told.
    before: Duration,
    /// When the network came to be other than unusable.
    back: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Idle(Due),
    Running {
        since: Duration,
    },
    /// The attempts are used up, unless news of an outage come by then.
    Exhausting {
        until: Duration,
    },
    Done,
    GaveUp(GaveUp),
}

/// When the next attempt is due, where there is no outage.
#[derive(Clone, Copy, Debug)]
enum Due {
    At {
        at: Duration,
        why: Pause,
    },
    /// After a delay that is yet to be drawn.
    Draw {
        from: Duration,
        retry_after: Option<Duration>,
    },
}

impl Engine {
    /// One operation that begins now, and what is known of the network.
    pub fn new(policy: Policy, now: Duration, network: Network) -> Self {
        let mut engine = Self {
            policy,
            started: now,
            now,
            network: Network::Unknown,
            outage: None,
            phase: Phase::Idle(Due::At { at: now, why: Pause::Backoff }),
            failures: 0,
            recent: VecDeque::new(),
            not_before: now,
            statistics: Statistics::default(),
        };
        engine.network(now, network);
        engine
    }

    /// What to do now. `random` gives a number of 0..=1; it is called when a delay has to be drawn only. Asking again
    /// without news gives the same answer.
    pub fn step(&mut self, now: Duration, random: impl FnMut() -> f64) -> Step {
        self.advance(now);
        match self.phase {
            Phase::Done => Step::Done,
            Phase::GaveUp(why) => Step::GiveUp(why),
            Phase::Running { since } => Step::Running { until: self.attempt_until(since) },
            Phase::Exhausting { until } if self.now < until => Step::Sleep { until, why: Pause::Hindsight },
            Phase::Exhausting { .. } => {
                self.phase = Phase::GaveUp(GaveUp::Exhausted);
                Step::GiveUp(GaveUp::Exhausted)
            }
            Phase::Idle(due) => self.idle(due, random),
        }
    }

    /// Tells what became of the network. Tell it as it happens, while an attempt runs too; an attempt that an outage
    /// cut is known by it.
    pub fn network(&mut self, now: Duration, network: Network) {
        self.advance(now);
        if network == self.network {
            return;
        }
        self.network = network;
        if self.is_over() {
            return;
        }
        match (network, &mut self.outage) {
            (Network::Unusable, Some(outage)) => outage.back = None,
            (Network::Unusable, None) => {
                self.outage = Some(Outage { since: self.now, before: Duration::ZERO, back: None });
                self.statistics.outages += 1;
                self.refund_recent();
                if matches!(self.phase, Phase::Exhausting { .. }) && self.attempts_left() != Some(0) {
                    self.phase = Phase::Idle(Due::Draw { from: self.now, retry_after: None });
                }
            }
            (_, Some(outage)) => outage.back = Some(self.now),
            (_, None) => {}
        }
    }

    /// Tells that the outage had lasted so long already when it was told: its release is spread by its whole length, for
    /// those too who came in late.
    pub fn outage_lasted(&mut self, already: Duration) {
        if let Some(outage) = &mut self.outage {
            outage.before = already;
        }
    }

    /// Tells that the attempt of [`Step::Run`] has begun.
    pub fn attempt_started(&mut self, now: Duration) {
        self.advance(now);
        if let Phase::Idle(_) = self.phase {
            self.phase = Phase::Running { since: self.now };
            self.statistics.attempts += 1;
            self.statistics.blind_attempts += u32::from(self.network == Network::Unknown);
        }
    }

    /// Tells how it ended. True when it was refunded: an outage began within it, and it may be repeated.
    pub fn attempt_ended(&mut self, now: Duration, outcome: Outcome) -> bool {
        self.advance(now);
        if !matches!(self.phase, Phase::Running { .. }) {
            return false;
        }
        let retry_after = match outcome {
            Outcome::Success => {
                self.phase = Phase::Done;
                return false;
            }
            Outcome::Permanent => {
                self.phase = Phase::GaveUp(GaveUp::Permanent);
                return false;
            }
            Outcome::Retryable { retry_after } => retry_after,
        };
        self.not_before = self.now.saturating_add(retry_after.unwrap_or_default());
        // An outage that was before it was over at its release.
        let refunded = self.outage.is_some() && self.refund();
        if !refunded {
            self.failures += 1;
            if retry_after.is_none() {
                // Who is told when to come back has been answered: no outage excuses that.
                self.remember();
            }
        }
        self.phase = if self.attempts_left() != Some(0) || self.past_deadline() {
            Phase::Idle(Due::Draw { from: self.now, retry_after })
        } else if retry_after.is_none() && self.is_excusable() {
            let until = self.now.saturating_add(self.policy.hindsight);
            Phase::Exhausting { until: self.deadline().map_or(until, |deadline| deadline.min(until)) }
        } else {
            Phase::GaveUp(GaveUp::Exhausted)
        };
        refunded
    }

    /// Gives up for a reason of the caller's: cancelled, no budget. What is over stays as it ended.
    pub fn give_up(&mut self, now: Duration, why: GaveUp) {
        self.advance(now);
        if !self.is_over() {
            self.phase = Phase::GaveUp(why);
        }
    }

    /// Attempts that may still fail; none: without end.
    pub fn attempts_left(&self) -> Option<u32> {
        self.policy.attempts.map(|most| most.saturating_sub(self.failures))
    }

    /// When everything has to be over; none: never.
    pub fn deadline(&self) -> Option<Duration> {
        self.policy.max_time.map(|most| self.started.saturating_add(most))
    }

    /// Since when an outage lasts, its release not yet come; none: there is none.
    pub fn outage_since(&self) -> Option<Duration> {
        self.outage.map(|outage| outage.since)
    }

    /// What the network was last told to be.
    pub fn last_network(&self) -> Network {
        self.network
    }

    /// What it follows.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What it came to so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn idle(&mut self, due: Due, mut random: impl FnMut() -> f64) -> Step {
        if self.past_deadline() {
            return self.too_late();
        }
        let mut due = due;
        if let Some(outage) = self.outage {
            let Some(back) = outage.back else { return Step::AwaitNetwork { until: self.deadline() } };
            let usable = self.network == Network::Usable;
            let over = back.saturating_add(if usable { self.policy.stable } else { GRACE });
            if self.now < over {
                return match (usable, self.deadline()) {
                    (true, Some(deadline)) if over >= deadline => self.too_late(),
                    (true, _) => Step::Sleep { until: over, why: Pause::Stable },
                    (false, deadline) => {
                        Step::AwaitNetwork { until: Some(deadline.map_or(over, |d| d.min(over))) }
                    }
                };
            }
            let length = back.saturating_sub(outage.since).saturating_add(outage.before);
            let room = (length / SPREAD_PART).min(SPREAD_MOST);
            let wait =
                if self.policy.spread { room.mul_f64(random().clamp(0.0, 1.0)) } else { Duration::ZERO };
            self.outage = None;
            let at = self.now.saturating_add(wait).max(self.not_before);
            due = Due::At { at, why: Pause::Release };
        }
        let (at, why) = match due {
            Due::At { at, why } => (at, why),
            Due::Draw { from, retry_after } => {
                let delay = self.policy.delay(self.failures, random(), retry_after);
                (from.saturating_add(delay), Pause::Backoff)
            }
        };
        self.phase = Phase::Idle(Due::At { at, why });
        if self.now >= at {
            Step::Run { attempt: self.statistics.attempts + 1 }
        } else if self.deadline().is_some_and(|deadline| at >= deadline) {
            self.too_late()
        } else {
            Step::Sleep { until: at, why }
        }
    }

    fn too_late(&mut self) -> Step {
        // One that was over in good time had the attempt go on: it is the work that took too long.
        let lasts = |outage: Outage| {
            outage.back.is_none_or(|back| self.now < back.saturating_add(self.policy.stable))
        };
        let why = if self.outage.is_some_and(lasts) { GaveUp::NoNetwork } else { GaveUp::MaxTime };
        self.phase = Phase::GaveUp(why);
        Step::GiveUp(why)
    }

    fn attempt_until(&self, since: Duration) -> Option<Duration> {
        let own = self.policy.attempt_timeout.map(|most| since.saturating_add(most));
        match (own, self.deadline()) {
            (Some(own), Some(all)) => Some(own.min(all)),
            (own, all) => own.or(all),
        }
    }

    fn past_deadline(&self) -> bool {
        self.deadline().is_some_and(|deadline| self.now >= deadline)
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::GaveUp(_))
    }

    fn refund(&mut self) -> bool {
        let room = self.statistics.refunds < self.policy.max_refunds;
        self.statistics.refunds += u32::from(room);
        room
    }

    /// Whether an outage that is told of soon may excuse a failure of now.
    fn is_excusable(&self) -> bool {
        let room = self.statistics.refunds < self.policy.max_refunds;
        room && self.outage.is_none() && self.network != Network::Unknown && !self.policy.hindsight.is_zero()
    }

    fn remember(&mut self) {
        if self.policy.max_refunds == 0 || self.network == Network::Unknown {
            return;
        }
        if self.recent.len() >= self.policy.max_refunds as usize {
            self.recent.pop_front();
        }
        self.recent.push_back(self.now);
    }

    /// An outage is known: attempts that it cut before it was known are refunded.
    fn refund_recent(&mut self) {
        let since = self.now.saturating_sub(self.policy.hindsight);
        while let Some(ended) = self.recent.pop_back() {
            if ended < since || !self.refund() {
                break;
            }
            self.failures -= 1;
        }
        self.recent.clear();
    }

    /// Lets time pass up to `now`.
    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        match self.phase {
            Phase::Running { .. } => self.statistics.running += passed,
            Phase::Idle(_) if self.outage.is_some() => self.statistics.paused += passed,
            Phase::Idle(Due::At { why: Pause::Release, .. }) => self.statistics.paused += passed,
            Phase::Idle(_) | Phase::Exhausting { .. } => self.statistics.backed_off += passed,
            Phase::Done | Phase::GaveUp(_) => {}
        }
    }
}
