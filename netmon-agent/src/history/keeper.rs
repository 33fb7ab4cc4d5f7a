//! Keeps the file: opens it when it can be had, holds what can't be written yet, and says once what is wrong.

use std::{mem, path::PathBuf, time::Duration};

use super::{
    error::StoreError,
    record::RunId,
    store::{self, Batch, Sign, Store, ThisRun},
    writer::Counters,
};
use crate::time::{Boot, Mono, Wall};

/// Rows that are held while nothing can be written; beyond, who waited is dropped, and if that is not enough, all is, and the
/// state is taken anew.
pub(super) const MAX_HELD: usize = 8192;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How the file fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Nothing was tried yet.
    New,
    /// It is written.
    Well,
    /// It can't be written now; why.
    Failing(String),
    /// It will not be written any more; why, and what would mend it.
    Off(String, String),
}

#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    run: ThisRun,
    counters: Counters,
    store: Option<Store>,
    held: Batch,
    /// When the first of what was dropped was; none when all was kept.
    dropped_from: Option<Boot>,
    next_try: Mono,
    health: Health,
}

impl Keeper {
    pub(super) fn new(path: PathBuf, run: ThisRun, counters: Counters) -> Self {
        let (held, health) = (Batch::default(), Health::New);
        Self { path, run, counters, store: None, held, dropped_from: None, next_try: Mono::default(), health }
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Whether it is given up.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.health, Health::Off(..))
    }

    /// The number of the run in the file that is open.
    pub(super) fn run(&self) -> Option<RunId> {
        self.store.as_ref().map(Store::run)
    }

    /// Whether anything waits to be written.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Not sooner is anything tried.
    pub(super) fn next_try(&self) -> Mono {
        self.next_try
    }

    /// Since when rows were dropped, if any were: the state is to be taken anew when something can be written again.
    pub(super) fn dropped_from(&self) -> Option<Boot> {
        self.dropped_from
    }

    /// Takes rows, to be written with the next [`Keeper::flush`].
    pub(super) fn hold(&mut self, mut batch: Batch) {
        self.held.changes.append(&mut batch.changes);
        self.held.gaps.append(&mut batch.gaps);
        self.held.waits.append(&mut batch.waits);
        if self.held.len() <= MAX_HELD {
            return;
        }
        // Anybody can wait: no change is lost for it.
        self.counters.dropped.inc_by(mem::take(&mut self.held.waits).len() as u64);
        if self.held.len() <= MAX_HELD {
            return;
        }
        let dropped = mem::take(&mut self.held);
        let first = [dropped.changes.first().map(|c| c.at), dropped.gaps.first().map(|g| g.from)];
        self.counters.dropped.inc_by(dropped.len() as u64);
        self.dropped_from = self.dropped_from.or(first.into_iter().flatten().min());
    }

    /// Writes what is held and a sign of life. Whether it is written.
    pub(super) fn flush(&mut self, now: Mono, wall: Wall, sign: Sign) -> bool {
        if now < self.next_try || self.is_off() {
            return false;
        }
        let held = mem::take(&mut self.held);
        match self.write(&held, wall, sign) {
            Ok(()) => true,
            Err(error) => {
                self.hold(held);
                self.failed(&error, now);
                false
            }
        }
    }

    /// Writes rows that make good for all that was dropped, which are not held where they can't be written.
    pub(super) fn make_good(&mut self, now: Mono, wall: Wall, batch: &Batch, sign: Sign) -> bool {
        // A file that turns out to be damaged takes with it what was written before: that is dropped now.
        let dropped_from = self.dropped_from.take();
        match self.write(batch, wall, sign) {
            Ok(()) => true,
            Err(error) => {
                self.dropped_from = [dropped_from, self.dropped_from].into_iter().flatten().min();
                self.failed(&error, now);
                false
            }
        }
    }

    fn write(&mut self, batch: &Batch, wall: Wall, sign: Sign) -> Result<(), StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.open(wall, sign)?,
        };
        match store.append(batch, sign) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                drop(store);
                // Of what this run wrote the new file has nothing.
                self.dropped_from = Some(self.run.started);
                self.set_aside(&error, wall)?;
                store = self.open(wall, sign)?;
                store.append(batch, sign)?;
            }
            Err(error) => {
                self.store = Some(store);
                return Err(error);
            }
        }
        self.store = Some(store);
        if let Health::Failing(_) = mem::replace(&mut self.health, Health::Well) {
            tracing::info!("the history is written again");
        }
        Ok(())
    }

    fn open(&mut self, wall: Wall, sign: Sign) -> Result<Store, StoreError> {
        match store::open(&self.path, &self.run, sign) {
            Err(error) if error.is_damage() => {
                self.set_aside(&error, wall)?;
                store::open(&self.path, &self.run, sign)
            }
            opened => opened,
        }
    }

    fn set_aside(&mut self, error: &StoreError, wall: Wall) -> Result<(), StoreError> {
        self.counters.errors.inc();
        let aside = store::move_aside(&self.path, wall)?;
        tracing::warn!(
            "{}: {error}; it was moved aside to {} and a new history is begun",
            self.path.display(),
            aside.display()
        );
        Ok(())
    }

    /// Forgets what is too old or too much.
    pub(super) fn prune(&mut self, now: Mono, oldest: Wall, most: u64) {
        let Some(store) = &mut self.store else { return };
        match store.prune(oldest, most) {
            Ok(0) => {}
            Ok(gone) => tracing::debug!(gone, "old changes were taken from the history"),
            Err(error) => self.failed(&error, now),
        }
    }

    /// Forgets the oldest of those who waited, where there are too many.
    pub(super) fn thin(&mut self, now: Mono, most: u64) {
        if let Some(Err(error)) = self.store.as_mut().map(|store| store.thin(most)) {
            self.failed(&error, now);
        }
    }

    /// Tells the gauges how large it is; bytes in use.
    pub(super) fn measure(&self) -> u64 {
        let (bytes, changes) = self.store.as_ref().and_then(|store| store.size().ok()).unwrap_or_default();
        self.counters.bytes.set(bytes as i64);
        self.counters.changes.set(changes as i64);
        bytes
    }

    /// Ends the run well.
    pub(super) fn close(mut self) {
        if let Some(Err(error)) = self.store.take().map(Store::close) {
            tracing::warn!("the history was not ended well: {error}");
        }
    }

    fn failed(&mut self, error: &StoreError, now: Mono) {
        self.counters.errors.inc();
        self.next_try = now + RETRY;
        let why = if error.is_full() {
            format!("no room for {}: {error}", self.path.display())
        } else {
            format!("{}: {error}", self.path.display())
        };
        if !error.may_pass() {
            let remedy = remedy(error, &self.path);
            tracing::warn!(remedy, "no history: {error}");
            self.health = Health::Off(error.to_string(), remedy);
            return;
        }
        if self.health == Health::New || self.health == Health::Well {
            tracing::warn!("the history can't be written, and is tried again every {RETRY:?}: {why}");
        }
        self.health = Health::Failing(why);
    }
}

