//! Sockets of family `AF_NETLINK`: one that hears events, and ones that ask and wait for the answer.

use std::{future::poll_fn, io, time::Duration};

use netlink_sys::{AsyncSocket, Socket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use nix::{
    libc::{EINTR, ENOBUFS, MSG_DONTWAIT},
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeVal,
    },
};

use super::wire;

/// `RTNLGRP_LINK`, `NEIGH`, `IPV4_IFADDR`, `IPV4_ROUTE`, `IPV6_IFADDR`, `IPV6_ROUTE` as bits of `nl_groups`.
const GROUPS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10;
/// `RTNLGRP_NEXTHOP`, beyond the bits of `nl_groups`; since Linux 5.3.
const RTNLGRP_NEXTHOP: u32 = 32;

/// Room for the largest datagram. The kernel's are 32 KiB at most (`netlink_dump`); events are a few KiB.
const DATAGRAM: usize = 64 * 1024;

/// An answer that takes longer than this is not coming: the kernel answers within the system call, unless another
/// process sits on the rtnetlink lock.
const ANSWER: Duration = Duration::from_secs(5);

/// What the event socket had.
#[derive(Debug)]
pub(super) enum Received {
    /// A datagram of the kernel's; see [`EventSocket::datagram`].
    Datagram,
    /// Messages were lost: the buffer was full, or a datagram was larger than any should be.
    Overrun,
    /// A datagram of a process that poses as the kernel. Whoever has CAP_NET_ADMIN can multicast; only the kernel
    /// has port 0.
    Spoofed,
    /// The socket is of no more use.
    Broken(io::Error),
}

/// Hears all events from its opening on.
pub(super) struct EventSocket {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl EventSocket {
    /// Subscribes. `receive_buffer` is in bytes, as `SO_RCVBUF` takes it. Must be called within a tokio runtime.
    pub(super) fn open(receive_buffer: usize) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        // The first is bound by no limit and needs CAP_NET_ADMIN; the second is bound by net.core.rmem_max.
        if setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(socket.socket_ref(), sockopt::RcvBuf, &receive_buffer)?;
        }
        socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        if let Err(error) = socket.socket_ref().add_membership(RTNLGRP_NEXTHOP) {
            tracing::debug!(%error, "no events of nexthop objects: the kernel has none");
        }
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// The next thing heard. Nothing is lost when the future is dropped.
    pub(super) async fn receive(&mut self) -> Received {
        let Self { socket, buffer } = self;
        buffer.clear();
        let result = poll_fn(|context| socket.poll_recv_from(context, buffer)).await;
        self.judge(result)
    }

    /// The datagram last received.
    pub(super) fn datagram(&self) -> &[u8] {
        &self.buffer
    }

    /// Throws away all that waits, and says how many more overruns there were in it.
    ///
    /// After an overrun what waits is older than what was lost: a link that appears in it may be gone for good. The
    /// kernel queues nothing new before the queue has been empty once (`NETLINK_S_CONGESTED`), so this ends.
    pub(super) fn discard(&mut self) -> u64 {
        let mut overruns = 0;
        loop {
            self.buffer.clear();
            match self.socket.socket_ref().recv_from(&mut self.buffer, MSG_DONTWAIT) {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(ENOBUFS) => overruns += 1,
                Err(e) if e.raw_os_error() == Some(EINTR) => {}
                Err(_) => return overruns,
            }
        }
    }

    fn judge(&self, result: io::Result<SocketAddr>) -> Received {
        match result {
            Ok(sender) if sender.port_number() != 0 => Received::Spoofed,
            Ok(_) if self.buffer.len() >= DATAGRAM => Received::Overrun,
            Ok(_) => Received::Datagram,
            Err(e) if e.raw_os_error() == Some(ENOBUFS) => Received::Overrun,
            Err(e) => Received::Broken(e),
        }
    }
}

/// Asks for whole tables, one at a time, and blocks until they are there.
pub(super) struct Asker {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Asker {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Makes the kernel honour filters in the request, and leave cached IPv6 routes out. Since Linux 4.20; without
        // it the answer is only longer.
        if let Err(error) = socket.set_netlink_get_strict_chk(true) {
            tracing::debug!(%error, "netlink requests are not checked strictly");
        }
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER.as_secs().cast_signed(), 0))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Asks for a table and hands every message of the answer to `each`. Says whether the answer is consistent
    /// (no `NLM_F_DUMP_INTR`).
    pub(super) fn dump(
        &mut self,
        kind: u16,
        payload: &[u8],
        mut each: impl FnMut(&wire::Message<'_>),
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = wire::message(kind, wire::NLM_F_REQUEST | wire::NLM_F_DUMP, self.sequence, payload);
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
        let mut consistent = true;
        loop {
            self.receive()?;
            for message in wire::Messages(&self.buffer) {
                let message = message.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                if message.sequence != self.sequence {
                    continue;
                }
                consistent &= message.flags & wire::NLM_F_DUMP_INTR == 0;
                match message.kind {
                    wire::NLMSG_DONE | wire::NLMSG_ERROR => {
                        // Both start with an error number, below zero; DONE of an old kernel may have none.
                        return match wire::u32_at(message.payload, 0).map_or(0, u32::cast_signed) {
                            error if error < 0 => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                            _ => Ok(consistent),
                        };
                    }
                    wire::NLMSG_OVERRUN => return Err(io::Error::from_raw_os_error(ENOBUFS)),
                    _ => each(&message),
                }
            }
        }
    }

    /// A datagram of the kernel's into the buffer.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, 0) {
                Ok((_, sender)) if sender.port_number() != 0 => {}
                Ok((length, _)) if length >= DATAGRAM => return Err(io::ErrorKind::InvalidData.into()),
                Ok(_) => return Ok(()),
                Err(e) if e.raw_os_error() == Some(EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}
