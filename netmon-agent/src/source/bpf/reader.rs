//! Turns the maps and the kernel's totals into one reading.

use std::{collections::BTreeMap, net::IpAddr, os::fd::BorrowedFd, sync::Arc};

use netmon_ebpf::{Key, lost};

use super::{
    addresses::ByAddress,
    gone::Gone,
    ledger::Ledger,
    load::own_netns,
    maps::{Maps, Removed},
    namespaces::Namespaces,
};
use crate::observation::{IfIndex, TcpCounters, TcpReading, TcpTimeout, TcpTotals};

/// Reads, and remembers what a single reading can't tell.
pub(super) struct Reader {
    maps: Option<Maps>,
    /// The network namespace this was made in.
    netns: u32,
    ledger: Ledger,
    by_address: ByAddress,
    gone: Gone,
    reasons: Vec<(u32, Arc<str>)>,
    /// Present when every namespace is counted.
    namespaces: Option<Namespaces>,
}

impl Reader {
    pub(super) fn new(
        maps: Option<Maps>,
        totals: Option<TcpTotals>,
        reasons: Vec<(u32, String)>,
        all_namespaces: bool,
    ) -> Self {
        Self {
            maps,
            netns: own_netns(),
            ledger: Ledger::new(totals),
            by_address: ByAddress::default(),
            gone: Gone::default(),
            reasons: reasons.into_iter().map(|(number, name)| (number, name.into())).collect(),
            namespaces: all_namespaces.then(Namespaces::default),
        }
    }

    /// `totals` must be read before this is called: so an event in between makes the difference smaller, never larger.
    pub(super) fn read(
        &mut self,
        totals: Option<TcpTotals>,
        all: bool,
        interface_of: impl Fn(IpAddr) -> Option<IfIndex>,
    ) -> TcpReading {
        let mut reading = TcpReading { totals, ..TcpReading::default() };
        if let Some(maps) = &mut self.maps {
            let own = self.netns;
            maps.settle();
            reading.devices = maps.counters(own);
            self.by_address.lay(maps.addresses(own), interface_of);
            reading.rtt = maps.rtt(own);
            reading.spread = maps.spread(own);
            if !self.reasons.is_empty() {
                let mut drops = maps.drops(own);
                self.gone.add_drops(&mut drops);
                let name = |number| {
                    self.reasons.iter().find(|(n, _)| *n == number).map(|(_, name)| Arc::clone(name))
                };
                let named =
                    drops.into_iter().filter_map(|((i, reason), count)| Some(((i, name(reason)?), count)));
                reading.drops = named.collect();
            }
            reading.dropped = maps.dropped();
            reading.unresolved = maps.lost(lost::UNRESOLVED);
            reading.recovered = maps.lost(lost::RECOVERED);
            if let Some(namespaces) = self.namespaces.as_mut().filter(|_| all) {
                let others = maps.others();
                namespaces.show(&others);
                maps.remove_others(&namespaces.crowd_out(&others, maps.room_for_others()));
            }
            if let Some(namespaces) = &self.namespaces {
                reading.namespaces = Arc::clone(&namespaces.shown);
                reading.evicted = namespaces.evicted;
            }
        }
        self.by_address.add_to(&mut reading.devices);
        reading.unattributed = self.ledger.compare(reading.totals, reading.devices.values());
        self.gone.add_counters(&mut reading.devices);
        self.gone.add_rtt(&mut reading.rtt);
        reading
    }

    /// A sentence for the log, once, when much of what the kernel counts is laid to no device.
    pub(super) fn warning(&mut self, reading: &TcpReading) -> Option<String> {
        self.ledger.warning(reading.totals, &reading.unattributed).filter(|_| self.maps.is_some())
    }

    pub(super) fn segments_of_closed(
        &mut self,
        interface_of: impl Fn(IpAddr) -> Option<IfIndex>,
    ) -> BTreeMap<IfIndex, u64> {
        let Some(maps) = &self.maps else { return BTreeMap::new() };
        let mut devices = maps.counters(self.netns);
        self.by_address.lay(maps.addresses(self.netns), interface_of);
        self.by_address.add_to(&mut devices);
        self.gone.add_counters(&mut devices);
        devices.into_iter().map(|(index, counters)| (index, counters.segments_sent)).collect()
    }

    /// `watched` is whether the interface had series of its own; else what it had counted stays under index 0.
    pub(super) fn forget(&mut self, interface: IfIndex, watched: bool) -> TcpCounters {
        let key = Key { netns: self.netns, ifindex: interface.0 };
        let mut left = match &mut self.maps {
            Some(maps) => maps.remove(key),
            None => Removed::default(),
        };
        left.counters.add(&self.by_address.forget(interface));
        self.ledger.forget(&left.counters);
        if !watched {
            self.gone.take(&left);
        }
        left.counters
    }

    pub(super) fn next_timeout(&mut self) -> Option<TcpTimeout> {
        self.maps.as_mut()?.next_timeout()
    }

    pub(super) fn timeouts(&self) -> Option<BorrowedFd<'_>> {
        self.maps.as_ref().map(Maps::timeouts)
    }
}
