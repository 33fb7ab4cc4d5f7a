//! HTTP/1.1 as a client, for whoever sends or asks something: one request over a connection of its own. What is sent, who
//! is trusted, which answers are good and when it is tried again is the callers' business; redirects are never followed.
//!
//! | file | what |
//! |---|---|
//! | `connect` | a connection to the first address that answers, with TLS around it |
//! | `exchange` | a request, its answer's head, and what follows it |
//! | `trust` | certificates of authorities |

mod connect;
mod exchange;
mod trust;

use std::net::Ipv6Addr;

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::{
    connect::{connect, secure},
    exchange::{Answer, BodyError, ask},
    trust::{Roots, Trust, TrustError, configured, provider, read, system},
};

/// How netmon calls itself.
pub const USER_AGENT: &str = concat!("netmon/", env!("CARGO_PKG_VERSION"));

/// A connection, in the clear or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The value of the Host header (RFC 9110, section 7.2): the port where it is not the scheme's own. `host` is without
/// brackets and zone.
pub fn authority(tls: bool, host: &str, port: u16) -> String {
    let usual = if tls { 443 } else { 80 };
    let port = if port == usual { String::new() } else { format!(":{port}") };
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]{port}"),
        Err(_) => format!("{host}{port}"),
    }
}

#[cfg(test)]
mod tests;
