//! `recvmmsg`: many datagrams, with address and control messages, in one system call.
//!
//! nix has a wrapper, but it keeps its headers from call to call and the kernel shrinks `msg_controllen` in them: one
//! datagram without a stamp, and that slot truncates every later one. Here the headers are made anew each time.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::cmsg::{self, Ancillary};

/// Datagrams a call fetches at most.
const SLOTS: usize = 64;
/// Bytes kept of one. An echo reply has 32, an error's quotation of ours no more, a DNS answer up to 512.
const BYTES: usize = 512;
/// Stamps (64), TTL (24) and an extended error with a `sockaddr_in6` (64) fit twice over.
const CONTROL: usize = 256;
/// `struct sockaddr_in6` has 28.
const NAME: usize = 32;

/// Which of a socket's two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// What arrived.
    Data,
    /// Errors (`MSG_ERRQUEUE`).
    Errors,
}

/// Buffers for up to 64 datagrams, used over and over.
pub struct Batch {
    slots: Box<[Slot]>,
    filled: usize,
}

#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL],
    name: [u8; NAME],
    bytes: [u8; BYTES],
    control_length: usize,
    name_length: usize,
    length: usize,
    truncated: bool,
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its bytes, up to the first 512.
    pub bytes: &'a [u8],
    /// Who sent it; on the error queue, where the datagram that met the error was sent to.
    pub address: Option<SocketAddr>,
    /// What came with it.
    pub ancillary: Ancillary,
    /// It had more bytes than were kept.
    pub truncated: bool,
}

impl Batch {
    /// Allocates the buffers (about 53 KB).
    pub fn new() -> Self {
        let slot = || Slot {
            control: [0; CONTROL],
            name: [0; NAME],
            bytes: [0; BYTES],
            control_length: 0,
            name_length: 0,
            length: 0,
            truncated: false,
        };
        Self { slots: (0..SLOTS).map(|_| slot()).collect(), filled: 0 }
    }

    /// Fetches what waits on a queue, without blocking; the number of datagrams, 0 when none waits. A full batch
    /// (see [`Batch::is_full`]) says that more may wait.
    ///
    /// # Errors
    /// The socket's pending error, as any call on a socket may return it: it is then taken off the socket, and
    /// another attempt finds the data. `EINTR` is retried here.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, queue: Queue) -> io::Result<usize> {
        self.filled = 0;
        let mut vectors: [libc::iovec; SLOTS] = std::array::from_fn(|i| libc::iovec {
            iov_base: self.slots[i].bytes.as_mut_ptr().cast(),
            iov_len: BYTES,
        });
        // SAFETY: a msghdr of zeros is valid: null pointers with zero lengths. (musl's has private padding, so it
        // cannot be written field by field.)
        let mut headers: [libc::mmsghdr; SLOTS] = unsafe { std::mem::zeroed() };
        for ((header, vector), slot) in headers.iter_mut().zip(&mut vectors).zip(&mut self.slots) {
            let message = &mut header.msg_hdr;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_name = slot.name.as_mut_ptr().cast();
            message.msg_namelen = NAME as libc::socklen_t;
            message.msg_control = slot.control.as_mut_ptr().cast();
            message.msg_controllen = CONTROL as _;
        }
        let flags = libc::MSG_DONTWAIT | if queue == Queue::Errors { libc::MSG_ERRQUEUE } else { 0 };
        let received = loop {
            // SAFETY: each of the SLOTS headers points to an iovec and buffers of the stated lengths, all of which
            // live until the call returns; no time-out is given.
            let n = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    SLOTS as _,
                    flags as _,
                    std::ptr::null_mut(),
                )
            };
            if n >= 0 {
                break n as usize;
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                e => return Err(e),
            }
        };
        for (slot, header) in self.slots.iter_mut().zip(&headers).take(received) {
            slot.length = (header.msg_len as usize).min(BYTES);
            slot.name_length = (header.msg_hdr.msg_namelen as usize).min(NAME);
            // A size_t with glibc, a socklen_t with musl.
            let control_length: usize = header.msg_hdr.msg_controllen as _;
            slot.control_length = control_length.min(CONTROL);
            slot.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        }
        self.filled = received;
        Ok(received)
    }

    /// Whether the last call filled every slot.
    pub fn is_full(&self) -> bool {
        self.filled == SLOTS
    }

    /// The datagrams of the last call.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.slots[..self.filled].iter().map(|slot| Datagram {
            bytes: &slot.bytes[..slot.length],
            address: cmsg::socket_address(&slot.name[..slot.name_length]),
            ancillary: cmsg::parse(&slot.control[..slot.control_length]),
            truncated: slot.truncated,
        })
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("filled", &self.filled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;
    use crate::sys;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        (a, b)
    }

    #[test]
    fn an_empty_queue_gives_nothing_at_once() {
        let (_a, b) = pair();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(b.as_fd(), Queue::Data).unwrap(), 0);
        assert_eq!(batch.receive(b.as_fd(), Queue::Errors).unwrap(), 0);
    }

    #[test]
    fn more_than_a_batch_comes_in_order_and_whole() {
        let (a, b) = pair();
        for i in 0..100u8 {
            a.send(&[i, 1, 2, 3]).unwrap();
        }
        let mut batch = Batch::new();
        let mut seen = Vec::new();
        while batch.receive(b.as_fd(), Queue::Data).unwrap() > 0 {
            for d in batch.iter() {
                assert_eq!(d.address, Some(a.local_addr().unwrap()));
                assert_eq!((&d.bytes[1..], d.truncated), (&[1u8, 2, 3][..], false));
                seen.push(d.bytes[0]);
            }
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_slot_used_for_a_bare_datagram_still_has_room_for_ancillary_data() {
        let (a, b) = pair();
        let mut batch = Batch::new();
        a.send(b"bare").unwrap();
        assert_eq!(batch.receive(b.as_fd(), Queue::Data).unwrap(), 1);
        assert_eq!(batch.iter().next().unwrap().ancillary, Ancillary::default());
        sys::enable_receive_ttl(b.as_fd(), false).unwrap();
        a.send(b"with ttl").unwrap();
        assert_eq!(batch.receive(b.as_fd(), Queue::Data).unwrap(), 1);
        assert!(batch.iter().next().unwrap().ancillary.ttl.is_some());
    }

    #[test]
    fn a_long_datagram_is_cut_and_said_so() {
        let (a, b) = pair();
        a.send(&[7; 1400]).unwrap();
        let mut batch = Batch::new();
        batch.receive(b.as_fd(), Queue::Data).unwrap();
        let d = batch.iter().next().unwrap();
        assert_eq!((d.bytes.len(), d.truncated), (BYTES, true));
    }

    #[test]
    fn a_refused_datagram_shows_on_the_error_queue() {
        let (a, b) = pair();
        sys::enable_error_queue(a.as_fd(), false).unwrap();
        let destination = b.local_addr().unwrap();
        drop(b);
        a.send(b"to nobody").unwrap();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(a.as_fd(), Queue::Errors).unwrap(), 1);
        let d = batch.iter().next().unwrap();
        let error = d.ancillary.error.unwrap();
        assert_eq!((error.errno, error.kind, error.code), (libc::ECONNREFUSED, 3, 3));
        assert_eq!((d.bytes, d.address), (&b"to nobody"[..], Some(destination)));
        assert_eq!(error.offender, Some(destination.ip()));
    }
}
