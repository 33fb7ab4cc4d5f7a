//! The loop that sends, waits and reads.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, ppoll},
    sys::time::TimeSpec,
};

use super::{
    path::{Hop, Method, Path},
    prober::{IcmpProber, Inbox, Prober, TcpProber, UdpProber},
    tracer::{Plan, Probe, Purpose, Step, Tracer},
};
use crate::{observation::PathOptions, packet::icmp::Family, source::probe::sockets::remedy, time::Mono};

/// TCP's attempts are given up after this and the time-out: later than any router tells that a host is not there.
const KEPT: Duration = Duration::from_secs(4);

/// How hops are to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// By ICMP echo, or by UDP where ICMP sockets are closed.
    #[default]
    Any,
    /// Like this alone.
    Only(Method),
}

/// What a trace is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How hops are asked. The path MTU is searched by ICMP, or by UDP if hops are asked by it or ICMP is closed.
    pub method: Choice,
    /// The farthest hop asked, 1 to 254.
    pub max_hops: u8,
    /// Probes for each hop, 1 to 10.
    pub probes: u8,
    /// Time to wait for an answer.
    pub timeout: Duration,
    /// Whether the path MTU is searched.
    pub mtu: bool,
}

impl Default for Options {
    fn default() -> Self {
        let timeout = Duration::from_secs(1);
        Self { method: Choice::Any, max_hops: 30, probes: 3, timeout, mtu: true }
    }
}

/// What is told while a trace runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Sockets are open.
    Started {
        /// How hops will be asked.
        method: Method,
        /// Why not by ICMP, which was not ruled out, and what would mend it.
        in_place_of_icmp: Option<String>,
    },
    /// All is known of a hop; in their order. What comes very late is in the [`Path`] alone.
    Hop(Hop),
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// ICMP alone was asked for, and no socket can be had.
    #[error("ICMP: {remedy}")]
    Closed {
        /// Why not, and what would mend it.
        remedy: String,
    },
    /// No socket.
    #[error("cannot open a socket: {source}")]
    Socket {
        /// The system call's error.
        source: io::Error,
    },
    /// This host sends nothing there: no route, or its own firewall forbids it.
    #[error("cannot send to {to}: {source}")]
    Send {
        /// Where to.
        to: IpAddr,
        /// The system call's error.
        source: io::Error,
    },
    /// Waiting for the sockets failed.
    #[error("cannot wait for answers: {source}")]
    Wait {
        /// The system call's error.
        source: io::Error,
    },
}

