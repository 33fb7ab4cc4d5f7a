//! What the kernel hands over: its types, the layout of its records, and the rows of the maps.

use std::{collections::BTreeMap, time::Duration};

use netmon_ebpf::{ABSENT, Counters, LocalAddress, RttHistogram, rtt_kind};

use super::{addresses::ByAddress, btf::Btf, format::Record, ledger::Ledger, maps, mib, namespaces, offsets};
use crate::observation::{IfIndex, TcpCounters};

/// Types of a kernel: what is found of them lies within what was looked through.
pub fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else { return };
    for (structure, path) in [("sock_common", "skc_daddr"), ("s", "a.b"), ("tcp_sock", "total_retrans")] {
        if let Ok(found) = btf.locate(structure, path) {
            assert!(found.shift < 8 && found.bits > 0, "{structure}.{path}: {found:?}");
        }
    }
    for name in ["skb_drop_reason", "e"] {
        let all = btf.enumerators(name).unwrap_or_default();
        assert!(all.len() * 8 <= bytes.len(), "more enumerators than bytes for them");
    }
    let _ = btf.tracepoint_arguments("tcp_retransmit_skb");
    let found = offsets::resolve(&btf);
    assert_eq!(found, offsets::resolve(&btf), "found otherwise the second time");
}

/// The records' layout (`events/*/format` of tracefs), and the totals of `/proc/net`.
pub fn tracepoint_formats(format: &str, snmp: &str, netstat: &str) {
    let record = Record(format.to_owned());
    for (name, size) in [("saddr", 4), ("saddr_v6", 16), ("state", 4)] {
        match record.field(name) {
            Some(field) if field.size == size => assert_eq!(record.offset(name, size), field.offset),
            _ => assert_eq!(record.offset(name, size), ABSENT),
        }
    }
    if let Some(totals) = mib::parse(snmp, netstat) {
        assert!(snmp.contains(&totals.segments_sent.to_string()), "made up: {totals:?}");
    }
    if let Some(id) = namespaces::container_id(snmp) {
        assert!(snmp.contains(id) && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    }
}

/// No counter comes so far within the life of a machine.
const MOST: u64 = 1 << 48;

/// Rows of the maps: what is told of them adds up to what is in them.
pub fn map_rows(bytes: &[u8]) {
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .filter_map(|chunk| Some(u64::from_ne_bytes(chunk.try_into().ok()?) % MOST))
        .collect();
    let width = size_of::<Counters>() / 8;
    let mut devices: BTreeMap<IfIndex, TcpCounters> = BTreeMap::new();
    for (index, row) in (0..4).cycle().zip(words.chunks_exact(width)) {
        let Ok(row) = Counters::try_from(row) else { continue };
        let once = maps::told(&row);
        let mut twice = once;
        twice.add(&once);
        assert_eq!(
            maps::told(&row.map(|count| 2 * count)),
            twice,
            "twice the counts are not twice what is told"
        );
        devices.entry(IfIndex(index)).or_default().add(&once);
    }
    for kinds in words.chunks_exact(size_of::<RttHistogram>() / 8) {
        let mut one = RttHistogram { buckets: Default::default(), sum: kinds[0] };
        one.buckets.iter_mut().zip(&kinds[1..]).for_each(|(bucket, count)| *bucket = *count);
        let told = maps::round_trips(&[one; rtt_kind::COUNT]);
        assert_eq!(told.close.sum, Duration::from_micros(one.sum));
        assert_eq!(told.sampled.buckets, one.buckets);
    }
    let mut by_address = ByAddress::default();
    let mut rows = BTreeMap::new();
    for (chunk, word) in bytes.chunks_exact(20).zip(&words) {
        let netns = u32::from(chunk[0] % 3);
        let octets = chunk[4..].try_into().unwrap_or_default();
        rows.insert(LocalAddress { netns, octets }, [*word; netmon_ebpf::address_slot::COUNT]);
    }
    let interface_of = |address: std::net::IpAddr| address.is_ipv4().then_some(IfIndex(2));
    let mut before = BTreeMap::new();
    for rows in [rows.clone(), rows.clone(), BTreeMap::new(), rows] {
        by_address.lay(rows, interface_of);
        let mut now = BTreeMap::new();
        by_address.add_to(&mut now);
        for (device, had) in &before {
            let has: &TcpCounters = &now[device];
            let had: &TcpCounters = had;
            assert!(has.segments_sent >= had.segments_sent, "{device:?} shrank");
        }
        before = now;
    }
    let mut ledger = Ledger::new(mib::parse(SNMP, ""));
    let unattributed = ledger.compare(mib::parse(SNMP, ""), devices.values());
    assert_eq!(unattributed.resets_sent, 0, "the kernel counted nothing, and something is missing");
    for name in bytes.chunks_exact(16) {
        let name = name.try_into().unwrap_or_default();
        let told = namespaces::device_name(&name);
        assert!(!told.chars().any(char::is_control), "{told:?}");
    }
}

const SNMP: &str = "Tcp: OutSegs RetransSegs ActiveOpens PassiveOpens OutRsts AttemptFails EstabResets\n\
                    Tcp: 1 2 3 4 5 6 7\n";
