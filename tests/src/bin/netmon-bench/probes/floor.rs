//! The least a probe can cost: two system calls, nothing recorded.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use netmon_agent::packet::icmp::{Echo, Family, encode_request};
use netmon_tests::lab::Netns;
use nix::sys::resource::{UsageWho, getrusage};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;

use super::subject::cpu;

/// Microseconds of CPU for an echo over loopback with `sendto` and `recv`, one after another.
pub fn measure(netns: &Netns, count: u32) -> Result<f64> {
    netns.run(|| {
        let mut socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4))?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        let before = cpu(&getrusage(UsageWho::RUSAGE_THREAD)?);
        let mut buffer = [0; 256];
        for sequence in 0..count {
            let echo =
                Echo { ident: 0, sequence: sequence as u16, nonce: u128::from(sequence).to_ne_bytes() };
            socket.send_to(&encode_request(Family::V4, &echo), &to)?;
            ensure!(socket.read(&mut buffer)? >= 8, "a short reply");
        }
        let took = cpu(&getrusage(UsageWho::RUSAGE_THREAD)?).saturating_sub(before);
        Ok(took.as_secs_f64() * 1e6 / f64::from(count))
    })?
}
