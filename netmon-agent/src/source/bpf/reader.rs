//! Turns the maps and the kernel's totals into one reading for this process's network namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv6Addr},
    os::unix::fs::MetadataExt,
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, PerCpuArray, PerCpuHashMap},
};
use netmon_ebpf::{COUNTERS_MAP, Counters, Key, LOST_MAP, LocalAddress, SYNACKS_MAP, kind, lost, slot};

use super::{
    abi::Raw,
    error::{LoadError, ReadError},
};
use crate::observation::{IfIndex, TcpCounters, TcpReading, TcpTotals};

/// The programs' maps.
pub(super) struct Maps {
    counters: PerCpuHashMap<MapData, Raw<Key>, Counters>,
    synacks: PerCpuHashMap<MapData, Raw<LocalAddress>, u64>,
    lost: PerCpuArray<MapData, u64>,
    /// Keys of other namespaces are removed beyond this many: they would leave no room for ours.
    crowded: usize,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let mut map = |name| ebpf.take_map(name).ok_or(LoadError::NotInObject(name));
        let counters = map(COUNTERS_MAP)?;
        let rows = match &counters {
            Map::PerCpuHashMap(data) => data.info().map_or(0, |info| info.max_entries()),
            _ => 0,
        };
        let of_object = |error: MapError| LoadError::Object(error.into());
        Ok(Self {
            counters: counters.try_into().map_err(of_object)?,
            synacks: map(SYNACKS_MAP)?.try_into().map_err(of_object)?,
            lost: map(LOST_MAP)?.try_into().map_err(of_object)?,
            crowded: rows as usize / 2,
        })
    }

    fn counters_of(&mut self, netns: u32) -> Result<BTreeMap<IfIndex, TcpCounters>, ReadError> {
        let failed = failed(COUNTERS_MAP);
        let mut devices = BTreeMap::new();
        let mut strangers = Vec::new();
        // A set, for the kernel begins anew when the key it stands at is deleted under it.
        let keys: BTreeSet<_> = self.counters.keys().collect::<Result<_, _>>().map_err(&failed)?;
        let crowded = keys.len() > self.crowded;
        for key in keys {
            if key.0.netns != netns {
                strangers.push(key);
                continue;
            }
            if let Some(row) = present(self.counters.get(&key, 0)).map_err(&failed)? {
                devices.insert(IfIndex(key.0.ifindex), sum(row.iter()));
            }
        }
        if crowded {
            for key in strangers {
                present(self.counters.remove(&key)).map_err(&failed)?;
            }
        }
        Ok(devices)
    }

    fn synacks_of(&mut self, netns: u32) -> Result<BTreeMap<[u8; 16], u64>, ReadError> {
        let failed = failed(SYNACKS_MAP);
        let mut addresses = BTreeMap::new();
        let keys: BTreeSet<_> = self.synacks.keys().collect::<Result<_, _>>().map_err(&failed)?;
        for key in keys.into_iter().filter(|key| key.0.netns == netns) {
            if let Some(counts) = present(self.synacks.get(&key, 0)).map_err(&failed)? {
                addresses.insert(key.0.octets, counts.iter().sum());
            }
        }
        Ok(addresses)
    }

    fn lost(&self, place: u32) -> Result<u64, ReadError> {
        Ok(self.lost.get(&place, 0).map_err(failed(LOST_MAP))?.iter().sum())
    }

    fn remove(&mut self, key: Key) -> Result<Option<TcpCounters>, ReadError> {
        let failed = failed(COUNTERS_MAP);
        let row = present(self.counters.get(&Raw(key), 0)).map_err(&failed)?;
        present(self.counters.remove(&Raw(key))).map_err(&failed)?;
        Ok(row.map(|row| sum(row.iter())))
    }
}

/// Reads, and remembers what a single reading can't tell.
pub(super) struct Reader {
    maps: Option<Maps>,
    /// This process's network namespace.
    netns: u32,
    totals_at_start: Option<TcpTotals>,
    synacks: SynAcks,
    /// What interfaces that were forgotten had counted: it stays in the kernel's totals.
    forgotten: TcpCounters,
    segments: Residue,
    resets: Residue,
}

