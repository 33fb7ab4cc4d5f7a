//! Dumps of the kernel's table of TCP sockets, a datagram at a time.
//!
//! A dump never waits: the kernel writes the next datagram within the call that asks for it, from a table that it locks
//! bucket by bucket. So a step is bounded by what fits a datagram, and whoever runs beside other work lets that run
//! between two steps: some 80 sockets take about 0.1 ms, and 10,000 take 11 ms in all (an x86-64 virtual machine of
//! 2026), nearly all of it the kernel's. So no thread of its own is wanted. Decoding every attribute into values of
//! its own would add 0.4 µs a socket to the kernel's 1 µs; this walk, which allocates nothing, is lost in the noise.

use std::{io, time::Duration};

use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::libc::{EAFNOSUPPORT, EAGAIN, EINTR, ENOBUFS, ENOENT, EPERM, MSG_DONTWAIT};
use thiserror::Error;

use super::decode::{self, INET_DIAG_INFO, Socket, State};
use crate::{
    source::netlink::wire::{self, AF_INET, AF_INET6, Malformed, Message},
    time::Mono,
};

/// `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `struct inet_diag_req_v2`.
const INET_DIAG_REQ_V2: usize = 56;
const IPPROTO_TCP: u8 = 6;
/// Room for the largest datagram: the kernel's are 32 KiB at most (`netlink_dump`).
const DATAGRAM: usize = 64 * 1024;
/// The kernel goes on where it stopped by counting within a bucket of its table: sockets that were put before that
/// place have it tell as many again. So a datagram may begin with some of those at the end of the one before.
const RECENT: usize = 16;

/// IPv4 first. A socket belongs to one family: a connection over IPv4 of an IPv6 socket comes with IPv6's.
const FAMILIES: [u8; 2] = [AF_INET, AF_INET6];

/// Why there is no dump. The next one begins anew, with a new socket.
#[derive(Debug, Error)]
pub enum DumpError {
    /// No netlink socket is to be had.
    #[error("no socket to ask the kernel for its TCP sockets: {0}")]
    Open(#[source] io::Error),
    /// The kernel can't tell, or may not.
    #[error("the kernel does not tell its TCP sockets: {0}")]
    Refused(#[source] io::Error),
    /// The kernel had no memory for a part of the answer.
    #[error("a part of the kernel's TCP sockets was lost: no buffer space")]
    Overrun,
    /// The rest of the answer is not there.
    #[error("the kernel's answer about its TCP sockets broke off")]
    BrokenOff,
    /// The answer does not have the form its lengths promise.
    #[error("the kernel's answer about its TCP sockets is malformed")]
    Malformed,
    /// Reading failed.
    #[error("reading the kernel's TCP sockets: {0}")]
    Read(#[source] io::Error),
}

impl DumpError {
    /// What a person can do about it; `None` when it mends itself, or only another kernel would help.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused(error) if error.raw_os_error() == Some(ENOENT) => {
                Some("load the kernel's module tcp_diag (`modprobe tcp_diag`; CONFIG_INET_DIAG)")
            }
            Self::Open(error) | Self::Refused(error) if error.raw_os_error() == Some(EPERM) => Some(
                "let the service use AF_NETLINK (RestrictAddressFamilies=, a seccomp filter, or SELinux)",
            ),
            Self::Open(error) if error.raw_os_error() == Some(EAFNOSUPPORT) => {
                Some("add AF_NETLINK to the service's RestrictAddressFamilies=")
            }
            _ => None,
        }
    }
}

/// A dump that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Sockets visited.
    pub sockets: u64,
    /// Messages that could not be read and were left out.
    pub malformed: u64,
    /// The table changed while it was read, twice in a row (`NLM_F_DUMP_INTR`): sockets may be missing.
    pub interrupted: bool,
    /// Time spent in the steps, of the repeated dump too.
    pub cost: Duration,
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// The kernel says that the answer is not consistent. The dump begins again: forget what it visited.
    Again,
    /// That was all.
    Done(Summary),
}

