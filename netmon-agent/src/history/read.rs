//! The file, as it is read: read-only, by anybody who may, beside whoever writes.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::{
    clocks::{Clocks, set_right},
    error::StoreError,
    record::{Change, Gap, Records, Run, RunId, Waits},
    schema::{self, Kind},
    store::{lock_file, ns, told, with},
};
use crate::{
    health::{State, Subject},
    time::{Boot, Wall},
};

/// So much more than a period is read before it: an outage that began earlier, over restarts of the agent, has its true
/// begin then.
const BEFORE: Duration = Duration::from_secs(86_400);

/// Rows that are read at once: some hundred megabytes at most, in an agent that has few to spare.
const MOST: u64 = 250_000;

/// Longest wait for a writer that is in the way; there is none in WAL mode but for moments.
const BUSY: Duration = Duration::from_secs(1);

/// A history to be read.
#[derive(Clone, Debug)]
pub struct Reader {
    path: PathBuf,
    most: u64,
}

impl Reader {
    /// Of the file at `path`, which is opened at each question.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), most: MOST }
    }

    /// The same with another bound on the rows that are read at once.
    pub fn of_rows(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is written about the time from `since` on, and somewhat more before it; when that was, by the clocks as they
    /// were when it was written.
    ///
    /// # Errors
    /// There is none, this user may not read it, it is damaged or somebody else's, or there is too much of it.
    pub fn load(&self, since: Wall) -> Result<Records, StoreError> {
        self.load_with(since, None)
    }

    /// The same, by the clocks as they stand now where it is of the boot that goes on.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn load_by(&self, since: Wall, clocks: &Clocks) -> Result<Records, StoreError> {
        self.load_with(since, Some(clocks))
    }

    fn load_with(&self, since: Wall, clocks: Option<&Clocks>) -> Result<Records, StoreError> {
        let connection = self.open()?;
        match schema::kind(&connection)? {
            Kind::Ours(version) if version <= schema::VERSION => {}
            Kind::Ours(version) => return Err(StoreError::Newer { version }),
            // Made, and not written to yet.
            Kind::Empty => return Ok(Records::default()),
            Kind::Foreign => return Err(StoreError::Foreign),
        }
        // One transaction, one state of the file.
        connection.execute_batch("BEGIN")?;
        let since = Wall::from_nanos(since.as_nanos().saturating_sub(BEFORE.as_nanos() as u64));
        load(&connection, since, clocks, self.most)
    }

    /// Whether SQLite finds the file whole.
    ///
    /// # Errors
    /// What it finds, or as for [`Reader::load`].
    pub fn check(&self) -> Result<(), StoreError> {
        let said: String = self.open()?.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
        if said == "ok" { Ok(()) } else { Err(StoreError::Damaged(said)) }
    }

    /// Whether an agent writes to it now; none where this user can't tell.
    pub fn is_written(&self) -> Option<bool> {
        let file = OpenOptions::new().read(true).open(lock_file(&self.path)).ok()?;
        Some(Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
    }

    fn open(&self) -> Result<Connection, StoreError> {
        let found = fs::metadata(&self.path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing(self.path.clone()),
            _ => StoreError::Io { path: self.path.clone(), source },
        })?;
        if !found.is_file() {
            return Err(StoreError::NoFile(self.path.clone()));
        }
        // SQLite's own words for this are no help.
        fs::File::open(&self.path).map_err(|source| StoreError::Io { path: self.path.clone(), source })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        let looked: rusqlite::Result<i64> =
            connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0));
        match looked {
            Ok(_) => Ok(connection),
            // A file whose log is written back is whole in itself; but who may not write beside it can only read it as one
            // that nobody changes.
            Err(_) if !has_log(&self.path) => {
                let uri = format!("file:{}?immutable=1", escaped(&self.path));
                let connection = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?;
                Ok(connection)
            }
            Err(e) => Err(e.into()),
        }
    }
}

fn has_log(path: &Path) -> bool {
    fs::metadata(with(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// A path in a URI of SQLite's.
fn escaped(path: &Path) -> String {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt};
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => out.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => out.push(char::from(*b)),
            // Writing to a String can't fail.
            b => _ = write!(out, "%{b:02X}"),
        }
    }
    out
}

/// The changes of a period, and before it what tells each subject's state at its begin, and every word since that one.
const CHANGES: &str = "changes c JOIN subjects s ON s.id = c.subject LEFT JOIN (
         SELECT subject, max(id) AS last FROM changes
         WHERE run = ?1 AND id < ?2 AND previous <> state GROUP BY subject
     ) b ON b.subject = c.subject
     WHERE c.run >= ?1 AND (c.id >= ?2 OR c.id >= b.last)";
const GAPS: &str = "gaps WHERE (run, ended) >= (?1, ?2)";
const WAITS: &str = "waits w JOIN subjects s ON s.id = w.subject WHERE (w.run, w.ended) >= (?1, ?2)";

