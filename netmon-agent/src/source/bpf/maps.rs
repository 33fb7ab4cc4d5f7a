//! The programs' maps, read through descriptors that are held already.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf},
};
use netmon_ebpf::{
    ADDRESSES_MAP, AddressCounters, COUNTERS_MAP, Counters, DROPS_MAP, DeviceName, Drop, Key, LOST_MAP,
    LocalAddress, NAMES_MAP, OTHERS_MAP, RTT_MAP, RttHistogram, SPREAD_MAP, Spread, TIMEOUTS_MAP, Timeout,
    kind, lost, rtt_kind, slot,
};

use super::{
    abi::Raw,
    error::{LoadError, ReadError},
};
use crate::observation::{IfIndex, TcpCounters, TcpRtt, TcpRttHistogram, TcpSpread, TcpTimeout};

/// What the maps had of an interface.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) counters: TcpCounters,
    pub(super) rtt: TcpRtt,
    /// By the number of the reason.
    pub(super) drops: Vec<(u32, u64)>,
}

/// Every map, by its purpose.
pub(super) struct Maps {
    counters: PerCpuHashMap<MapData, Raw<Key>, Counters>,
    others: PerCpuHashMap<MapData, Raw<Key>, Counters>,
    addresses: PerCpuHashMap<MapData, Raw<LocalAddress>, AddressCounters>,
    names: HashMap<MapData, Raw<Key>, DeviceName>,
    lost: PerCpuArray<MapData, u64>,
    rtt: HashMap<MapData, Raw<Key>, [Raw<RttHistogram>; rtt_kind::COUNT]>,
    spread: HashMap<MapData, Raw<Key>, Raw<Spread>>,
    drops: HashMap<MapData, Raw<Drop>, u64>,
    timeouts: RingBuf<MapData>,
    /// Rows that the map of other namespaces' counters has room for.
    pub(super) rows: usize,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let mut map = |name| ebpf.take_map(name).ok_or(LoadError::NotInObject(name));
        let of_object = |error: MapError| LoadError::Object(error.into());
        let others = map(OTHERS_MAP)?;
        let rows = match &others {
            Map::PerCpuHashMap(data) => data.info().map_or(0, |info| info.max_entries()),
            _ => 0,
        };
        Ok(Self {
            counters: map(COUNTERS_MAP)?.try_into().map_err(of_object)?,
            others: others.try_into().map_err(of_object)?,
            addresses: map(ADDRESSES_MAP)?.try_into().map_err(of_object)?,
            names: map(NAMES_MAP)?.try_into().map_err(of_object)?,
            lost: map(LOST_MAP)?.try_into().map_err(of_object)?,
            rtt: map(RTT_MAP)?.try_into().map_err(of_object)?,
            spread: map(SPREAD_MAP)?.try_into().map_err(of_object)?,
            drops: map(DROPS_MAP)?.try_into().map_err(of_object)?,
            timeouts: map(TIMEOUTS_MAP)?.try_into().map_err(of_object)?,
            rows: rows as usize,
        })
    }

    /// The counters of one namespace by interface, summed over the CPUs.
    pub(super) fn counters(&self, netns: u32) -> Result<BTreeMap<IfIndex, TcpCounters>, ReadError> {
        let ours = |key: &Raw<Key>| key.0.netns == netns;
        let rows = entries(self.counters.keys(), |key| self.counters.get(key, 0), ours)
            .map_err(failed(COUNTERS_MAP))?;
        Ok(rows.into_iter().map(|(key, row)| (IfIndex(key.0.ifindex), sum(row.iter()))).collect())
    }

    /// The counters of other namespaces, summed over the CPUs.
    pub(super) fn others(&self) -> Result<BTreeMap<Key, TcpCounters>, ReadError> {
        let rows = entries(self.others.keys(), |key| self.others.get(key, 0), |_| true)
            .map_err(failed(OTHERS_MAP))?;
        Ok(rows.into_iter().map(|(key, row)| (key.0, sum(row.iter()))).collect())
    }

    /// Events by local address, of one namespace and of those that no namespace is known of.
    pub(super) fn addresses(&self, netns: u32) -> Result<BTreeMap<LocalAddress, AddressCounters>, ReadError> {
        let ours = |key: &Raw<LocalAddress>| key.0.netns == netns || key.0.netns == 0;
        let rows = entries(self.addresses.keys(), |key| self.addresses.get(key, 0), ours)
            .map_err(failed(ADDRESSES_MAP))?;
        Ok(rows.into_iter().map(|(key, row)| (key.0, over_cpus(row.iter()))).collect())
    }

    /// Names of interfaces outside the agent's own namespace.
    pub(super) fn names(&self) -> Result<BTreeMap<Key, DeviceName>, ReadError> {
        let rows =
            entries(self.names.keys(), |key| self.names.get(key, 0), |_| true).map_err(failed(NAMES_MAP))?;
        Ok(rows.into_iter().map(|(key, name)| (key.0, name)).collect())
    }

    pub(super) fn rtt(&self, netns: u32) -> Result<BTreeMap<IfIndex, Arc<TcpRtt>>, ReadError> {
        let rows = entries(self.rtt.keys(), |key| self.rtt.get(key, 0), |key| key.0.netns == netns)
            .map_err(failed(RTT_MAP))?;
        Ok(rows.into_iter().map(|(key, rtt)| (IfIndex(key.0.ifindex), Arc::new(round_trips(&rtt)))).collect())
    }

    pub(super) fn spread(&self, netns: u32) -> Result<BTreeMap<IfIndex, Arc<TcpSpread>>, ReadError> {
        let rows = entries(self.spread.keys(), |key| self.spread.get(key, 0), |key| key.0.netns == netns)
            .map_err(failed(SPREAD_MAP))?;
        let one = |(key, spread): (Raw<Key>, Raw<Spread>)| {
            let Spread { prefixes, flows } = spread.0;
            (IfIndex(key.0.ifindex), Arc::new(TcpSpread { prefixes, flows }))
        };
        Ok(rows.into_iter().map(one).collect())
    }

    pub(super) fn drops(&self, netns: u32) -> Result<BTreeMap<(IfIndex, u32), u64>, ReadError> {
        let rows = entries(self.drops.keys(), |key| self.drops.get(key, 0), |key| key.0.netns == netns)
            .map_err(failed(DROPS_MAP))?;
        Ok(rows.into_iter().map(|(key, count)| ((IfIndex(key.0.ifindex), key.0.reason), count)).collect())
    }

    /// What found a map full, by map.
    pub(super) fn dropped(&self) -> Result<BTreeMap<&'static str, u64>, ReadError> {
        const PLACES: [(&str, u32); 8] = [
            (COUNTERS_MAP, lost::COUNTERS),
            (OTHERS_MAP, lost::OTHERS),
            (ADDRESSES_MAP, lost::ADDRESSES),
            (RTT_MAP, lost::RTT),
            (SPREAD_MAP, lost::SPREAD),
            (TIMEOUTS_MAP, lost::TIMEOUTS),
            (DROPS_MAP, lost::DROPS),
            (NAMES_MAP, lost::NAMES),
        ];
        PLACES.iter().map(|(map, place)| Ok((*map, self.lost(*place)?))).collect()
    }

    /// What was counted in a place of the map of losses.
    pub(super) fn lost(&self, place: u32) -> Result<u64, ReadError> {
        Ok(self.lost.get(&place, 0).map_err(failed(LOST_MAP))?.iter().sum())
    }

    /// Takes an interface of another namespace out.
    pub(super) fn remove_other(&mut self, key: Key) -> Result<(), ReadError> {
        present(self.others.remove(&Raw(key))).map_err(failed(OTHERS_MAP))?;
        present(self.names.remove(&Raw(key))).map_err(failed(NAMES_MAP))?;
        Ok(())
    }

    /// Takes an interface of the agent's own namespace out of every map; what it had counted.
    pub(super) fn remove(&mut self, key: Key) -> Result<Removed, ReadError> {
        let key = Raw(key);
        let row = present(self.counters.get(&key, 0)).map_err(failed(COUNTERS_MAP))?;
        present(self.counters.remove(&key)).map_err(failed(COUNTERS_MAP))?;
        let rtt = present(self.rtt.get(&key, 0)).map_err(failed(RTT_MAP))?;
        present(self.rtt.remove(&key)).map_err(failed(RTT_MAP))?;
        present(self.spread.remove(&key)).map_err(failed(SPREAD_MAP))?;
        let its = |drop: &Raw<Drop>| (drop.0.netns, drop.0.ifindex) == (key.0.netns, key.0.ifindex);
        let drops =
            entries(self.drops.keys(), |key| self.drops.get(key, 0), its).map_err(failed(DROPS_MAP))?;
        for (drop, _) in &drops {
            present(self.drops.remove(drop)).map_err(failed(DROPS_MAP))?;
        }
        Ok(Removed {
            counters: row.map(|row| sum(row.iter())).unwrap_or_default(),
            rtt: rtt.as_ref().map(round_trips).unwrap_or_default(),
            drops: drops.into_iter().map(|(drop, count)| (drop.0.reason, count)).collect(),
        })
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

/// The keys that `wanted` picks, with their values.
fn entries<K: Ord, V>(
    keys: impl Iterator<Item = Result<K, MapError>>,
    get: impl Fn(&K) -> Result<V, MapError>,
    wanted: impl Fn(&K) -> bool,
) -> Result<Vec<(K, V)>, MapError> {
    let mut found = Vec::new();
    // A set, for the kernel begins anew when the key it stands at is deleted under it.
    let keys: BTreeSet<K> = keys.collect::<Result<_, _>>()?;
    for key in keys.into_iter().filter(wanted) {
        if let Some(value) = present(get(&key))? {
            found.push((key, value));
        }
    }
    Ok(found)
}

pub(super) fn over_cpus<'a, const N: usize>(cpus: impl Iterator<Item = &'a [u64; N]>) -> [u64; N] {
    let mut counters = [0_u64; N];
    for cpu in cpus {
        for (sum, value) in counters.iter_mut().zip(cpu) {
            *sum += value;
        }
    }
    counters
}

