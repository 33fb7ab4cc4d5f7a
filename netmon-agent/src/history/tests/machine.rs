//! A machine and what becomes of it, second by second, for its agents to write down.

use proptest::prelude::*;

use crate::{
    health::{State, Subject},
    history::record::{Change, Gap, Records, Run},
    time::{Boot, Wall},
};

use State::{Down, Up};
use Step::{Restarts, Sees, Stalls};

pub(super) const S: u64 = 1_000_000_000;
/// When the first boot was, on a clock that is right.
pub(super) const EPOCH: u64 = 1_700_000_000;

/// What happens to the machine in one second, or for some.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The agent sees this state for so long.
    Sees(State, u64),
    /// It is told more of the fault.
    Diagnosed,
    /// It stands still for so long, whatever the state is then.
    Stalls(u64, State),
    /// It is killed, and started again after so long.
    Restarts(u64),
    /// The machine is booted, which takes so long.
    Boots(u64),
    /// Somebody sets the clock by so many seconds.
    Sets(i64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let state = || prop_oneof![Just(State::Unknown), Just(Up), Just(State::Degraded), Just(Down)];
    prop_oneof![
        8 => (state(), 1u64..200).prop_map(|(state, n)| Sees(state, n)),
        1 => Just(Step::Diagnosed),
        2 => (3u64..900, state()).prop_map(|(n, state)| Stalls(n, state)),
        2 => (1u64..900).prop_map(Restarts),
        1 => (1u64..900).prop_map(Step::Boots),
        1 => (-5000i64..5000).prop_map(Step::Sets),
    ]
}

/// A machine with its clocks, and what its agents write down.
pub(super) struct Machine {
    /// Seconds that have really passed, of the time line that the records should give.
    now: u64,
    boots: u64,
    booted: u64,
    set: i64,
    state: State,
    pub(super) records: Records,
    /// What one knows who looked at each second: none while nobody did.
    pub(super) seen: Vec<Option<State>>,
    details: u64,
}

impl Machine {
    pub(super) fn new() -> Self {
        let mut machine = Self {
            now: 0,
            boots: 1,
            booted: 0,
            set: 0,
            state: State::Unknown,
            records: Records::default(),
            seen: Vec::new(),
            details: 0,
        };
        machine.start();
        machine
    }

    fn boot(&self) -> Boot {
        Boot::from_nanos((self.now - self.booted) * S)
    }

    fn start(&mut self) {
        let (id, boot) = (self.records.runs.len() as i64 + 1, self.boots.to_string());
        let (started, seen) = (self.boot(), self.boot());
        self.records.runs.push(Run { id, boot, started, seen, offset: 0, clean: false });
        self.state = State::Unknown;
        self.sign();
    }

    /// The last sign of life, with a clock that somebody has set right in the end: of each boot the last counts.
    fn sign(&mut self) {
        let (seen, offset) = (self.boot(), ((EPOCH + self.booted) * S) as i64);
        let run = self.records.runs.last_mut().unwrap();
        (run.seen, run.offset) = (seen, offset);
    }

    fn write(&mut self, state: State, diagnosis: Option<String>) {
        let (at, run) = (self.boot(), self.records.runs.last().unwrap().id);
        let told = Wall::from_nanos(((EPOCH + self.now) as i64 + self.set) as u64 * S);
        let (subject, previous, reasons) = (Subject::Network, self.state, String::new());
        let change = Change { run, seq: 0, at, told, subject, previous, state, reasons, diagnosis };
        self.records.changes.push(change);
        self.state = state;
    }

    pub(super) fn pass(&mut self, seconds: u64, seen: Option<State>) {
        self.seen.extend(std::iter::repeat_n(seen, seconds as usize));
        self.now += seconds;
    }

    pub(super) fn play(&mut self, step: &Step) {
        match *step {
            Sees(state, n) => {
                if state != self.state {
                    self.write(state, None);
                }
                self.pass(n, Some(state).filter(|s| *s != State::Unknown));
            }
            Step::Diagnosed => {
                if matches!(self.state, Down | State::Degraded) {
                    self.details += 1;
                    self.write(self.state, Some(self.details.to_string()));
                }
            }
            Stalls(n, after) => {
                let (from, run) = (self.boot(), self.records.runs.last().unwrap().id);
                self.pass(n, None);
                self.records.gaps.push(Gap { run, from, to: self.boot() });
                if after != self.state {
                    self.write(after, None);
                }
            }
            Restarts(n) => {
                self.sign();
                self.pass(n, None);
                self.start();
            }
            Step::Boots(n) => {
                self.sign();
                self.pass(n, None);
                self.boots += 1;
                self.booted = self.now - 1;
                self.start();
            }
            Step::Sets(by) => self.set += by,
        }
        self.sign();
    }
}

/// A machine to which all this happened.
pub(super) fn machine(steps: &[Step]) -> Machine {
    let mut machine = Machine::new();
    steps.iter().for_each(|step| machine.play(step));
    machine
}
