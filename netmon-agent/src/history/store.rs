//! The file, as it is written: SQLite, in batches, one transaction each.
//!
//! **WAL, `synchronous = NORMAL`.** What was committed is in the kernel's hands, so that `kill -9` at any moment loses
//! nothing of it. A loss of power may take the last commits, never the file: the log is synced before each checkpoint.
//! `FULL` would save those few seconds, at the price of waiting for the disk at each batch, in an outage above all, when a
//! disk may be remote. What is lost so was not observed, as the run's last sign of life is lost along with it.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::{
    error::StoreError,
    record::{Change, Gap, RunId, Waits},
    schema::{self, Kind},
};
use crate::{
    health::Subject,
    time::{Boot, Wall},
};

/// Longest wait for a reader that is in the way; there is none in WAL mode but for moments.
const BUSY: Duration = Duration::from_secs(2);

/// Of the size that is allowed, who waited may take this part, and so may gaps: anybody can wait, and what was down is not
/// to be forgotten for it.
const SHARE: u64 = 4;

/// No row of theirs takes more with its place in the index, bytes: a name has 64 at most.
const ROW: u64 = 256;

/// Nor more rows than these, so that all can be read at once.
const MOST_ROWS: u64 = 100_000;

/// Pages of the log after which it is written back to the file.
const CHECKPOINT_PAGES: i64 = 256;

/// The run that writes.
#[derive(Clone, Debug)]
pub struct ThisRun {
    /// Which boot of the machine.
    pub boot: String,
    /// When the agent started.
    pub started: Boot,
}

/// What is to be written together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Changes, oldest first; their `run` is not looked at.
    pub changes: Vec<Change>,
    /// Gaps; likewise.
    pub gaps: Vec<Gap>,
    /// Who waited; likewise.
    pub waits: Vec<Waits>,
}

impl Batch {
    /// How many rows it is.
    pub fn len(&self) -> usize {
        self.changes.len() + self.gaps.len() + self.waits.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The run's last look.
#[derive(Clone, Copy, Debug)]
pub struct Sign {
    /// When.
    pub seen: Boot,
    /// Wall-clock time less boot time now, nanoseconds.
    pub offset: i64,
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    run: RunId,
    // The lock goes last: the next agent may come only when the file is closed.
    _lock: Flock<File>,
}

/// Opens the file at `path`, which is made where there is none, and begins a run in it.
///
/// # Errors
/// See [`StoreError`]. A file that [`StoreError::is_damage`] tells of is left as it is: see [`move_aside`].
pub fn open(path: &Path, run: &ThisRun, sign: Sign) -> Result<Store, StoreError> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(StoreError::NoDirectory(directory.to_owned()));
    }
    let lock = lock(path)?;
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(StoreError::NoFile(path.to_owned())),
        Ok(_) => {}
        // SQLite would make it readable by everybody; it gives its log the same mode.
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o640).open(path);
            made.map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        }
        Err(source) => return Err(StoreError::Io { path: path.to_owned(), source }),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let version = match schema::kind(&connection)? {
        Kind::Foreign => return Err(StoreError::Foreign),
        Kind::Ours(version) => version,
        Kind::Empty => {
            // Only before the first table: afterwards it would take a rewrite of the file.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            0
        }
    };
    let said: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if said != "ok" {
        return Err(StoreError::Damaged(said));
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 0)?;
    schema::migrate(&mut connection, version)?;
    connection.execute(
        "INSERT INTO runs (boot, started, seen, offset, version) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![run.boot, ns(run.started), ns(sign.seen), sign.offset, env!("CARGO_PKG_VERSION")],
    )?;
    let run = connection.last_insert_rowid();
    Ok(Store { connection, run, _lock: lock })
}

