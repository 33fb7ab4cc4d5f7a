//! What interfaces had counted that nobody watched and that are gone. On a machine of containers one goes every minute,
//! and the sum over all that is on no watched device must not fall with it.

use std::{collections::BTreeMap, sync::Arc};

use super::maps::Removed;
use crate::observation::{IfIndex, TcpCounters, TcpRtt};

/// Where it is shown.
const NOWHERE: IfIndex = IfIndex(0);

/// The sum of them.
#[derive(Debug, Default)]
pub(super) struct Gone(Removed);

impl Gone {
    /// One more is gone, and left this.
    pub(super) fn take(&mut self, left: &Removed) {
        let Removed { counters, rtt, drops } = &mut self.0;
        counters.add(&left.counters);
        rtt.add(&left.rtt);
        for (reason, count) in &left.drops {
            match drops.iter_mut().find(|(r, _)| r == reason) {
                Some((_, sum)) => *sum += count,
                None => drops.push((*reason, *count)),
            }
        }
    }

    pub(super) fn add_counters(&self, devices: &mut BTreeMap<IfIndex, TcpCounters>) {
        if self.0.counters != TcpCounters::default() {
            devices.entry(NOWHERE).or_default().add(&self.0.counters);
        }
    }

    pub(super) fn add_rtt(&self, devices: &mut BTreeMap<IfIndex, Arc<TcpRtt>>) {
        if self.0.rtt != TcpRtt::default() {
            Arc::make_mut(devices.entry(NOWHERE).or_default()).add(&self.0.rtt);
        }
    }

    pub(super) fn add_drops(&self, drops: &mut BTreeMap<(IfIndex, u32), u64>) {
        for (reason, count) in &self.0.drops {
            *drops.entry((NOWHERE, *reason)).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_gone_is_added_to_what_no_device_has() {
        let counters = |n| TcpCounters { active_opens: n, segments_sent: n, ..TcpCounters::default() };
        let rtt = |n| {
            let mut rtt = TcpRtt::default();
            (rtt.close.buckets[3], rtt.close.sum) = (n, Duration::from_micros(5 * n));
            rtt
        };
        let mut gone = Gone::default();
        let (mut devices, mut rtts, mut drops) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        gone.add_counters(&mut devices);
        gone.add_rtt(&mut rtts);
        assert!(devices.is_empty() && rtts.is_empty(), "of nothing there is no row");
        for n in [4, 3] {
            gone.take(&Removed { counters: counters(n), rtt: rtt(n), drops: vec![(7, n), (n as u32, 1)] });
        }
        devices.insert(NOWHERE, counters(10));
        devices.insert(IfIndex(2), counters(100));
        gone.add_counters(&mut devices);
        gone.add_rtt(&mut rtts);
        gone.add_drops(&mut drops);
        assert_eq!(devices, BTreeMap::from([(NOWHERE, counters(17)), (IfIndex(2), counters(100))]));
        assert_eq!(rtts, BTreeMap::from([(NOWHERE, Arc::new(rtt(7)))]));
        assert_eq!(drops, BTreeMap::from([((NOWHERE, 7), 7), ((NOWHERE, 4), 1), ((NOWHERE, 3), 1)]));
    }
}
