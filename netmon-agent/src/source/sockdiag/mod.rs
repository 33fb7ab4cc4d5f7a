//! The TCP sockets that live, as the kernel tells anybody who asks (`sock_diag(7)`): needs no privilege.
//!
//! Counters at a socket's end miss what long-lived connections do meanwhile. Two things come from looking at them:
//!
//! - [`Census`]: segments sent per device, so that retransmissions have a denominator;
//! - [`Progress`]: the remote prefixes that acknowledged bytes between two looks.
//!
//! A [`Reader`] dumps in steps of one datagram, some 70 sockets; what it visits goes to either, or to both at once.
//! [`Want`] says how long to rest between dumps.

mod census;
mod decode;
#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/sockdiag.rs"]
pub(crate) mod fuzzing;
mod pace;
mod progress;
mod reader;

use std::net::IpAddr;

pub use census::{Census, Tally};
pub use decode::{Socket, State};
pub use pace::Want;
pub use progress::{Look, MOST_SOCKETS, Progress};
pub use reader::{DumpError, Reader, Step, Summary};

use crate::observation::IfIndex;

/// The device a socket's segments are laid to: the one that has its local address, else the one it is bound to, else
/// index 0.
pub fn device_of(socket: &Socket, interface_of: impl Fn(IpAddr) -> Option<IfIndex>) -> IfIndex {
    interface_of(socket.local).unwrap_or(socket.bound)
}