impl Store {
    /// The number of this run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Writes a batch and the run's last sign of life: all of it or nothing.
    ///
    /// # Errors
    /// No room, a disk that fails, a damaged file.
    pub fn append(&mut self, batch: &Batch, sign: Sign) -> Result<(), StoreError> {
        let run = self.run;
        let transaction = self.connection.transaction()?;
        for change in &batch.changes {
            let subject = subject(&transaction, &change.subject)?;
            transaction
                .prepare_cached(
                    "INSERT INTO changes (run, seq, at, told, subject, previous, state, reasons, diagnosis)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    run,
                    change.seq as i64,
                    ns(change.at),
                    told(change.told),
                    subject,
                    change.previous as i64,
                    change.state as i64,
                    Some(&change.reasons).filter(|r| !r.is_empty()),
                    change.diagnosis
                ])?;
        }
        for gap in &batch.gaps {
            transaction
                .prepare_cached("INSERT INTO gaps (run, began, ended) VALUES (?1, ?2, ?3)")?
                .execute(params![run, ns(gap.from), ns(gap.to)])?;
        }
        for waits in &batch.waits {
            let subject = subject(&transaction, &waits.subject)?;
            transaction
                .prepare_cached(
                    "INSERT INTO waits (run, subject, job, uid, count, began, ended, total, longest)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    run,
                    subject,
                    waits.job,
                    waits.uid,
                    waits.count as i64,
                    ns(waits.from),
                    ns(waits.to),
                    waits.total.as_nanos() as i64,
                    waits.longest.as_nanos() as i64
                ])?;
        }
        transaction
            .prepare_cached("UPDATE runs SET seen = max(seen, ?2), offset = ?3 WHERE id = ?1")?
            .execute(params![run, ns(sign.seen), sign.offset])?;
        transaction.commit()?;
        Ok(())
    }

    /// Ends the run well and closes the file, whose log is then in it.
    ///
    /// # Errors
    /// As [`Store::append`]; the file is closed all the same.
    pub fn close(self) -> Result<(), StoreError> {
        self.connection.execute("UPDATE runs SET clean = 1 WHERE id = ?1", [self.run])?;
        self.connection.close().map_err(|(_, e)| e.into())
    }

    /// Bytes in use, and how many changes are kept.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn size(&self) -> Result<(u64, u64), StoreError> {
        let number =
            |pragma: &str| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let pages = number("page_count")? - number("freelist_count")?;
        let changes: i64 = self.connection.query_row(
            // Rows go from the front only: no count is needed.
            "SELECT ifnull(max(id) - min(id) + 1, 0) FROM changes",
            (),
            |row| row.get(0),
        )?;
        Ok(((pages * number("page_size")?) as u64, changes as u64))
    }

    /// Forgets what is older than `oldest`, and of the rest so much of the oldest that no more than `most` bytes are in
    /// use; gives the room back to the file system. How many changes were forgotten.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn prune(&mut self, oldest: Wall, most: u64) -> Result<u64, StoreError> {
        self.thin(most)?;
        let oldest = told(oldest);
        let mut gone = 0;
        for table in ["waits", "gaps"] {
            self.connection.execute(
                &format!(
                    "DELETE FROM {table} WHERE id IN (SELECT t.id FROM {table} t JOIN runs r ON r.id = t.run
                         WHERE t.ended + r.offset < ?1)"
                ),
                [oldest],
            )?;
        }
        // Every change of an earlier run that is old is behind every young one; of this run's, those before the first
        // young one.
        let first_kept: Option<i64> = self
            .connection
            .query_row(
                "SELECT min(c.id) FROM changes c JOIN runs r ON r.id = c.run WHERE c.at + r.offset >= ?1",
                [oldest],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        let end: i64 =
            self.connection.query_row("SELECT ifnull(max(id), 0) + 1 FROM changes", (), |row| row.get(0))?;
        gone += self.forget_before(first_kept.unwrap_or(end))?;
        // An eighth at a time: a file that is full is not to be pruned again at the next batch.
        let rows: i64 = self.connection.query_row("SELECT count(*) FROM changes", (), |row| row.get(0))?;
        for eighth in 1..=8 {
            if self.size()?.0 <= most {
                break;
            }
            let first: Option<i64> = self
                .connection
                .query_row("SELECT id FROM changes ORDER BY id LIMIT 1 OFFSET ?1", [rows / 8], |row| {
                    row.get(0)
                })
                .optional()?;
            tracing::debug!(eighth, "the history is larger than it may be");
            gone += self.forget_before(first.unwrap_or(end))?;
        }
        // A step gives back a page.
        let mut vacuum = self.connection.prepare("PRAGMA incremental_vacuum")?;
        let mut pages = vacuum.query(())?;
        while pages.next()?.is_some() {}
        Ok(gone)
    }

    /// Forgets the oldest of those who waited, and of the gaps, where there are more than their part of `most` bytes
    /// holds.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn thin(&mut self, most: u64) -> Result<(), StoreError> {
        let rows = (most / SHARE / ROW).min(MOST_ROWS) as i64;
        for table in ["waits", "gaps"] {
            self.connection.execute(
                &format!(
                    "DELETE FROM {table} WHERE id <= (SELECT id FROM {table} ORDER BY id DESC LIMIT 1 OFFSET ?1)"
                ),
                [rows],
            )?;
        }
        Ok(())
    }

    /// Forgets changes before number `first`, but for the last of each subject in this run, which tells its state, if that
    /// is known; and what belongs to no change that is left.
    fn forget_before(&mut self, first: i64) -> Result<u64, StoreError> {
        let run = self.run;
        let transaction = self.connection.transaction()?;
        // Where none is young enough, what was before the last of them goes.
        let begin: Option<(i64, i64)> = transaction
            .query_row(
                "SELECT run, at FROM changes WHERE id = ifnull((SELECT min(id) FROM changes WHERE id >= ?1),
                     (SELECT max(id) FROM changes))",
                [first],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let gone = transaction.execute(
            // `state` is that of the row with the greatest id (SQLite's bare columns beside max()). A subject of which nothing
            // is known any more, as a target that was removed, needs no row to say so.
            "DELETE FROM changes WHERE id < ?1 AND id NOT IN
                 (SELECT id FROM (SELECT max(id) AS id, state FROM changes
                     WHERE run = ?2 AND previous <> state GROUP BY subject) WHERE state <> 0)",
            [first, run],
        )?;
        if let Some(begin) = begin.filter(|_| gone > 0) {
            transaction.execute("DELETE FROM waits WHERE (run, ended) < (?1, ?2)", begin)?;
            transaction.execute("DELETE FROM gaps WHERE (run, ended) < (?1, ?2)", begin)?;
            transaction
                .execute("DELETE FROM runs WHERE id < ?1 AND id < (SELECT min(run) FROM changes)", [run])?;
            transaction.execute(
                "DELETE FROM subjects WHERE id NOT IN (SELECT subject FROM changes)
                     AND id NOT IN (SELECT subject FROM waits)",
                (),
            )?;
        }
        transaction.commit()?;
        Ok(gone as u64)
    }
}

