use super::{Classify, Verdict};

/// What the result of an attempt is. [`Retryer`](super::Retryer) builds these; there is no need to implement it.
pub trait Judge<T, E> {
    /// None for a success.
    fn judge(&self, result: &Result<T, E>) -> Option<Verdict>;
}

/// Errors are classified, values are successes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors<C>(pub(super) C);

impl<T, E, C: Classify<E>> Judge<T, E> for Errors<C> {
    fn judge(&self, result: &Result<T, E>) -> Option<Verdict> {
        result.as_ref().err().map(|error| self.0.classify(error))
    }
}

/// Values are classified too; the unknown among them are successes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<J, F>(pub(super) J, pub(super) F);

impl<T, E, J: Judge<T, E>, F: Fn(&T) -> Verdict> Judge<T, E> for Values<J, F> {
    fn judge(&self, result: &Result<T, E>) -> Option<Verdict> {
        match result {
            Ok(value) => Some((self.1)(value)).filter(|verdict| *verdict != Verdict::Unknown),
            Err(_) => self.0.judge(result),
        }
    }
}