/// Reads the sockets of the calling thread's network namespace. TIME-WAIT, LISTEN and CLOSE are left out,
/// and SYN-RECEIVED, which in the kernel's tables are requests without a socket of their own.
#[derive(Default)]
pub struct Reader {
    socket: Option<Netlink>,
    sequence: u32,
    buffer: Vec<u8>,
    dump: Option<Dump>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("dump", &self.dump).finish_non_exhaustive()
    }
}

/// A dump under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Dump {
    /// Index in [`FAMILIES`].
    family: usize,
    /// Whether that family was asked for.
    asked: bool,
    repeated: bool,
    recent: Recent,
    pub(super) summary: Summary,
}

impl Reader {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`DumpError::Open`].
    pub fn open() -> Result<Self, DumpError> {
        Ok(Self { socket: Some(open()?), ..Self::default() })
    }

    /// A whole dump at once: `take` adds each socket to what `new` makes. About a microsecond a socket, nearly
    /// all of it the kernel's, on the thread that calls.
    ///
    /// # Errors
    /// See [`DumpError`].
    pub fn collect<C>(
        &mut self,
        new: impl Fn() -> C,
        mut take: impl FnMut(&mut C, &Socket),
    ) -> Result<(C, Summary), DumpError> {
        self.abandon();
        let mut all = new();
        loop {
            match self.step(|socket| take(&mut all, socket))? {
                Step::More => {}
                Step::Again => all = new(),
                Step::Done(summary) => return Ok((all, summary)),
            }
        }
    }

    /// One datagram of a dump, which begins if none is under way. Never waits.
    ///
    /// # Errors
    /// See [`DumpError`]; the dump is over then.
    pub fn step(&mut self, each: impl FnMut(&Socket)) -> Result<Step, DumpError> {
        let began = Mono::now();
        let mut dump = self.dump.take().unwrap_or_default();
        if let Err(error) = self.advance(&mut dump, each) {
            // An answer may still be under way in it, and the kernel refuses a second dump.
            self.socket = None;
            return Err(error);
        }
        dump.summary.cost += Mono::now().since(began);
        if dump.family < FAMILIES.len() {
            self.dump = Some(dump);
            return Ok(Step::More);
        }
        if dump.summary.interrupted && !dump.repeated {
            let summary = Summary { cost: dump.summary.cost, ..Summary::default() };
            self.dump = Some(Dump { repeated: true, summary, ..Dump::default() });
            return Ok(Step::Again);
        }
        Ok(Step::Done(dump.summary))
    }

    /// Gives up the dump under way, if there is one.
    pub fn abandon(&mut self) {
        if self.dump.take().is_some() {
            self.socket = None;
        }
    }

    fn advance(&mut self, dump: &mut Dump, each: impl FnMut(&Socket)) -> Result<(), DumpError> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(open()?),
        };
        let family = FAMILIES[dump.family];
        if !dump.asked {
            self.sequence = self.sequence.wrapping_add(1);
            let flags = wire::NLM_F_REQUEST | wire::NLM_F_DUMP;
            let message = wire::message(SOCK_DIAG_BY_FAMILY, flags, self.sequence, &request(family));
            socket.send_to(&message, &SocketAddr::new(0, 0), MSG_DONTWAIT).map_err(DumpError::Refused)?;
            dump.asked = true;
            dump.recent = Recent::default();
        }
        receive(socket, &mut self.buffer)?;
        let end = walk(&self.buffer, self.sequence, dump, each).map_err(|_| DumpError::Malformed)?;
        match end {
            None => return Ok(()),
            Some(End::Whole) => {}
            // A kernel without IPv6 has no sockets of that family.
            Some(End::Failed(ENOENT | EAFNOSUPPORT)) if family == AF_INET6 => {}
            Some(End::Failed(ENOBUFS)) => return Err(DumpError::Overrun),
            Some(End::Failed(number)) => {
                return Err(DumpError::Refused(io::Error::from_raw_os_error(number)));
            }
        }
        dump.family += 1;
        dump.asked = false;
        Ok(())
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// With this error number.
    Failed(i32),
}