fn load(
    connection: &Connection,
    since: Wall,
    clocks: Option<&Clocks>,
    most: u64,
) -> Result<Records, StoreError> {
    let mut runs =
        rows(connection, "SELECT id, boot, started, seen, offset, clean FROM runs ORDER BY id", (), run)?;
    set_right(&mut runs, clocks);
    let Some(first) = runs.iter().find(|run| end(run) >= i128::from(told(since))) else {
        return Ok(Records { runs, ..Records::default() });
    };
    let begin = i128::from(told(since)) - i128::from(first.offset);
    let begin = i64::try_from(begin.max(0)).unwrap_or(i64::MAX);
    let window = params![first.id, begin];
    // The first change in the period.
    let from: Option<i64> = connection
        .query_row("SELECT min(id) FROM changes WHERE (run, at) >= (?1, ?2)", window, |row| row.get(0))
        .optional()?
        .flatten();
    let from = from.unwrap_or(i64::MAX);
    let mut left = most;
    for (what, window) in [(CHANGES, params![first.id, from]), (GAPS, window), (WAITS, window)] {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {what} LIMIT {})", left.saturating_add(1));
        let found: i64 = connection.query_row(&sql, window, |row| row.get(0))?;
        left = left.checked_sub(found as u64).ok_or(StoreError::TooMuch(most))?;
    }
    let changes = rows(
        connection,
        &format!(
            "SELECT c.run, c.seq, c.at, c.told, s.kind, s.name, c.previous, c.state, c.reasons, c.diagnosis
             FROM {CHANGES} ORDER BY c.id"
        ),
        params![first.id, from],
        change,
    )?;
    let gaps =
        rows(connection, &format!("SELECT run, began, ended FROM {GAPS} ORDER BY id"), window, |row| {
            Ok(Gap { run: row.get(0)?, from: boot(row, 1)?, to: boot(row, 2)? })
        })?;
    let waits = rows(
        connection,
        &format!(
            "SELECT w.run, s.kind, s.name, w.job, w.uid, w.count, w.began, w.ended, w.total, w.longest
             FROM {WAITS} ORDER BY w.id"
        ),
        window,
        waits,
    )?;
    Ok(Records { runs, changes, gaps, waits })
}

fn end(run: &Run) -> i128 {
    i128::from(ns(run.seen)) + i128::from(run.offset)
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map(parameters, read)?.collect()
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        boot: row.get(1)?,
        started: boot(row, 2)?,
        seen: boot(row, 3)?,
        offset: row.get(4)?,
        clean: row.get(5)?,
    })
}

fn change(row: &Row<'_>) -> rusqlite::Result<Change> {
    Ok(Change {
        run: row.get(0)?,
        seq: row.get::<_, i64>(1)? as u64,
        at: boot(row, 2)?,
        told: Wall::from_nanos(row.get::<_, i64>(3)?.max(0) as u64),
        subject: subject(row, 4)?,
        previous: state(row, 6)?,
        state: state(row, 7)?,
        reasons: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
        diagnosis: row.get(9)?,
    })
}

fn waits(row: &Row<'_>) -> rusqlite::Result<Waits> {
    let span = |i| row.get(i).map(|ns: i64| Duration::from_nanos(ns.max(0) as u64));
    Ok(Waits {
        run: row.get(0)?,
        subject: subject(row, 1)?,
        job: row.get(3)?,
        uid: row.get(4)?,
        count: row.get::<_, i64>(5)?.max(0) as u64,
        from: boot(row, 6)?,
        to: boot(row, 7)?,
        total: span(8)?,
        longest: span(9)?,
    })
}

fn boot(row: &Row<'_>, i: usize) -> rusqlite::Result<Boot> {
    Ok(Boot::from_nanos(row.get::<_, i64>(i)?.max(0) as u64))
}

fn subject(row: &Row<'_>, i: usize) -> rusqlite::Result<Subject> {
    let (kind, name): (String, String) = (row.get(i)?, row.get(i + 1)?);
    Ok(match kind.as_str() {
        "device" => Subject::Device(name),
        "target" => Subject::Target(name),
        _ => Subject::Network,
    })
}

fn state(row: &Row<'_>, i: usize) -> rusqlite::Result<State> {
    // What this version does not know says nothing.
    let number = usize::try_from(row.get::<_, i64>(i)?).ok();
    Ok(number.and_then(|n| State::ALL.get(n).copied()).unwrap_or_default())
}

impl Records {
    /// The run still runs, and last looked at `seen`, whatever is written. Whether there is such a run.
    pub fn keep_alive(&mut self, id: RunId, seen: Boot) -> bool {
        let run = self.runs.iter_mut().find(|run| run.id == id);
        run.map(|run| run.seen = run.seen.max(seen)).is_some()
    }

    /// The last run, if it has not ended well and was in the boot `boot`.
    pub fn last_of(&self, boot: &str) -> Option<&Run> {
        self.runs.last().filter(|run| !run.clean && run.boot == boot)
    }
}
