//! Connections that programs hold and report: a registry beside the board. They are no evidence and change no verdict;
//! they are shown, and go with the connection over which they were reported.
//!
//! Who can open the socket may report. That is safe: a report carries its user by `SO_PEERCRED`, nobody can report in
//! the name of root or of the agent's own user but these, nobody can change or hide another's, and what one connection,
//! one user and all together may have is bounded, in number, in size and in pace.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use netmon_client::wire::{
    ConnectionReport, ConnectionState, MAX_CONNECTION_ERROR, MAX_CONNECTION_NAME, is_connection_name,
};
use tokio::sync::watch;

use crate::{observation::disguises, time::Boot};

/// Connections of one reporter.
const MOST_EACH: usize = 64;
/// Of one user.
const MOST_OF_USER: usize = 256;
/// In all.
const MOST: usize = 1024;
/// Of these, for root and the agent's own user alone, whom others are not to crowd out.
const RESERVED: usize = 256;
/// Changes that are kept for those who follow.
const BACKLOG: usize = 1024;
/// How far the beginning of a state may move with a further report of it: ages are told late by what the way takes.
const SAME: Duration = Duration::from_secs(1);
/// Reports of a user: how many at once, and how many a second over time.
const REPORTS: (f64, f64) = (256.0, 50.0);
/// The same of connections that were not known before, each of which is a new series to whoever scrapes.
const NEW: (f64, f64) = (256.0, 1.0);
/// Users whose pace is remembered without a look at whether it need be.
const USERS: usize = 64;

/// The registry. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    own_uid: u32,
    inner: Mutex<Inner>,
    /// Number of the last change.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<Key, Entry>,
    changes: VecDeque<Arc<Changed>>,
    paces: HashMap<u32, Pace>,
    next_reporter: u64,
}

/// Client as it is shown, and name.
type Key = (String, String);

#[derive(Debug)]
struct Entry {
    reporter: u64,
    reported: Arc<Reported>,
}

/// A connection as it was last reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported {
    /// Who holds it.
    pub client: String,
    /// The client with its user, `backup@1000`, where that is neither root nor the agent's own.
    pub label: String,
    /// The user whose process reports it.
    pub uid: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub state: ConnectionState,
    /// Since when.
    pub since: Boot,
    /// Attempts since it last worked.
    pub attempts: u32,
    /// How often it was connected anew.
    pub reconnects: u64,
    /// What went wrong last, printable.
    pub last_error: Option<String>,
    /// When it last worked.
    pub last_success: Option<Boot>,
    /// Part of the time for which it was there, 0–1.
    pub uptime_ratio: Option<f64>,
}

/// One change, for those who follow.
#[derive(Clone, Debug)]
pub struct Changed {
    /// When.
    pub at: Boot,
    /// The connection, as it is or was last.
    pub reported: Arc<Reported>,
    /// Whether it is gone.
    pub gone: bool,
}

/// Why a report is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is something wrong with it.
    Bad(String),
    /// Another reporter has the name.
    Taken(String),
    /// There is no room.
    Full(String),
    /// Too many, too fast.
    TooFast,
    /// This reporter has none of that name.
    Unknown(String),
}

/// One connection to the socket: whatever is reported over it goes with it.
#[derive(Debug)]
pub struct Reporter {
    connections: Connections,
    id: u64,
    uid: u32,
    holds: AtomicUsize,
}

impl Connections {
    /// An empty registry of an agent that runs as `own_uid`.
    pub fn new(own_uid: u32) -> Self {
        let version = watch::Sender::new(0);
        Self { shared: Arc::new(Shared { own_uid, inner: Mutex::default(), version }) }
    }

    /// A reporter of user `uid`.
    pub fn reporter(&self, uid: u32) -> Reporter {
        let mut inner = self.lock();
        inner.next_reporter += 1;
        Reporter { connections: self.clone(), id: inner.next_reporter, uid, holds: AtomicUsize::new(0) }
    }

    /// All of them, by client and name.
    pub fn all(&self) -> Vec<Arc<Reported>> {
        self.lock().entries.values().map(|e| e.reported.clone()).collect()
    }