/// What mends an error that does not pass by itself.
pub(super) fn remedy(error: &StoreError, path: &std::path::Path) -> String {
    match error {
        StoreError::NoDirectory(directory) => {
            format!("make it and start the agent anew: install -d -m 750 {}", directory.display())
        }
        StoreError::NoFile(path) => format!("move {} away, or set history.path", path.display()),
        StoreError::Newer { .. } => {
            format!("use the newer netmon, or move {} away", path.display())
        }
        _ => "set history.path to a file in a directory that the agent may write to".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        health::{State, Subject},
        history::{Change, Waits},
        output::metrics::Own,
    };

    #[test]
    fn who_waited_is_dropped_before_any_change() {
        let counters = Own::new().history;
        let run = ThisRun { boot: "b".into(), started: Boot::default() };
        let mut keeper = Keeper::new("/nowhere/h.db".into(), run, counters.clone());
        let waits = Waits {
            run: 0,
            subject: Subject::Network,
            job: "x".into(),
            uid: 1,
            count: 1,
            from: Boot::default(),
            to: Boot::default(),
            total: Duration::ZERO,
            longest: Duration::ZERO,
        };
        let change = Change {
            run: 0,
            seq: 1,
            at: Boot::from_nanos(7),
            told: Wall::default(),
            subject: Subject::Network,
            previous: State::Up,
            state: State::Down,
            reasons: String::new(),
            diagnosis: None,
        };
        keeper.hold(Batch { changes: vec![change.clone()], ..Batch::default() });
        keeper.hold(Batch { waits: vec![waits; MAX_HELD], ..Batch::default() });
        assert_eq!((keeper.held.changes.len(), keeper.held.waits.len()), (1, 0));
        assert_eq!((counters.dropped.get(), keeper.dropped_from()), (MAX_HELD as u64, None));
        keeper.hold(Batch { changes: vec![change; MAX_HELD], ..Batch::default() });
        assert_eq!((keeper.holds_any(), keeper.dropped_from()), (false, Some(Boot::from_nanos(7))));
    }
}
