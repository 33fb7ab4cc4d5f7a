//! The least a probe can cost: two system calls, nothing recorded.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use netmon_agent::packet::icmp::{Echo, Family, encode_request};
use netmon_tests::lab::Netns;
use nix::sys::resource::{UsageWho, getrusage};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;

use super::subject::{cpu, host};

/// Microseconds of CPU for an echo over loopback with `sendto` and `recv`, one after another, to so many hosts in turn: each
/// has a route of its own to be found, and memory of its own in the kernel, so many cost more than one.
pub fn measure(netns: &Netns, count: u32, hosts: u32) -> Result<f64> {
    netns.run(|| {
        let mut socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4))?;
        let before = cpu(&getrusage(UsageWho::RUSAGE_THREAD)?);
        let mut buffer = [0; 256];
        for sequence in 0..count {
            let echo =
                Echo { ident: 0, sequence: sequence as u16, nonce: u128::from(sequence).to_ne_bytes() };
            let to = SocketAddr::from((host(1 + sequence % hosts), 0)).into();
            socket.send_to(&encode_request(Family::V4, &echo), &to)?;
            ensure!(socket.read(&mut buffer)? >= 8, "a short reply");
        }
        let took = cpu(&getrusage(UsageWho::RUSAGE_THREAD)?).saturating_sub(before);
        Ok(took.as_secs_f64() * 1e6 / f64::from(count))
    })?
}
