//! The programs' tables and the ring of time-outs, in memory that is shared with them: reading takes no system call, and no
//! privilege once they are mapped.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{MapData, MapError, RingBuf},
};
use netmon_ebpf::{
    ADDRESSES, AddressCounters, COUNTERS, Counters, DROPS, Drop, Key, LOST_MAP, LocalAddress, OTHERS, Other,
    RTT, Rtt, SPREAD, Spread, TIMEOUTS_MAP, Timeout, kind, lost, rtt_kind, slot,
};

use super::{
    error::LoadError,
    table::{Table, share},
};
use crate::{
    observation::{IfIndex, TcpCounters, TcpRtt, TcpRttHistogram, TcpSpread, TcpTimeout},
    sys::Mapped,
};

/// What the tables had of an interface.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) counters: TcpCounters,
    pub(super) rtt: TcpRtt,
    /// By the number of the reason.
    pub(super) drops: Vec<(u32, u64)>,
}

/// Every table, by its purpose.
pub(super) struct Maps {
    counters: Table<Key, Counters>,
    others: Table<Key, Other>,
    addresses: Table<LocalAddress, AddressCounters>,
    rtt: Table<Key, Rtt>,
    spread: Table<Key, Spread>,
    drops: Table<Drop, u64>,
    lost: Mapped,
    timeouts: RingBuf<MapData>,
}

impl Maps {
    /// Maps the tables of what was just loaded.
    ///
    /// # Errors
    /// The object has no such map; the kernel does not map it (before Linux 5.5) or refuses its rows.
    pub(super) fn share(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            counters: Table::share(ebpf, &COUNTERS)?,
            others: Table::share(ebpf, &OTHERS)?,
            addresses: Table::share(ebpf, &ADDRESSES)?,
            rtt: Table::share(ebpf, &RTT)?,
            spread: Table::share(ebpf, &SPREAD)?,
            drops: Table::share(ebpf, &DROPS)?,
            lost: share(ebpf, LOST_MAP, lost::COUNT as usize * 8)?,
            timeouts: ebpf
                .take_map(TIMEOUTS_MAP)
                .ok_or(LoadError::NotInObject(TIMEOUTS_MAP))?
                .try_into()
                .map_err(|error: MapError| LoadError::Object(error.into()))?,
        })
    }

    /// Gives back to the programs what was removed before. Once a reading, which is long enough for every program to have
    /// ended that had found the row in use.
    pub(super) fn settle(&mut self) {
        self.counters.settle();
        self.others.settle();
        self.rtt.settle();
        self.spread.settle();
        self.drops.settle();
    }

    /// The counters of one namespace by interface.
    pub(super) fn counters(&self, netns: u32) -> BTreeMap<IfIndex, TcpCounters> {
        let rows = self.counters.rows().filter(|(key, _)| key.netns == netns);
        rows.map(|(key, row)| (IfIndex(key.ifindex), told(&row))).collect()
    }

    /// The counters of other namespaces, and what their interfaces are called.
    pub(super) fn others(&self) -> BTreeMap<Key, (TcpCounters, netmon_ebpf::DeviceName)> {
        self.others.rows().map(|(key, other)| (key, (told(&other.counters), other.name))).collect()
    }

    /// Rows that the table of other namespaces has room for.
    pub(super) fn room_for_others(&self) -> usize {
        self.others.room()
    }

    /// Events by local address, of one namespace and of those that no namespace is known of.
    pub(super) fn addresses(&self, netns: u32) -> BTreeMap<LocalAddress, AddressCounters> {
        self.addresses.rows().filter(|(key, _)| key.netns == netns || key.netns == 0).collect()
    }

    pub(super) fn rtt(&self, netns: u32) -> BTreeMap<IfIndex, Arc<TcpRtt>> {
        let rows = self.rtt.rows().filter(|(key, _)| key.netns == netns);
        rows.map(|(key, rtt)| (IfIndex(key.ifindex), Arc::new(round_trips(&rtt)))).collect()
    }

    pub(super) fn spread(&self, netns: u32) -> BTreeMap<IfIndex, Arc<TcpSpread>> {
        let rows = self.spread.rows().filter(|(key, _)| key.netns == netns);
        let one = |(key, Spread { prefixes, flows }): (Key, Spread)| {
            (IfIndex(key.ifindex), Arc::new(TcpSpread { prefixes, flows }))
        };
        rows.map(one).collect()
    }

    pub(super) fn drops(&self, netns: u32) -> BTreeMap<(IfIndex, u32), u64> {
        let rows = self.drops.rows().filter(|(key, _)| key.netns == netns);
        rows.map(|(key, count)| ((IfIndex(key.ifindex), key.reason), count)).collect()
    }

    /// What found a map full, by map.
    pub(super) fn dropped(&self) -> BTreeMap<&'static str, u64> {
        const PLACES: [(&str, u32); 7] = [
            (COUNTERS.rows, lost::COUNTERS),
            (OTHERS.rows, lost::OTHERS),
            (ADDRESSES.rows, lost::ADDRESSES),
            (RTT.rows, lost::RTT),
            (SPREAD.rows, lost::SPREAD),
            (TIMEOUTS_MAP, lost::TIMEOUTS),
            (DROPS.rows, lost::DROPS),
        ];
        PLACES.iter().map(|(map, place)| (*map, self.lost(*place))).collect()
    }

    /// What was counted in a place of the map of losses.
    pub(super) fn lost(&self, place: u32) -> u64 {
        self.lost.long(place as usize * 8).load(Relaxed)
    }

    /// Takes interfaces of other namespaces out.
    pub(super) fn remove_others(&mut self, keys: &BTreeSet<Key>) {
        self.others.retire(|key| keys.contains(key));
    }

    /// Takes an interface of the agent's own namespace out of every table; what it had counted.
    pub(super) fn remove(&mut self, key: Key) -> Removed {
        let counters = self.counters.retire(|row| *row == key);
        let rtt = self.rtt.retire(|row| *row == key);
        self.spread.retire(|row| *row == key);
        let drops = self.drops.retire(|row| (row.netns, row.ifindex) == (key.netns, key.ifindex));
        Removed {
            counters: counters.get(&key).map(told).unwrap_or_default(),
            rtt: rtt.get(&key).map(round_trips).unwrap_or_default(),
            drops: drops.into_iter().map(|(drop, count)| (drop.reason, count)).collect(),
        }
    }

    /// The next time-out that was told.
    pub(super) fn next_timeout(&mut self) -> Option<TcpTimeout> {
        let item = self.timeouts.next()?;
        let word = |at| Some(u32::from_ne_bytes(item.get(at..at + 4)?.try_into().ok()?));
        const { assert!(size_of::<Timeout>() == 8) };
        Some(TcpTimeout { device: IfIndex(word(0)?), prefix: word(4)? })
    }

    /// Readable while time-outs wait.
    pub(super) fn timeouts(&self) -> BorrowedFd<'_> {
        self.timeouts.as_fd()
    }
}

