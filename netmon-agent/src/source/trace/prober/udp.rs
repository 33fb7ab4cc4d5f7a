//! UDP to ports nobody listens on: the destination's kernel says so, and that is its answer.
//!
//! Each probe goes to a port of its own, so that an error tells its probe even where the quotation ends with the UDP
//! header; where it holds the nonce, that has to be right too. A forger needs the port of ours, which is the kernel's
//! choice.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Departure, Entry, Inbox, Prober, Sent, header, prepare, read_errors, refused, send, set_ttl, timed,
};
use crate::{
    observation::PathOptions,
    source::{
        probe::{method::drain, path},
        trace::tracer::{Probe, What},
    },
    sys::{self, Queue},
};

/// The first port, as traceroute has it; firewalls know it.
const FIRST_PORT: u16 = 33_434;
const HEADER: u32 = 8;

pub(in crate::source::trace) struct UdpProber {
    socket: Socket,
    peer: SocketAddr,
    sent: Sent,
}

impl UdpProber {
    pub(in crate::source::trace) fn open(peer: SocketAddr, way: &PathOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
        path::apply(way, &socket, peer.is_ipv6())?;
        prepare(&socket, peer.is_ipv6())?;
        // Where it is refused, the clock read before the send has to do.
        let _ = sys::stamp_sends(socket.as_fd(), true);
        socket.bind(&path::source(way, peer.is_ipv6())?.into())?;
        Ok(Self { socket, peer, sent: Sent::new(peer.is_ipv6()) })
    }
}

/// The probe that went to this port.
fn sent_to(sent: &Sent, peer: SocketAddr, to: Option<SocketAddr>) -> Option<(u16, Entry)> {
    let to = to.filter(|to| to.ip() == peer.ip())?;
    let id = to.port().wrapping_sub(FIRST_PORT);
    Some((id, *sent.entries.get(&id)?))
}

/// The probe that an error quotes, from its payload on.
fn quoted(sent: &Sent, peer: SocketAddr, to: Option<SocketAddr>, payload: &[u8]) -> Option<u16> {
    let (id, entry) = sent_to(sent, peer, to)?;
    let held = payload.len().min(entry.nonce.len());
    (payload[..held] == entry.nonce[..held]).then_some(id)
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
        let departure = send(socket, &bytes, to, || {
            read_errors(socket, sent, inbox, |sent, d| quoted(sent, *peer, d.address, d.bytes))
        })?;
        match departure {
            Departure::At(at) => drop(self.sent.entries.insert(probe.id, Entry::new(nonce, 0, at))),
            Departure::TooBig(mtu) => inbox.heard.push((probe.id, refused(mtu))),
        }
        Ok(())
    }

    fn read(&mut self, inbox: &mut Inbox) {
        let Self { socket, peer, sent } = self;
        read_errors(socket, sent, inbox, |sent, d| quoted(sent, *peer, d.address, d.bytes));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        source::probe::rtt::Stamp,
        time::{Mono, Wall},
    };

    #[test]
    fn an_error_is_matched_by_port_and_by_as_much_of_the_nonce_as_it_holds() {
        let peer: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let mut sent = Sent::new(false);
        let stamp = Stamp { mono: Mono::from_nanos(1), wall: Wall::from_nanos(1) };
        sent.entries.insert(2, Entry::new([9; 16], 0, stamp));
        let found = |to: &str, payload: &[u8]| quoted(&sent, peer, Some(to.parse().unwrap()), payload);
        for payload in [&[][..], &[9; 5], &[9; 16], &[[9; 16], [0; 16]].concat()] {
            assert_eq!(found("192.0.2.1:33436", payload), Some(2));
        }
        assert_eq!(found("192.0.2.1:33436", &[9, 9, 8]), None);
        for to in ["192.0.2.1:33435", "192.0.2.2:33436", "192.0.2.1:1"] {
            assert_eq!(found(to, &[9; 16]), None);
        }
    }
}
