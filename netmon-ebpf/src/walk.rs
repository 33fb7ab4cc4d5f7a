//! Ways through kernel structures, by the offsets the loader found in the running kernel's BTF.
//!
//! A tracepoint's arguments are plain addresses to the verifier, so every step is a checked copy: a null pointer, a
//! page that is gone, or an offset this kernel lacks gives `None`, never a fault.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use netmon_ebpf::{ABSENT, DeviceName, Offsets};

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

/// `IPPROTO_TCP`: other protocols share TCP's states and their tracepoint.
pub const TCP: u16 = 6;

/// `TCP_ESTABLISHED` of the kernel's `include/net/tcp_states.h`.
pub const ESTABLISHED: u8 = 1;
/// `TCP_SYN_SENT`.
pub const SYN_SENT: u8 = 2;
/// `TCP_SYN_RECV`.
pub const SYN_RECV: u8 = 3;
/// `TCP_CLOSE`.
pub const CLOSE: u8 = 7;
/// `TCP_LISTEN`.
pub const LISTEN: u8 = 10;
const TIME_WAIT: u8 = 6;
const NEW_SYN_RECV: u8 = 12;

/// The least inode number of a namespace (`PROC_DYNAMIC_FIRST` of the kernel's `fs/proc/generic.c`).
const LEAST_INODE: u32 = 0xf000_0000;

#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
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

    #[inline(always)]
    pub fn protocol(self) -> Option<u16> {
        read(self.0, offset!(sock_protocol))
    }

    /// What the socket failed with, 0 for nothing. Only for a full socket.
    #[inline(always)]
    pub fn error(self) -> u32 {
        read(self.0, offset!(sock_error)).unwrap_or(0)
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

    /// The smoothed round-trip time in µs; 0 when there is none yet. Only for a full socket.
    #[inline(always)]
    pub fn srtt(self) -> u32 {
        read::<u32>(self.0, offset!(srtt)).unwrap_or(0) >> 3
    }

    /// Segments sent, those sent again included. Only for a full socket.
    #[inline(always)]
    pub fn segments_out(self) -> u32 {
        read(self.0, offset!(segments_out)).unwrap_or(0)
    }

    #[inline(always)]
    pub fn netns(self) -> Option<u32> {
        Net(read(self.0, offset!(sock_net))?).inum()
    }

    /// The device of the cached route. Only for a full socket.
    #[inline(always)]
    pub fn route_device(self) -> Device {
        Dst(read(self.0, offset!(sock_dst)).unwrap_or(0)).device()
    }

    /// The interface of the cached route. Only for a full socket.
    #[inline(always)]
    pub fn route_ifindex(self) -> Option<u32> {
        self.route_device().ifindex()
    }

    /// The interface that a full socket sends by.
    #[inline(always)]
    pub fn tx_ifindex(self) -> Option<u32> {
        self.route_ifindex().or_else(|| self.bound_ifindex()).or_else(|| self.rx_ifindex())
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
        address(self.0, offset!(sock_v6), offset!(sock_v4))
    }

    /// The remote address, in the same form.
    #[inline(always)]
    pub fn remote_address(self) -> [u8; 16] {
        address(self.0, offset!(sock_remote_v6), offset!(sock_remote_v4))
    }
}

/// An address of a socket, at either of two places.
#[inline(always)]
fn address(sock: u64, v6: u32, v4: u32) -> [u8; 16] {
    let octets: [u8; 16] = read(sock, v6).unwrap_or([0; 16]);
    if octets != [0; 16] {
        return octets;
    }
    let [a, b, c, d] = read(sock, v4).unwrap_or([0; 4]);
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
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

    /// The socket it belongs to: on the way out always, on the way in once it is found.
    #[inline(always)]
    pub fn sock(self) -> Sock {
        Sock(read(self.0, offset!(skb_sock)).unwrap_or(0))
    }

    /// The device it is routed to.
    #[inline(always)]
    pub fn route_device(self) -> Device {
        // SKB_DST_NOREF: the lowest bit says whether the packet holds a reference on its route.
        Dst(read::<u64>(self.0, offset!(skb_dst)).unwrap_or(0) & !1).device()
    }

    /// The device it is at. The kernel uses the same place for other things, so what is found there counts only when
    /// it looks like a device through and through.
    #[inline(always)]
    pub fn device(self) -> Device {
        let device = Device(read(self.0, offset!(skb_dev)).unwrap_or(0));
        let netns = device.netns().unwrap_or(0);
        let ifindex = device.ifindex().unwrap_or(0);
        if netns >= LEAST_INODE && ifindex != 0 && ifindex < 1 << 24 { device } else { Device(0) }
    }

    /// The namespace of the device it is routed to: the only way to it for a packet without a socket.
    #[inline(always)]
    pub fn netns(self) -> Option<u32> {
        self.route_device().netns()
    }
}

#[derive(Clone, Copy)]
struct Dst(u64);

impl Dst {
    #[inline(always)]
    fn device(self) -> Device {
        Device(read(self.0, offset!(dst_dev)).unwrap_or(0))
    }
}

/// A `struct net_device *`, or null.
#[derive(Clone, Copy)]
pub struct Device(pub u64);

impl Device {
    #[inline(always)]
    pub fn ifindex(self) -> Option<u32> {
        nonzero(read(self.0, offset!(dev_ifindex)))
    }

    #[inline(always)]
    pub fn netns(self) -> Option<u32> {
        Net(read(self.0, offset!(dev_net))?).inum()
    }

    #[inline(always)]
    pub fn name(self) -> Option<DeviceName> {
        read(self.0, offset!(dev_name))
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
