//! The state, and until when it may be believed, for readers that may come at any rate.
//!
//! A read takes its own look at the clock, so that it is right also when the thread that should have noticed the
//! agent's silence did not run: a starved thread, a stopped process, a suspended machine. What it looks at:
//!
//! - `CLOCK_MONOTONIC_COARSE` beside the deadline. It stands still while the machine is suspended, so
//! - `CLOCK_REALTIME_COARSE`: when it is no longer as far ahead as when the deadline was set, the machine was suspended
//!   or its clock was set, and `CLOCK_BOOTTIME` tells which.
//!
//! The two coarse clocks cost about five nanoseconds each, and never a system call; the boot clock alone would tell the
//! same for thirty, with a system call where the hardware's counter can't be read from user space.

use crate::{
    State,
    clock::{Clocks, Offsets, System},
    sync::atomic::{AtomicU64, Ordering},
};

/// The difference of the wall clock's offset, nanoseconds, that may be two coarse readings on both sides of a tick: a
/// tick is 10 ms at most. Suspends shorter than that don't matter.
const TOLERANCE: u64 = 25_000_000;
/// The bits of the word that are the state; the others are the deadline.
const STATE: u64 = 3;

/// A state that ends to be valid by itself. One writer at a time, any number of readers.
#[derive(Debug, Default)]
pub(crate) struct Word {
    /// The state, and when it ends to be valid, by `CLOCK_MONOTONIC`, in steps of 4 ns. 0 is unknown.
    word: AtomicU64,
    /// The clocks' offsets as of then. They change only while the word says unknown.
    wall: AtomicU64,
    boot: AtomicU64,
}

impl Word {
    /// The state now.
    #[inline]
    pub(crate) fn read(&self) -> State {
        self.read_by(&System)
    }

