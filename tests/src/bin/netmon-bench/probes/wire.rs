//! A wire of 5 ms: two namespaces, and between them a thread that holds each frame back.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_agent::time::Mono;
use netmon_tests::lab::{Netns, find_program, run};
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeSpec;

use super::subject::prepare;

/// One way.
const DELAY: Duration = Duration::from_micros(2_500);
/// The device at the near end.
pub const DEVICE: &str = "near0";

/// Two ends and the wire between them. The far one answers for all of 10.78.0.0/16.
pub struct Wire {
    pub near: Netns,
    pub far: Netns,
    _middle: Netns,
    stop: Arc<AtomicBool>,
    relay: Option<JoinHandle<()>>,
}

impl Wire {
    pub fn new() -> Result<Self> {
        let make = |role: &str| Netns::create(&format!("nmt-{}-{role}", std::process::id()));
        let (near, middle, far) = (make("near")?, make("middle")?, make("far")?);
        let link = |end: &Netns, name: &str, other: &str| {
            middle.ip(&format!("link add {other} type veth peer name {name} netns {}\n", end.name()))?;
            middle.ip(&format!("link set {other} up\n"))?;
            // A frame that is copied by a program needs its checksum in it.
            let ethtool = find_program("ethtool").context("ethtool is not installed")?;
            end.run(|| run(std::process::Command::new(ethtool).args(["-K", name, "tx", "off"]), ""))??;
            end.ip(&format!("link set {name} up\n"))
        };
        link(&near, DEVICE, "left0")?;
        link(&far, "far0", "right0")?;
        middle.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
        near.ip("addr add 10.77.0.1/24 dev near0\nroute add 10.78.0.0/16 via 10.77.0.2\n")?;
        far.ip("addr add 10.77.0.2/24 dev far0\nroute add local 10.78.0.0/16 dev lo\n")?;
        prepare(&near)?;
        prepare(&far)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = middle.run(|| Ok::<_, anyhow::Error>([packets("left0")?, packets("right0")?]))??;
        let until = stop.clone();
        let relay = thread::spawn(move || relay(&ends, &until));
        Ok(Self { near, far, _middle: middle, stop, relay: Some(relay) })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.relay.take().map(JoinHandle::join);
    }
}

/// The first address behind the wire.
pub fn host(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a4e_0000 + n)
}

/// A packet socket on one device, for every frame.
fn packets(device: &str) -> Result<OwnedFd> {
    let raw = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    let is_it = |a: &nix::ifaddrs::InterfaceAddress| a.interface_name == device;
    let address: LinkAddr = getifaddrs()?
        .filter(is_it)
        .find_map(|a| a.address?.as_link_addr().copied())
        .with_context(|| format!("no device {device}"))?;
    bind(raw.as_raw_fd(), &address)?;
    setsockopt(&raw, sockopt::RcvBufForce, &(16 << 20))?;
    Ok(raw)
}

fn relay(ends: &[OwnedFd; 2], stop: &AtomicBool) {
    let mut held: VecDeque<(Mono, usize, Vec<u8>)> = VecDeque::new();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let idle = Duration::from_millis(100);
        let wait = held.front().map_or(idle, |(at, ..)| at.since(Mono::now()).min(idle));
        let mut fds = ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(wait)), None);
        for (from, end) in ends.iter().enumerate() {
            while let Ok(n) = recv(end.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                held.push_back((Mono::now() + DELAY, 1 - from, buffer[..n].to_vec()));
            }
        }
        while held.front().is_some_and(|(at, ..)| *at <= Mono::now()) {
            if let Some((_, to, frame)) = held.pop_front() {
                let _ = send(ends[to].as_raw_fd(), &frame, MsgFlags::empty());
            }
        }
    }
}
