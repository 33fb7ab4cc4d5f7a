use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Bell, Bells};

/// Ends what carries a clone of it: pauses at once, an asynchronous attempt by dropping it, a blocking one as soon as it
/// looks.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    bells: Bells,
}

impl CancelToken {
    /// Not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels, for good.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.bells.ring();
    }

    /// Whether it is.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Rings the bell when it is cancelled. One that comes too late has to look for itself.
    pub(super) fn watch(&self, bell: &Arc<Bell>) {
        self.0.bells.add(bell);
    }
}
