//! One address of one target: unknown, up, suspect, down (rules R1, R4, R8).

use std::{collections::VecDeque, time::Duration};

use super::{
    settings::{FIRST_BURST, Settings},
    verdict::State,
};
use crate::{observation::FailureReason, time::Mono};

/// Probes under way that one address remembers. Beyond it the oldest is forgotten: it can then neither convict nor
/// acquit.
const OUTSTANDING: usize = 32;

/// Shortest distance between two extra probes, so that a late burst is still several samples and not one.
const BURST_SPACING: Duration = Duration::from_millis(150);

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// No verdict (R1), or one that was suspended (R14).
    Unknown,
    Up,
    /// A reply is late (R4). `was_up` tells what the world still sees.
    Suspect {
        was_up: bool,
        extras: VecDeque<Mono>,
    },
    /// Lost, or explained by its link. `streak` counts replies since (R8).
    Down {
        streak: u8,
        again_at: Option<Mono>,
        hasten_until: Option<Mono>,
    },
}

/// The state machine of one address. All decisions, no clock.
#[derive(Clone, Debug)]
pub struct AddressFsm {
    phase: Phase,
    outstanding: VecDeque<(u64, Mono)>,
    suspect_at: Option<Mono>,
    losses: u8,
    last_failure: Option<FailureReason>,
    ever_replied: bool,
}

impl Default for AddressFsm {
    fn default() -> Self {
        Self {
            phase: Phase::Unknown,
            outstanding: VecDeque::new(),
            suspect_at: None,
            losses: 0,
            last_failure: None,
            ever_replied: false,
        }
    }
}

