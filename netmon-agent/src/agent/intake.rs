//! The way of evidence from the sources to the core.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::observation::Observation;

/// Batches that may wait for the core. A core that is further behind is stalled, and then the evidence is a gap.
const WAITING: usize = 4096;

/// The sending side for sources on threads of their own, which must not block.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    queue: mpsc::Sender<Vec<Observation>>,
    lost: Arc<Lost>,
}

/// What found the queue full.
#[derive(Debug, Default)]
pub(super) struct Lost {
    count: AtomicU64,
    fresh: AtomicBool,
}

impl Intake {
    pub(super) fn new() -> (Self, mpsc::Receiver<Vec<Observation>>, Arc<Lost>) {
        let (queue, receiver) = mpsc::channel(WAITING);
        let lost = Arc::new(Lost::default());
        (Self { queue, lost: Arc::clone(&lost) }, receiver, lost)
    }

    /// Hands a batch on, or counts it as lost.
    pub(super) fn offer(&self, batch: Vec<Observation>) {
        let n = batch.len() as u64;
        if self.queue.try_send(batch).is_err() {
            self.lost.count.fetch_add(n, Ordering::Relaxed);
            self.lost.fresh.store(true, Ordering::Release);
        }
    }

    /// The queue itself, for a source that may wait.
    pub(super) fn sender(&self) -> mpsc::Sender<Vec<Observation>> {
        self.queue.clone()
    }
}

impl Lost {
    /// Observations lost so far.
    pub(super) fn total(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether any were lost since the last call.
    pub(super) fn take_fresh(&self) -> bool {
        self.fresh.swap(false, Ordering::Acquire)
    }
}
