//! Which failures pass, and which don't.
//!
//! | these are tried again | these never |
//! |---|---|
//! | connection refused, reset, aborted; broken pipe; host or network unreachable, network down; the peer hung up in the middle | local files: not found, no permission, no space, read-only … |
//! | time-outs, those of a TLS handshake included | certificates that are not accepted |
//! | temporary failures of name resolution (`EAI_AGAIN`) | names that do not exist |
//! | HTTP 408, 425, 429, 500, 502, 503, 504 | HTTP 400, 401, 403, 404, 501 |
//! | `SlowDown`, `ThrottlingException` and their like of the clouds ([`cloud_code`]) | |
//!
//! What is in neither column is [`Verdict::Unknown`], and not tried again unless a classifier of the program's own says
//! so: what fails for an unknown reason may have done its work.
//!
//! ```
//! use netmon_client::retry::{Classify, Standard, Verdict, classify};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum UploadError {
//!     #[error("the store said {status}")]
//!     Store { status: u16, retry_after: Option<String> },
//!     #[error("the checksum differs")]
//!     Checksum,
//!     #[error("the store can't be reached")]
//!     Io(#[from] std::io::Error),
//! }
//!
//! // Its own words first, the standard ones for the rest.
//! let classifier = (|error: &UploadError| match error {
//!     UploadError::Store { status, retry_after } => classify::http(*status, retry_after.as_deref()),
//!     UploadError::Checksum => Verdict::RETRYABLE,
//!     _ => Verdict::Unknown,
//! })
//! .or(Standard);
//!
//! let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
//! assert_eq!(classifier.classify(&reset.into()), Verdict::RETRYABLE);
//! let forbidden = UploadError::Store { status: 403, retry_after: None };
//! assert_eq!(classifier.classify(&forbidden), Verdict::Permanent);
//! ```
//!
//! What an error wraps is found by its `source`. One that is `transparent` (thiserror) leaves out the error within: hand
//! that to [`error`] where you know of it.

mod chain;
mod cloud;
mod http;
mod system;
mod text;

use std::{error::Error, time::Duration};

pub use chain::{boxed, error};
pub use cloud::{CLOUD_CODES, cloud_code, find_cloud_code};
pub use http::{HTTP_STATUSES, http, http_status, retry_after};
pub use system::{ERRNOS, IO_KINDS, errno, io_kind};
pub use text::{TEXTS, text};

use super::Outcome;

/// What a failure is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Another attempt may do better.
    Retryable {
        /// The server's wish: not sooner than this after the failure.
        retry_after: Option<Duration>,
    },
    /// Another attempt would fail the same way.
    Permanent,
    /// Nothing is known about it.
    #[default]
    Unknown,
}

impl Verdict {
    /// It may pass, and the server has no wish.
    pub const RETRYABLE: Self = Self::Retryable { retry_after: None };

    /// This verdict if it is one, else the other.
    pub fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        if self == Self::Unknown { other() } else { self }
    }

    /// What the engine makes of a failure with it: the unknown is not tried again.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Retryable { retry_after } => Outcome::Retryable { retry_after },
            Self::Permanent | Self::Unknown => Outcome::Permanent,
        }
    }
}

/// Tells which failures pass. A closure `|error: &E| -> Verdict` is one.
pub trait Classify<E: ?Sized> {
    /// What the failure is.
    fn classify(&self, error: &E) -> Verdict;

    /// Where this one knows nothing, the other is asked.
    fn or<C: Classify<E>>(self, other: C) -> Or<Self, C>
    where
        Self: Sized,
    {
        Or(self, other)
    }
}

impl<E: ?Sized, F: Fn(&E) -> Verdict> Classify<E> for F {
    fn classify(&self, error: &E) -> Verdict {
        self(error)
    }
}

/// The tables of this module, applied to an error and all that it wraps: [`error`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard;

impl<E: Error + 'static> Classify<E> for Standard {
    fn classify(&self, failure: &E) -> Verdict {
        error(failure)
    }
}

/// Two classifiers, one after the other: [`Classify::or`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Or<A, B>(A, B);

impl<E: ?Sized, A: Classify<E>, B: Classify<E>> Classify<E> for Or<A, B> {
    fn classify(&self, error: &E) -> Verdict {
        self.0.classify(error).or_else(|| self.1.classify(error))
    }
}

/// The row of a table that has `key`, if one has.
fn look_up<K: Copy + PartialEq>(table: &[(K, Verdict)], key: K) -> Verdict {
    table.iter().find(|(k, _)| *k == key).map_or(Verdict::Unknown, |(_, verdict)| *verdict)
}
