//! Connections as they begin and end: opens, failed connects, segments sent, the first and the last round-trip time.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use netmon_ebpf::{Key, LOOPBACK, LocalAddress, address_slot, rtt_kind, slot};

use crate::{
    count, latency,
    walk::{CLOSE, ESTABLISHED, LISTEN, SYN_RECV, SYN_SENT, Sock, TCP},
};

/// `trace_inet_sock_set_state(sk, oldstate, newstate)`, of every protocol that has TCP's states.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let (old, new) = (ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8);
    if (new != ESTABLISHED && new != CLOSE) || old == LISTEN || old == CLOSE {
        return 0;
    }
    let sock = Sock(ctx.arg(0));
    if sock.protocol() != Some(TCP) {
        return 0;
    }
    let device = sock.route_device();
    let ifindex = device.ifindex().or_else(|| sock.bound_ifindex()).or_else(|| sock.rx_ifindex());
    let key = Key { netns: sock.netns().unwrap_or(0), ifindex: ifindex.unwrap_or(0) };
    let Some(row) = count::row(&key, device) else { return 0 };

    if new == ESTABLISHED {
        match old {
            SYN_SENT => row.add::<{ slot::ACTIVE_OPENS }>(1),
            SYN_RECV => {
                row.add::<{ slot::PASSIVE_OPENS }>(1);
                // The SYN-ACK, which was sent before there was this socket.
                row.add::<{ slot::SEGMENTS_SENT }>(1);
            }
            _ => return 0,
        }
        latency::record::<{ rtt_kind::HANDSHAKE }>(&key, sock.srtt());
        return 0;
    }
    match old {
        // The kernel's AttemptFails has those that failed, not those that were closed before they could.
        SYN_SENT if sock.error() != 0 => row.add::<{ slot::ACTIVE_FAILS }>(1),
        SYN_SENT => row.add::<{ slot::ABANDONED }>(1),
        SYN_RECV => row.add::<{ slot::PASSIVE_FAILS }>(1),
        _ => latency::record::<{ rtt_kind::CLOSE }>(&key, sock.srtt()),
    }
    let segments = u64::from(sock.segments_out());
    if count::is_own(key.netns) && key.ifindex != LOOPBACK {
        let address = LocalAddress { netns: key.netns, octets: sock.local_address() };
        count::at_address::<{ address_slot::SEGMENTS_SENT }>(&address, segments);
    } else {
        row.add::<{ slot::SEGMENTS_SENT }>(segments);
    }
    0
}
