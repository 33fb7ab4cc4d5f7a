//! When a connection is made, looked at and given up: a pure function of what was heard and of the time. The rules stand
//! in the documentation of [`super`].

use std::{collections::VecDeque, time::Duration};

use super::{
    options::SuperviseOptions,
    record::{ConnectionSnapshot, Record},
};
use crate::{State, wire::ConnectionState};

/// Longest time over which the attempts after an outage are spread.
const MAX_SPREAD: Duration = Duration::from_secs(10);
/// The same as a part of the outage: one tenth.
const SPREAD_DIVISOR: u32 = 10;
/// How long the pause of an outage outlasts the loss of the agent: one that is started anew has a verdict after 3.5 s.
const GRACE: Duration = Duration::from_secs(10);
/// From one attempt to the next at least, whatever happens to the network.
const GAP: Duration = Duration::from_millis(250);
/// From a check that failed to the next, and from any check to one that news of the network ask for.
const RECHECK: Duration = Duration::from_secs(1);
/// Most failures that are kept to be refunded.
const MAX_RECENT: usize = 64;

/// What the machine is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    /// Time has passed.
    Wake,
    /// The network's state.
    Network(State),
    /// What the attempt came to.
    Connected(u64, Result<(), String>),
    /// What the check came to.
    Checked(u64, Result<(), String>),
    /// The connection does not work, says who uses it.
    Broken(String),
    /// Nobody wants it any more.
    Stop,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Begin(Call),
    /// The connection is over.
    Drop,
}

/// A call of the program's code. They are numbered; an answer to one that is no longer awaited is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Connect(u64),
    Check(u64),
}

