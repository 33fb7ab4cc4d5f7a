//! UDP to ports nobody listens on: the destination's kernel says so, and that is its answer.
//!
//! Each probe goes to a port of its own, so that an error tells its probe even where the quotation ends with the UDP
//! header; where it holds the nonce, that has to be right too. A forger needs the port of ours, which is the kernel's
//! choice.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Departure, Entry, Inbox, Prober, header, prepare, read_errors, refused, send, set_ttl, timed};
use crate::{
    source::{
        probe::method::drain,
        trace::tracer::{Probe, What},
    },
    sys::{Datagram, Queue},
};

/// The first port, as traceroute has it; firewalls know it.
const FIRST_PORT: u16 = 33_434;
const HEADER: u32 = 8;

pub(in crate::source::trace) struct UdpProber {
    socket: Socket,
    peer: SocketAddr,
    sent: HashMap<u16, Entry>,
}

impl UdpProber {
    pub(in crate::source::trace) fn open(peer: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
        prepare(&socket, peer.is_ipv6())?;
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        socket.bind(&any.into())?;
        Ok(Self { socket, peer, sent: HashMap::new() })
    }
}

/// The probe that went to this port.
fn sent_to(sent: &HashMap<u16, Entry>, peer: SocketAddr, to: Option<SocketAddr>) -> Option<(u16, Entry)> {
    let to = to.filter(|to| to.ip() == peer.ip())?;
    let id = to.port().wrapping_sub(FIRST_PORT);
    Some((id, *sent.get(&id)?))
}

/// The probe that an error quotes, from its payload on.
fn quoted(sent: &HashMap<u16, Entry>, peer: SocketAddr, datagram: &Datagram<'_>) -> Option<(u16, Entry)> {
    let (id, entry) = sent_to(sent, peer, datagram.address)?;
    let held = datagram.bytes.len().min(entry.nonce.len());
    (datagram.bytes[..held] == entry.nonce[..held]).then_some((id, entry))
}

impl Prober for UdpProber {
    fn send(&mut self, probe: &Probe, inbox: &mut Inbox) -> io::Result<()> {
        let v6 = self.peer.is_ipv6();
        set_ttl(&self.socket, v6, probe.ttl)?;
        let nonce: [u8; 16] = rand::random();
        let mut bytes = nonce.to_vec();
        bytes.resize(probe.size.saturating_sub(header(v6) + HEADER).max(nonce.len() as u32) as usize, 0);
        let mut to = self.peer;
        to.set_port(FIRST_PORT.wrapping_add(probe.id));
        let Self { socket, peer, sent } = self;
        let departure = send(socket, &bytes, to, || read_errors(socket, inbox, |d| quoted(sent, *peer, d)))?;
        match departure {
            Departure::At(at) => drop(self.sent.insert(probe.id, Entry { nonce, checksum: 0, sent: at })),
            Departure::TooBig(mtu) => inbox.heard.push((probe.id, refused(mtu))),
        }
        Ok(())
    }

    fn read(&mut self, inbox: &mut Inbox) {
        let Self { socket, peer, sent } = self;
        read_errors(socket, inbox, |d| quoted(sent, *peer, d));
        let Inbox { batch, heard, unmatched } = inbox;
        // Somebody listens after all, and answered.
        drain(socket, Queue::Data, batch, |read, datagram| match sent_to(sent, *peer, datagram.address) {
            Some((id, entry)) => {
                let received = datagram.ancillary.received;
                heard.push((id, timed(peer.ip(), What::Arrived, &entry, received, read)));
            }
            None => *unmatched += 1,
        });
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.socket.as_fd(), PollFlags::POLLIN)]
    }
}
