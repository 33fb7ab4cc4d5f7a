use std::{error::Error, fmt, time::Duration};

use super::Verdict;

/// An error that says itself whether another attempt may do better: see [`retryable`] and [`permanent`]. It reads like
/// the error that it marks.
#[derive(Debug)]
pub struct Marked {
    verdict: Verdict,
    error: Box<dyn Error + Send + Sync>,
}

/// Marks an error as one that may pass, whatever it is.
///
/// ```
/// use std::time::Duration;
/// use netmon_client::retry::{Verdict, retryable};
///
/// let error = retryable("the snapshot is still being made").after(Duration::from_secs(30));
/// assert_eq!(error.to_string(), "the snapshot is still being made");
/// assert_eq!(error.verdict(), Verdict::Retryable { retry_after: Some(Duration::from_secs(30)) });
/// ```
pub fn retryable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Marked {
    Marked { verdict: Verdict::RETRYABLE, error: error.into() }
}

/// Marks an error as one that no other attempt mends, whatever it is.
pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Marked {
    Marked { verdict: Verdict::Permanent, error: error.into() }
}

impl Marked {
    /// Not sooner than this after the failure. Makes it retryable.
    pub fn after(self, wish: Duration) -> Self {
        Self { verdict: Verdict::Retryable { retry_after: Some(wish) }, ..self }
    }

    /// What it is marked as.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The error that is marked.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.error.as_ref()
    }

    /// The error that was marked.
    pub fn into_inner(self) -> Box<dyn Error + Send + Sync> {
        self.error
    }
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Marked {
    /// That of the error it marks, for which it stands.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
