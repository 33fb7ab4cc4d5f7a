//! Ways through kernel structures, by the offsets the loader found in the running kernel's BTF.
//!
//! A tracepoint's arguments are plain addresses to the verifier, so every step is a checked copy: a null pointer, a
//! page that is gone, or an offset this kernel lacks gives `None`, never a fault.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use netmon_ebpf::{ABSENT, Offsets};

/// Set by the loader. Frozen read-only data is a constant to the verifier, which drops the branches it rules out.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ABSENT;

macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a field of a static; volatile, for the compiler must not use the value it was initialised with.
        unsafe { core::ptr::read_volatile(&raw const crate::walk::OFFSETS.$field) }
    };
}
pub(crate) use offset;

/// `TCP_SYN_SENT` of the kernel's `include/net/tcp_states.h`.
pub const SYN_SENT: u8 = 2;
/// `TCP_SYN_RECV`.
pub const SYN_RECV: u8 = 3;
const TIME_WAIT: u8 = 6;
const NEW_SYN_RECV: u8 = 12;

#[inline(always)]
fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if base == 0 || offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address itself and fails instead of faulting.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

#[inline(always)]
fn nonzero(value: Option<u32>) -> Option<u32> {
    value.filter(|value| *value != 0)
}

/// A `struct sock *`, or one of the smaller sockets that begin with the same `sock_common`, or null.
#[derive(Clone, Copy)]
pub struct Sock(pub u64);

impl Sock {
    #[inline(always)]
    pub fn state(self) -> u8 {
        read(self.0, offset!(sock_state)).unwrap_or(0)
    }

    /// Whether all of `struct sock` is there: TIME_WAIT and request sockets end after `sock_common`.
    #[inline(always)]
    pub fn is_full(self) -> bool {
        let state = self.state();
        self.0 != 0 && state != TIME_WAIT && state != NEW_SYN_RECV
    }

    #[inline(always)]
    pub fn congestion_state(self) -> u32 {
        let byte: u8 = read(self.0, offset!(ca_state)).unwrap_or(0);
        (u32::from(byte) >> offset!(ca_shift)) & offset!(ca_mask)
    }

    #[inline(always)]
    pub fn netns(self) -> Option<u32> {
        Net(read(self.0, offset!(sock_net))?).inum()
    }

    /// The interface of the cached route. Only for a full socket.
    #[inline(always)]
    pub fn route_ifindex(self) -> Option<u32> {
        Dst(read(self.0, offset!(sock_dst))?).device()?.ifindex()
    }

    /// The interface the last packet came in on. Only for a full socket.
    #[inline(always)]
    pub fn rx_ifindex(self) -> Option<u32> {
        nonzero(read(self.0, offset!(sock_rx_ifindex)))
    }

    /// The interface the socket is bound to.
    #[inline(always)]
    pub fn bound_ifindex(self) -> Option<u32> {
        nonzero(read(self.0, offset!(sock_bound)))
    }

    /// The local address; IPv4 in its IPv4-mapped form, which the kernel keeps beside it when it knows IPv6 at all.
    #[inline(always)]
    pub fn local_address(self) -> [u8; 16] {
        let v6: [u8; 16] = read(self.0, offset!(sock_v6)).unwrap_or([0; 16]);
        if v6 != [0; 16] {
            return v6;
        }
        let [a, b, c, d] = read(self.0, offset!(sock_v4)).unwrap_or([0; 4]);
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
    }
}

/// A `struct sk_buff *`, or null.
#[derive(Clone, Copy)]
pub struct Skb(pub u64);

impl Skb {
    #[inline(always)]
    pub fn segments(self) -> Option<u16> {
        read(self.0, offset!(skb_segments))
    }

    #[inline(always)]
    pub fn rx_ifindex(self) -> Option<u32> {
        nonzero(read(self.0, offset!(skb_iif)))
    }

    /// The namespace of the device the packet is routed to: the only way to it for a packet without a socket.
    #[inline(always)]
    pub fn netns(self) -> Option<u32> {
        // SKB_DST_NOREF: the lowest bit says whether the packet holds a reference on its route.
        let dst: u64 = read::<u64>(self.0, offset!(skb_dst))? & !1;
        Net(read(Dst(dst).device()?.0, offset!(dev_net))?).inum()
    }
}

#[derive(Clone, Copy)]
struct Dst(u64);

impl Dst {
    #[inline(always)]
    fn device(self) -> Option<Device> {
        read(self.0, offset!(dst_dev)).map(Device)
    }
}

#[derive(Clone, Copy)]
struct Device(u64);

impl Device {
    #[inline(always)]
    fn ifindex(self) -> Option<u32> {
        nonzero(read(self.0, offset!(dev_ifindex)))
    }
}

#[derive(Clone, Copy)]
struct Net(u64);

impl Net {
    #[inline(always)]
    fn inum(self) -> Option<u32> {
        read(self.0, offset!(net_inum))
    }
}
