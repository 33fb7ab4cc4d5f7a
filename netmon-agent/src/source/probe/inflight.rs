//! What became of each probe. Pure: time comes in as an argument.

use std::{collections::VecDeque, time::Duration};

use super::{rtt::RoundTrip, schedule::LaneId, wheel::Wheel};
use crate::{
    observation::{FailureReason, ProbeOutcome, StampSource},
    time::Mono,
};

/// A turn of the engine later than this makes the time-outs it finds inconclusive (rule R13).
pub(super) const LATE_TURN: Duration = Duration::from_millis(100);
/// For so long after its time-out a probe's answer is still known for a late one.
pub(super) const LATE_ANSWER: Duration = Duration::from_secs(4);
/// Probes remembered at most, unless the oldest of more still waits: five seconds of 200,000 a second.
pub(super) const REMEMBERED: usize = 1 << 20;

/// A probe's number within this engine, in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token(pub(super) u64);

/// Second answers to one probe, and damaged ones, that are told at most.
const SPARE: u8 = 8;

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
    pub(super) lane: LaneId,
    pub(super) seq: u64,
    pub(super) sent: Mono,
    pub(super) timeout: Duration,
    /// The place of the prober that sent it.
    pub(super) place: u16,
    /// Attempts under way: more than one when several ports are tried at once.
    attempts: u8,
    /// It went out several ways; an answer by a second of them is no duplicate.
    racing: bool,
    /// Answers beside the one that is wanted.
    spare: u8,
    state: State,
}

impl Probe {
    pub(super) fn new(
        lane: LaneId,
        seq: u64,
        sent: Mono,
        timeout: Duration,
        place: u16,
        attempts: usize,
    ) -> Self {
        let few = attempts.min(255) as u8;
        let (racing, state) = (attempts > 1, State::Waiting);
        Self { lane, seq, sent, timeout, place, attempts: few, racing, spare: 0, state }
    }

    /// Whether nothing is known of it yet.
    pub(super) fn waits(&self) -> bool {
        self.state == State::Waiting
    }
}

/// What is to be said of an answer, in order.
pub(super) type Said = [Option<ProbeOutcome>; 2];

/// The probes under way, and those of the last seconds.
///
/// Tokens run on without gaps, so a queue is the whole index. It is as long as the longest time-out times the rate. The
/// wheel, which wants small numbers, knows a token by its lowest bits: as many as tell those in the queue apart.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    probes: VecDeque<Probe>,
    first: u64,
    deadlines: Wheel,
    mask: u64,
}

impl InFlight {
    /// The token the next probe will have.
    pub(super) fn next_token(&self) -> Token {
        Token(self.first + self.probes.len() as u64)
    }

    pub(super) fn insert(&mut self, probe: Probe) {
        if self.probes.len() as u64 > self.mask {
            self.widen();
        }
        let id = self.id(self.next_token());
        self.deadlines.set(id, probe.sent + probe.timeout);
        self.probes.push_back(probe);
    }

    fn widen(&mut self) {
        self.mask = (self.mask + 1) * 2 - 1;
        self.deadlines = Wheel::default();
        for (probe, token) in self.probes.iter().zip(self.first..).filter(|(p, _)| p.state == State::Waiting)
        {
            self.deadlines.set((token & self.mask) as u32, probe.sent + probe.timeout);
        }
    }

    fn id(&self, token: Token) -> u32 {
        (token.0 & self.mask) as u32
    }

    fn token(&self, id: u32) -> Token {
        Token(self.first + (u64::from(id).wrapping_sub(self.first) & self.mask))
    }