impl Call {
    /// What it came to, as the machine is told.
    pub(super) fn ended(self, outcome: Result<(), String>) -> Input {
        match self {
            Self::Connect(call) => Input::Connected(call, outcome),
            Self::Check(call) => Input::Checked(call, outcome),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Machine {
    options: SuperviseOptions,
    network: State,
    phase: Phase,
    /// When the outage began that is not known to be over.
    outage: Option<Duration>,
    /// Until a check has passed after an outage: when a new attempt may begin, should there have to be one.
    resume: Option<Duration>,
    /// Since the connection last worked, without those refunded.
    attempts: u32,
    /// In a row; what the delay grows by.
    failures: u32,
    refunds: u32,
    /// When failures were that an outage may yet turn out to have caused.
    recent: VecDeque<Duration>,
    last_attempt: Option<Duration>,
    next_call: u64,
    record: Record,
    tasks: VecDeque<Task>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// For the time of the next attempt.
    Waiting(Duration),
    /// `cut`: the network went down meanwhile.
    Connecting {
        call: u64,
        started: Duration,
        cut: bool,
    },
    Held(Held),
    GaveUp,
    Stopped,
}

#[derive(Clone, Debug, PartialEq)]
struct Held {
    /// A check has passed.
    proven: bool,
    /// Checks that failed in a row.
    bad: u32,
    /// When it was last heard of.
    looked: Duration,
    check: Check,
}

#[derive(Clone, Debug, PartialEq)]
enum Check {
    Due(Duration),
    Running { call: u64, started: Duration, deadline: Duration },
}

impl Machine {
    /// A connection that is to be made at once. Times are since any moment before.
    pub(super) fn new(now: Duration, options: SuperviseOptions, network: State) -> Self {
        Self {
            options,
            network,
            phase: Phase::Waiting(now),
            outage: (network == State::Down).then_some(now),
            resume: None,
            attempts: 0,
            failures: 0,
            refunds: 0,
            recent: VecDeque::new(),
            last_attempt: None,
            next_call: 0,
            record: Record::new(now),
            tasks: VecDeque::new(),
        }
    }

    /// Takes something in; whether the connection's state is another now. `random` is uniform in 0..=1.
    pub(super) fn handle(&mut self, now: Duration, random: f64, input: Input) -> bool {
        match input {
            Input::Network(state) => self.network(now, random, state),
            Input::Connected(call, outcome) if self.awaited() == Some(Call::Connect(call)) => {
                self.connected(now, random, outcome)
            }
            Input::Checked(call, outcome) if self.awaited() == Some(Call::Check(call)) => {
                self.checked(now, random, outcome)
            }
            Input::Broken(error) if matches!(self.phase, Phase::Held(_)) => self.lose(now, random, error),
            Input::Stop => self.stop(now),
            Input::Wake | Input::Connected(..) | Input::Checked(..) | Input::Broken(_) => {}
        }
        self.due(now, random);
        self.record.state(now, self.state())
    }

    /// The next thing to do.
    pub(super) fn poll_task(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    /// When to wake it at the latest; none while nothing comes by time alone.
    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.network == State::Down {
            return None;
        }
        match &self.phase {
            Phase::Waiting(due) => Some(*due),
            Phase::Connecting { started, .. } => {
                self.options.policy.attempt_timeout.map(|most| started.saturating_add(most))
            }
            Phase::Held(Held { check: Check::Due(due), .. }) => Some(*due),
            Phase::Held(Held { check: Check::Running { deadline, .. }, .. }) => Some(*deadline),
            Phase::GaveUp | Phase::Stopped => None,
        }
    }

    /// The call whose answer still counts.
    pub(super) fn awaited(&self) -> Option<Call> {
        match self.phase {
            Phase::Connecting { call, .. } => Some(Call::Connect(call)),
            Phase::Held(Held { check: Check::Running { call, .. }, .. }) => Some(Call::Check(call)),
            _ => None,
        }
    }

    pub(super) fn state(&self) -> ConnectionState {
        match &self.phase {
            // What the network takes away is no error of the connection.
            Phase::Waiting(_) if self.failures == 0 || self.network == State::Down => {
                ConnectionState::Disconnected
            }
            Phase::Waiting(_) | Phase::GaveUp => ConnectionState::Error,
            Phase::Connecting { .. } => ConnectionState::Connecting,
            Phase::Held(_) => ConnectionState::Connected,
            Phase::Stopped => ConnectionState::Stopped,
        }
    }

    /// Whether the attempts are used up.
    pub(super) fn gave_up(&self) -> bool {
        self.phase == Phase::GaveUp
    }

    /// What is known of it, but for its name.
    pub(super) fn snapshot(&self, now: Duration) -> ConnectionSnapshot {
        let waiting = match self.phase {
            Phase::Waiting(due) => Some(due.saturating_sub(now)),
            _ => None,
        };
        let down = self.network == State::Down;
        ConnectionSnapshot {
            network: self.network,
            paused: down && waiting.is_some(),
            attempts: self.attempts,
            next_attempt: waiting.filter(|_| !down),
            gave_up: self.gave_up(),
            ..self.record.snapshot(now)
        }
    }

    /// Does what the time asks for.
    fn due(&mut self, now: Duration, random: f64) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let call = self.next_call;
        match &mut self.phase {
            Phase::Waiting(_) => {
                self.phase = Phase::Connecting { call, started: now, cut: false };
                self.attempts = self.attempts.saturating_add(1);
                self.record.attempts_total += 1;
                self.last_attempt = Some(now);
                self.next_call += 1;
                self.tasks.push_back(Task::Begin(Call::Connect(call)));
            }
            Phase::Connecting { started, cut, .. } => {
                let (took, cut) = (now.saturating_sub(*started), *cut);
                self.attempt_failed(
                    now,
                    random,
                    format!("no connection after {:.1} s", took.as_secs_f64()),
                    cut,
                );
            }
            Phase::Held(held) => match held.check {
                Check::Due(_) => {
                    let strict = self.network == State::Degraded || self.resume.is_some();
                    let most = if strict { self.options.slow_check } else { self.options.check_timeout };
                    held.check = Check::Running { call, started: now, deadline: now.saturating_add(most) };
                    self.next_call += 1;
                    self.tasks.push_back(Task::Begin(Call::Check(call)));
                }
                Check::Running { started, .. } => {
                    let took = now.saturating_sub(started);
                    self.record.check_failed();
                    self.lose(
                        now,
                        random,
                        format!("no answer to a health check for {:.1} s", took.as_secs_f64()),
                    );
                }
            },
            Phase::GaveUp | Phase::Stopped => {}
        }
    }

    fn network(&mut self, now: Duration, random: f64, state: State) {
        let before = std::mem::replace(&mut self.network, state);
        match (before, state) {
            (before, state) if before == state => {}
            (_, State::Down) => self.outage_began(now),
            (State::Down, State::Unknown) => {
                // Nothing tells that the outage is over: an agent that is started anew is waited for, and what was held
                // up has its time.
                let grace = now.saturating_add(GRACE);
                let slow = self.options.slow_check;
                match &mut self.phase {
                    Phase::Waiting(due) => *due = (*due).max(grace),
                    Phase::Held(Held { check: Check::Running { deadline, .. }, .. }) => {
                        *deadline = (*deadline).max(now.saturating_add(slow));
                    }
                    _ => {}
                }
            }
            (_, State::Unknown) => {}
            (before, state) => match self.outage.take() {
                Some(began) => self.recovered(now, random, now.saturating_sub(began)),
                None if state == State::Degraded || before == State::Unknown => self.look_soon(now),
                None => {}
            },
        }
    }

    fn outage_began(&mut self, now: Duration) {
        self.outage.get_or_insert(now);
        self.resume = None;
        if let Phase::Connecting { cut, .. } = &mut self.phase {
            *cut = true;
        }
        // Silence is known to be an outage only after some lost probes: what failed meanwhile, failed of it.
        let hindsight = self.options.policy.hindsight;
        let of_outage = self.recent.iter().filter(|at| now.saturating_sub(**at) <= hindsight).count();
        self.recent.clear();
        let refunded = (0..of_outage).filter(|_| self.refund()).count() as u32;
        self.failures = self.failures.saturating_sub(refunded);
        if self.phase == Phase::GaveUp && refunded > 0 {
            self.phase = Phase::Waiting(now);
        }
    }

    fn recovered(&mut self, now: Duration, random: f64, outage: Duration) {
        let spread = if self.options.policy.spread {
            (outage / SPREAD_DIVISOR).min(MAX_SPREAD)
        } else {
            Duration::ZERO
        };
        let resume = now.saturating_add(spread.mul_f64(random.clamp(0.0, 1.0)));
        match &mut self.phase {
            Phase::Waiting(_) => self.wait_until(resume),
            // Its packets are sent again ever more seldom; a new attempt is sooner there.
            Phase::Connecting { cut: true, .. } => self.outage_did(now, random, resume),
            Phase::Held(held) => {
                self.resume = Some(resume);
                if let Check::Running { started, deadline, .. } = &mut held.check {
                    // The outage is no time that it had.
                    (*started, *deadline) = (now, now.saturating_add(self.options.slow_check));
                }
                self.look_soon(now);
            }
            Phase::Connecting { .. } | Phase::GaveUp | Phase::Stopped => {}
        }
    }

    /// Has the connection checked at once. One that is being checked has less time in a degraded network.
    fn look_soon(&mut self, now: Duration) {
        let Phase::Held(held) = &mut self.phase else { return };
        match &mut held.check {
            Check::Due(due) => *due = (*due).min(now.max(held.looked.saturating_add(RECHECK))),
            Check::Running { started, deadline, .. } if self.network == State::Degraded => {
                *deadline = (*deadline).min(now.max(started.saturating_add(self.options.slow_check)));
            }
            Check::Running { .. } => {}
        }
    }

    fn connected(&mut self, now: Duration, random: f64, outcome: Result<(), String>) {
        let cut = matches!(self.phase, Phase::Connecting { cut: true, .. });
        match outcome {
            Ok(()) => {
                let check = Check::Due(now.saturating_add(self.options.check_interval));
                self.phase = Phase::Held(Held { proven: false, bad: 0, looked: now, check });
                self.record.connected(now);
            }
            Err(error) => self.attempt_failed(now, random, error, cut),
        }
    }

    fn attempt_failed(&mut self, now: Duration, random: f64, error: String, cut: bool) {
        self.record.error(now, error);
        if (cut || self.network == State::Down) && self.refund() {
            let pause = self.options.policy.delay(self.failures.max(1), random, None);
            self.wait_until(now.saturating_add(pause));
        } else {
            self.failed(now, random);
        }
    }

    /// An outage made the attempt fail: the next one is due then, at no charge if that may be.
    fn outage_did(&mut self, now: Duration, random: f64, due: Duration) {
        if !self.refund() {
            self.failed(now, random);
        }
        if self.phase != Phase::GaveUp {
            self.wait_until(due);
        }
    }

    /// One more failure, and a longer pause or the end of it.
    fn failed(&mut self, now: Duration, random: f64) {
        self.failures = self.failures.saturating_add(1);
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.options.policy.attempts.is_some_and(|most| self.attempts >= most) {
            self.phase = Phase::GaveUp;
        } else {
            let pause = self.options.policy.delay(self.failures, random, None);
            self.wait_until(now.saturating_add(pause));
        }
    }

    fn checked(&mut self, now: Duration, random: f64, outcome: Result<(), String>) {
        let strict = matches!(self.network, State::Degraded | State::Down) || self.resume.is_some();
        let Phase::Held(held) = &mut self.phase else { return };
        let Check::Running { started, .. } = held.check else { return };
        held.looked = now;
        match outcome {
            Ok(()) => {
                (held.proven, held.bad) = (true, 0);
                held.check = Check::Due(now.saturating_add(self.options.check_interval));
                self.record.checked(now, now.saturating_sub(started));
                (self.attempts, self.failures, self.refunds) = (0, 0, 0);
                self.recent.clear();
                self.resume = None;
            }
            Err(error) => {
                self.record.check_failed();
                held.bad += 1;
                if strict || held.bad >= self.options.check_failures {
                    self.lose(now, random, error);
                } else {
                    held.check = Check::Due(now.saturating_add(RECHECK.min(self.options.check_interval)));
                    self.record.error(now, error);
                }
            }
        }
    }

    fn lose(&mut self, now: Duration, random: f64, error: String) {
        let Phase::Held(Held { proven, .. }) = self.phase else { return };
        self.tasks.push_back(Task::Drop);
        self.record.over(now, true);
        self.record.error(now, error);
        match self.resume.take() {
            // Until the network is back, which sets another time.
            None if self.network == State::Down && !proven => self.outage_did(now, random, now),
            None if self.network == State::Down => self.wait_until(now),
            Some(resume) if !proven => self.outage_did(now, random, resume),
            Some(resume) => self.wait_until(resume),
            None if self.network == State::Degraded && proven => self.wait_until(now),
            None => self.failed(now, random),
        }
    }

    fn stop(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Held(_)) {
            self.tasks.push_back(Task::Drop);
            self.record.over(now, false);
        }
        self.phase = Phase::Stopped;
    }

    fn wait_until(&mut self, due: Duration) {
        let earliest = self.last_attempt.map_or(Duration::ZERO, |last| last.saturating_add(GAP));
        self.phase = Phase::Waiting(due.max(earliest));
    }

    /// Gives an attempt back that an outage has cut; not if too many were.
    fn refund(&mut self) -> bool {
        let may = self.refunds < self.options.policy.max_refunds;
        if may {
            self.refunds += 1;
            self.attempts = self.attempts.saturating_sub(1);
        }
        may
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