/// Visits the sockets of a datagram, and says whether the answer ends in it.
pub(super) fn walk(
    datagram: &[u8],
    sequence: u32,
    dump: &mut Dump,
    mut each: impl FnMut(&Socket),
) -> Result<Option<End>, Malformed> {
    dump.recent.turn();
    for message in wire::Messages(datagram) {
        let message = message?;
        if message.sequence != sequence {
            continue;
        }
        dump.summary.interrupted |= message.flags & wire::NLM_F_DUMP_INTR != 0;
        match message.kind {
            wire::NLMSG_DONE | wire::NLMSG_ERROR => return end(&message).map(Some),
            wire::NLMSG_OVERRUN => return Ok(Some(End::Failed(ENOBUFS))),
            SOCK_DIAG_BY_FAMILY => match decode::socket(message.payload) {
                Ok(socket) if dump.recent.told(socket.cookie) => {}
                Ok(socket) => {
                    dump.summary.sockets += 1;
                    each(&socket);
                }
                Err(Malformed) => dump.summary.malformed += 1,
            },
            _ => {}
        }
    }
    Ok(None)
}

/// Both kinds start with an error number, below zero; DONE of an old kernel may have none.
fn end(message: &Message<'_>) -> Result<End, Malformed> {
    match wire::u32_at(message.payload, 0).map(u32::cast_signed) {
        Ok(number) if number < 0 => Ok(End::Failed(number.saturating_neg())),
        Err(Malformed) if message.kind == wire::NLMSG_ERROR => Err(Malformed),
        _ => Ok(End::Whole),
    }
}

/// The last cookies of the datagram before and of this one.
#[derive(Clone, Debug, Default)]
struct Recent {
    before: [u64; RECENT],
    last: [u64; RECENT],
    count: usize,
}

impl Recent {
    /// A new datagram begins.
    fn turn(&mut self) {
        self.before = std::mem::take(&mut self.last);
        self.count = 0;
    }

    /// Whether a socket at the beginning of this datagram was at the end of the one before. No cookie is 0.
    fn told(&mut self, cookie: u64) -> bool {
        let told = self.count < RECENT && self.before.contains(&cookie);
        self.last[self.count % RECENT] = cookie;
        self.count += 1;
        told
    }
}

fn open() -> Result<Netlink, DumpError> {
    let mut socket = Netlink::new(NETLINK_SOCK_DIAG).map_err(DumpError::Open)?;
    socket.bind_auto().map_err(DumpError::Open)?;
    Ok(socket)
}

/// A datagram of the kernel's into the buffer.
fn receive(socket: &Netlink, buffer: &mut Vec<u8>) -> Result<(), DumpError> {
    buffer.clear();
    buffer.reserve(DATAGRAM);
    loop {
        buffer.clear();
        match socket.recv_from(buffer, MSG_DONTWAIT) {
            Ok((_, sender)) if sender.port_number() != 0 => {}
            Ok((length, _)) if length >= DATAGRAM => return Err(DumpError::Malformed),
            Ok(_) => return Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(EINTR) => {}
                Some(EAGAIN) => return Err(DumpError::BrokenOff),
                Some(ENOBUFS) => return Err(DumpError::Overrun),
                _ => return Err(DumpError::Read(error)),
            },
        }
    }
}

/// `struct inet_diag_req_v2`: all sockets of a family in the states wanted, each with its `tcp_info`.
fn request(family: u8) -> [u8; INET_DIAG_REQ_V2] {
    let mut request = [0; INET_DIAG_REQ_V2];
    request[0] = family;
    request[1] = IPPROTO_TCP;
    request[2] = 1 << (INET_DIAG_INFO - 1);
    let states = State::ALL.into_iter().fold(0_u32, |bits, state| bits | 1 << state as u32);
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    request
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