/// What the slots of a row stand for.
pub(super) fn told(counters: &Counters) -> TcpCounters {
    let by_kind = |first| std::array::from_fn(|kind| counters[first + kind]);
    const { assert!(kind::COUNT == crate::observation::RetransmitKind::ALL.len()) };
    TcpCounters {
        retransmitted_segments: by_kind(slot::SEGMENTS),
        retransmits: by_kind(slot::EVENTS),
        resets_sent: counters[slot::RESETS_ACTIVE] + counters[slot::RESETS_REPLY],
        resets_sent_in_reply: counters[slot::RESETS_REPLY],
        resets_received: counters[slot::RESETS_RECEIVED] + counters[slot::REFUSED],
        refused_connects: counters[slot::REFUSED],
        segments_sent: counters[slot::SEGMENTS_SENT],
        active_opens: counters[slot::ACTIVE_OPENS] + counters[slot::ACTIVE_FAILS] + counters[slot::ABANDONED],
        passive_opens: counters[slot::PASSIVE_OPENS] + counters[slot::PASSIVE_FAILS],
        failed_connects: counters[slot::ACTIVE_FAILS] + counters[slot::PASSIVE_FAILS],
        retransmits_of_unknown_kind: 0,
    }
}

pub(super) fn round_trips(rtt: &Rtt) -> TcpRtt {
    let one = |kind: usize| TcpRttHistogram {
        buckets: rtt[kind].buckets,
        sum: Duration::from_micros(rtt[kind].sum),
    };
    TcpRtt {
        handshake: one(rtt_kind::HANDSHAKE),
        close: one(rtt_kind::CLOSE),
        sampled: one(rtt_kind::SAMPLED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_their_kinds() {
        let mut one = [0; slot::COUNT];
        one[slot::SEGMENTS + kind::RTO] = 5;
        one[slot::EVENTS + kind::RTO] = 2;
        one[slot::RESETS_ACTIVE] = 1;
        one[slot::REFUSED] = 3;
        one[slot::ACTIVE_OPENS] = 10;
        one[slot::SEGMENTS + kind::TLP] = 7;
        one[slot::RESETS_REPLY] = 10;
        one[slot::RESETS_RECEIVED] = 20;
        one[slot::ACTIVE_FAILS] = 4;
        one[slot::ABANDONED] = 1;
        one[slot::PASSIVE_OPENS] = 8;
        one[slot::PASSIVE_FAILS] = 2;
        one[slot::SEGMENTS_SENT] = 1000;
        let counters = told(&one);
        assert_eq!(counters.retransmitted_segments, [5, 0, 7, 0, 0]);
        assert_eq!(counters.retransmits, [2, 0, 0, 0, 0]);
        assert_eq!((counters.resets_sent, counters.resets_sent_in_reply), (11, 10));
        assert_eq!((counters.resets_received, counters.refused_connects), (23, 3));
        assert_eq!((counters.active_opens, counters.passive_opens, counters.failed_connects), (15, 10, 6));
        assert_eq!(counters.segments_sent, 1000);
    }
}
