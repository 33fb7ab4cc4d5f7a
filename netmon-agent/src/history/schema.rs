//! The file: its mark, its version, its tables.

use rusqlite::{Connection, Transaction};

use super::error::StoreError;

/// `application_id` of the file's header: "nmon". By it a file of somebody else is known.
pub(super) const APPLICATION: i64 = 0x6e6d_6f6e;

/// Version of the tables, the file's `user_version`. A migration from each earlier one stands in [`MIGRATIONS`].
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// What leads from each version to the next, from an empty file on. Never changed, only added to.
const MIGRATIONS: &[&str] = &["
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    boot TEXT NOT NULL,         -- /proc/sys/kernel/random/boot_id
    started INTEGER NOT NULL,   -- CLOCK_BOOTTIME, ns, like every time here but `told`
    seen INTEGER NOT NULL,      -- last look at the evidence
    offset INTEGER NOT NULL,    -- wall clock less boot time then, ns
    version TEXT NOT NULL,
    clean INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE subjects (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (kind, name)
) STRICT;
CREATE TABLE changes (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,       -- as in events
    at INTEGER NOT NULL,
    told INTEGER NOT NULL,      -- CLOCK_REALTIME, ns
    subject INTEGER NOT NULL,
    previous INTEGER NOT NULL,  -- 0 unknown, 1 up, 2 degraded, 3 down
    state INTEGER NOT NULL,
    reasons TEXT,               -- JSON
    diagnosis TEXT              -- JSON
) STRICT;
CREATE INDEX changes_by_time ON changes (run, at);
CREATE INDEX changes_by_subject ON changes (subject, id);
CREATE TABLE gaps (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER NOT NULL
) STRICT;
CREATE INDEX gaps_by_time ON gaps (run, ended);
CREATE TABLE waits (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    job TEXT NOT NULL,
    uid INTEGER NOT NULL,
    count INTEGER NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    total INTEGER NOT NULL,     -- ns
    longest INTEGER NOT NULL    -- ns
) STRICT;
CREATE INDEX waits_by_time ON waits (run, ended);
"];

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is nothing in it.
    Empty,
    /// A history of this version of the tables.
    Ours(i64),
    /// A database of another program.
    Foreign,
}

/// Looks at the header.
pub(super) fn kind(connection: &Connection) -> rusqlite::Result<Kind> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    Ok(match application {
        APPLICATION => Kind::Ours(version),
        0 if version == 0 && tables == 0 => Kind::Empty,
        _ => Kind::Foreign,
    })
}

/// Brings the tables to [`VERSION`], all or nothing.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> Result<(), StoreError> {
    let Some(missing) = usize::try_from(from).ok().and_then(|from| MIGRATIONS.get(from..)) else {
        return Err(StoreError::Newer { version: from });
    };
    if missing.is_empty() {
        return Ok(());
    }
    let transaction: Transaction<'_> = connection.transaction()?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}
