//! The packets of a trace: one file a kind, behind one trait.

mod icmp;
mod tcp;
mod udp;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::poll::PollFlags;
use socket2::Socket;

pub(super) use self::{icmp::IcmpProber, tcp::TcpProber, udp::UdpProber};
use super::{
    mtu::SMALL,
    tracer::{Heard, Probe, What},
};
use crate::{
    observation::{FailureReason, StampSource},
    source::probe::{
        method::drain,
        reason,
        rtt::{Stamp, round_trip},
    },
    sys::{self, Batch, Datagram, ErrorOrigin, Queue},
    time::{Mono, Wall},
};

/// Tries to send. Each may meet an error of an earlier probe, and several may come in while one is sent.
const ATTEMPTS: u32 = 8;

/// What tells a probe from what others send.
type Nonce = [u8; 16];

/// One kind of packet.
pub(super) trait Prober {
    /// Sends a probe. A refusal for its size, by this host's own device, is an answer.
    ///
    /// # Errors
    /// It could not be sent from here.
    fn send(&mut self, probe: &Probe, inbox: &mut Inbox) -> io::Result<()>;

    /// Reads all that waits.
    fn read(&mut self, inbox: &mut Inbox);

    /// What to wait for.
    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, PollFlags)>;

    /// Probes sent before this will not be asked for again.
    fn forget(&mut self, _before: Mono) {}
}

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) batch: Batch,
    /// Answers, by the number of their probe.
    pub(super) heard: Vec<(u16, Heard)>,
    /// Answers to no probe of ours.
    pub(super) unmatched: u64,
}

/// A probe whose answer is waited for.
#[derive(Clone, Copy, Debug)]
struct Entry {
    nonce: Nonce,
    /// The ICMP checksum, over IPv4.
    checksum: u16,
    sent: Stamp,
    /// When the kernel gave it to the device.
    left: Option<Wall>,
}

impl Entry {
    fn new(nonce: Nonce, checksum: u16, sent: Stamp) -> Self {
        Self { nonce, checksum, sent, left: None }
    }
}

/// The probes sent, by their numbers.
#[derive(Debug, Default)]
struct Sent {
    v6: bool,
    entries: HashMap<u16, Entry>,
}

impl Sent {
    fn new(v6: bool) -> Self {
        Self { v6, entries: HashMap::new() }
    }

    /// Notes the stamp of a departure, which comes with the frame. The nonce follows ICMP's or UDP's header; that is
    /// looked for where it is in the probes of hops, which have all one size. Others need no such exact time.
    fn left(&mut self, frame: &[u8], at: Wall) {
        let packet = (SMALL - header(self.v6)) as usize;
        let nonce = frame.len().checked_sub(packet).and_then(|start| frame.get(start + 8..start + 24));
        let mut entries = self.entries.values_mut();
        if let Some(entry) = entries.find(|entry| Some(&entry.nonce[..]) == nonce) {
            entry.left = Some(at);
        }
    }
}

/// Bytes of the IP header, without options.
fn header(v6: bool) -> u32 {
    if v6 { 40 } else { 20 }
}

/// Sets the time to live of what is sent next.
fn set_ttl(socket: &Socket, v6: bool, ttl: u8) -> io::Result<()> {
    if v6 { socket.set_unicast_hops_v6(ttl.into()) } else { socket.set_ttl_v4(ttl.into()) }
}

/// Whether a datagram went.
enum Departure {
    At(Stamp),
    /// The device takes only so much; 0 if it does not say.
    TooBig(u32),
}

