//! Where those who wait for one condition stand, and are served: batches are taken, answered, and put back where they can be
//! answered no longer, while those who stand in them go as they please.

use super::{
    company::{Company, Turn},
    condition::{Condition, Memory, Outcome},
    ticket::Ticket,
};
use crate::{
    state::Snapshot,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Boot,
};

/// A company under its lock.
#[derive(Debug)]
pub(super) struct Desk(Mutex<Company<Arc<Ticket>>>);

/// A place in the company, to be given back to its desk.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    ticket: Arc<Ticket>,
}

/// The newest snapshot, the time, and whether nobody may be released on it.
pub(super) type Now = (Arc<Snapshot>, Boot, bool);

impl Desk {
    /// Nobody yet, as [`Company::new`].
    pub(super) fn new(condition: Arc<Condition>, memory: Memory) -> Self {
        Self(Mutex::new(Company::new(condition, memory)))
    }

    /// As [`Company::learn`].
    pub(super) fn learn(&self, memory: &Memory) {
        self.lock().learn(memory);
    }

    /// One more waits, and may be answered by whoever serves.
    pub(super) fn join(&self, ticket: Arc<Ticket>) -> Seat {
        let number = self.lock().join(ticket.clone());
        Seat { number, ticket }
    }

    /// Waits no longer, and is answered by nobody from now on.
    pub(super) fn leave(&self, seat: &Seat) {
        // Before it goes: whoever holds it in a batch is not to put it back.
        let _ = seat.ticket.take();
        self.lock().leave(seat.number);
    }

    /// Judges the newest snapshot for one who asks, and the time of that.
    pub(super) fn look(&self, now: impl FnOnce() -> Now) -> (Outcome, Option<Boot>, Arc<Snapshot>, Boot) {
        let mut company = self.lock();
        let (snapshot, at, stale) = now();
        let (outcome, published) = company.look(&snapshot, at, stale);
        (outcome, published, snapshot, at)
    }

    /// What is to be done.
    pub(super) fn turn(&self, now: impl FnOnce() -> Now) -> Turn<Arc<Ticket>> {
        let mut company = self.lock();
        let (snapshot, at, stale) = now();
        company.turn(&snapshot, at, stale)
    }

    /// Has each of a batch answered, until `answer` says that the time for it is over: this one and the others wait on.
    pub(super) fn serve(&self, batch: Vec<(u64, Arc<Ticket>)>, mut answer: impl FnMut(&Ticket) -> bool) {
        let mut batch = batch.into_iter();
        while let Some((number, ticket)) = batch.next() {
            if !answer(&ticket) {
                let mut company = self.lock();
                // Who left meanwhile is not to come back: a ticket is taken before its number is.
                let rest = std::iter::once((number, ticket)).chain(batch);
                company.put_back(rest.filter(|(_, ticket)| ticket.is_waiting()));
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Company<Arc<Ticket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
