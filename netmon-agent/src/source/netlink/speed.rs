//! Speeds of hardware links, asked of drivers on threads beside the event path: a driver may take milliseconds.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use crate::observation::{IfIndex, IfName, Link};

use super::sysfs;

/// Readings under way, one a link at most.
#[derive(Debug, Default)]
pub(super) struct Speeds {
    tasks: JoinSet<(IfIndex, Option<u32>)>,
    /// Links being read; with a name if they changed meanwhile and want reading again.
    busy: BTreeMap<IfIndex, Option<IfName>>,
}

impl Speeds {
    /// Starts a reading.
    pub(super) fn read(&mut self, link: &Link) {
        if let Some(again) = self.busy.get_mut(&link.index) {
            *again = Some(link.name.clone());
            return;
        }
        self.start(link.index, link.name.clone());
    }

    /// The next speed read, in megabits a second; none if nothing is being read.
    pub(super) async fn next(&mut self) -> Option<(IfIndex, Option<u32>)> {
        let (index, mbps) = self.tasks.join_next().await?.ok()?;
        if let Some(Some(name)) = self.busy.remove(&index) {
            self.start(index, name);
        }
        Some((index, mbps))
    }

    fn start(&mut self, index: IfIndex, name: IfName) {
        self.busy.insert(index, None);
        self.tasks.spawn_blocking(move || (index, sysfs::speed(&name, index)));
    }
}
