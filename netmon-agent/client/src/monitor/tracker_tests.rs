use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::*;

const S: u64 = 1_000_000_000;

/// An agent that stamps, beside the clock of the one who listens.
struct Story {
    tracker: Tracker,
    now: u64,
    seq: u64,
}

impl Story {
    /// Begins at 1000 s; a state is stale after 6 s.
    fn new(stamps: bool) -> Self {
        let mut story = Self { tracker: Tracker::default(), now: 1000 * S, seq: 0 };
        story.open(State::Unknown, stamps, false);
        story
    }

    fn open(&mut self, state: State, stamps: bool, resumes: bool) {
        let opened =
            Opened { stale_after: Duration::from_secs(6), state, boottime_ns: stamps.then_some(self.now) };
        self.tracker.opened(&opened, resumes, self.now, self.now);
    }

    fn change(&mut self, kind: &str, state: State, at: u64) {
        self.seq += 1;
        let change = Change {
            seq: self.seq,
            kind: kind.into(),
            state,
            boottime_ns: Some(at * S),
            ..Change::default()
        };
        self.tracker.take(&Item::Change(change.into()), self.now);
    }

    fn stamp(&mut self, at: u64) {
        self.tracker.take(&Item::Beat(Some(at * S)), self.now);
    }

    fn beat(&mut self) {
        self.tracker.take(&Item::Beat(None), self.now);
    }

    /// The state as a reader sees it.
    fn state(&self) -> State {
        let (state, deadline) = self.tracker.word();
        if self.now > deadline { State::Unknown } else { state }
    }

    fn held(&self, stable: u64) -> Standing {
        self.tracker.standing(Condition::Usable, Duration::from_secs(stable), self.now)
    }
}

#[test]
fn a_state_is_shown_with_its_stamp_and_as_old_as_that_is() {
    let mut s = Story::new(true);
    s.change("state", State::Up, 990);
    assert_eq!((s.state(), s.held(0)), (State::Unknown, Standing::No));
    s.stamp(1000);
    assert_eq!((s.state(), s.held(10)), (State::Up, Standing::Holds));
    assert_eq!(s.held(12), Standing::In(Duration::from_secs(2)));
    // What was read late: an hour of heartbeats and changes that waited in the socket while this process was stopped.
    s.now = 4600 * S;
    s.stamp(1002);
    s.change("state", State::Down, 1003);
    s.stamp(1003);
    s.change("state", State::Up, 1005);
    s.stamp(1005);
    assert_eq!((s.state(), s.held(0)), (State::Unknown, Standing::No));
    s.change("state", State::Degraded, 4599);
    assert_eq!(s.state(), State::Unknown);
    s.stamp(4600);
    assert_eq!(s.state(), State::Degraded);
    // Nobody stamped for most of that hour.
    assert_eq!(s.held(1), Standing::In(Duration::from_secs(1)));
}

#[test]
fn a_stream_read_late_but_stamped_without_a_gap_breaks_nothing() {
    let mut s = Story::new(true);
    s.change("state", State::Up, 1000);
    s.stamp(1000);
    s.now = 4600 * S;
    for at in (1002..=4600).step_by(2) {
        s.stamp(at);
    }
    assert_eq!((s.state(), s.held(3600)), (State::Up, Standing::Holds));
}

#[test]
fn unknown_is_shown_at_once() {
    let mut s = Story::new(true);
    s.change("state", State::Up, 1000);
    s.stamp(1000);
    s.change("gap", State::Unknown, 1000);
    assert_eq!((s.state(), s.held(0)), (State::Unknown, Standing::No));
    s.change("gap", State::Up, 1000);
    s.now += 2 * S;
    s.stamp(1002);
    assert_eq!((s.state(), s.held(3)), (State::Up, Standing::In(Duration::from_secs(1))));
}

#[test]
fn a_lost_connection_is_no_break_when_nothing_was_missed() {
    let mut s = Story::new(true);
    s.change("state", State::Up, 900);
    s.stamp(1000);
    s.tracker.lost();
    assert_eq!((s.state(), s.held(0)), (State::Unknown, Standing::No));
    s.now += 3 * S;
    s.open(State::Up, true, true);
    assert_eq!(s.state(), State::Unknown, "not before it is vouched for");
    s.stamp(1003);
    assert_eq!((s.state(), s.held(103)), (State::Up, Standing::Holds));
    // A change that was missed counts.
    s.tracker.lost();
    s.open(State::Up, true, true);
    s.change("state", State::Down, 1003);
    s.change("state", State::Up, 1003);
    s.stamp(1003);
    assert_eq!((s.state(), s.held(1)), (State::Up, Standing::In(Duration::from_secs(1))));
    // And so does a gap, and a time that nobody vouches for.
    s.now += 100 * S;
    for at in (1005..=1103).step_by(2) {
        s.stamp(at);
    }
    assert_eq!(s.held(100), Standing::Holds);
    s.tracker.lost();
    s.now += 7 * S;
    s.open(State::Up, true, true);
    s.stamp(1110);
    assert_eq!(s.held(1), Standing::In(Duration::from_secs(1)));
    s.now += S;
    s.stamp(1111);
    assert_eq!(s.held(1), Standing::Holds);
    s.change("gap", State::Up, 1111);
    s.stamp(1111);
    assert_eq!(s.held(1), Standing::In(Duration::from_secs(1)));
}