    pub(super) fn get(&self, token: Token) -> Option<&Probe> {
        self.probes.get(usize::try_from(token.0.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, token: Token) -> Option<&mut Probe> {
        self.probes.get_mut(usize::try_from(token.0.checked_sub(self.first)?).ok()?)
    }

    /// An answer came: what is to be said. `answered` is the highest number this lane has had answered.
    pub(super) fn reply(
        &mut self,
        token: Token,
        trip: RoundTrip,
        ttl: Option<u8>,
        answered: &mut u64,
    ) -> Said {
        let id = self.id(token);
        let Some(probe) = self.get_mut(token) else { return [None, None] };
        let RoundTrip { rtt, source, .. } = trip;
        let was = probe.state;
        if matches!(was, State::Waiting | State::GivenUp) {
            probe.state = State::Answered;
        }
        let said = match was {
            // The kernel's stamp tells a late answer from one that was read late; the engine's own clock does not.
            State::Waiting if rtt > probe.timeout && source != StampSource::User => [
                Some(ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None }),
                Some(ProbeOutcome::Late { rtt }),
            ],
            State::Waiting => {
                let reordered = probe.seq < *answered;
                *answered = probe.seq.max(*answered);
                [Some(ProbeOutcome::Reply { rtt, stamp: source, ttl, reordered }), None]
            }
            State::GivenUp => [Some(ProbeOutcome::Late { rtt }), None],
            State::Answered if !probe.racing => [Some(ProbeOutcome::Duplicate), None],
            State::Answered | State::Done => [None, None],
        };
        if was == State::Waiting {
            self.deadlines.remove(id);
        }
        said
    }

    /// One more answer came beside the one that is wanted; whether it is to be told still. A peer, or who forges its
    /// address, may send any number, and each that is told takes its place in the core's queue.
    pub(super) fn tells_spare(&mut self, token: Token) -> bool {
        let Some(probe) = self.get_mut(token) else { return false };
        probe.spare = probe.spare.saturating_add(1);
        probe.spare <= SPARE
    }

    /// An attempt failed; whether that was the last one, and the probe with it.
    pub(super) fn fail(&mut self, token: Token) -> bool {
        let id = self.id(token);
        let Some(probe) = self.get_mut(token) else { return false };
        if probe.state != State::Waiting {
            return false;
        }
        probe.attempts = probe.attempts.saturating_sub(1);
        let last = probe.attempts == 0;
        if last {
            probe.state = State::GivenUp;
            self.deadlines.remove(id);
        }
        last
    }

    /// Takes a probe whose time is up at `now`. To be asked only when every socket has been read since `now`.
    pub(super) fn expire(&mut self, now: Mono) -> Option<Token> {
        let (id, _) = self.deadlines.pop(now)?;
        let token = self.token(id);
        self.get_mut(token)?.state = State::GivenUp;
        Some(token)
    }

    /// When the next time is up.
    pub(super) fn next_deadline(&mut self) -> Option<Mono> {
        self.deadlines.next()
    }

    /// Drops from memory what is settled and too old to be answered; the time the oldest one left was sent.
    pub(super) fn forget(&mut self, now: Mono) -> Mono {
        while let Some(probe) = self.probes.front() {
            let recent = probe.sent + probe.timeout + LATE_ANSWER > now && self.probes.len() <= REMEMBERED;
            if probe.state == State::Waiting || recent {
                return probe.sent;
            }
            self.probes.pop_front();
            self.first += 1;
        }
        now
    }

    /// Says nothing more of the probes of lanes that are gone.
    pub(super) fn abandon(&mut self, mut gone: impl FnMut(LaneId) -> bool) -> Vec<Token> {
        let mut out = Vec::new();
        for (probe, token) in self.probes.iter_mut().zip(self.first..) {
            if probe.state != State::Done && gone(probe.lane) {
                if probe.state == State::Waiting {
                    self.deadlines.remove((token & self.mask) as u32);
                    out.push(Token(token));
                }
                probe.state = State::Done;
            }
        }
        out
    }
}

/// What a time-out proves (rule R13): nothing, when the engine itself ran late or its socket lost datagrams meanwhile.
pub(super) fn judge_timeout(lag: Duration, datagrams_lost: bool) -> ProbeOutcome {
    if proves_nothing(lag, datagrams_lost) {
        ProbeOutcome::Inconclusive { lag }
    } else {
        ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None }
    }
}