pub(super) fn sum<'a>(cpus: impl Iterator<Item = &'a Counters>) -> TcpCounters {
    let counters = over_cpus(cpus);
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

pub(super) fn round_trips(rtt: &[Raw<RttHistogram>; rtt_kind::COUNT]) -> TcpRtt {
    let one = |kind: usize| TcpRttHistogram {
        buckets: rtt[kind].0.buckets,
        sum: Duration::from_micros(rtt[kind].0.sum),
    };
    TcpRtt {
        handshake: one(rtt_kind::HANDSHAKE),
        close: one(rtt_kind::CLOSE),
        sampled: one(rtt_kind::SAMPLED),
    }
}

/// A key that went away between two calls is no error.
fn present<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(map: &'static str) -> impl Fn(MapError) -> ReadError {
    move |source| ReadError::Map { map, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_cpus_and_keep_their_kinds() {
        let mut one = [0; slot::COUNT];
        one[slot::SEGMENTS + kind::RTO] = 5;
        one[slot::EVENTS + kind::RTO] = 2;
        one[slot::RESETS_ACTIVE] = 1;
        one[slot::REFUSED] = 3;
        one[slot::ACTIVE_OPENS] = 10;
        let mut other = one;
        other[slot::SEGMENTS + kind::TLP] = 7;
        other[slot::RESETS_REPLY] = 10;
        other[slot::RESETS_RECEIVED] = 20;
        other[slot::ACTIVE_FAILS] = 4;
        other[slot::ABANDONED] = 1;
        other[slot::PASSIVE_OPENS] = 8;
        other[slot::PASSIVE_FAILS] = 2;
        other[slot::SEGMENTS_SENT] = 1000;
        let counters = sum([one, other].iter());
        assert_eq!(counters.retransmitted_segments, [10, 0, 7, 0, 0]);
        assert_eq!(counters.retransmits, [4, 0, 0, 0, 0]);
        assert_eq!((counters.resets_sent, counters.resets_sent_in_reply), (12, 10));
        assert_eq!((counters.resets_received, counters.refused_connects), (26, 6));
        assert_eq!((counters.active_opens, counters.passive_opens, counters.failed_connects), (25, 10, 6));
        assert_eq!(counters.segments_sent, 1000);
    }
}
