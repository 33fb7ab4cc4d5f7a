//! Where the running kernel keeps what the programs read.

/// Stands for an offset that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Where structures have what the programs read: byte offsets, [`ABSENT`] when there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// `sock` to its cached route, a `dst_entry *`.
    pub sock_dst: u32,
    /// `sock` to the interface its packets last came in on, an `int`.
    pub sock_rx_ifindex: u32,
    /// `sock.sk_protocol`, a `u16`.
    pub sock_protocol: u32,
    /// `sock.sk_err`, an `int`: what the socket failed with.
    pub sock_error: u32,
    /// `sock_common.skc_state`, a `u8`.
    pub sock_state: u32,
    /// `sock_common.skc_bound_dev_if`, an `int`.
    pub sock_bound: u32,
    /// `sock_common` to its namespace, a `net *`.
    pub sock_net: u32,
    /// `sock_common.skc_rcv_saddr`: the local IPv4 address.
    pub sock_v4: u32,
    /// `sock_common.skc_v6_rcv_saddr`: the local IPv6 address, IPv4-mapped for an IPv4 socket.
    pub sock_v6: u32,
    /// `sock_common.skc_daddr`: the remote IPv4 address.
    pub sock_remote_v4: u32,
    /// `sock_common.skc_v6_daddr`: the remote IPv6 address, IPv4-mapped for an IPv4 socket.
    pub sock_remote_v6: u32,
    /// `inet_connection_sock.icsk_ca_state`: the byte that holds the bit field.
    pub ca_state: u32,
    /// How far to shift that byte right.
    pub ca_shift: u32,
    /// What to mask it with after that.
    pub ca_mask: u32,
    /// `tcp_sock.srtt_us`, a `u32`: eight times the smoothed round-trip time in µs.
    pub srtt: u32,
    /// `tcp_sock.segs_out`, a `u32`: segments sent (RFC 4898).
    pub segments_out: u32,
    /// `dst_entry` to its `net_device *`.
    pub dst_dev: u32,
    /// `net_device.ifindex`, an `int`.
    pub dev_ifindex: u32,
    /// `net_device.name`, `IFNAMSIZ` bytes.
    pub dev_name: u32,
    /// `net_device` to its namespace, a `net *`.
    pub dev_net: u32,
    /// `net.ns.inum`, a `u32`.
    pub net_inum: u32,
    /// `sk_buff` to the number of its segments, `tcp_skb_cb.tcp_gso_segs`, a `u16`.
    pub skb_segments: u32,
    /// `sk_buff.skb_iif`: the interface a packet came in on, an `int`.
    pub skb_iif: u32,
    /// `sk_buff._skb_refdst`: its route, with a flag in the lowest bit.
    pub skb_dst: u32,
    /// `sk_buff.dev`, a `net_device *`; something else while the packet is queued in TCP.
    pub skb_dev: u32,
    /// `sk_buff.sk`, a `sock *`.
    pub skb_sock: u32,
    /// 1 when the tracepoint `tcp_retransmit_skb` passes an error as its third argument (from 6.17), else 0.
    pub retransmit_has_err: u32,
}

impl Offsets {
    /// Nothing is known of the kernel.
    pub const ABSENT: Self = Self {
        sock_dst: ABSENT,
        sock_rx_ifindex: ABSENT,
        sock_protocol: ABSENT,
        sock_error: ABSENT,
        sock_state: ABSENT,
        sock_bound: ABSENT,
        sock_net: ABSENT,
        sock_v4: ABSENT,
        sock_v6: ABSENT,
        sock_remote_v4: ABSENT,
        sock_remote_v6: ABSENT,
        ca_state: ABSENT,
        ca_shift: 0,
        ca_mask: 0,
        srtt: ABSENT,
        segments_out: ABSENT,
        dst_dev: ABSENT,
        dev_ifindex: ABSENT,
        dev_name: ABSENT,
        dev_net: ABSENT,
        net_inum: ABSENT,
        skb_segments: ABSENT,
        skb_iif: ABSENT,
        skb_dst: ABSENT,
        skb_dev: ABSENT,
        skb_sock: ABSENT,
        retransmit_has_err: 0,
    };
}

/// Where the records of classic tracepoints have what the programs read, by their `format` files: byte offsets,
/// [`ABSENT`] when there is none. An address is the sixteen octets of `saddr_v6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// `tcp:tcp_retransmit_skb`, local address.
    pub retransmit_local: u32,
    /// `tcp:tcp_retransmit_skb`, state of the socket, an `int`.
    pub retransmit_state: u32,
    /// `tcp:tcp_retransmit_skb`, error, an `int`; from 6.17.
    pub retransmit_err: u32,
    /// `tcp:tcp_retransmit_synack`, local address.
    pub synack_local: u32,
    /// `tcp:tcp_send_reset`, local address: as octets, or as a `sockaddr` when [`reset_sockaddr`](Self::reset_sockaddr)
    /// is 1.
    pub send_reset_local: u32,
    /// 1 when `tcp:tcp_send_reset` records `sockaddr`s (from 6.10).
    pub reset_sockaddr: u32,
    /// `tcp:tcp_receive_reset`, local address.
    pub receive_reset_local: u32,
    /// `sock:inet_sock_set_state`, local address.
    pub state_local: u32,
    /// `sock:inet_sock_set_state`, the state before, an `int`.
    pub state_old: u32,
    /// `sock:inet_sock_set_state`, the state after, an `int`.
    pub state_new: u32,
    /// `sock:inet_sock_set_state`, the protocol, a `u16`.
    pub state_protocol: u32,
}

impl Format {
    /// Nothing is known of the tracepoints.
    pub const ABSENT: Self = Self {
        retransmit_local: ABSENT,
        retransmit_state: ABSENT,
        retransmit_err: ABSENT,
        synack_local: ABSENT,
        send_reset_local: ABSENT,
        reset_sockaddr: 0,
        receive_reset_local: ABSENT,
        state_local: ABSENT,
        state_old: ABSENT,
        state_new: ABSENT,
        state_protocol: ABSENT,
    };
}