/// Whether a time-out found so late, or after such drops, is no evidence.
pub(super) fn proves_nothing(lag: Duration, datagrams_lost: bool) -> bool {
    lag > LATE_TURN || datagrams_lost
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Mono = Mono::from_nanos(1_000_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn said(outcomes: Said) -> Vec<ProbeOutcome> {
        outcomes.into_iter().flatten().collect()
    }

    fn send(flight: &mut InFlight, seq: u64, sent: Mono, attempts: usize) -> Token {
        let token = flight.next_token();
        flight.insert(Probe::new(LaneId::of_test(1), seq, sent, SECOND, 0, attempts));
        token
    }

    fn trip(ms: u64, source: StampSource) -> RoundTrip {
        RoundTrip { rtt: Duration::from_millis(ms), source, stepped: false }
    }

    #[test]
    fn a_reply_then_duplicates() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 1);
        let reply = said(flight.reply(token, trip(5, StampSource::Kernel), Some(64), &mut answered));
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
            let again = said(flight.reply(token, trip(6, StampSource::Kernel), None, &mut answered));
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
        let late = said(flight.reply(token, trip(1200, StampSource::Kernel), None, &mut answered));
        assert_eq!(late, [ProbeOutcome::Late { rtt: Duration::from_millis(1200) }]);
        let again = said(flight.reply(token, trip(1300, StampSource::Kernel), None, &mut answered));
        assert_eq!(again, [ProbeOutcome::Duplicate]);
    }

    #[test]
    fn an_answer_that_waited_in_the_buffer_is_in_time_by_its_stamp() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let in_time = send(&mut flight, 1, T0, 1);
        let too_late = send(&mut flight, 2, T0, 1);
        assert!(matches!(
            said(flight.reply(in_time, trip(900, StampSource::Kernel), None, &mut answered))[..],
            [ProbeOutcome::Reply { .. }]
        ));
        assert!(matches!(
            said(flight.reply(too_late, trip(1100, StampSource::Kernel), None, &mut answered))[..],
            [ProbeOutcome::Failed { reason: FailureReason::Timeout, .. }, ProbeOutcome::Late { .. }]
        ));
        assert_eq!(flight.expire(T0 + SECOND * 2), None);
    }

    #[test]
    fn an_answer_read_late_without_a_stamp_is_not_called_late() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 1);
        let outcome = said(flight.reply(token, trip(1500, StampSource::User), None, &mut answered));
        assert!(matches!(outcome[..], [ProbeOutcome::Reply { .. }]));
    }

    #[test]
    fn an_earlier_probes_answer_after_a_later_ones_is_reordered() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let first = send(&mut flight, 1, T0, 1);
        let second = send(&mut flight, 2, T0, 1);
        said(flight.reply(second, trip(5, StampSource::Kernel), None, &mut answered));
        let outcome = said(flight.reply(first, trip(9, StampSource::Kernel), None, &mut answered));
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
        assert_eq!(said(flight.reply(token, trip(5, StampSource::User), None, &mut answered)).len(), 1);
        assert_eq!(said(flight.reply(token, trip(6, StampSource::User), None, &mut answered)), []);
    }

    #[test]
    fn what_is_old_and_settled_is_forgotten_and_what_waits_is_not() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let old = send(&mut flight, 1, T0, 1);
        let waiting = send(&mut flight, 2, T0 + SECOND, 1);
        flight.expire(T0 + SECOND);
        assert_eq!(flight.forget(T0 + SECOND * 60), T0 + SECOND);
        assert_eq!(said(flight.reply(old, trip(5, StampSource::Kernel), None, &mut answered)), []);
        assert_eq!(flight.expire(T0 + SECOND * 2), Some(waiting));
        assert_eq!(flight.next_token(), Token(2));
    }

    #[test]
    fn nothing_is_said_of_an_abandoned_probe() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let token = send(&mut flight, 1, T0, 1);
        assert_eq!(flight.abandon(|lane| lane == LaneId::of_test(2)), []);
        assert_eq!(flight.abandon(|lane| lane == LaneId::of_test(1)), [token]);
        assert_eq!(said(flight.reply(token, trip(5, StampSource::Kernel), None, &mut answered)), []);
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

    #[test]
    fn a_hundred_thousand_under_way_are_told_apart_and_time_out_in_turn() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let at = |i: u64| T0 + Duration::from_micros(i * 10);
        let tokens: Vec<_> = (0..100_000).map(|i| send(&mut flight, i + 1, at(i), 1)).collect();
        for token in tokens.iter().skip(1).step_by(2) {
            assert_eq!(
                said(flight.reply(*token, trip(5, StampSource::Kernel), None, &mut answered)).len(),
                1
            );
        }
        assert_eq!(flight.next_deadline(), Some(T0 + SECOND));
        let mut expired: Vec<_> = std::iter::from_fn(|| flight.expire(T0 + SECOND * 3)).collect();
        expired.sort_unstable();
        assert!(expired.iter().eq(tokens.iter().step_by(2)));
        assert_eq!(flight.next_deadline(), None);
    }

    #[test]
    fn in_steady_state_it_grows_no_more() {
        let (mut flight, mut answered) = (InFlight::default(), 0);
        let mut after_warming = 0;
        for i in 0..100_000u64 {
            let now = T0 + Duration::from_millis(i);
            let token = send(&mut flight, i + 1, now, 1);
            if i % 3 > 0 {
                flight.reply(token, trip(1, StampSource::Kernel), None, &mut answered);
            }
            while flight.expire(now).is_some() {}
            flight.forget(now);
            if i == 20_000 {
                after_warming = flight.probes.capacity();
            }
        }
        assert_eq!(flight.probes.capacity(), after_warming);
        assert!(flight.mask < 16_384, "{}", flight.mask);
    }
}
