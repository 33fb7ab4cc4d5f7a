//! What notifiers count, by their names.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

/// What becomes of a notice: every value of the label `result`. Each notice has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The program ended with 0, the receiver took it.
    Delivered,
    /// The program failed; the receiver will never take it.
    Failed,
    /// It could not be delivered for so long that it is worth nothing.
    Expired,
    /// A newer one of the same subject stands for it, for want of room.
    Collapsed,
    /// There was no room, or the agent ended before it was told.
    Dropped,
}

impl Fate {
    /// Every value.
    pub const ALL: [Self; 5] = [Self::Delivered, Self::Failed, Self::Expired, Self::Collapsed, Self::Dropped];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Collapsed => "collapsed",
            Self::Dropped => "dropped",
        }
    }
}

/// The counters of all notifiers. Clones count together.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Notices by notifier and [`Fate`].
    pub notices: IntCounterVec,
    /// Attempts beyond the first, by notifier.
    pub retries: IntCounterVec,
    /// Notices that wait now, by notifier.
    pub waiting: IntGaugeVec,
    /// Seconds from when a notice was due to its delivery, by notifier.
    pub delay: HistogramVec,
}

impl Counters {
    /// Has every series of a notifier begin at 0.
    pub fn know(&self, notifier: &str) {
        for fate in Fate::ALL {
            self.notices.with_label_values(&[notifier, fate.as_str()]);
        }
        self.retries.with_label_values(&[notifier]);
        self.waiting.with_label_values(&[notifier]);
        self.delay.with_label_values(&[notifier]);
    }

    /// A notifier is no more, and neither are its series.
    pub fn forget(&self, notifier: &str) {
        // What was never counted is not there, which is as well.
        for fate in Fate::ALL {
            let _ = self.notices.remove_label_values(&[notifier, fate.as_str()]);
        }
        let _ = self.retries.remove_label_values(&[notifier]);
        let _ = self.waiting.remove_label_values(&[notifier]);
        let _ = self.delay.remove_label_values(&[notifier]);
    }

    /// So many notices came to this.
    pub fn count(&self, notifier: &str, fate: Fate, notices: u64) {
        self.notices.with_label_values(&[notifier, fate.as_str()]).inc_by(notices);
    }

    /// One was delivered, so long after it was due.
    pub fn delivered(&self, notifier: &str, delay: Duration) {
        self.count(notifier, Fate::Delivered, 1);
        self.delay.with_label_values(&[notifier]).observe(delay.as_secs_f64());
    }
}
