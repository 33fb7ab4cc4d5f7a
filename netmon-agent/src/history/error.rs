//! What can go wrong with the file.

use std::{io, path::PathBuf};

use rusqlite::{Error, ErrorCode};

/// Why nothing can be written to, or read from, the history.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory is not there.
    #[error("there is no directory {}", .0.display())]
    NoDirectory(PathBuf),
    /// What is there is no file.
    #[error("{} is no regular file", .0.display())]
    NoFile(PathBuf),
    /// There is no history yet.
    #[error("there is no history at {}", .0.display())]
    Missing(PathBuf),
    /// Another agent writes to it.
    #[error("another agent writes to {}", .0.display())]
    InUse(PathBuf),
    /// A later version of this program made it.
    #[error(
        "it is of a newer netmon (version {version} of its tables; this one knows {})",
        super::schema::VERSION
    )]
    Newer {
        /// The version.
        version: i64,
    },
    /// A database of another program, or none at all.
    #[error("it is no history of netmon's")]
    Foreign,
    /// More is asked for than is read at once.
    #[error("there are more than {0} rows since then: ask for a shorter period, one that begins later")]
    TooMuch(u64),
    /// It is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The system says so.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// SQLite says so.
    #[error("{0}")]
    Sqlite(#[from] Error),
}

impl StoreError {
    /// Whether the file can't be used as it is, now or ever.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Foreign | Self::Damaged(_) => true,
            Self::Sqlite(e) => {
                matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            _ => false,
        }
    }

    /// Whether there is no room on the disk, or none that this user may have.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite(e) => e.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// Whether another attempt may do better without anybody's help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Sqlite(_) | Self::InUse(_) => true,
            Self::Io { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
            }
            _ => false,
        }
    }
}
