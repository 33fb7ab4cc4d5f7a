//! `ip link set … up|down` without a process: one netlink request, so that what follows can be timed.

use anyhow::{Context, Result, bail, ensure};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::netns::Netns;

/// The administrative switch of one device.
#[derive(Debug)]
pub struct Switch {
    socket: Socket,
    index: u32,
}

impl Switch {
    /// The switch of `device` in `netns`. It stays that of this device, whatever its name becomes.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn new(netns: &Netns, device: &str) -> Result<Self> {
        netns.run(|| Self::here(device))?
    }

    /// The switch of `device` in the calling thread's namespace.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn here(device: &str) -> Result<Self> {
        let index = nix::net::if_::if_nametoindex(device).with_context(|| device.to_owned())?;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, index })
    }

    /// Sets the device up or down. The kernel has done it when this returns.
    pub fn set(&self, up: bool) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.index;
        link.header.change_mask = LinkFlags::Up;
        link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut message =
            NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::SetLink(link)));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.socket.send(&buffer, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
        let NetlinkPayload::Error(ack) = answer.payload else { bail!("not an answer: {answer:?}") };
        ensure!(ack.code.is_none(), "the kernel refused: {:?}", ack.to_io());
        Ok(())
    }
}
