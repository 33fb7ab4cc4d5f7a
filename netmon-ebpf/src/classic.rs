//! The same events by classic tracepoints, for kernels without BTF: by local address, in whatever network namespace,
//! and without the number of segments. Their records are laid out as their `format` files say.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use netmon_ebpf::{ABSENT, Format, LocalAddress, address_slot};

use crate::{
    count,
    retransmit::NOT_COUNTED,
    walk::{CLOSE, ESTABLISHED, SYN_RECV, SYN_SENT, TCP},
};

/// Set by the loader, frozen like the offsets.
#[unsafe(no_mangle)]
static FORMAT: Format = Format::ABSENT;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

macro_rules! format {
    ($field:ident) => {
        // SAFETY: a field of a static; volatile, for the compiler must not use the value it was initialised with.
        unsafe { core::ptr::read_volatile(&raw const FORMAT.$field) }
    };
}

/// A field of the record; `None` when it has none at `offset`.
#[inline(always)]
fn field<T: Copy>(ctx: &TracePointContext, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address itself and fails instead of faulting.
    unsafe { ctx.read_at(offset as usize) }.ok()
}

#[inline(always)]
fn at<const SLOT: usize>(ctx: &TracePointContext, local: u32) {
    if let Some(octets) = field(ctx, local) {
        count::at_address::<SLOT>(&LocalAddress { netns: 0, octets }, 1);
    }
}

#[tracepoint(category = "tcp", name = "tcp_retransmit_skb")]
pub fn classic_retransmit(ctx: TracePointContext) -> u32 {
    if field(&ctx, format!(retransmit_err)).is_some_and(|error: i32| NOT_COUNTED.contains(&error)) {
        return 0;
    }
    match field(&ctx, format!(retransmit_state)).unwrap_or(0_i32) as u8 {
        SYN_SENT | SYN_RECV => at::<{ address_slot::SYNS }>(&ctx, format!(retransmit_local)),
        _ => at::<{ address_slot::RETRANSMITS }>(&ctx, format!(retransmit_local)),
    }
    0
}

#[tracepoint(category = "tcp", name = "tcp_retransmit_synack")]
pub fn classic_synack(ctx: TracePointContext) -> u32 {
    at::<{ address_slot::SYNACKS }>(&ctx, format!(synack_local));
    0
}

#[tracepoint(category = "tcp", name = "tcp_send_reset")]
pub fn classic_send_reset(ctx: TracePointContext) -> u32 {
    let local = format!(send_reset_local);
    if format!(reset_sockaddr) == 0 {
        at::<{ address_slot::RESETS_SENT }>(&ctx, local);
        return 0;
    }
    let octets = match field::<u16>(&ctx, local) {
        Some(AF_INET) => {
            let Some([a, b, c, d]) = field::<[u8; 4]>(&ctx, local + 4) else { return 0 };
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
        }
        Some(AF_INET6) => match field(&ctx, local + 8) {
            Some(octets) => octets,
            None => return 0,
        },
        _ => return 0,
    };
    count::at_address::<{ address_slot::RESETS_SENT }>(&LocalAddress { netns: 0, octets }, 1);
    0
}

#[tracepoint(category = "tcp", name = "tcp_receive_reset")]
pub fn classic_receive_reset(ctx: TracePointContext) -> u32 {
    at::<{ address_slot::RESETS_RECEIVED }>(&ctx, format!(receive_reset_local));
    0
}

#[tracepoint(category = "sock", name = "inet_sock_set_state")]
pub fn classic_set_state(ctx: TracePointContext) -> u32 {
    if field(&ctx, format!(state_protocol)) != Some(TCP) {
        return 0;
    }
    let state = |offset| field(&ctx, offset).unwrap_or(0_i32) as u8;
    match (state(format!(state_old)), state(format!(state_new))) {
        (SYN_SENT, ESTABLISHED) => at::<{ address_slot::ACTIVE_OPENS }>(&ctx, format!(state_local)),
        (SYN_SENT, CLOSE) => at::<{ address_slot::ACTIVE_FAILS }>(&ctx, format!(state_local)),
        (SYN_RECV, ESTABLISHED) => at::<{ address_slot::PASSIVE_OPENS }>(&ctx, format!(state_local)),
        _ => {}
    }
    0
}
