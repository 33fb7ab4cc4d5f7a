//! What became of each probe. Pure: time comes in as an argument.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::{rtt::RoundTrip, schedule::Key};
use crate::{
    observation::{FailureReason, ProbeOutcome, StampSource},
    time::Mono,
};

/// A turn of the engine later than this makes the time-outs it finds inconclusive (rule R13).
pub(super) const LATE_TURN: Duration = Duration::from_millis(100);
/// For so long after its time-out a probe's answer is still known for a late one.
pub(super) const LATE_ANSWER: Duration = Duration::from_secs(4);

/// A probe's number within this engine, in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Answered,
    /// Given up; an answer would be late.
    GivenUp,
    /// Nothing more is to be said of it.
    Done,
}

#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) key: Key,
    pub(super) seq: u64,
    pub(super) sent: Mono,
    pub(super) timeout: Duration,
    /// Which socket it left by.
    pub(super) method: usize,
    /// Attempts under way: more than one when several ports are tried at once.
    attempts: usize,
    /// It went out several ways; an answer by a second of them is no duplicate.
    racing: bool,
    state: State,
}

impl Probe {
    pub(super) fn new(
        key: Key,
        seq: u64,
        sent: Mono,
        timeout: Duration,
        method: usize,
        attempts: usize,
    ) -> Self {
        Self { key, seq, sent, timeout, method, attempts, racing: attempts > 1, state: State::Waiting }
    }
}

/// The probes under way, and those of the last seconds.
///
/// Tokens run on without gaps, so a queue is the whole index. It is as long as the longest time-out times the rate.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    probes: VecDeque<Probe>,
    first: u64,
    deadlines: BinaryHeap<Reverse<(Mono, Token)>>,
}

impl InFlight {
    /// The token the next probe will have.
    pub(super) fn next_token(&self) -> Token {
        Token(self.first + self.probes.len() as u64)
    }

    pub(super) fn insert(&mut self, probe: Probe) {
        let token = self.next_token();
        self.deadlines.push(Reverse((probe.sent + probe.timeout, token)));
        self.probes.push_back(probe);
    }

