//! What waits for a notifier's worker.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::{
    counters::{Counters, Fate},
    hold::Notice,
    queue::Queue,
};

/// A queue between the thread's loop and one worker.
#[derive(Debug)]
pub(super) struct Outbox {
    notifier: String,
    queue: Mutex<Queue>,
    more: Notify,
    closed: watch::Sender<bool>,
    forgotten: AtomicBool,
    counters: Counters,
}

impl Outbox {
    /// With room for so many.
    pub(super) fn new(notifier: &str, room: usize, counters: Counters) -> Self {
        counters.know(notifier);
        let (queue, closed) = (Mutex::new(Queue::new(room)), watch::Sender::new(false));
        let (notifier, more, forgotten) = (notifier.to_owned(), Notify::new(), AtomicBool::new(false));
        let outbox = Self { notifier, queue, more, closed, forgotten, counters };
        // One by the same name may have left another figure.
        outbox.waiting(0);
        outbox
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more to be told.
    pub(super) fn push(&self, notice: Notice) {
        let (lost, waiting) = {
            let mut queue = self.queue();
            (queue.push(notice), queue.len())
        };
        self.counters.count(&self.notifier, Fate::Collapsed, lost.collapsed);
        self.counters.count(&self.notifier, Fate::Dropped, lost.dropped);
        if lost.dropped > 0 {
            tracing::warn!(notifier = self.notifier, "no room for more notifications: the oldest is dropped");
        }
        self.waiting(waiting);
        self.more.notify_one();
    }

    /// The next to be told; none when it is closed.
    pub(super) async fn next(&self) -> Option<Notice> {
        loop {
            if self.is_closed() {
                return None;
            }
            let (notice, waiting) = {
                let mut queue = self.queue();
                (queue.pop(), queue.len())
            };
            if notice.is_some() {
                self.waiting(waiting);
                return notice;
            }
            tokio::select! {
                () = self.more.notified() => {}
                () = self.closed() => {}
            }
        }
    }

    /// Takes everything out, and gives nothing out any more.
    pub(super) fn close(&self) -> Vec<Notice> {
        self.closed.send_replace(true);
        let mut queue = self.queue();
        std::iter::from_fn(|| queue.pop()).collect()
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// When it is closed.
    pub(super) async fn closed(&self) {
        // The sender lives as long as this.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Its notifier is no more: nothing is counted from now on, lest its series come back.
    pub(super) fn forget(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
    }

    /// One notice came to this.
    pub(super) fn count(&self, fate: Fate) {
        if !self.forgotten.load(Ordering::Relaxed) {
            self.counters.count(&self.notifier, fate, 1);
        }
    }

    /// One was delivered, so long after it was due.
    pub(super) fn delivered(&self, delay: Duration) {
        if !self.forgotten.load(Ordering::Relaxed) {
            self.counters.delivered(&self.notifier, delay);
        }
    }

    fn waiting(&self, n: usize) {
        self.counters.waiting.with_label_values(&[&self.notifier]).set(n as i64);
    }
}