/// Moves the file at `path` aside, with its log: nothing is ever deleted. Where it is now.
///
/// # Errors
/// It can't be moved.
pub fn move_aside(path: &Path, now: Wall) -> Result<PathBuf, StoreError> {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(now.as_nanos()))
        .map(|t| t.strftime("%Y%m%dT%H%M%SZ").to_string())
        .unwrap_or_default();
    let named = |n: u32| {
        let more = if n == 0 { String::new() } else { format!("-{n}") };
        with(path, &format!(".aside-{stamp}{more}"))
    };
    let aside = (0..).map(named).find(|aside| fs::symlink_metadata(aside).is_err());
    let aside = aside.unwrap_or_else(|| with(path, ".aside"));
    for of in ["-wal", "-shm", ""] {
        match fs::rename(with(path, of), with(&aside, of)) {
            Err(e) if of.is_empty() || e.kind() != ErrorKind::NotFound => {
                return Err(StoreError::Io { path: with(path, of), source: e });
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// A file beside `path`.
pub(super) fn with(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// The file whose lock shows that an agent writes. A lock on the database itself would be lost with SQLite's own, which
/// the kernel drops when any descriptor of the file is closed.
pub(super) fn lock_file(path: &Path) -> PathBuf {
    with(path, ".lock")
}

fn lock(path: &Path) -> Result<Flock<File>, StoreError> {
    let file = lock_file(path);
    let failed = |source| StoreError::Io { path: file.clone(), source };
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(&file)
        .map_err(failed)?;
    match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(held),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StoreError::InUse(path.to_owned())),
        Err((_, e)) => Err(failed(e.into())),
    }
}

fn subject(transaction: &Transaction<'_>, subject: &Subject) -> rusqlite::Result<i64> {
    let key = params![subject.kind(), subject.name()];
    let known = transaction
        .prepare_cached("SELECT id FROM subjects WHERE kind = ?1 AND name = ?2")?
        .query_row(key, |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => transaction.prepare_cached("INSERT INTO subjects (kind, name) VALUES (?1, ?2)")?.insert(key),
    }
}

pub(super) fn ns(at: Boot) -> i64 {
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn told(at: Wall) -> i64 {
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)
}