    pub(super) fn get(&self, token: Token) -> Option<&Probe> {
        self.probes.get(usize::try_from(token.0.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, token: Token) -> Option<&mut Probe> {
        self.probes.get_mut(usize::try_from(token.0.checked_sub(self.first)?).ok()?)
    }

    /// An answer came: what is to be said, in order. `answered` is the highest number this lane has had answered.
    pub(super) fn reply(
        &mut self,
        token: Token,
        trip: RoundTrip,
        ttl: Option<u8>,
        answered: &mut u64,
    ) -> Vec<ProbeOutcome> {
        let Some(probe) = self.get_mut(token) else { return Vec::new() };
        let RoundTrip { rtt, source, .. } = trip;
        match probe.state {
            // The kernel's stamp tells a late answer from one that was read late; the engine's own clock does not.
            State::Waiting if rtt > probe.timeout && source != StampSource::User => {
                probe.state = State::Answered;
                vec![
                    ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None },
                    ProbeOutcome::Late { rtt },
                ]
            }
            State::Waiting => {
                probe.state = State::Answered;
                let reordered = probe.seq < *answered;
                *answered = probe.seq.max(*answered);
                vec![ProbeOutcome::Reply { rtt, stamp: source, ttl, reordered }]
            }
            State::GivenUp => {
                probe.state = State::Answered;
                vec![ProbeOutcome::Late { rtt }]
            }
            State::Answered if !probe.racing => vec![ProbeOutcome::Duplicate],
            State::Answered | State::Done => Vec::new(),
        }
    }

    /// An attempt failed; whether that was the last one, and the probe with it.
    pub(super) fn fail(&mut self, token: Token) -> bool {
        let Some(probe) = self.get_mut(token) else { return false };
        if probe.state != State::Waiting {
            return false;
        }
        probe.attempts = probe.attempts.saturating_sub(1);
        if probe.attempts == 0 {
            probe.state = State::GivenUp;
        }
        probe.attempts == 0
    }

    /// Takes a probe whose time is up at `now`. To be asked only when every socket has been read since `now`.
    pub(super) fn expire(&mut self, now: Mono) -> Option<Token> {
        let Reverse((_, token)) = self.deadlines.peek().filter(|Reverse((at, _))| *at <= now).copied()?;
        self.deadlines.pop();
        match self.get_mut(token) {
            Some(probe) if probe.state == State::Waiting => {
                probe.state = State::GivenUp;
                Some(token)
            }
            _ => self.expire(now),
        }
    }

    /// When the next time is up.
    pub(super) fn next_deadline(&mut self) -> Option<Mono> {
        while let Some(Reverse((at, token))) = self.deadlines.peek().copied() {
            if self.get(token).is_some_and(|p| p.state == State::Waiting) {
                return Some(at);
            }
            self.deadlines.pop();
        }
        None
    }

    /// Drops from memory what is settled and too old to be answered; the time the oldest one left was sent.
    pub(super) fn forget(&mut self, now: Mono) -> Mono {
        while let Some(probe) = self.probes.front() {
            if probe.state == State::Waiting || probe.sent + probe.timeout + LATE_ANSWER > now {
                return probe.sent;
            }
            self.probes.pop_front();
            self.first += 1;
        }
        now
    }

    /// Says nothing more of the probes of lanes that are gone.
    pub(super) fn abandon(&mut self, mut gone: impl FnMut(&Key) -> bool) -> Vec<Token> {
        let mut out = Vec::new();
        for (i, probe) in self.probes.iter_mut().enumerate() {
            if probe.state != State::Done && gone(&probe.key) {
                if probe.state == State::Waiting {
                    out.push(Token(self.first + i as u64));
                }
                probe.state = State::Done;
            }
        }
        out
    }
}

/// What a time-out proves (rule R13): nothing, when the engine itself ran late or its socket lost datagrams meanwhile.
pub(super) fn judge_timeout(lag: Duration, datagrams_lost: bool) -> ProbeOutcome {
    if lag > LATE_TURN || datagrams_lost {
        ProbeOutcome::Inconclusive { lag }
    } else {
        ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::observation::TargetId;

    const T0: Mono = Mono::from_nanos(1_000_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn key(id: u32) -> Key {
        (TargetId(id), IpAddr::from([10, 0, 0, 1]))
    }

    fn send(flight: &mut InFlight, seq: u64, sent: Mono, attempts: usize) -> Token {
        let token = flight.next_token();
        flight.insert(Probe::new(key(1), seq, sent, SECOND, 0, attempts));
        token
    }

    fn trip(ms: u64, source: StampSource) -> RoundTrip {
        RoundTrip { rtt: Duration::from_millis(ms), source, stepped: false }
    }

    #[test]
    fn a_reply_then_duplicates() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 1);
        let reply = flight.reply(token, trip(5, StampSource::Kernel), Some(64), &mut answered);
        assert_eq!(
            reply,
            [ProbeOutcome::Reply {
                rtt: Duration::from_millis(5),
                stamp: StampSource::Kernel,
                ttl: Some(64),
                reordered: false
            }]
        );
        for _ in 0..2 {
            let again = flight.reply(token, trip(6, StampSource::Kernel), None, &mut answered);
            assert_eq!(again, [ProbeOutcome::Duplicate]);
        }
        assert_eq!((flight.next_deadline(), flight.expire(T0 + SECOND * 2)), (None, None));
    }

    #[test]
    fn a_time_out_then_a_late_answer_then_a_duplicate() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 1);
        assert_eq!(flight.next_deadline(), Some(T0 + SECOND));
        assert_eq!(flight.expire(T0 + SECOND), Some(token));
        let late = flight.reply(token, trip(1200, StampSource::Kernel), None, &mut answered);
        assert_eq!(late, [ProbeOutcome::Late { rtt: Duration::from_millis(1200) }]);
        let again = flight.reply(token, trip(1300, StampSource::Kernel), None, &mut answered);
        assert_eq!(again, [ProbeOutcome::Duplicate]);
    }

    #[test]
    fn an_answer_that_waited_in_the_buffer_is_in_time_by_its_stamp() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let in_time = send(&mut flight, 1, T0, 1);
        let too_late = send(&mut flight, 2, T0, 1);
        assert!(matches!(
            flight.reply(in_time, trip(900, StampSource::Kernel), None, &mut answered)[..],
            [ProbeOutcome::Reply { .. }]
        ));
        assert!(matches!(
            flight.reply(too_late, trip(1100, StampSource::Kernel), None, &mut answered)[..],
            [ProbeOutcome::Failed { reason: FailureReason::Timeout, .. }, ProbeOutcome::Late { .. }]
        ));
        assert_eq!(flight.expire(T0 + SECOND * 2), None);
    }

    #[test]
    fn an_answer_read_late_without_a_stamp_is_not_called_late() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 1);
        let outcome = flight.reply(token, trip(1500, StampSource::User), None, &mut answered);
        assert!(matches!(outcome[..], [ProbeOutcome::Reply { .. }]));
    }

    #[test]
    fn an_earlier_probes_answer_after_a_later_ones_is_reordered() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let first = send(&mut flight, 1, T0, 1);
        let second = send(&mut flight, 2, T0, 1);
        flight.reply(second, trip(5, StampSource::Kernel), None, &mut answered);
        let outcome = flight.reply(first, trip(9, StampSource::Kernel), None, &mut answered);
        assert!(matches!(outcome[..], [ProbeOutcome::Reply { reordered: true, .. }]));
    }

    #[test]
    fn a_probe_fails_with_its_last_attempt() {
        let mut flight = InFlight::default();
        let token = send(&mut flight, 1, T0, 2);
        assert!(!flight.fail(token));
        assert!(flight.fail(token));
        assert!(!flight.fail(token));
        assert_eq!(flight.expire(T0 + SECOND), None);
    }

    #[test]
    fn the_second_of_several_ports_to_answer_is_no_duplicate() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 2);
        assert_eq!(flight.reply(token, trip(5, StampSource::User), None, &mut answered).len(), 1);
        assert_eq!(flight.reply(token, trip(6, StampSource::User), None, &mut answered), []);
    }

    #[test]
    fn what_is_old_and_settled_is_forgotten_and_what_waits_is_not() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let old = send(&mut flight, 1, T0, 1);
        let waiting = send(&mut flight, 2, T0 + SECOND, 1);
        flight.expire(T0 + SECOND);
        assert_eq!(flight.forget(T0 + SECOND * 60), T0 + SECOND);
        assert_eq!(flight.reply(old, trip(5, StampSource::Kernel), None, &mut answered), []);
        assert_eq!(flight.expire(T0 + SECOND * 2), Some(waiting));
        assert_eq!(flight.next_token(), Token(2));
    }

    #[test]
    fn nothing_is_said_of_an_abandoned_probe() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 1);
        assert_eq!(flight.abandon(|k| *k == key(2)), []);
        assert_eq!(flight.abandon(|k| *k == key(1)), [token]);
        assert_eq!(flight.reply(token, trip(5, StampSource::Kernel), None, &mut answered), []);
        assert_eq!((flight.expire(T0 + SECOND * 9), flight.next_deadline()), (None, None));
    }

    #[test]
    fn a_time_out_found_late_or_after_drops_proves_nothing() {
        let failed = ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None };
        assert_eq!(judge_timeout(Duration::from_millis(100), false), failed);
        let lag = Duration::from_millis(101);
        assert_eq!(judge_timeout(lag, false), ProbeOutcome::Inconclusive { lag });
        assert_eq!(judge_timeout(Duration::ZERO, true), ProbeOutcome::Inconclusive { lag: Duration::ZERO });
    }
}