#[test]
fn an_agent_that_does_not_stamp_is_believed_as_it_is_heard() {
    let mut s = Story::new(false);
    s.change("state", State::Up, 990);
    assert_eq!((s.state(), s.held(10)), (State::Up, Standing::Holds));
    s.now += 5 * S;
    s.beat();
    s.now += 5 * S;
    assert_eq!(s.state(), State::Up);
    s.now += 2 * S;
    assert_eq!(s.state(), State::Unknown);
    s.beat();
    assert_eq!((s.state(), s.held(1)), (State::Up, Standing::In(Duration::from_secs(1))));
    s.tracker.lost();
    // No event follows where nothing was missed: the header says what holds.
    s.open(State::Down, false, true);
    assert_eq!(s.state(), State::Down);
}

#[test]
fn an_agent_in_another_time_namespace_is_understood() {
    let mut s = Story::new(true);
    for theirs in [3, 50_000_000] {
        let opened =
            Opened { stale_after: Duration::from_secs(6), state: State::Up, boottime_ns: Some(theirs * S) };
        s.tracker = Tracker::default();
        s.tracker.opened(&opened, false, s.now, s.now + S / 100);
        s.change("state", State::Up, theirs - 2);
        s.stamp(theirs);
        assert_eq!((s.state(), s.held(2)), (State::Up, Standing::Holds));
        s.now += 6 * S;
        assert_eq!(s.state(), State::Up);
        s.now += 1;
        assert_eq!(s.state(), State::Unknown);
    }
}

#[test]
fn other_subjects_are_not_the_network() {
    let mut s = Story::new(true);
    s.change("state", State::Up, 1000);
    for kind in ["device", "target", "update", "something new"] {
        s.change(kind, State::Down, 1000);
    }
    s.stamp(1000);
    assert_eq!(s.state(), State::Up);
    assert_eq!(s.tracker.last_id(), Some(5));
    // Nor is a stamp from the future worth more than now.
    s.stamp(9000);
    s.now += 7 * S;
    assert_eq!(s.state(), State::Unknown);
}

/// What may happen, each after so many seconds.
#[derive(Clone, Debug)]
enum Step {
    Change(State),
    Gap(State),
    Stamp,
    Lost,
    Silence,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let state = || prop::sample::select(State::ALL.to_vec());
    let step = prop_oneof![
        3 => state().prop_map(Step::Change),
        1 => state().prop_map(Step::Gap),
        6 => Just(Step::Stamp),
        1 => Just(Step::Lost),
        1 => Just(Step::Silence),
    ];
    (0_u64..9, step)
}

proptest! {
    /// Beside a list of all that was told: who is released may rely on it.
    #[test]
    fn nobody_is_released_on_what_is_not_known(steps in vec(step(), 1..60), stable in 0_u64..20) {
        let mut s = Story::new(true);
        // When the state was last told to be unusable, or was not known for longer than it stays valid.
        let (mut broken, mut told, mut stamped, mut connected) = (s.now, State::Unknown, 0, true);
        for (seconds, step) in steps {
            s.now += seconds * S;
            let at = s.now / S;
            match step {
                Step::Change(_) | Step::Gap(_) | Step::Stamp if !connected => {
                    s.open(told, true, true);
                    connected = true;
                }
                Step::Change(state) => {
                    s.change("state", state, at);
                    if !told.is_usable() || !state.is_usable() { broken = s.now }
                    told = state;
                    if state == State::Unknown { stamped = 0 }
                }
                Step::Gap(state) => {
                    s.change("gap", state, at);
                    (broken, told) = (s.now, state);
                    if state == State::Unknown { stamped = 0 }
                }
                Step::Stamp => {
                    s.stamp(at);
                    stamped = s.now;
                }
                Step::Lost => {
                    s.tracker.lost();
                    (connected, stamped) = (false, 0);
                }
                Step::Silence => {}
            }
            if s.held(stable) == Standing::Holds {
                prop_assert!(connected && told.is_usable() && s.state().is_usable());
                prop_assert!(stamped > 0 && s.now - stamped <= 6 * S);
                prop_assert!(s.now - broken >= stable * S);
            }
        }
    }
}
