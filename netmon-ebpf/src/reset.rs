//! RSTs sent and connections ended by one.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use netmon_ebpf::{Key, slot};

use crate::{
    count,
    walk::{CLOSE, Device, SYN_SENT, Skb, Sock},
};

/// `trace_tcp_send_reset(sk, skb, …)`. An active reset has no packet; a reply has the packet it answers, and perhaps
/// no socket, or one that is no full socket.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    let (sock, skb) = (Sock(ctx.arg(0)), Skb(ctx.arg(1)));
    let full = sock.is_full();
    let device = if full { sock.route_device() } else { skb.route_device() };
    let ifindex = skb
        .rx_ifindex()
        .or_else(|| if full { device.ifindex() } else { None })
        .or_else(|| sock.bound_ifindex())
        .or_else(|| if full { sock.rx_ifindex() } else { None });
    let netns = sock.netns().or_else(|| skb.netns());
    let key = Key { netns: netns.unwrap_or(0), ifindex: ifindex.unwrap_or(0) };
    // The name is this interface's only if the packet came in by the one it would leave by.
    let named = if device.ifindex() == ifindex { device } else { Device(0) };
    if let Some(row) = count::row(&key, named) {
        if skb.0 == 0 {
            row.add::<{ slot::RESETS_ACTIVE }>(1);
        } else {
            row.add::<{ slot::RESETS_REPLY }>(1);
        }
        // A socket that is closed already has told what it sent.
        if skb.0 != 0 || sock.state() == CLOSE {
            row.add::<{ slot::SEGMENTS_SENT }>(1);
        }
    }
    0
}

/// `trace_tcp_receive_reset(sk)`: only where the RST ends a full socket.
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    let sock = Sock(ctx.arg(0));
    let ifindex = sock.rx_ifindex().or_else(|| sock.route_ifindex()).or_else(|| sock.bound_ifindex());
    let key = Key { netns: sock.netns().unwrap_or(0), ifindex: ifindex.unwrap_or(0) };
    let device = sock.route_device();
    let named = if device.ifindex() == ifindex { device } else { Device(0) };
    if let Some(row) = count::row(&key, named) {
        if sock.state() == SYN_SENT {
            row.add::<{ slot::REFUSED }>(1);
        } else {
            row.add::<{ slot::RESETS_RECEIVED }>(1);
        }
    }
    0
}
