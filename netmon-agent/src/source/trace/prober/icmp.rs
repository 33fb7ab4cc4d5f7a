//! ICMP echo, by a ping socket or, where there is none, a raw one.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;

use super::{
    Departure, Entry, Inbox, Prober, Sent, header, prepare, read_errors, refused, send, set_ttl, timed,
};
use crate::{
    observation::PathOptions,
    packet::icmp::{
        Echo, Family, Quote, REQUEST_BYTES, decode_quote, decode_reply, encode_request, strip_ipv4,
    },
    source::{
        probe::{method::drain, sockets::IcmpSocket},
        trace::tracer::{Probe, What},
    },
    sys::{self, Datagram, Queue},
};

pub(in crate::source::trace) struct IcmpProber {
    socket: IcmpSocket,
    peer: SocketAddr,
    /// The sequence number of the probe with number 0, which nobody can guess.
    first: u16,
    sent: Sent,
}

impl IcmpProber {
    pub(in crate::source::trace) fn open(peer: SocketAddr, path: &PathOptions) -> io::Result<Self> {
        let family = if peer.is_ipv6() { Family::V6 } else { Family::V4 };
        let socket = IcmpSocket::open(family, path)?;
        prepare(&socket.socket, peer.is_ipv6())?;
        // Where it is refused, the clock read before the send has to do.
        let _ = sys::stamp_sends(socket.socket.as_fd(), true);
        Ok(Self { socket, peer, first: rand::random(), sent: Sent::new(peer.is_ipv6()) })
    }

    /// Reads a reply. What fills a large one up comes after what is read.
    fn decode(&self, datagram: &Datagram<'_>) -> Option<Echo> {
        let bytes = match self.peer {
            SocketAddr::V4(_) if self.socket.raw => strip_ipv4(datagram.bytes)?,
            _ => datagram.bytes,
        };
        decode_reply(self.socket.family, bytes.get(..REQUEST_BYTES)?).ok()
    }

    /// The probe that a reply answers.
    fn answered(&self, echo: &Echo, from: Option<SocketAddr>) -> Option<(u16, Entry)> {
        let id = echo.sequence.wrapping_sub(self.first);
        let entry = self.sent.entries.get(&id).filter(|entry| entry.nonce == echo.nonce)?;
        (echo.ident == self.socket.ident && from?.ip() == self.peer.ip()).then_some((id, *entry))
    }
}

/// The probe that an error quotes. Where the quotation ends before the nonce, as RFC 792 allows, the checksum over it has
/// to do.
fn quoted(
    socket: &IcmpSocket,
    first: u16,
    peer: SocketAddr,
    sent: &Sent,
    datagram: &Datagram<'_>,
) -> Option<u16> {
    let quote: Quote = decode_quote(socket.family, datagram.bytes).ok()?;
    let id = quote.sequence.wrapping_sub(first);
    let entry = sent.entries.get(&id)?;
    let ours = match quote.nonce {
        Some(nonce) => nonce == entry.nonce,
        None => peer.is_ipv4() && quote.checksum == entry.checksum,
    };
    let to_peer = datagram.address.is_some_and(|to| to.ip() == peer.ip());
    (ours && to_peer && quote.ident == socket.ident).then_some(id)
}

impl Prober for IcmpProber {
    fn send(&mut self, probe: &Probe, inbox: &mut Inbox) -> io::Result<()> {
        let v6 = self.peer.is_ipv6();
        set_ttl(&self.socket.socket, v6, probe.ttl)?;
        let sequence = self.first.wrapping_add(probe.id);
        let nonce = rand::random();
        let mut bytes =
            encode_request(self.socket.family, &Echo { ident: self.socket.ident, sequence, nonce }).to_vec();
        let checksum = u16::from_be_bytes([bytes[2], bytes[3]]);
        // Zeros change no checksum.
        bytes.resize(probe.size.saturating_sub(header(v6)).max(REQUEST_BYTES as u32) as usize, 0);
        let Self { socket, peer, first, sent } = self;
        let departure = send(&socket.socket, &bytes, *peer, || {
            read_errors(&socket.socket, sent, inbox, |sent, d| quoted(socket, *first, *peer, sent, d))
        })?;
        match departure {
            Departure::At(at) => drop(self.sent.entries.insert(probe.id, Entry::new(nonce, checksum, at))),
            Departure::TooBig(mtu) => inbox.heard.push((probe.id, refused(mtu))),
        }
        Ok(())
    }

    fn read(&mut self, inbox: &mut Inbox) {
        let Self { socket, peer, first, sent } = self;
        read_errors(&socket.socket, sent, inbox, |sent, d| quoted(socket, *first, *peer, sent, d));
        let Inbox { batch, heard, unmatched } = inbox;
        drain(&self.socket.socket, Queue::Data, batch, |read, datagram| {
            let echo = self.decode(&datagram);
            if let Some((id, entry)) = echo.and_then(|echo| self.answered(&echo, datagram.address)) {
                let received = datagram.ancillary.received;
                heard.push((id, timed(self.peer.ip(), What::Arrived, &entry, received, read)));
            } else if !self.socket.raw || echo.is_some_and(|echo| echo.ident == self.socket.ident) {
                // A raw socket is given every program's replies besides.
                *unmatched += 1;
            }
        });
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.socket.socket.as_fd(), PollFlags::POLLIN)]
    }
}
