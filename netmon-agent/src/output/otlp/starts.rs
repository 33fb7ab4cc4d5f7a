//! Since when what is counted has been counted: what a cumulative point has to tell beside its value, and what shows a
//! receiver that a counter began anew. Pure.

use std::{collections::HashMap, sync::Arc};

use crate::{
    output::metrics::{
        catalogue::{self, Family},
        labels,
    },
    state::Snapshot,
};

/// What somebody else counts, and began to count long ago: since when is not known, which the data model says by the
/// moment of the first point ("handling unknown start time").
const OLDER: [&Family; 10] = [
    &catalogue::LINK_CARRIER_CHANGES,
    &catalogue::LINK_RX_BYTES,
    &catalogue::LINK_TX_BYTES,
    &catalogue::LINK_RX_PACKETS,
    &catalogue::LINK_TX_PACKETS,
    &catalogue::LINK_RX_ERRORS,
    &catalogue::LINK_TX_ERRORS,
    &catalogue::LINK_RX_DROPPED,
    &catalogue::LINK_TX_DROPPED,
    &catalogue::TCP_RETRANSMIT_FAILURES,
];

/// Starts of one export. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts {
    agent: u64,
    first: u64,
    subjects: Arc<HashMap<String, Stream>>,
}

/// What is counted of a target or a device, as it stands in labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stream {
    /// Since when it is counted.
    start: u64,
    /// When it was first told.
    first: u64,
    /// What tells it from another by the same name: probes concluded, which only grow, or the device's index.
    mark: u64,
}

/// What is remembered from one export to the next: some 100 bytes a target.
#[derive(Debug, Default)]
pub(super) struct Memory {
    last: Option<u64>,
    now: Starts,
}

impl Memory {
    /// Starts of the next export, whose moment is `now`. All in nanoseconds since 1970.
    pub(super) fn next(&mut self, snapshot: &Snapshot, agent: u64, now: u64) -> Starts {
        // What was not there at the last export began after it.
        let began = self.last.unwrap_or(agent);
        let before = std::mem::take(&mut self.now);
        let mut subjects = HashMap::with_capacity(snapshot.targets.len() + snapshot.devices.len());
        let mut look = |key: String, mark: u64, is_same: fn(u64, u64) -> bool| {
            let known = before.subjects.get(&key).filter(|known| is_same(known.mark, mark));
            let stream = match known {
                Some(known) => Stream { mark, ..*known },
                None => Stream { start: began, first: now, mark },
            };
            subjects.insert(key, stream);
        };
        for target in &snapshot.targets {
            let gone = target.departed.as_ref().map_or(0, |departed| departed.counters.concluded);
            let concluded = target.addresses.iter().map(|a| a.stats.counters.concluded).sum::<u64>() + gone;
            look(labels(&[("target", &target.name)]), concluded, |then, now| then <= now);
        }
        for device in &snapshot.devices {
            look(labels(&[("device", &device.name)]), device.index().0.into(), |then, now| then == now);
        }
        let first = if self.last.is_none() { now } else { before.first };
        self.last = Some(now);
        self.now = Starts { agent, first, subjects: Arc::new(subjects) };
        self.now.clone()
    }
}

impl Starts {
    /// Where nothing is known but when the agent started.
    #[cfg(test)]
    pub(super) fn since(agent: u64) -> Self {
        Self { agent, first: agent, subjects: Arc::default() }
    }

    /// Since when this series is counted.
    pub(super) fn of(&self, family: &Family, labels: &str) -> u64 {
        let stream = first_pair(labels).and_then(|pair| self.subjects.get(pair));
        match (OLDER.iter().any(|older| older.name == family.name), stream) {
            (true, Some(stream)) => stream.first,
            (true, None) => self.first,
            (false, Some(stream)) => stream.start,
            (false, None) => self.agent,
        }
    }
}

/// `name="value"` at the beginning.
fn first_pair(labels: &str) -> Option<&str> {
    let open = labels.find('"')?;
    let mut escaped = false;
    let end = labels[open + 1..].bytes().position(|b| {
        let ends = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        ends
    })?;
    Some(&labels[..open + end + 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::IfIndex,
        state::{DeviceView, TargetView},
    };

    /// A world of one device, and of one target of which so many probes were concluded.
    fn world(index: u32, probes: u64) -> Snapshot {
        let mut device = DeviceView { name: "eth\"0".into(), ..DeviceView::default() };
        device.link.index = IfIndex(index);
        let mut target = TargetView { name: "web".into(), ..TargetView::default() };
        let mut departed = crate::health::Departed::default();
        departed.counters.concluded = probes;
        target.departed = Some(departed.into());
        Snapshot { devices: vec![Arc::new(device)], targets: vec![Arc::new(target)], ..Snapshot::default() }
    }

    const DEVICE: &str = r#"device="eth\"0",kind="x""#;
    const TARGET: &str = r#"target="web",probe="icmp""#;

    fn of(starts: &Starts) -> [u64; 5] {
        [
            starts.of(&catalogue::PROBES, TARGET),
            starts.of(&catalogue::TCP_SEGMENTS, DEVICE),
            starts.of(&catalogue::LINK_RX_BYTES, DEVICE),
            starts.of(&catalogue::TCP_RETRANSMIT_FAILURES, ""),
            starts.of(&catalogue::SCRAPES, r#"result="ok""#),
        ]
    }

    #[test]
    fn a_series_is_counted_since_the_agents_start_or_since_it_was_seen() {
        let mut memory = Memory::default();
        assert_eq!(of(&memory.next(&world(3, 10), 100, 160)), [100, 100, 160, 160, 100]);
        assert_eq!(of(&memory.next(&world(3, 30), 100, 220)), [100, 100, 160, 160, 100], "as before");
        // Another target by the same name, another device by the same name.
        assert_eq!(of(&memory.next(&world(3, 5), 100, 280)), [220, 100, 160, 160, 100]);
        assert_eq!(of(&memory.next(&world(4, 9), 100, 340)), [220, 280, 340, 160, 100]);
        // Gone for a while.
        memory.next(&Snapshot::default(), 100, 400);
        assert_eq!(of(&memory.next(&world(4, 9), 100, 460)), [400, 400, 460, 160, 100]);
    }

    #[test]
    fn a_label_is_read_to_its_own_end() {
        assert_eq!(first_pair(DEVICE), Some(r#"device="eth\"0""#));
        assert_eq!(first_pair(r#"a="\\",b="c""#), Some(r#"a="\\""#));
        assert_eq!(first_pair(""), None);
    }
}
