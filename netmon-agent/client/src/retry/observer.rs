use std::sync::Arc;

use super::{GaveUp, Outcome, Statistics, Step};

/// An attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed<'a> {
    /// The operation's name.
    pub operation: &'a str,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// An outage cut it, at no charge.
    pub refunded: bool,
}

/// An operation that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The operation's name.
    pub operation: &'a str,
    /// How it ended.
    pub result: Result<(), GaveUp>,
    /// What it came to.
    pub statistics: Statistics,
}

/// Hears what becomes of operations, on the thread that runs them.
pub trait Observer: Send + Sync {
    /// An attempt failed.
    fn failed(&self, failed: &Failed<'_>) {
        let _ = failed;
    }

    /// Nothing can be done for now: [`Step::Sleep`] or [`Step::AwaitNetwork`], and in whose time.
    fn waiting(&self, operation: &str, step: Step) {
        let _ = (operation, step);
    }

    /// What was added to an operation's statistics since the last call: after each attempt that failed, before each
    /// wait and at the end. For those who sum up.
    fn progressed(&self, operation: &str, added: &Statistics) {
        let _ = (operation, added);
    }

    /// An operation ended; also when it was dropped, as cancelled.
    fn finished(&self, report: &Report<'_>) {
        let _ = report;
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn failed(&self, failed: &Failed<'_>) {
        (**self).failed(failed);
    }

    fn waiting(&self, operation: &str, step: Step) {
        (**self).waiting(operation, step);
    }

    fn progressed(&self, operation: &str, added: &Statistics) {
        (**self).progressed(operation, added);
    }

    fn finished(&self, report: &Report<'_>) {
        (**self).finished(report);
    }
}

impl<O: Observer + ?Sized> Observer for &O {
    fn failed(&self, failed: &Failed<'_>) {
        (**self).failed(failed);
    }

    fn waiting(&self, operation: &str, step: Step) {
        (**self).waiting(operation, step);
    }

    fn progressed(&self, operation: &str, added: &Statistics) {
        (**self).progressed(operation, added);
    }

    fn finished(&self, report: &Report<'_>) {
        (**self).finished(report);
    }
}

/// Calls back at the end of each operation.
pub(super) struct OnFinish<F>(pub F);

impl<F: Fn(&Report<'_>) + Send + Sync> Observer for OnFinish<F> {
    fn finished(&self, report: &Report<'_>) {
        (self.0)(report);
    }
}
