//! What discovery found, as metrics of the agent's own.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, core::Collector};

use super::{
    catalogue,
    own::{counter_vec, gauge_vec, int_gauge_vec},
};
use crate::{config::LeftOut, source::discovery::Report};

/// Counters and gauges by source. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Discovered {
    targets: IntGaugeVec,
    well: IntGaugeVec,
    failures: IntCounterVec,
    succeeded: GaugeVec,
    left_out: IntGaugeVec,
    shown: Arc<Mutex<BTreeSet<[String; 2]>>>,
}

impl Discovered {
    pub(super) fn new() -> Self {
        Self {
            targets: int_gauge_vec(&catalogue::DISCOVERY_TARGETS),
            well: int_gauge_vec(&catalogue::DISCOVERY_OK),
            failures: counter_vec(&catalogue::DISCOVERY_FAILURES),
            succeeded: gauge_vec(&catalogue::DISCOVERY_TIME),
            left_out: int_gauge_vec(&catalogue::DISCOVERY_LEFT_OUT),
            shown: Arc::default(),
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 5] {
        [
            Box::new(self.targets.clone()),
            Box::new(self.well.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.succeeded.clone()),
            Box::new(self.left_out.clone()),
        ]
    }

    /// How each source stands now. The series of a source that is none any more go.
    pub fn show(&self, reports: &[Report]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<[String; 2]> =
            reports.iter().map(|r| [r.mechanism.to_owned(), r.name.clone()]).collect();
        for gone in shown.difference(&now) {
            let labels = [gone[0].as_str(), gone[1].as_str()];
            // What was never shown can't be taken away.
            let _ = self.targets.remove_label_values(&labels);
            let _ = self.well.remove_label_values(&labels);
            let _ = self.failures.remove_label_values(&labels);
            let _ = self.succeeded.remove_label_values(&labels);
        }
        for report in reports {
            let labels = [report.mechanism, report.name.as_str()];
            self.targets.with_label_values(&labels).set(report.targets as i64);
            self.well.with_label_values(&labels).set(report.is_well().into());
            let failures = self.failures.with_label_values(&labels);
            failures.inc_by(report.failures.saturating_sub(failures.get()));
            let seconds = report.succeeded.map_or(0.0, |at| at.as_nanos() as f64 / 1e9);
            self.succeeded.with_label_values(&labels).set(seconds);
        }
        match now.is_empty() {
            true => self.left_out.reset(),
            false => LeftOut::default().counts().iter().for_each(|(reason, _)| {
                // There from the start on.
                self.left_out.with_label_values(&[reason]);
            }),
        }
        *shown = now;
    }

    /// What of it is left out, where there are sources at all.
    pub fn show_left_out(&self, left_out: &LeftOut) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in left_out.counts().into_iter().filter(|_| !shown.is_empty()) {
            self.left_out.with_label_values(&[reason]).set(count as i64);
        }
    }
}
