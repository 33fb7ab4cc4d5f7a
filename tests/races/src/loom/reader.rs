//! The word that a monitor's readers look at, beside its writer.

use std::sync::Arc;

use loom::thread;

use crate::State;
use crate::clock::{Clocks, Offsets};
use crate::word::Word;

const SECOND: u64 = 1_000_000_000;

/// Clocks that stand.
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

/// Each word has ended to be valid by the offsets that it was set with, and would not have by those of the one before.
pub fn validity() {
    let word = Arc::new(Word::default());
    let ours = word.clone();
    let writer = thread::spawn(move || {
        for n in 0..3 {
            let boot = if n % 2 == 0 { 2000 } else { 1000 } * SECOND;
            ours.set(State::Up, 2999 * SECOND - 4 * n, Offsets { wall: n * SECOND, boot });
        }
    });
    for _ in 0..2 {
        assert_eq!(word.read_by(&Frozen), State::Unknown);
    }
    writer.join().expect("the writer");
    assert_eq!(word.read_by(&Frozen), State::Unknown);
}

/// Two readings of one thread are in the order of the settings, also over a step of the wall clock between these.
pub fn order() {
    let word = Arc::new(Word::default());
    let ours = word.clone();
    let (now, stepped) = (
        Offsets { wall: 4_999_000 * SECOND, boot: 2000 * SECOND },
        Offsets { wall: 4_000_000 * SECOND, boot: 2000 * SECOND },
    );
    let writer = thread::spawn(move || {
        ours.set(State::Up, 3006 * SECOND, stepped);
        ours.set(State::Degraded, 3007 * SECOND, now);
        ours.set(State::Down, 3008 * SECOND, now);
    });
    let number = |state| [State::Up, State::Degraded, State::Down].iter().position(|s| *s == state);
    let (first, second) = (number(word.read_by(&Frozen)), number(word.read_by(&Frozen)));
    if let (Some(first), Some(second)) = (first, second) {
        assert!(first <= second, "{first} and then {second}");
    }
    writer.join().expect("the writer");
    assert_eq!(word.read_by(&Frozen), State::Down);
}

/// The machine slept for 500 s, and by now the state of before has long ended to be valid, which the clock that stood still
/// meanwhile does not tell: beside the new offsets that state is never seen.
pub fn suspend() {
    let word = Arc::new(Word::default());
    word.set(State::Up, 2505 * SECOND, Offsets { wall: 4_998_500 * SECOND, boot: 1500 * SECOND });
    let ours = word.clone();
    let writer = thread::spawn(move || {
        ours.set(State::Down, 3006 * SECOND, Offsets { wall: 4_999_000 * SECOND, boot: 2000 * SECOND });
    });
    for _ in 0..2 {
        assert_ne!(word.read_by(&Frozen), State::Up);
    }
    writer.join().expect("the writer");
    assert_eq!(word.read_by(&Frozen), State::Down);
}
