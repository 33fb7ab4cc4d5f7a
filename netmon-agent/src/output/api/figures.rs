//! What `/metrics` is made of, for those who send metrics elsewhere.

use std::sync::Arc;

use super::{App, budget};
use crate::{
    output::{
        WallOffset,
        metrics::{self, Sink, Writer},
    },
    state::Snapshot,
    time::Boot,
};

/// The figures of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Figures(Arc<App>);

impl Figures {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self(app)
    }

    /// Returns when the snapshot is fresh, or after 250 ms.
    pub async fn refresh(&self) {
        self.0.refresher.refresh().await;
    }

    /// Writes every family of the newest snapshot to what is made for it. A third of a second for 10,000 targets, encoded and compressed.
    pub fn write(&self, sink: impl FnOnce(&Snapshot, WallOffset) -> Box<dyn Sink>) {
        let app = &self.0;
        let stale = app.board.is_stale(Boot::now());
        let (snapshot, walls) = (app.board.snapshot(), app.walls.now());
        budget::tell(app);
        let mut w = Writer::to(sink(&snapshot, walls));
        metrics::write(&mut w, &snapshot, &app.connections.all(), stale, walls, &app.own, app.metrics);
        w.finish();
    }
}
