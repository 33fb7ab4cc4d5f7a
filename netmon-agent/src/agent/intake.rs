//! The way of evidence from the sources to the core.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use crate::observation::Observation;

/// Batches that may wait for the core. A core that is further behind is stalled, and then the evidence is a gap.
const BATCHES: usize = 4096;

/// Observations that may, of all batches together: some 60 MB.
const MOST: usize = 1 << 19;

/// The sending side for sources on threads of their own, which must not block.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    queue: mpsc::Sender<Vec<Observation>>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<Lost>,
}

/// The core's side.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: mpsc::Receiver<Vec<Observation>>,
    waiting: Arc<AtomicUsize>,
}

/// What found the queue full.
#[derive(Debug, Default)]
pub(super) struct Lost {
    count: AtomicU64,
    fresh: AtomicBool,
}

impl Intake {
    pub(super) fn new() -> (Self, Inbox, Arc<Lost>) {
        let (sender, queue) = mpsc::channel(BATCHES);
        let (waiting, lost) = (Arc::<AtomicUsize>::default(), Arc::new(Lost::default()));
        let intake = Self { queue: sender, waiting: Arc::clone(&waiting), lost: Arc::clone(&lost) };
        (intake, Inbox { queue, waiting }, lost)
    }

    /// Hands a batch on, or counts it as lost.
    pub(super) fn offer(&self, batch: Vec<Observation>) {
        let n = batch.len();
        let before = self.waiting.fetch_add(n, Ordering::Relaxed);
        if before + n > MOST || self.queue.try_send(batch).is_err() {
            self.waiting.fetch_sub(n, Ordering::Relaxed);
            self.lost.count.fetch_add(n as u64, Ordering::Relaxed);
            self.lost.fresh.store(true, Ordering::Release);
        }
    }
}

impl Inbox {
    /// Waits for batches, and takes as many as there are, `limit` at most. Nothing is lost when it is dropped.
    pub(super) async fn receive(&mut self, batches: &mut Vec<Vec<Observation>>, limit: usize) {
        let before = batches.len();
        self.queue.recv_many(batches, limit).await;
        let taken = batches[before..].iter().map(Vec::len).sum();
        self.waiting.fetch_sub(taken, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::{Evidence, SourceKind},
        time::Mono,
    };

    #[tokio::test]
    async fn what_waits_is_bounded_by_its_number_and_what_is_refused_is_counted() {
        let (intake, mut inbox, lost) = Intake::new();
        let seen = Observation { at: Mono::default(), evidence: Evidence::Gap(SourceKind::Probe) };
        let batch = vec![seen; MOST / 4];
        (0..4).for_each(|_| intake.offer(batch.clone()));
        assert!(!lost.take_fresh());
        intake.offer(batch[..10].to_vec());
        assert_eq!((lost.total(), lost.take_fresh(), lost.take_fresh()), (10, true, false));
        let mut batches = Vec::new();
        inbox.receive(&mut batches, 1).await;
        assert_eq!(batches.len(), 1);
        intake.offer(batch);
        assert_eq!(lost.total(), 10, "there is room again");
    }
}
