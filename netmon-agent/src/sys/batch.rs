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
        let flags = libc::MSG_DONTWAIT | if queue == Queue::Errors { libc::MSG_ERRQUEUE } else { 0 };
        self.fill(|headers| {
            loop {
                // SAFETY: each header points to an iovec and buffers of the stated lengths, all of which live until `fill`
                // ends; no time-out is given.
                let n = unsafe {
                    libc::recvmmsg(
                        socket.as_raw_fd(),
                        headers.as_mut_ptr(),
                        headers.len() as _,
                        flags as _,
                        std::ptr::null_mut(),
                    )
                };
                if n >= 0 {
                    return Ok(n as usize);
                }
                match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::Interrupted => {}
                    e if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                    e => return Err(e),
                }
            }
        })
    }

    /// Has `call` write to all slots through headers that point to them, as the kernel does, and takes in what it left
    /// of the first so many.
    fn fill(
        &mut self,
        call: impl FnOnce(&mut [libc::mmsghdr; SLOTS]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.filled = 0;
        // SAFETY: an iovec and a msghdr of zeros are valid: null pointers with zero lengths. (musl's msghdr has private
        // padding, so it cannot be written field by field.)
        let (mut vectors, mut headers): ([libc::iovec; SLOTS], [libc::mmsghdr; SLOTS]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        for ((header, vector), slot) in headers.iter_mut().zip(&mut vectors).zip(&mut self.slots) {
            vector.iov_base = slot.bytes.as_mut_ptr().cast();
            vector.iov_len = BYTES;
            let message = &mut header.msg_hdr;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_name = slot.name.as_mut_ptr().cast();
            message.msg_namelen = NAME as libc::socklen_t;
            message.msg_control = slot.control.as_mut_ptr().cast();
            message.msg_controllen = CONTROL as _;
        }
        let received = call(&mut headers)?.min(SLOTS);
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

    /// Writes to a slot as the kernel does: through the pointers, as far as the lengths let it.
    fn write(header: &mut libc::mmsghdr, bytes: &[u8], name: &[u8], control: &[u8]) {
        let message = &mut header.msg_hdr;
        // SAFETY: what `fill` hands out points to buffers of the lengths that it states.
        unsafe {
            let vector = &*message.msg_iov;
            let length = bytes.len().min(vector.iov_len);
            vector.iov_base.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), length);
            message.msg_name.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), name.len());
            message.msg_control.cast::<u8>().copy_from_nonoverlapping(control.as_ptr(), control.len());
            header.msg_len = length as _;
            message.msg_flags = if length < bytes.len() { libc::MSG_TRUNC } else { 0 };
        }
        message.msg_namelen = name.len() as _;
        message.msg_controllen = control.len() as _;
    }

    #[test]
    fn what_is_written_through_the_headers_is_what_is_read() {
        let mut batch = Batch::new();
        for round in 0..2_u8 {
            let filled = batch.fill(|headers| {
                for (i, header) in headers.iter_mut().enumerate() {
                    let bytes = vec![i as u8 ^ round; if i == 3 { 2 * BYTES } else { i }];
                    let name =
                        [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0, 7, 127, 0, 0, i as u8]].concat();
                    write(header, &bytes, &name, &[round; CONTROL][..8 * (i % 4)]);
                }
                Ok(SLOTS)
            });
            assert!(filled.unwrap() == SLOTS && batch.is_full());
            for (i, d) in batch.iter().enumerate() {
                assert_eq!((d.bytes.len(), d.truncated), if i == 3 { (BYTES, true) } else { (i, false) });
                assert!(d.bytes.iter().all(|byte| *byte == i as u8 ^ round));
                assert_eq!(d.address, Some(([127, 0, 0, i as u8], 7).into()));
            }
        }
        assert!(batch.fill(|_| Err(io::ErrorKind::ConnectionRefused.into())).is_err());
        assert_eq!(batch.iter().count(), 0);
        assert_eq!(batch.fill(|_| Ok(SLOTS + 1)).unwrap(), SLOTS);
    }

    #[test]
    #[cfg_attr(miri, ignore = "sockets")]
    fn an_empty_queue_gives_nothing_at_once() {
        let (_a, b) = pair();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(b.as_fd(), Queue::Data).unwrap(), 0);
        assert_eq!(batch.receive(b.as_fd(), Queue::Errors).unwrap(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "sockets")]
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
    #[cfg_attr(miri, ignore = "sockets")]
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
    #[cfg_attr(miri, ignore = "sockets")]
    fn a_long_datagram_is_cut_and_said_so() {
        let (a, b) = pair();
        a.send(&[7; 1400]).unwrap();
        let mut batch = Batch::new();
        batch.receive(b.as_fd(), Queue::Data).unwrap();
        let d = batch.iter().next().unwrap();
        assert_eq!((d.bytes.len(), d.truncated), (BYTES, true));
    }

    #[test]
    #[cfg_attr(miri, ignore = "sockets")]
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
