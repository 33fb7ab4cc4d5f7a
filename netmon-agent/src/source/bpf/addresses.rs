//! Events that the kernel tells by local address alone, laid to interfaces.

use std::{collections::BTreeMap, net::IpAddr, net::Ipv6Addr};

use netmon_ebpf::{AddressCounters, LocalAddress, address_slot, kind};

use crate::observation::{IfIndex, TcpCounters};

/// Lays each event to the interface that had the address when the event was first read.
#[derive(Debug, Default)]
pub(super) struct ByAddress {
    seen: BTreeMap<LocalAddress, AddressCounters>,
    laid: BTreeMap<IfIndex, AddressCounters>,
}

impl ByAddress {
    /// Takes what the map has now.
    ///
    /// An address that no interface has goes to index 0 when its namespace is known to be ours. A classic tracepoint
    /// names no namespace: there an address that is not ours is somebody else's, and left out.
    pub(super) fn lay(
        &mut self,
        counts: BTreeMap<LocalAddress, AddressCounters>,
        interface_of: impl Fn(IpAddr) -> Option<IfIndex>,
    ) {
        for (address, now) in &counts {
            let before = self.seen.get(address).copied().unwrap_or_default();
            if *now == before {
                continue;
            }
            let interface = interface_of(Ipv6Addr::from(address.octets).to_canonical());
            let Some(interface) = interface.or((address.netns != 0).then_some(IfIndex(0))) else { continue };
            let laid = self.laid.entry(interface).or_default();
            for ((sum, now), before) in laid.iter_mut().zip(now).zip(before) {
                *sum += now.saturating_sub(before);
            }
        }
        self.seen = counts;
    }

    /// Adds them to the interfaces' counters.
    pub(super) fn add_to(&self, devices: &mut BTreeMap<IfIndex, TcpCounters>) {
        for (interface, laid) in &self.laid {
            devices.entry(*interface).or_default().add(&counters(laid));
        }
    }

    /// An interface is gone: what was laid to it.
    pub(super) fn forget(&mut self, interface: IfIndex) -> TcpCounters {
        self.laid.remove(&interface).map(|laid| counters(&laid)).unwrap_or_default()
    }
}

fn counters(laid: &AddressCounters) -> TcpCounters {
    let mut counters = TcpCounters {
        resets_sent: laid[address_slot::RESETS_SENT],
        resets_received: laid[address_slot::RESETS_RECEIVED],
        active_opens: laid[address_slot::ACTIVE_OPENS] + laid[address_slot::ACTIVE_FAILS],
        failed_connects: laid[address_slot::ACTIVE_FAILS],
        passive_opens: laid[address_slot::PASSIVE_OPENS],
        retransmits_of_unknown_kind: laid[address_slot::RETRANSMITS],
        segments_sent: laid[address_slot::SEGMENTS_SENT],
        ..TcpCounters::default()
    };
    // One SYN or SYN-ACK is one segment; of the others a classic tracepoint does not tell.
    for (kind, slot) in [(kind::SYNACK, address_slot::SYNACKS), (kind::SYN, address_slot::SYNS)] {
        counters.retransmitted_segments[kind] = laid[slot];
        counters.retransmits[kind] = laid[slot];
    }
    counters
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn synacks(entries: &[(u32, u8, u64)]) -> BTreeMap<LocalAddress, AddressCounters> {
        let one = |(netns, last, count): &(u32, u8, u64)| {
            let octets = Ipv4Addr::new(192, 0, 2, *last).to_ipv6_mapped().octets();
            let mut counters = [0; address_slot::COUNT];
            counters[address_slot::SYNACKS] = *count;
            (LocalAddress { netns: *netns, octets }, counters)
        };
        entries.iter().map(one).collect()
    }

    fn at(interface: u32) -> impl Fn(IpAddr) -> Option<IfIndex> {
        move |address| (address == IpAddr::from([192, 0, 2, 1])).then_some(IfIndex(interface))
    }

    fn segments(by_address: &ByAddress) -> BTreeMap<IfIndex, u64> {
        let mut devices = BTreeMap::new();
        by_address.add_to(&mut devices);
        devices.into_iter().map(|(i, c)| (i, c.retransmitted_segments[kind::SYNACK])).collect()
    }

    #[test]
    fn an_event_stays_with_the_interface_that_had_its_address() {
        let mut by_address = ByAddress::default();
        by_address.lay(synacks(&[(7, 1, 4), (7, 9, 1)]), at(2));
        // The address moves to interface 3: what it counted before stays with interface 2.
        by_address.lay(synacks(&[(7, 1, 10), (7, 9, 1)]), at(3));
        assert_eq!(
            segments(&by_address),
            BTreeMap::from([(IfIndex(0), 1), (IfIndex(2), 4), (IfIndex(3), 6)])
        );
        assert_eq!(by_address.forget(IfIndex(2)).retransmitted_segments[kind::SYNACK], 4);
        assert_eq!(segments(&by_address), BTreeMap::from([(IfIndex(0), 1), (IfIndex(3), 6)]));
    }

    #[test]
    fn an_address_without_a_namespace_that_is_not_ours_is_left_out() {
        let mut by_address = ByAddress::default();
        by_address.lay(synacks(&[(0, 1, 4), (0, 9, 100)]), at(2));
        assert_eq!(segments(&by_address), BTreeMap::from([(IfIndex(2), 4)]));
    }
}