impl Reader {
    pub(super) fn new(maps: Option<Maps>, totals: Option<TcpTotals>) -> Self {
        Self {
            maps,
            netns: fs::metadata("/proc/self/ns/net").map_or(0, |file| file.ino() as u32),
            totals_at_start: totals,
            synacks: SynAcks::default(),
            forgotten: TcpCounters::default(),
            segments: Residue::default(),
            resets: Residue::default(),
        }
    }

    /// `totals` must be read before this is called: so an event in between makes the residue smaller, never larger.
    pub(super) fn read(
        &mut self,
        totals: Option<TcpTotals>,
        interface_of: impl Fn(IpAddr) -> Option<IfIndex>,
    ) -> Result<TcpReading, ReadError> {
        let mut reading = TcpReading { totals, ..TcpReading::default() };
        if let Some(maps) = &mut self.maps {
            reading.devices = maps.counters_of(self.netns)?;
            self.synacks.lay(maps.synacks_of(self.netns)?, interface_of);
            reading.dropped = BTreeMap::from([
                (COUNTERS_MAP, maps.lost(lost::COUNTERS)?),
                (SYNACKS_MAP, maps.lost(lost::SYNACKS)?),
            ]);
        }
        for (interface, count) in &self.synacks.laid {
            let device = reading.devices.entry(*interface).or_default();
            device.retransmitted_segments[kind::SYNACK] += count;
            device.retransmits[kind::SYNACK] += count;
        }
        self.compare(&mut reading);
        Ok(reading)
    }

    pub(super) fn forget(&mut self, interface: IfIndex) -> Result<(), ReadError> {
        let key = Key { netns: self.netns, ifindex: interface.0 };
        if let Some(maps) = &mut self.maps
            && let Some(counters) = maps.remove(key)?
        {
            self.forgotten.add(&counters);
        }
        let synacks = self.synacks.laid.remove(&interface).unwrap_or(0);
        self.forgotten.retransmitted_segments[kind::SYNACK] += synacks;
        Ok(())
    }

    fn compare(&mut self, reading: &mut TcpReading) {
        let (Some(start), Some(now)) = (self.totals_at_start, reading.totals) else { return };
        let mut counted = self.forgotten;
        for counters in reading.devices.values() {
            counted.add(counters);
        }
        let growth = |of: fn(&TcpTotals) -> u64| of(&now).saturating_sub(of(&start));
        let segments = counted.retransmitted_segments.iter().sum();
        reading.unattributed_segments =
            self.segments.settle(growth(|totals| totals.retransmitted_segments), segments);
        reading.unattributed_resets =
            self.resets.settle(growth(|totals| totals.resets_sent), counted.resets_sent);
    }
}

/// SYN-ACKs sent again, laid to the interface that had the address when they were first read.
#[derive(Default)]
struct SynAcks {
    seen: BTreeMap<[u8; 16], u64>,
    laid: BTreeMap<IfIndex, u64>,
}

impl SynAcks {
    fn lay(&mut self, counts: BTreeMap<[u8; 16], u64>, interface_of: impl Fn(IpAddr) -> Option<IfIndex>) {
        for (address, count) in &counts {
            let more = count.saturating_sub(self.seen.get(address).copied().unwrap_or(0));
            if more > 0 {
                let interface = interface_of(Ipv6Addr::from(*address).to_canonical());
                *self.laid.entry(interface.unwrap_or(IfIndex(0))).or_default() += more;
            }
        }
        self.seen = counts;
    }
}

/// What the kernel's totals have beyond the programs' counters; it only grows.
///
/// The kernel counts a segment some instructions before the program does, so a residue counts only when the next
/// reading still shows it.
#[derive(Default)]
struct Residue {
    last: u64,
    settled: u64,
}

