//! Waiters, whoever answers them, and whoever leaves: the ticket alone, and the desk of one condition.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::company::Turn;
use super::condition::{Condition, Memory};
use super::desk::{Desk, Now};
use super::quiet::{Peer, Quiet};
use super::ticket::{Fate, Ticket};
use crate::state::Snapshot;
use crate::time::Boot;

fn ticket(peer: Peer) -> Arc<Ticket> {
    Arc::new(Ticket::new(Quiet::new(peer), true, Boot::default()))
}

/// Two who would answer, and the waiter's own task.
pub fn once() {
    let ticket = ticket(Peer::Takes);
    let answer = || {
        let ticket = ticket.clone();
        thread::spawn(move || usize::from(ticket.answer(b"yes")))
    };
    let others = [answer(), answer()];
    let taken = ticket.take();
    let written = others.map(|other| other.join().expect("who answers")).iter().sum::<usize>();
    assert_eq!(written + usize::from(taken.is_ok()), 1, "{taken:?}");
    assert_eq!(ticket.stream().written(), written);
    assert_eq!(ticket.fate() == Fate::Answered, written == 1);
}

/// Who sees that it is answered has the rest to write.
pub fn rest() {
    let ticket = ticket(Peer::TakesOne);
    let theirs = ticket.clone();
    let other = thread::spawn(move || theirs.answer(b"yes"));
    match ticket.take() {
        Ok(()) => assert!(ticket.rest().is_empty()),
        Err(Fate::Answered) => assert_eq!(ticket.rest(), b"es"),
        Err(fate) => assert_eq!(fate, Fate::Underway),
    }
    other.join().expect("who answers");
}

/// An answer that finds no room is given back.
pub fn full() {
    let ticket = ticket(Peer::Full);
    let theirs = ticket.clone();
    let other = thread::spawn(move || theirs.answer(b"yes"));
    let taken = ticket.take();
    assert!(!other.join().expect("who answers"));
    // It may have been under way; then it is open again.
    assert!(taken.is_ok() || ticket.take().is_ok());
    assert_eq!(ticket.stream().written(), 0);
}

fn desk() -> Arc<Desk> {
    Arc::new(Desk::new(Arc::new(Condition), Memory))
}

fn holds() -> Now {
    (Arc::new(Snapshot { holds: true, ..Snapshot::default() }), Boot::default(), false)
}

/// Serves what is due once, `most` of them; how many were answered.
fn serve(desk: &Desk, most: usize) -> usize {
    let Turn::Release { batch, .. } = desk.turn(holds) else { return 0 };
    let (mut tried, mut answered) = (0, 0);
    desk.serve(batch, |ticket| {
        tried += 1;
        if tried <= most {
            answered += usize::from(ticket.answer(b"yes"));
        }
        tried <= most
    });
    answered
}

/// Two wait; one is served before the state changes, a newcomer comes meanwhile, and all are served in the end.
pub fn batch() {
    let desk = desk();
    let tickets = [(); 3].map(|()| ticket(Peer::Takes));
    let seats = [desk.join(tickets[0].clone()), desk.join(tickets[1].clone())];
    let theirs = desk.clone();
    let evaluator = thread::spawn(move || serve(&theirs, 1));
    let late = desk.join(tickets[2].clone());
    let first = evaluator.join().expect("the evaluator");
    let second = serve(&desk, 3);
    assert_eq!(first + second, 3);
    assert!(tickets.iter().all(|ticket| ticket.stream().written() == 1));
    for seat in seats.iter().chain([&late]) {
        desk.leave(seat);
    }
    assert!(matches!(desk.turn(holds), Turn::Look { .. }), "somebody waits still");
}

/// A peer hangs up while its ticket stands in a batch that is put back: nobody holds it, and its connection, from then on.
pub fn leaving() {
    let desk = desk();
    let tickets = [(); 2].map(|()| ticket(Peer::Takes));
    let seats = [desk.join(tickets[0].clone()), desk.join(tickets[1].clone())];
    let answered = Arc::new(AtomicUsize::new(0));
    let (theirs, count) = (desk.clone(), answered.clone());
    let evaluator = thread::spawn(move || count.fetch_add(serve(&theirs, 0), Ordering::Relaxed));
    let [hangs_up, waits] = seats;
    desk.leave(&hangs_up);
    drop(hangs_up);
    evaluator.join().expect("the evaluator");
    assert_eq!(Arc::strong_count(&tickets[0]), 1, "who left is held");
    assert_eq!((answered.load(Ordering::Relaxed), serve(&desk, 2)), (0, 1));
    assert!(tickets[1].stream().written() == 1 && tickets[0].stream().written() == 0);
    desk.leave(&waits);
}
