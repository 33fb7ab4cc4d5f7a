//! TCP connect: many a firewall lets nothing else through.
//!
//! One socket a probe. The kernel takes an error for a SYN's only if it quotes the SYN's sequence number, 32 random bits
//! (net/ipv4/tcp_ipv4.c tcp_v4_err), and so do resets; a nonce of our own could not be put in. A connection made is
//! closed at once.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Entry, Inbox, Prober, Sent, prepare, read_errors, set_ttl};
use crate::{
    observation::{FailureReason, PathOptions, StampSource},
    source::{
        probe::{path, rtt::Stamp},
        trace::tracer::{Heard, Probe, What},
    },
    sys,
    time::Mono,
};

/// A reset: nobody listens, but the host is there.
const REFUSED: What = What::Failed { reason: FailureReason::Refused, mtu: 0 };

pub(in crate::source::trace) struct TcpProber {
    peer: SocketAddr,
    way: PathOptions,
    attempts: BTreeMap<u16, Attempt>,
    /// Sees that the kernel stamps all the time: it begins some time after the first socket asks for it, and ends with
    /// the last.
    _stamping: Option<UdpSocket>,
}

struct Attempt {
    socket: Socket,
    sent: Stamp,
}

impl TcpProber {
    /// `peer`: with the port.
    ///
    /// # Errors
    /// No socket can be had that goes this way.
    pub(in crate::source::trace) fn open(peer: SocketAddr, way: &PathOptions) -> io::Result<Self> {
        // Each probe has a socket of its own; one that can't be had is better known now.
        drop(socket(peer, way)?);
        let stamping = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok();
        let stamping = stamping.filter(|socket| sys::enable_receive_stamps(socket.as_fd()).is_ok());
        Ok(Self { peer, way: way.clone(), attempts: BTreeMap::new(), _stamping: stamping })
    }
}

fn socket(peer: SocketAddr, way: &PathOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    path::apply(way, &socket, peer.is_ipv6())?;
    if way.source.is_some() {
        socket.bind(&path::source(way, peer.is_ipv6())?.into())?;
    }
    prepare(&socket, peer.is_ipv6())?;
    Ok(socket)
}

impl Prober for TcpProber {
    fn send(&mut self, probe: &Probe, inbox: &mut Inbox) -> io::Result<()> {
        let socket = socket(self.peer, &self.way)?;
        set_ttl(&socket, self.peer.is_ipv6(), probe.ttl)?;
        let attempt = Attempt { socket, sent: Stamp::now() };
        match attempt.socket.connect(&self.peer.into()) {
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                self.attempts.insert(probe.id, attempt);
            }
            Ok(()) => inbox.heard.push((probe.id, answered(&attempt, self.peer.ip(), What::Arrived))),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                inbox.heard.push((probe.id, answered(&attempt, self.peer.ip(), REFUSED)));
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn read(&mut self, inbox: &mut Inbox) {
        let peer = self.peer.ip();
        self.attempts.retain(|id, attempt| !settle(*id, attempt, peer, inbox));
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.attempts.values().map(|a| (a.socket.as_fd(), PollFlags::POLLOUT)).collect()
    }

    fn forget(&mut self, before: Mono) {
        self.attempts.retain(|_, attempt| attempt.sent.mono >= before);
    }
}

/// Whether the kernel has decided an attempt; what it decided is heard.
fn settle(id: u16, attempt: &Attempt, peer: IpAddr, inbox: &mut Inbox) -> bool {
    let mut sent = Sent::default();
    sent.entries.insert(id, Entry::new([0; 16], 0, attempt.sent));
    let before = inbox.heard.len();
    read_errors(&attempt.socket, &mut sent, inbox, |_, _| Some(id));
    if inbox.heard.len() > before {
        inbox.heard.truncate(before + 1);
        if sent_again(attempt) {
            inbox.heard[before].1.rtt = None;
        }
        return true;
    }
    match attempt.socket.take_error() {
        Ok(None) if attempt.socket.peer_addr().is_ok() => {
            inbox.heard.push((id, answered(attempt, peer, What::Arrived)));
            true
        }
        Ok(None) => false,
        Ok(Some(e)) if e.raw_os_error() == Some(libc::ECONNREFUSED) => {
            inbox.heard.push((id, answered(attempt, peer, REFUSED)));
            true
        }
        // The kernel gave up, or knows of something that no packet told.
        Ok(Some(_)) | Err(_) => true,
    }
}

/// The destination answered, with an acknowledgement or a reset.
fn answered(attempt: &Attempt, peer: IpAddr, what: What) -> Heard {
    let seen = Stamp::now().mono.since(attempt.sent.mono);
    let measured = sys::tcp_info(attempt.socket.as_fd()).ok().and_then(|info| info.rtt);
    let (rtt, stamp) = measured.map_or((seen, StampSource::User), |rtt| (rtt, StampSource::Kernel));
    let rtt = (measured.is_some() || !sent_again(attempt)).then_some(rtt);
    Heard { from: Some(peer), what, rtt, stamp }
}

/// Whether the SYN went out more than once.
fn sent_again(attempt: &Attempt) -> bool {
    sys::tcp_info(attempt.socket.as_fd()).is_ok_and(|info| info.retransmits > 0)
}
