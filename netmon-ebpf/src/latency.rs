//! Round-trip times by interface.

use aya_ebpf::{
    btf_maps::PerCpuArray,
    macros::{btf_map, raw_tracepoint},
    programs::RawTracePointContext,
};
use netmon_ebpf::{Key, MAX_RTT, RTT_BUCKETS, Rtt, RttHistogram, lost, rtt_bucket, rtt_kind};

use crate::{
    count::{self, add},
    tables::table,
    walk::Sock,
};

table!(
    /// Round-trip times by interface.
    rows: Key => Rtt, MAX_RTT, RTT_INDEX, RTT, RTT_BOOK, RTT_FREE
);

/// Segments seen since the last that was sampled.
#[btf_map]
static TICK: PerCpuArray<u32, 1> = PerCpuArray::new();

/// One segment in so many is sampled; a power of two.
const SAMPLE: u32 = 64;

/// One more round-trip time, in µs; 0 is that there was none.
#[inline(always)]
pub fn record<const KIND: usize>(key: &Key, us: u32) {
    const { assert!(KIND < rtt_kind::COUNT) };
    if us == 0 || !count::is_own(key.netns) {
        return;
    }
    let found = rows::look(key).or_else(|| rows::insert(key));
    let Some(rtt) = found else { return count::lose(lost::RTT, key.netns) };
    let bucket = rtt_bucket(us);
    if bucket < RTT_BUCKETS {
        // SAFETY: the pointer is to an `Rtt` in the map, the kind and the bucket are within it.
        unsafe {
            let histogram = rtt.cast::<RttHistogram>().add(KIND);
            add(&raw mut (*histogram).sum, u64::from(us));
            add((&raw mut (*histogram).buckets).cast::<u64>().add(bucket), 1);
        }
    }
}

/// `trace_tcp_probe(sk, skb)`: a segment came in on an established connection.
#[raw_tracepoint(tracepoint = "tcp_probe")]
pub fn tcp_probe(ctx: RawTracePointContext) -> i32 {
    let Some(tick) = TICK.get_ptr_mut(0) else { return 0 };
    // SAFETY: the pointer is to a `u32` in the map. Should a softirq count in between, one tick is lost.
    let count = unsafe {
        *tick = (*tick).wrapping_add(1);
        *tick
    };
    if count % SAMPLE != 0 {
        return 0;
    }
    let sock = Sock(ctx.arg(0));
    let key = Key { netns: sock.netns().unwrap_or(0), ifindex: sock.tx_ifindex().unwrap_or(0) };
    record::<{ rtt_kind::SAMPLED }>(&key, sock.srtt());
    0
}
