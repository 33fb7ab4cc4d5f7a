//! Asks the core for a fresh snapshot before a rendering.

use std::time::Duration;

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};

use crate::time::Mono;

/// Younger than this is fresh enough: however many ask, the core makes no more than ten snapshots a second for them.
const FRESH: Duration = Duration::from_millis(100);
/// A core that takes longer is late; what the board has is shown then.
const PATIENCE: Duration = Duration::from_millis(250);

/// How to ask: the core answers when it has published.
pub type RefreshSender = mpsc::Sender<oneshot::Sender<()>>;

#[derive(Debug)]
pub(super) struct Refresher {
    core: Option<RefreshSender>,
    last: Mutex<Option<Mono>>,
}

impl Refresher {
    pub(super) fn new(core: Option<RefreshSender>) -> Self {
        Self { core, last: Mutex::default() }
    }

    /// Returns when the board's snapshot is fresh, or after 250 ms. Those who ask meanwhile share one question.
    pub(super) async fn refresh(&self) {
        self.refresh_older_than(FRESH).await;
    }

    /// The same, where one that was made for a reader less than `age` ago is fresh enough too.
    pub(super) async fn refresh_older_than(&self, age: Duration) {
        if let Some(core) = &self.core {
            // Late is no error: the board's snapshot tells its own age.
            let _ = timeout(PATIENCE, self.ask(core, age.max(FRESH))).await;
        }
    }

    /// Whether there is anybody to ask.
    pub(super) fn has_core(&self) -> bool {
        self.core.is_some()
    }

    /// The same, and the snapshot is made after this call, however fresh the last one is.
    pub(super) async fn anew(&self) {
        if let Some(core) = &self.core {
            let _ = timeout(PATIENCE, async {
                *self.last.lock().await = None;
                self.ask(core, FRESH).await;
            })
            .await;
        }
    }

    async fn ask(&self, core: &RefreshSender, fresh: Duration) {
        let mut last = self.last.lock().await;
        if last.is_some_and(|at| Mono::now().since(at) < fresh) {
            return;
        }
        let (answer, published) = oneshot::channel();
        if core.send(answer).await.is_ok() {
            let _ = published.await;
        }
        *last = Some(Mono::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_share_one_snapshot() {
        let (core, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let refresher = std::sync::Arc::new(Refresher::new(Some(core)));
        let askers: Vec<_> = (0..50)
            .map(|_| {
                let refresher = refresher.clone();
                tokio::spawn(async move { refresher.refresh().await })
            })
            .collect();
        asked.recv().await.unwrap().send(()).unwrap();
        for asker in askers {
            asker.await.unwrap();
        }
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_fresh_snapshot_is_enough_but_not_after_a_change() {
        let (core, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let counted = tokio::spawn(async move {
            let mut n = 0;
            while let Some(asker) = asked.recv().await {
                n += 1;
                asker.send(()).unwrap();
            }
            n
        });
        let refresher = Refresher::new(Some(core));
        refresher.refresh().await;
        refresher.refresh_older_than(Duration::from_secs(3600)).await;
        refresher.anew().await;
        refresher.anew().await;
        drop(refresher);
        assert_eq!(counted.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_core_that_does_not_answer_holds_nobody_up() {
        let (core, _asked) = mpsc::channel(1);
        timeout(Duration::from_secs(20), Refresher::new(Some(core)).refresh()).await.unwrap();
    }
}