/// Sends a datagram, past the errors that earlier ones met: `read_errors` takes them off the socket.
fn send(
    socket: &Socket,
    bytes: &[u8],
    to: SocketAddr,
    mut read_errors: impl FnMut() -> Option<u32>,
) -> io::Result<Departure> {
    let (to, mut attempt) = (to.into(), 0);
    loop {
        attempt += 1;
        let at = Stamp::now();
        let Err(error) = socket.send_to(bytes, &to) else { return Ok(Departure::At(at)) };
        let device = read_errors();
        let too_big = error.raw_os_error() == Some(libc::EMSGSIZE);
        match device {
            Some(mtu) if too_big => return Ok(Departure::TooBig(mtu)),
            _ if attempt < ATTEMPTS && error.kind() != io::ErrorKind::WouldBlock => {}
            _ if too_big => return Ok(Departure::TooBig(0)),
            _ => return Err(error),
        }
    }
}

/// Empties an error queue: notes departures and hears errors, each of the probe that `quoted` finds. Gives the device's
/// MTU where it refused a packet for its size.
fn read_errors(
    socket: &Socket,
    sent: &mut Sent,
    inbox: &mut Inbox,
    quoted: impl Fn(&Sent, &Datagram<'_>) -> Option<u16>,
) -> Option<u32> {
    let Inbox { batch, heard, unmatched } = inbox;
    let mut device = None;
    drain(socket, Queue::Errors, batch, |read, datagram| {
        if let Some(at) = datagram.ancillary.sent_stamp() {
            return sent.left(datagram.bytes, at);
        }
        let Some(error) = datagram.ancillary.error else { return };
        if error.origin == ErrorOrigin::Local && error.errno == libc::EMSGSIZE {
            device = Some(error.info);
        }
        let (Some(reason), Some(from)) = (reason::of_error(&error), error.offender) else { return };
        match quoted(sent, &datagram).and_then(|id| Some((id, sent.entries.get(&id)?))) {
            Some((id, entry)) => {
                let what = What::Failed { reason, mtu: told_mtu(reason, error.info) };
                heard.push((id, timed(from, what, entry, datagram.ancillary.received, read)));
            }
            None => *unmatched += 1,
        }
    });
    device
}

fn told_mtu(reason: FailureReason, info: u32) -> u32 {
    if reason == FailureReason::PacketTooBig { info } else { 0 }
}

fn timed(from: IpAddr, what: What, entry: &Entry, received: Option<Wall>, read: Stamp) -> Heard {
    let trip = round_trip(entry.sent, entry.left, received, read);
    Heard { from: Some(from), what, rtt: Some(trip.rtt), stamp: trip.source }
}

/// This host's refusal of a packet for its size.
fn refused(mtu: u32) -> Heard {
    let what = What::Failed { reason: FailureReason::PacketTooBig, mtu };
    Heard { from: None, what, rtt: Some(Duration::ZERO), stamp: StampSource::User }
}

/// Asks for whole packets, errors and stamps of arrivals.
fn prepare(socket: &Socket, v6: bool) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    sys::enable_error_queue(socket.as_fd(), v6)?;
    sys::never_fragment(socket.as_fd(), v6)?;
    // Without them a round trip is less exact.
    let _ = sys::enable_receive_stamps(socket.as_fd());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_departure_is_found_by_the_nonce_in_its_frame() {
        for v6 in [false, true] {
            let mut sent = Sent::new(v6);
            let stamp = Stamp { mono: Mono::from_nanos(1), wall: Wall::from_nanos(1) };
            for id in [3, 4] {
                sent.entries.insert(id, Entry::new([id as u8; 16], 0, stamp));
            }
            // Ethernet's header, IP's, ICMP's or UDP's, the nonce, and what fills it up.
            let mut frame = vec![0; 14 + header(v6) as usize + 8];
            frame.extend([4; 16]);
            frame.resize(14 + SMALL as usize, 0);
            sent.left(&frame, Wall::from_nanos(7));
            assert_eq!((sent.entries[&3].left, sent.entries[&4].left), (None, Some(Wall::from_nanos(7))));
            for length in 0..frame.len() {
                sent.left(&frame[..length], Wall::from_nanos(8));
            }
            assert_eq!(sent.entries[&4].left, Some(Wall::from_nanos(7)));
        }
    }
}
