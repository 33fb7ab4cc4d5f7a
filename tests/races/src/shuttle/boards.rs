//! The board, its one writer, and those who follow it.

use std::time::Duration;

use shuttle::thread;

use crate::board::Board;
use crate::time::Boot;
use crate::{ChangeEvent, Snapshot};

fn board() -> Board {
    Board::new(Snapshot::default(), Duration::from_secs(6))
}

/// Publishes changes up to number `last`, two of them at once.
fn publish(board: &Board, last: u64) {
    for seq in (2..=last).step_by(2) {
        let snapshot = Snapshot { seq, ..Snapshot::default() };
        board.publish(snapshot, [seq - 1, seq].map(|seq| ChangeEvent { seq }));
        board.evaluated(Boot::from_nanos(seq));
    }
}

/// As an event stream does: what is new since the last change that it told.
pub fn followed() {
    let board = board();
    let theirs = board.clone();
    let core = thread::spawn(move || publish(&theirs, 6));
    let mut told = Vec::new();
    while told.last() != Some(&6) {
        let last = told.last().copied().unwrap_or(0);
        let seen = board.snapshot().seq;
        let changes = board.changes_after(last).expect("nothing has left the backlog");
        // What led to a snapshot is there when it is.
        let newest = changes.last().map_or(last, |change| change.seq);
        assert!(newest >= seen, "{newest} with snapshot {seen}");
        told.extend(changes.iter().map(|change| change.seq));
        thread::yield_now();
    }
    assert_eq!(told, [1, 2, 3, 4, 5, 6]);
    core.join().expect("the core");
}

/// A snapshot's evaluation is noted before it is shown: nobody is held up on a new one for the old one's age.
pub fn published() {
    let board = board();
    let late = Boot::from_nanos(60_000_000_000);
    let theirs = board.clone();
    let core = thread::spawn(move || {
        let at = crate::stand_ins::Moment { boot: late };
        theirs.publish(Snapshot { seq: 1, at }, [ChangeEvent { seq: 1 }]);
    });
    let snapshot = board.snapshot();
    if snapshot.seq == 1 {
        assert!(board.may_release(late));
    }
    core.join().expect("the core");
    assert!(board.may_release(late) && !board.is_stale(late));
    assert_eq!(board.gaps_after(Boot::default()), [(Boot::default(), late)]);
}