impl Residue {
    fn settle(&mut self, total: u64, counted: u64) -> u64 {
        let residue = total.saturating_sub(counted);
        self.settled = self.settled.max(residue.min(self.last));
        self.last = residue;
        self.settled
    }
}

fn sum<'a>(cpus: impl Iterator<Item = &'a Counters>) -> TcpCounters {
    let mut counters = [0_u64; slot::COUNT];
    for cpu in cpus {
        for (sum, value) in counters.iter_mut().zip(cpu) {
            *sum += value;
        }
    }
    let by_kind = |first| std::array::from_fn(|kind| counters[first + kind]);
    TcpCounters {
        retransmitted_segments: by_kind(slot::SEGMENTS),
        retransmits: by_kind(slot::EVENTS),
        resets_sent: counters[slot::RESETS_ACTIVE] + counters[slot::RESETS_REPLY],
        resets_sent_in_reply: counters[slot::RESETS_REPLY],
        resets_received: counters[slot::RESETS_RECEIVED] + counters[slot::REFUSED],
        refused_connects: counters[slot::REFUSED],
        ..TcpCounters::default()
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
    use std::net::Ipv4Addr;

    use super::*;

    fn mapped(last: u8) -> [u8; 16] {
        Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets()
    }

    fn totals(retransmitted_segments: u64, resets_sent: u64) -> Option<TcpTotals> {
        Some(TcpTotals { retransmitted_segments, resets_sent, ..TcpTotals::default() })
    }

    #[test]
    fn counters_add_up_over_cpus_and_keep_their_kinds() {
        let mut one = [0; slot::COUNT];
        one[slot::SEGMENTS + kind::RTO] = 5;
        one[slot::EVENTS + kind::RTO] = 2;
        one[slot::RESETS_ACTIVE] = 1;
        one[slot::REFUSED] = 3;
        let mut other = one;
        other[slot::SEGMENTS + kind::TLP] = 7;
        other[slot::RESETS_REPLY] = 10;
        other[slot::RESETS_RECEIVED] = 20;
        let counters = sum([one, other].iter());
        assert_eq!(counters.retransmitted_segments, [10, 0, 7, 0, 0]);
        assert_eq!(counters.retransmits, [4, 0, 0, 0, 0]);
        assert_eq!((counters.resets_sent, counters.resets_sent_in_reply), (12, 10));
        assert_eq!((counters.resets_received, counters.refused_connects), (26, 6));
    }

    #[test]
    fn a_synack_stays_with_the_interface_that_had_its_address() {
        let mut synacks = SynAcks::default();
        let at = |interface| {
            move |address: IpAddr| (address == IpAddr::from([192, 0, 2, 1])).then_some(IfIndex(interface))
        };
        synacks.lay(BTreeMap::from([(mapped(1), 4), (mapped(9), 1)]), at(2));
        // The address moves to interface 3: what it counted before stays with interface 2.
        synacks.lay(BTreeMap::from([(mapped(1), 10), (mapped(9), 1)]), at(3));
        assert_eq!(synacks.laid, BTreeMap::from([(IfIndex(0), 1), (IfIndex(2), 4), (IfIndex(3), 6)]));
    }

    #[test]
    fn a_residue_counts_once_it_stays() {
        let mut residue = Residue::default();
        assert_eq!(residue.settle(10, 9), 0);
        assert_eq!(residue.settle(10, 10), 0, "an event caught between the two counters");
        assert_eq!(residue.settle(15, 12), 0);
        assert_eq!(residue.settle(20, 17), 3);
        assert_eq!(residue.settle(20, 25), 3, "never shrinks, never goes negative");
    }

    #[test]
    fn without_maps_all_growth_is_unattributed() {
        let mut reader = Reader::new(None, totals(100, 7));
        for expected in [(0, 0), (5, 1)] {
            let reading = reader.read(totals(105, 8), |_| None).unwrap();
            assert_eq!((reading.unattributed_segments, reading.unattributed_resets), expected);
            assert!(reading.devices.is_empty());
        }
    }
}