    /// The state, whatever its age: for the figure of what the age costs.
    #[inline]
    pub(crate) fn read_unaged(&self) -> State {
        decode(self.word.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn read_by(&self, clocks: &impl Clocks) -> State {
        // Before the word: whoever sees a new offset sees the unknown that came before it, or what came after.
        let wall = self.wall.load(Ordering::Acquire);
        let word = self.word.load(Ordering::Acquire);
        let state = decode(word);
        if state == State::Unknown {
            return state;
        }
        let mono = clocks.mono();
        if mono > word {
            return State::Unknown;
        }
        let moved = clocks.wall().wrapping_sub(mono).wrapping_sub(wall);
        if moved.wrapping_add(TOLERANCE) <= 2 * TOLERANCE { state } else { self.read_exactly(word, clocks) }
    }

    /// The same after a step of the wall clock, or a suspend.
    #[cold]
    fn read_exactly(&self, word: u64, clocks: &impl Clocks) -> State {
        let boot = self.boot.load(Ordering::Acquire);
        if self.word.load(Ordering::Acquire) != word {
            // Set anew this moment: the offset may be that of the new word.
            return self.read_by(clocks);
        }
        if clocks.boot().wrapping_sub(boot) > word { State::Unknown } else { decode(word) }
    }

    /// Sets the state, valid until `deadline` by `CLOCK_BOOTTIME`, nanoseconds.
    pub(crate) fn set(&self, state: State, deadline: u64, now: Offsets) {
        let known =
            Offsets { wall: self.wall.load(Ordering::Relaxed), boot: self.boot.load(Ordering::Relaxed) };
        let near = |a: u64, b: u64| a.wrapping_sub(b).wrapping_add(TOLERANCE / 2) <= TOLERANCE;
        let mut boot = known.boot;
        if !near(now.wall, known.wall) || !near(now.boot, known.boot) {
            self.word.store(0, Ordering::Release);
            self.boot.store(now.boot, Ordering::Release);
            self.wall.store(now.wall, Ordering::Release);
            boot = now.boot;
        }
        // In a time namespace the boot clock may be behind the other (time_namespaces(7)).
        let end = i64::try_from(deadline).unwrap_or(i64::MAX).saturating_sub(boot as i64).max(0) as u64;
        let word = match state {
            State::Unknown => 0,
            state => (end & !STATE) | encode(state),
        };
        self.word.store(word, Ordering::Release);
    }
}

const fn encode(state: State) -> u64 {
    match state {
        State::Unknown => 0,
        State::Up => 1,
        State::Degraded => 2,
        State::Down => 3,
    }
}

#[inline]
const fn decode(word: u64) -> State {
    match word & STATE {
        1 => State::Up,
        2 => State::Degraded,
        3 => State::Down,
        _ => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A machine's clocks by hand: since the start, suspended so far, and the wall clock's setting.
    #[derive(Debug, Default)]
    struct Machine {
        mono: Cell<u64>,
        slept: Cell<u64>,
        set: Cell<u64>,
        exact: Cell<u32>,
    }

    impl Machine {
        fn new() -> Self {
            let machine = Self::default();
            machine.mono.set(1000 * SECOND);
            machine.slept.set(50 * SECOND);
            machine.set.set(1_700_000_000 * SECOND);
            machine
        }

        fn run(&self, ns: u64) {
            self.mono.set(self.mono.get() + ns);
        }

        fn offsets(&self) -> Offsets {
            Offsets { wall: self.set.get().wrapping_add(self.slept.get()), boot: self.slept.get() }
        }

        /// Says `state` as of now, valid for six seconds.
        fn say(&self, word: &Word, state: State) {
            let boot = self.mono.get().wrapping_add(self.slept.get());
            word.set(state, boot + 6 * SECOND, self.offsets());
        }
    }

    impl Clocks for Machine {
        fn mono(&self) -> u64 {
            // Coarse: of the last tick.
            self.mono.get() / 4_000_000 * 4_000_000
        }

        fn wall(&self) -> u64 {
            self.mono().wrapping_add(self.offsets().wall)
        }

        fn boot(&self) -> u64 {
            self.exact.set(self.exact.get() + 1);
            self.mono.get().wrapping_add(self.slept.get())
        }
    }

    #[test]
    fn is_valid_until_its_deadline_whoever_else_sleeps() {
        let (machine, word) = (Machine::new(), Word::default());
        assert_eq!(word.read_by(&machine), State::Unknown);
        for state in State::ALL {
            machine.say(&word, state);
            assert_eq!((word.read_by(&machine), word.read_unaged()), (state, state));
        }
        machine.run(5_990_000_000);
        assert_eq!(word.read_by(&machine), State::Down);
        machine.run(20_000_000);
        assert_eq!((word.read_by(&machine), word.read_unaged()), (State::Unknown, State::Down));
        machine.say(&word, State::Up);
        assert_eq!(word.read_by(&machine), State::Up);
        assert_eq!(machine.exact.get(), 0, "no look at the exact clock");
    }

    #[test]
    fn a_suspend_counts() {
        let (machine, word) = (Machine::new(), Word::default());
        machine.say(&word, State::Up);
        machine.slept.set(machine.slept.get() + 4 * SECOND);
        assert_eq!(word.read_by(&machine), State::Up, "six seconds are not over");
        machine.slept.set(machine.slept.get() + 3 * SECOND);
        assert_eq!(word.read_by(&machine), State::Unknown);
        assert_eq!(machine.exact.get(), 2);
        machine.say(&word, State::Down);
        assert_eq!((word.read_by(&machine), machine.exact.get()), (State::Down, 2));
    }

    #[test]
    fn a_boot_clock_behind_the_other_serves() {
        let (machine, word) = (Machine::new(), Word::default());
        machine.slept.set(0_u64.wrapping_sub(900 * SECOND));
        machine.say(&word, State::Up);
        machine.run(5 * SECOND);
        assert_eq!(word.read_by(&machine), State::Up);
        machine.run(2 * SECOND);
        assert_eq!(word.read_by(&machine), State::Unknown);
        word.set(State::Up, u64::MAX, machine.offsets());
        assert_eq!(word.read_by(&machine), State::Up);
    }

    #[test]
    fn a_step_of_the_wall_clock_does_not() {
        for set in [0, SECOND, 1_600_000_000 * SECOND, 1_700_003_600 * SECOND, u64::MAX / 2] {
            let (machine, word) = (Machine::new(), Word::default());
            machine.say(&word, State::Up);
            machine.set.set(set);
            machine.run(5 * SECOND);
            assert_eq!((word.read_by(&machine), machine.exact.get()), (State::Up, 1));
            machine.run(2 * SECOND);
            assert_eq!(word.read_by(&machine), State::Unknown);
            machine.say(&word, State::Up);
            assert_eq!((word.read_by(&machine), machine.exact.get()), (State::Up, 1));
        }
    }

    #[test]
    fn the_machine_s_own_clocks_serve() {
        let word = Word::default();
        let now = crate::clock::boot();
        word.set(State::Up, now + 600 * SECOND, Offsets::now());
        assert_eq!(word.read(), State::Up);
        // Beyond what the coarse clock lags.
        word.set(State::Up, now.saturating_sub(TOLERANCE), Offsets::now());
        assert_eq!(word.read(), State::Unknown);
    }

    #[test]
    fn readers_beside_a_writer_see_no_state_longer_than_it_is_valid() {
        // The clock only ever is beyond the deadline of the odd words, and the offsets jump with each.
        struct Frozen;
        impl Clocks for Frozen {
            fn mono(&self) -> u64 {
                1000 * SECOND
            }
            fn wall(&self) -> u64 {
                5_000_000 * SECOND
            }
            fn boot(&self) -> u64 {
                3000 * SECOND
            }
        }
        let word = Word::default();
        let reads = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in 0..200_000_u64 {
                    // By the offsets of this word its deadline has passed by a second; by those of the other it hasn't.
                    let far = n % 2 == 0;
                    let boot = if far { 2000 } else { 1000 } * SECOND;
                    // No two words are the same, as no two deadlines are: a reader knows an old one by that.
                    word.set(State::Up, 2999 * SECOND - 4 * n, Offsets { wall: n * SECOND, boot });
                }
            });
            let mut reads = 0_u64;
            while !writer.is_finished() {
                assert_eq!(word.read_by(&Frozen), State::Unknown);
                reads += 1;
            }
            reads
        });
        assert!(reads > 0);
    }
}