impl AddressFsm {
    /// What the world sees: a suspect is still what it was.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Unknown | Phase::Suspect { was_up: false, .. } => State::Unknown,
            Phase::Up | Phase::Suspect { was_up: true, .. } => State::Up,
            Phase::Down { .. } => State::Down,
        }
    }

    /// Whether it is being examined by a burst.
    pub fn is_suspect(&self) -> bool {
        matches!(self.phase, Phase::Suspect { .. })
    }

    /// Why the last failed probe failed.
    pub fn last_failure(&self) -> Option<FailureReason> {
        self.last_failure
    }

    /// Whether its answers ever made it up.
    pub fn ever_replied(&self) -> bool {
        self.ever_replied
    }

    /// A probe left. `late_after` is how long its reply may take before it is suspect.
    pub fn sent(&mut self, now: Mono, seq: u64, late_after: Duration) {
        if self.outstanding.len() == OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((seq, now));
        if matches!(self.phase, Phase::Unknown | Phase::Up) && self.suspect_at.is_none() {
            self.suspect_at = Some(now + late_after);
        }
    }

    /// A probe was answered in time.
    pub fn replied(&mut self, now: Mono, seq: u64, settings: &Settings) {
        // A reply to a probe of before a stall or of before the link came back says nothing of now.
        let Some(i) = self.outstanding.iter().position(|(s, _)| *s == seq) else { return };
        // Whatever was sent before this one and is still unanswered is loss, but no longer an outage.
        self.outstanding.drain(..=i);
        self.losses = 0;
        self.suspect_at = None;
        match &mut self.phase {
            Phase::Down { streak, again_at, hasten_until } => {
                *streak += 1;
                *again_at = Some(now + settings.recovery_interval);
                *hasten_until = None;
                if *streak >= settings.recovery_successes {
                    self.phase = Phase::Up;
                }
            }
            _ => self.phase = Phase::Up,
        }
        // The first of several answers (R8) changes no judgement by itself.
        self.ever_replied |= self.phase == Phase::Up;
    }

    /// A probe failed.
    pub fn failed(&mut self, now: Mono, seq: u64, reason: FailureReason, settings: &Settings) {
        let sent = match self.conclude(seq) {
            Some(sent) => sent,
            // What could not be sent was never under way. A target that nothing can be sent to is not up either.
            None if reason == FailureReason::SendError => now,
            None => return,
        };
        self.last_failure = Some(reason);
        self.losses = self.losses.saturating_add(1);
        match &mut self.phase {
            Phase::Unknown | Phase::Up => self.suspect(sent, now, settings),
            Phase::Suspect { .. } => {}
            Phase::Down { streak, again_at, hasten_until } => {
                *streak = 0;
                *again_at = hasten_until.filter(|end| now < *end).map(|_| now + settings.recovery_interval);
            }
        }
        if self.is_suspect() && usize::from(self.losses) > settings.burst.len() {
            self.phase = Phase::Down { streak: 0, again_at: None, hasten_until: None };
        }
    }

    /// A probe ended without proof (R13): it counts neither way, and a burst gets another in its place.
    pub fn inconclusive(&mut self, now: Mono, seq: u64) {
        if self.conclude(seq).is_none() {
            return;
        }
        self.suspect_at = None;
        if let Phase::Suspect { extras, .. } = &mut self.phase {
            let last = extras.back().copied().unwrap_or(now).max(now);
            extras.push_back(last + BURST_SPACING);
        }
    }

    /// It is to be examined without waiting for its next probe (R5): extra probes `offsets` from now. Only where it is
    /// up and not under examination already.
    pub fn examine(&mut self, now: Mono, offsets: &[Duration]) {
        if self.phase == Phase::Up {
            self.suspect_at = None;
            self.phase =
                Phase::Suspect { was_up: true, extras: offsets.iter().map(|offset| now + *offset).collect() };
        }
    }

    /// It takes the place of one that was up, under the same name: up as well, but examined, until its own probes tell.
    pub fn succeed(&mut self, now: Mono, settings: &Settings) {
        if self.phase == Phase::Unknown {
            self.phase = Phase::Up;
            self.examine(now, &settings.burst);
        }
    }

    /// Its link is lost: down with no probe needed (R3).
    pub fn force_down(&mut self) {
        self.outstanding.clear();
        self.suspect_at = None;
        self.losses = 0;
        self.phase = Phase::Down { streak: 0, again_at: None, hasten_until: None };
    }

    /// Its link is back: still down, probed at once and at the recovery pace for a while (R8). One that has come back by
    /// its answers before that was known (R16), and is examined again, gets others in place of the probes under way.
    pub fn hasten(&mut self, now: Mono, settings: &Settings) {
        if self.is_suspect() {
            self.forget_outstanding(now);
        }
        self.outstanding.clear();
        if let Phase::Down { streak, again_at, hasten_until } = &mut self.phase {
            *streak = 0;
            *again_at = Some(now);
            *hasten_until = Some(now + settings.recovery_hasten);
        }
    }

    /// Nothing is known any more (R14, R16): back to unknown, with a probe wanted at once.
    pub fn forget(&mut self) {
        self.outstanding.clear();
        self.suspect_at = None;
        self.losses = 0;
        self.phase = Phase::Unknown;
    }

    /// Probes under way will never be heard of; the verdict stays, and a burst gets others in their place.
    pub fn forget_outstanding(&mut self, now: Mono) {
        while let Some((seq, _)) = self.outstanding.front() {
            self.inconclusive(now, *seq);
        }
        self.suspect_at = None;
    }

    /// When [`AddressFsm::on_timer`] wants to be called.
    pub fn deadline(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Unknown | Phase::Up => self.suspect_at,
            Phase::Suspect { extras, .. } => extras.front().copied(),
            Phase::Down { again_at, .. } => *again_at,
        }
    }

    /// Time passed; true when a probe is wanted now.
    pub fn on_timer(&mut self, now: Mono, settings: &Settings) -> bool {
        if self.deadline().is_none_or(|d| d > now) {
            return false;
        }
        match &mut self.phase {
            Phase::Unknown | Phase::Up => {
                let origin = self.outstanding.front().map_or(now, |(_, sent)| *sent);
                self.suspect(origin, now, settings);
                self.on_timer(now, settings)
            }
            Phase::Suspect { extras, .. } => {
                extras.pop_front();
                for due in extras.iter_mut() {
                    *due = (*due).max(now + BURST_SPACING);
                }
                true
            }
            Phase::Down { streak, again_at, hasten_until } => {
                let more = *streak == 0 && hasten_until.is_some_and(|end| now < end);
                *again_at = more.then(|| now + settings.recovery_interval);
                true
            }
        }
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let extras = if let Phase::Suspect { extras, .. } = &self.phase { extras.capacity() } else { 0 };
        self.outstanding.capacity() * size_of::<(u64, Mono)>() + extras * size_of::<Mono>()
    }

    /// Takes a probe off the list; when it was sent, if it was on it.
    fn conclude(&mut self, seq: u64) -> Option<Mono> {
        let i = self.outstanding.iter().position(|(s, _)| *s == seq)?;
        self.outstanding.remove(i).map(|(_, sent)| sent)
    }

    fn suspect(&mut self, origin: Mono, now: Mono, settings: &Settings) {
        self.suspect_at = None;
        // With an ordinary RTT the burst counts from the probe's departure; where a reply may take longer, from then.
        let shift = now.since(origin).saturating_sub(settings.suspect_min);
        let was_up = self.phase == Phase::Up;
        let latest = if was_up { Duration::MAX } else { FIRST_BURST };
        let due = |offset: &Duration| (origin + shift + latest.min(*offset)).max(now);
        let extras = settings.burst.iter().map(due).collect();
        self.phase = Phase::Suspect { was_up, extras };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(200);
    const TIMEOUT: u64 = 1000;

    fn ms(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000)
    }

    /// Runs an address in virtual time: regular probes every 2 s, `answers(t)` says whether a probe sent at `t` ms is
    /// answered (after 10 ms). Returns every state change.
    fn run(until: u64, answers: impl Fn(u64) -> bool) -> Vec<(u64, State)> {
        run_with(until, answers, |_, _| {})
    }

    /// The same with something else that is done to it each millisecond.
    fn run_with(
        until: u64,
        answers: impl Fn(u64) -> bool,
        more: impl Fn(u64, &mut AddressFsm),
    ) -> Vec<(u64, State)> {
        let settings = Settings::default();
        let mut fsm = AddressFsm::default();
        let mut pending: Vec<(u64, u64, bool)> = Vec::new();
        let (mut seq, mut changes, mut state) = (0, Vec::new(), State::Unknown);
        for t in 0..until {
            more(t, &mut fsm);
            let mut send = t % 2000 == 0;
            send |= fsm.on_timer(ms(t), &settings);
            if send {
                seq += 1;
                fsm.sent(ms(t), seq, LATE);
                let ok = answers(t);
                pending.push((t + if ok { 10 } else { TIMEOUT }, seq, ok));
            }
            let (due, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(at, ..)| *at == t);
            pending = rest;
            for (_, seq, ok) in due {
                match ok {
                    true => fsm.replied(ms(t), seq, &settings),
                    false => fsm.failed(ms(t), seq, FailureReason::Timeout, &settings),
                }
            }
            if fsm.state() != state {
                state = fsm.state();
                changes.push((t, state));
            }
        }
        changes
    }

    #[test]
    fn r1_one_reply_makes_a_new_target_up() {
        assert_eq!(run(5000, |_| true), [(10, State::Up)]);
    }

    #[test]
    fn r1_a_silent_new_target_is_down_within_three_seconds() {
        assert_eq!(run(9000, |_| false), [(2700, State::Down)]);
    }

    #[test]
    fn r4_a_blackhole_right_after_a_reply_is_seen_within_the_bound() {
        let changes = run(20_000, |t| t <= 4000);
        assert_eq!(changes, [(10, State::Up), (9000, State::Down)], "2 s to the next probe, then 3 s");
    }

    #[test]
    fn r4_a_burst_is_made_up_for_when_the_link_is_read_anew() {
        for read in (4050..9000).step_by(50) {
            let link_is_back = |t, fsm: &mut AddressFsm| {
                if t == read {
                    fsm.hasten(ms(t), &Settings::default());
                }
            };
            let changes = run_with(20_000, |t| t <= 4000, link_is_back);
            let [(10, State::Up), (at, State::Down)] = changes[..] else { panic!("{changes:?}") };
            // 2.6 intervals and a time-out after the last answer.
            assert!((9000..=10_200).contains(&at), "read at {read} ms: down at {at} ms");
        }
    }

    #[test]
    fn r4_a_short_total_outage_is_no_down() {
        for start in (0..2000).step_by(50) {
            let outage = 4000 + start..4000 + start + 1800;
            let changes = run(20_000, |t| !outage.contains(&t));
            assert_eq!(changes, [(10, State::Up)], "outage from {start} ms into the interval");
        }
    }

    #[test]
    fn r8_recovery_takes_three_replies_and_at_most_three_seconds() {
        let changes = run(30_000, |t| !(4001..15_001).contains(&t));
        assert_eq!(changes.len(), 3);
        let (at, state) = changes[2];
        assert_eq!(state, State::Up);
        assert!(at > 15_500 && at <= 18_000, "{at}");
    }

    #[test]
    fn r8_a_lost_reply_in_recovery_starts_the_count_anew() {
        let settings = Settings::default();
        let mut fsm = AddressFsm::default();
        fsm.force_down();
        for (seq, ok) in [(1, true), (2, true), (3, false), (4, true), (5, true)] {
            fsm.sent(ms(seq), seq, LATE);
            match ok {
                true => fsm.replied(ms(seq), seq, &settings),
                false => fsm.failed(ms(seq), seq, FailureReason::Timeout, &settings),
            }
            assert_eq!(fsm.state(), State::Down);
        }
        fsm.sent(ms(6), 6, LATE);
        fsm.replied(ms(6), 6, &settings);
        assert_eq!(fsm.state(), State::Up);
    }

    #[test]
    fn r13_an_inconclusive_probe_convicts_nobody() {
        let settings = Settings::default();
        let mut fsm = AddressFsm::default();
        for seq in 0..50 {
            fsm.sent(ms(seq * 100), seq, LATE);
            fsm.inconclusive(ms(seq * 100 + 50), seq);
            fsm.on_timer(ms(seq * 100 + 60), &settings);
        }
        assert_eq!(fsm.state(), State::Unknown);
    }

    #[test]
    fn r4_a_target_that_nothing_can_be_sent_to_is_down() {
        let settings = Settings::default();
        let mut fsm = AddressFsm::default();
        fsm.sent(ms(0), 1, LATE);
        fsm.replied(ms(1), 1, &settings);
        let mut t = 2000;
        for seq in 2..8 {
            assert_eq!(fsm.state(), State::Up);
            fsm.failed(ms(t), seq, FailureReason::SendError, &settings);
            while fsm.state() == State::Up && !fsm.on_timer(ms(t), &settings) {
                t += 10;
            }
        }
        assert_eq!((fsm.state(), fsm.last_failure()), (State::Down, Some(FailureReason::SendError)));
        assert!(t <= 5000, "{t}");
    }

    #[test]
    fn r14_replies_from_before_a_stall_do_not_count() {
        let settings = Settings::default();
        let mut fsm = AddressFsm::default();
        fsm.sent(ms(0), 1, LATE);
        fsm.forget();
        fsm.replied(ms(10), 1, &settings);
        assert_eq!(fsm.state(), State::Unknown);
    }
}
