//! The retry budget of this machine: `POST /v1/retry-budget`.

use serde::{Deserialize, Serialize};

/// Answer of `POST /v1/retry-budget`: 200 when granted, 409 when not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whether the retry may be made. Of what was given back: always.
    pub granted: bool,
    /// What the retry costs, tokens; to be given back when it succeeds.
    pub cost: u32,
    /// What this user could take now, whole tokens.
    pub tokens: u32,
    /// Seconds until this retry would be granted, rounded up; 0 when it is.
    pub retry_after: u64,
}