    /// Wakes at every change, with its number.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// The changes after number `seen`, oldest first; none when some of them are not kept any more.
    #[cfg(test)]
    pub fn changes_after(&self, seen: u64) -> Option<Vec<Arc<Changed>>> {
        self.next_changes(seen, usize::MAX)
    }

    /// The same, but no more than so many of them.
    pub fn next_changes(&self, seen: u64, most: usize) -> Option<Vec<Arc<Changed>>> {
        let inner = self.lock();
        let missed = self.shared.version.borrow().saturating_sub(seen);
        let missed = usize::try_from(missed).ok().filter(|missed| *missed <= inner.changes.len())?;
        Some(inner.changes.range(inner.changes.len() - missed..).take(most).cloned().collect())
    }

    /// The client as it is shown: nobody but root and the agent's own user has a name without a user behind it.
    fn label(&self, client: &str, uid: u32) -> String {
        if self.is_trusted(uid) { client.to_owned() } else { format!("{client}@{uid}") }
    }

    fn is_trusted(&self, uid: u32) -> bool {
        uid == 0 || uid == self.shared.own_uid
    }

    fn changed(&self, inner: &mut Inner, at: Boot, reported: Arc<Reported>, gone: bool) {
        if inner.changes.len() == BACKLOG {
            inner.changes.pop_front();
        }
        inner.changes.push_back(Arc::new(Changed { at, reported, gone }));
        // Under the lock, so that the number and the backlog are one.
        self.shared.version.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// Takes a report of the connection `name`.
    ///
    /// # Errors
    /// What is wrong with it: see [`Refusal`].
    pub fn report(&self, name: &str, report: ConnectionReport, now: Boot) -> Result<(), Refusal> {
        for (what, text) in [("the connection's name", name), ("client", report.client.as_str())] {
            if !is_connection_name(text) || text.chars().any(disguises) {
                let said = format!(
                    "{what} {:?}: a name has 1 to {MAX_CONNECTION_NAME} bytes, no control characters and none that are not seen",
                    clipped(text, MAX_CONNECTION_NAME)
                );
                return Err(Refusal::Bad(said));
            }
        }
        let key = (self.connections.label(&report.client, self.uid), name.to_owned());
        let mut inner = self.connections.lock();
        let known = match inner.entries.get(&key) {
            Some(entry) if entry.reporter != self.id => {
                let said = format!(
                    "another program reports {name:?} of client {:?}; give this one another name",
                    report.client
                );
                return Err(Refusal::Taken(said));
            }
            Some(entry) => Some(entry.reported.clone()),
            None => None,
        };
        if known.is_none() {
            self.room(&inner)?;
        }
        if !inner.pace(self.uid, now).take(now, known.is_none()) {
            return Err(Refusal::TooFast);
        }
        let reported = Arc::new(self.reported(&key, report, known.as_deref(), now));
        if known.is_none() {
            self.holds.fetch_add(1, Ordering::Relaxed);
        }
        let is_change = known.is_none_or(|known| known.state != reported.state);
        inner.entries.insert(key, Entry { reporter: self.id, reported: reported.clone() });
        if is_change {
            self.connections.changed(&mut inner, now, reported, false);
        }
        Ok(())
    }

    /// Forgets what it reported under `name`.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] and [`Refusal::TooFast`].
    pub fn forget(&self, name: &str, now: Boot) -> Result<(), Refusal> {
        let mut inner = self.connections.lock();
        if !inner.pace(self.uid, now).take(now, false) {
            return Err(Refusal::TooFast);
        }
        if self.remove(&mut inner, now, |(_, of)| of == name) == 0 {
            return Err(Refusal::Unknown(format!(
                "nothing was reported as {:?} over this connection",
                clipped(name, MAX_CONNECTION_NAME)
            )));
        }
        Ok(())
    }

    /// Whether anything reported over it is shown: then it may idle.
    pub fn holds_any(&self) -> bool {
        self.holds.load(Ordering::Relaxed) > 0
    }

    fn room(&self, inner: &Inner) -> Result<(), Refusal> {
        let reserved = if self.connections.is_trusted(self.uid) { 0 } else { RESERVED };
        let of_user = inner.entries.values().filter(|e| e.reported.uid == self.uid).count();
        for (has, most, whose) in [
            (self.holds.load(Ordering::Relaxed), MOST_EACH, "a reporter"),
            (of_user, MOST_OF_USER, "a user"),
            (inner.entries.len(), MOST - reserved, "all programs together"),
        ] {
            if has >= most {
                return Err(Refusal::Full(format!("no room: {whose} may report {most} connections")));
            }
        }
        Ok(())
    }

    fn reported(&self, key: &Key, report: ConnectionReport, known: Option<&Reported>, now: Boot) -> Reported {
        let since = before(now, report.state_seconds);
        let kept = known.filter(|known| {
            let moved = known.since.since(since).max(since.since(known.since));
            known.state == report.state && moved < SAME
        });
        Reported {
            label: key.0.clone(),
            name: key.1.clone(),
            uid: self.uid,
            client: report.client,
            state: report.state,
            since: kept.map_or(since, |known| known.since),
            attempts: report.attempts,
            reconnects: report.reconnects,
            last_error: report.last_error.filter(|e| !e.is_empty()).map(|e| printable(&e)),
            last_success: report.last_success_seconds.map(|age| before(now, age)),
            uptime_ratio: report.uptime_ratio.map(|ratio| ratio.clamp(0.0, 1.0)),
        }
    }

    /// Forgets those of its own that `which` is true of; how many.
    fn remove(&self, inner: &mut Inner, now: Boot, which: impl Fn(&Key) -> bool) -> usize {
        let own = inner.entries.iter().filter(|(key, entry)| entry.reporter == self.id && which(key));
        let keys: Vec<Key> = own.map(|(key, _)| key.clone()).collect();
        for entry in keys.iter().filter_map(|key| inner.entries.remove(key)).collect::<Vec<_>>() {
            self.connections.changed(inner, now, entry.reported, true);
        }
        self.holds.fetch_sub(keys.len(), Ordering::Relaxed);
        keys.len()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if self.holds_any() {
            let connections = self.connections.clone();
            self.remove(&mut connections.lock(), Boot::now(), |_| true);
        }
    }
}

/// How fast a user reports: two buckets of tokens.
#[derive(Clone, Copy, Debug)]
struct Pace {
    at: Boot,
    reports: f64,
    new: f64,
}

impl Inner {
    fn pace(&mut self, uid: u32, now: Boot) -> &mut Pace {
        if self.paces.len() >= USERS && !self.paces.contains_key(&uid) {
            // Who has all tokens back is as one who never was.
            self.paces.retain(|_, pace| !pace.is_full(now));
        }
        self.paces.entry(uid).or_insert(Pace { at: now, reports: REPORTS.0, new: NEW.0 })
    }
}

impl Pace {
    /// Takes what one report costs, if it is there.
    fn take(&mut self, now: Boot, is_new: bool) -> bool {
        self.fill(now);
        let (report, new) = (1.0, if is_new { 1.0 } else { 0.0 });
        let enough = self.reports >= report && self.new >= new;
        if enough {
            self.reports -= report;
            self.new -= new;
        }
        enough
    }

    fn is_full(mut self, now: Boot) -> bool {
        self.fill(now);
        self.reports >= REPORTS.0 && self.new >= NEW.0
    }

    fn fill(&mut self, now: Boot) {
        let passed = now.since(self.at).as_secs_f64();
        self.reports = (self.reports + passed * REPORTS.1).min(REPORTS.0);
        self.new = (self.new + passed * NEW.1).min(NEW.0);
        self.at = self.at.max(now);
    }
}

/// So many seconds before `now`; what is no age is none.
fn before(now: Boot, seconds: f64) -> Boot {
    let age = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Boot::from_nanos(now.as_nanos().saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
}

/// As much as is shown, on one line and without what commands a terminal.
fn printable(text: &str) -> String {
    clipped(text, MAX_CONNECTION_ERROR)
        .chars()
        .map(|c| if c.is_control() || disguises(c) { ' ' } else { c })
        .collect()
}

fn clipped(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
