//! What is exported by OTLP, as metrics of the agent's own: there only where it is configured.

use prometheus::{GaugeVec, IntCounterVec, core::Collector};

use super::{
    catalogue,
    own::{counter_vec, gauge_vec},
};
use crate::time::Wall;

/// How an export ended: every value of the label `result`.
const EXPORTS: [&str; 3] = ["ok", "partial", "failed"];
/// What became of data points.
const POINTS: [&str; 3] = ["accepted", "rejected", "dropped"];

/// Counters of exports. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Exports {
    exports: IntCounterVec,
    points: IntCounterVec,
    succeeded: GaugeVec,
}

impl Exports {
    pub(super) fn new() -> Self {
        Self {
            exports: counter_vec(&catalogue::OTLP_EXPORTS),
            points: counter_vec(&catalogue::OTLP_POINTS),
            succeeded: gauge_vec(&catalogue::OTLP_TIME),
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [Box::new(self.exports.clone()), Box::new(self.points.clone()), Box::new(self.succeeded.clone())]
    }

    /// There is somewhere to export to.
    pub fn know(&self) {
        EXPORTS.iter().for_each(|result| drop(self.exports.with_label_values(&[result])));
        POINTS.iter().for_each(|result| drop(self.points.with_label_values(&[result])));
        self.succeeded.with_label_values(&[] as &[&str]);
    }

    /// An export ended: `ok`, `partial` or `failed`.
    pub fn ended(&self, result: &str) {
        self.exports.with_label_values(&[result]).inc();
    }

    /// So many data points were `accepted`, `rejected` or `dropped`.
    pub fn points(&self, result: &str, count: u64) {
        self.points.with_label_values(&[result]).inc_by(count);
    }

    /// All of an export was taken, rejected points included.
    pub fn succeeded(&self, now: Wall) {
        self.succeeded.with_label_values(&[] as &[&str]).set(now.as_nanos() as f64 / 1e9);
    }
}
