//! Packets that the kernel dropped, for the reasons that were asked for.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use netmon_ebpf::{Drop, MAX_DROPS, lost};

use crate::{
    count::{self, add},
    tables::table,
    walk::Skb,
};

table!(
    /// Drops by interface and reason.
    rows: Drop => u64, MAX_DROPS, DROPS_INDEX, DROPS, DROPS_BOOK, DROPS_FREE
);

/// `trace_kfree_skb(skb, location, reason, …)`.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    let reason: u32 = ctx.arg(2);
    if !count::wants_drops_for(reason) {
        return 0;
    }
    let skb = Skb(ctx.arg(0));
    // On the way in the packet is at a device and remembers which it came by; on the way out it is routed to one.
    let at = skb.device();
    let device = if at.0 == 0 { skb.route_device() } else { at };
    let ifindex = skb.rx_ifindex().or_else(|| device.ifindex()).unwrap_or(0);
    let netns = device.netns().or_else(|| skb.sock().netns()).unwrap_or(0);
    if !count::is_own(netns) {
        return 0;
    }
    let key = Drop { netns, ifindex, reason };
    match rows::look(&key).or_else(|| rows::insert(&key)) {
        // SAFETY: the pointer is to a `u64` in the map.
        Some(counter) => unsafe { add(counter, 1) },
        None => count::lose(lost::DROPS, netns),
    }
    0
}
