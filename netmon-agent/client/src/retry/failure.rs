use std::{error::Error, fmt};

use super::{GaveUp, Statistics};

/// An operation that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<T, E> {
    /// Why.
    pub why: GaveUp,
    /// What the last attempt returned: its error, or a value that was not good enough. None when there was no attempt,
    /// or when the last one was ended.
    pub last: Option<Result<T, E>>,
    /// What it came to.
    pub statistics: Statistics,
}

impl<T, E> Failure<T, E> {
    /// The last attempt's error.
    pub fn error(&self) -> Option<&E> {
        self.last.as_ref().and_then(|last| last.as_ref().err())
    }

    /// The last attempt's error.
    pub fn into_error(self) -> Option<E> {
        self.last.and_then(Result::err)
    }
}

impl<T, E: fmt::Display> fmt::Display for Failure<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.statistics.attempts;
        let s = if attempts == 1 { "" } else { "s" };
        let seconds = self.statistics.elapsed().as_secs_f64();
        let why = match self.why {
            GaveUp::Exhausted => "all failed",
            GaveUp::MaxTime => "the time for it is over",
            GaveUp::Permanent => "the error is permanent",
            GaveUp::NoNetwork => "the network did not come back in time",
            GaveUp::NoBudget => "the budget of retries is used up",
            GaveUp::Cancelled => "cancelled",
        };
        write!(f, "gave up after {attempts} attempt{s} in {seconds:.1} s: {why}")?;
        match self.error() {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl<T: fmt::Debug, E: Error + 'static> Error for Failure<T, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error().map(|error| error as &(dyn Error + 'static))
    }
}
