//! Segments and SYN-ACKs sent again.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use netmon_ebpf::{Key, LocalAddress, address_slot, kind, lost};

use crate::{
    count, spread, twin,
    walk::{Device, SYN_RECV, SYN_SENT, Skb, Sock, offset},
};

// `enum tcp_ca_state` of the kernel's include/uapi/linux/tcp.h.
const CA_RECOVERY: u32 = 3;
const CA_LOSS: u32 = 4;

/// Errors with which `__tcp_retransmit_skb` returns before it counts the segments (net/ipv4/tcp_output.c):
/// EAGAIN, ENOMEM, EBUSY, EHOSTUNREACH. With any other the segments are in `TcpRetransSegs`.
pub const NOT_COUNTED: [i32; 4] = [-11, -12, -16, -113];

/// `trace_tcp_retransmit_skb(sk, skb)`; `(sk, skb, err)` from 6.17.
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    twin::mark(ctx.arg(1));
    retransmitted(&ctx);
    0
}

/// Follows the one above on the same tracepoint, and counts what the kernel kept from it.
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn tcp_retransmit_skb_twin(ctx: RawTracePointContext) -> i32 {
    if twin::was_left_out(ctx.arg(1)) {
        count::lose(lost::RECOVERED, 0);
        retransmitted(&ctx);
    }
    0
}

#[inline(always)]
fn retransmitted(ctx: &RawTracePointContext) {
    if offset!(retransmit_has_err) == 1 && NOT_COUNTED.contains(&ctx.arg::<i32>(2)) {
        return;
    }
    again(Sock(ctx.arg(0)), Skb(ctx.arg(1)));
}

#[inline(never)]
fn again(sock: Sock, skb: Skb) {
    let device = sock.route_device();
    let ifindex = device.ifindex().or_else(|| sock.bound_ifindex()).or_else(|| sock.rx_ifindex());
    let key = Key { netns: sock.netns().unwrap_or(0), ifindex: ifindex.unwrap_or(0) };
    let segments = u64::from(skb.segments().unwrap_or(1));
    let Some(row) = count::row(&key, device) else { return };

    let kind = match (sock.state(), sock.congestion_state()) {
        (SYN_SENT | SYN_RECV, _) => kind::SYN,
        (_, CA_LOSS) => kind::RTO,
        (_, CA_RECOVERY) => kind::FAST,
        _ => kind::TLP,
    };
    row.again(kind, segments);
    if matches!(kind, kind::RTO | kind::FAST) {
        spread::add(&key, sock, segments);
    }
    if matches!(kind, kind::RTO | kind::SYN) {
        spread::timed_out(&key, sock);
    }
}

/// `trace_tcp_retransmit_synack(sk, req)`. The listener and the request know a device only when bound to one; the
/// route is looked up anew and dropped again before the tracepoint. So the local address stands in for it.
#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
pub fn tcp_retransmit_synack(ctx: RawTracePointContext) -> i32 {
    let (listener, request) = (Sock(ctx.arg(0)), Sock(ctx.arg(1)));
    let netns = listener.netns().unwrap_or(0);
    let bound = request.bound_ifindex();
    if bound.is_none() && count::is_own(netns) {
        let address = LocalAddress { netns, octets: request.local_address() };
        count::at_address::<{ address_slot::SYNACKS }>(&address, 1);
    } else if let Some(row) = count::row(&Key { netns, ifindex: bound.unwrap_or(0) }, Device(0)) {
        // Whose address it is the agent knows of its own namespace alone.
        row.again(kind::SYNACK, 1);
    }
    0
}
