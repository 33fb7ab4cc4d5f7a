//! RSTs sent and connections ended by one.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use netmon_ebpf::{Key, slot};

use crate::{
    count,
    walk::{SYN_SENT, Skb, Sock},
};

/// `trace_tcp_send_reset(sk, skb, …)`. An active reset has no packet; a reply has the packet it answers, and perhaps
/// no socket, or one that is no full socket.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    let (sock, skb) = (Sock(ctx.arg(0)), Skb(ctx.arg(1)));
    let full = sock.is_full();
    let ifindex = skb
        .rx_ifindex()
        .or_else(|| if full { sock.route_ifindex() } else { None })
        .or_else(|| sock.bound_ifindex())
        .or_else(|| if full { sock.rx_ifindex() } else { None });
    let netns = sock.netns().or_else(|| skb.netns());
    let key = Key { netns: netns.unwrap_or(0), ifindex: ifindex.unwrap_or(0) };
    if let Some(row) = count::row(&key) {
        if skb.0 == 0 {
            row.add::<{ slot::RESETS_ACTIVE }>(1);
        } else {
            row.add::<{ slot::RESETS_REPLY }>(1);
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
    if let Some(row) = count::row(&key) {
        if sock.state() == SYN_SENT {
            row.add::<{ slot::REFUSED }>(1);
        } else {
            row.add::<{ slot::RESETS_RECEIVED }>(1);
        }
    }
    0
}