/// Traces the way to `address`, whose port does not matter. Blocks for a second or two, where many hops keep silent for
/// ten or twenty; never longer than hops and sizes there are, times the time-out. `on_progress` may end it, and what was
/// found until then is returned.
///
/// # Errors
/// When sockets could not be opened, or nothing could be sent.
pub fn run(
    options: &Options,
    address: SocketAddr,
    on_progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Path, TraceError> {
    run_along(options, &PathOptions::default(), None, address, on_progress)
}

/// The same by the way that a target's packets go: their source address, device or VRF, mark and code point; their time
/// to live and their size are what a trace varies. After `limit` it ends, and what was found until then is returned.
///
/// # Errors
/// As [`run()`]; also where that way can't be had: no such device, no privilege for the mark.
pub fn run_along(
    options: &Options,
    way: &PathOptions,
    limit: Option<Duration>,
    address: SocketAddr,
    mut on_progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Path, TraceError> {
    let address = canonical(address);
    let mut shell = Shell::open(options, way, address)?;
    let end = limit.map(|limit| Mono::now() + limit);
    let mut tracer = Tracer::new(Plan {
        destination: address.ip(),
        method: shell.hops.method,
        max_hops: options.max_hops,
        probes: options.probes.clamp(1, 10),
        timeout: options.timeout,
        mtu: options.mtu,
    });
    let mut going = on_progress(Progress::Started {
        method: shell.hops.method,
        in_place_of_icmp: shell.hops.in_place_of_icmp.take(),
    })
    .is_continue();
    while going {
        // The clock first: what came before this is read before a time-out is judged.
        let now = Mono::now();
        if end.is_some_and(|end| now >= end) {
            break;
        }
        shell.read(&mut tracer);
        let step = tracer.step(now);
        while let Some(hop) = tracer.settled_hop(now) {
            going = going && on_progress(Progress::Hop(hop)).is_continue();
        }
        match step {
            Step::Send(probe) => shell.send(&probe)?,
            Step::Wait(until) => shell.wait(end.map_or(until, |end| until.min(end)))?,
            Step::Done => break,
        }
        shell.forget(now, options.timeout);
    }
    Ok(Path { unmatched: shell.inbox.unmatched, ..tracer.path() })
}

/// The sockets of a trace.
struct Shell {
    address: SocketAddr,
    hops: Opened,
    /// Where hops are asked by packets that cannot be made large.
    sizes: Option<Box<dyn Prober>>,
    inbox: Inbox,
}

impl Shell {
    fn open(options: &Options, way: &PathOptions, address: SocketAddr) -> Result<Self, TraceError> {
        let mut sizes = None;
        let only = |method, prober| Opened { method, prober, in_place_of_icmp: None };
        let hops = match options.method {
            Choice::Any => any(address, way)?,
            Choice::Only(Method::Icmp) => match IcmpProber::open(address, way) {
                Ok(prober) => only(Method::Icmp, Box::new(prober)),
                Err(e) => return Err(TraceError::Closed { remedy: remedy(family(address), &e) }),
            },
            Choice::Only(Method::Udp) => only(Method::Udp, Box::new(udp(address, way)?)),
            Choice::Only(method @ Method::Tcp { port }) => {
                sizes = options.mtu.then(|| any(address, way)).transpose()?.map(|opened| opened.prober);
                let mut peer = address;
                peer.set_port(port);
                let prober = TcpProber::open(peer, way).map_err(|source| TraceError::Socket { source })?;
                only(method, Box::new(prober))
            }
        };
        Ok(Self { address, hops, sizes, inbox: Inbox::default() })
    }

    fn read(&mut self, tracer: &mut Tracer) {
        self.hops.prober.read(&mut self.inbox);
        if let Some(sizes) = &mut self.sizes {
            sizes.read(&mut self.inbox);
        }
        for (id, heard) in self.inbox.heard.drain(..) {
            tracer.heard(id, &heard);
        }
    }

    fn send(&mut self, probe: &Probe) -> Result<(), TraceError> {
        let prober = match (&mut self.sizes, probe.purpose) {
            (Some(sizes), Purpose::Mtu) => sizes,
            _ => &mut self.hops.prober,
        };
        match prober.send(probe, &mut self.inbox) {
            // For want of room, or another kind of packet than got through before: as good as lost.
            Err(e) if probe.purpose == Purpose::Hop && !is_full(&e) => {
                Err(TraceError::Send { to: self.address.ip(), source: e })
            }
            _ => Ok(()),
        }
    }

    /// Until something comes, and not longer than this.
    fn wait(&self, until: Mono) -> Result<(), TraceError> {
        let probers = [Some(&self.hops.prober), self.sizes.as_ref()];
        let mut watched: Vec<PollFd<'_>> = probers
            .into_iter()
            .flatten()
            .flat_map(|prober| prober.descriptors())
            .map(|(fd, flags)| PollFd::new(fd, flags))
            .collect();
        let wait = TimeSpec::from_duration(until.since(Mono::now()));
        match ppoll(&mut watched, Some(wait), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(TraceError::Wait { source: e.into() }),
        }
    }

    fn forget(&mut self, now: Mono, timeout: Duration) {
        let kept = KEPT.max(timeout).as_nanos() as u64;
        self.hops.prober.forget(Mono::from_nanos(now.as_nanos().saturating_sub(kept)));
    }
}

/// A prober, and what it is.
struct Opened {
    method: Method,
    prober: Box<dyn Prober>,
    in_place_of_icmp: Option<String>,
}

/// By ICMP; else by UDP, with the reason.
fn any(address: SocketAddr, way: &PathOptions) -> Result<Opened, TraceError> {
    match IcmpProber::open(address, way) {
        Ok(prober) => Ok(Opened { method: Method::Icmp, prober: Box::new(prober), in_place_of_icmp: None }),
        Err(e) => {
            let in_place_of_icmp = Some(remedy(family(address), &e));
            Ok(Opened { method: Method::Udp, prober: Box::new(udp(address, way)?), in_place_of_icmp })
        }
    }
}

fn udp(address: SocketAddr, way: &PathOptions) -> Result<UdpProber, TraceError> {
    UdpProber::open(address, way).map_err(|source| TraceError::Socket { source })
}

/// An IPv4 address in IPv6's clothes goes by IPv4.
fn canonical(mut address: SocketAddr) -> SocketAddr {
    let ip = address.ip().to_canonical();
    if ip != address.ip() {
        address.set_ip(ip);
    }
    address
}

fn family(address: SocketAddr) -> Family {
    if address.is_ipv6() { Family::V6 } else { Family::V4 }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}
