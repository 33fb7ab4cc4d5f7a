use std::{io, path::PathBuf, time::Duration};

/// What can go wrong between a program and the agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens at the socket (`ENOENT`, `ECONNREFUSED`).
    #[error("no netmon agent answers at {}: {source}; start one with `netmon run`, or name its socket with NETMON_SOCKET", path.display())]
    NoAgent {
        /// The socket's path.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The socket is there, but not for this user.
    #[error("no permission for {}: be root, the agent's own user, or in the group netmon", path.display())]
    Permission {
        /// The socket's path.
        path: PathBuf,
    },
    /// The agent knows no such device or target. Its words.
    #[error("{0}")]
    NotFound(String),
    /// The agent does not understand the request. Its words.
    #[error("{0}")]
    BadRequest(String),
    /// The agent may not or will not do what was asked. Its words.
    #[error("{0}")]
    Refused(String),
    /// The agent has no room now, or is shutting down.
    #[error("{message}; try again in {} s", retry_after.as_secs())]
    Busy {
        /// When to try again.
        retry_after: Duration,
        /// The agent's words.
        message: String,
    },
    /// No answer came in time.
    #[error("the agent did not answer in time")]
    Timeout,
    /// The agent closed the connection before it answered.
    #[error("the agent closed the connection")]
    Disconnected,
    /// What answered does not speak the agent's language.
    #[error("not an answer of a netmon agent: {0}")]
    Protocol(String),
    /// Anything else of the system.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether another try, a little later, may do better: the agent is away, restarting, or full.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NoAgent { .. } | Self::Busy { .. } | Self::Timeout | Self::Disconnected | Self::Io(_)
        )
    }
}
