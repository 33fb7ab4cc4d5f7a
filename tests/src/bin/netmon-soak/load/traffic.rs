//! A trickle over TCP, which the loss makes the node send again.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use netmon_tests::lab::{DISCARD, World};

use super::Load;

/// Towards so many /24 at once.
const STREAMS: usize = 4;

impl Load {
    /// Writes a few kilobytes twenty times a second, over connections that are made anew in each turn.
    pub(super) fn send_through_loss(&self, world: &World) -> Result<()> {
        while let Some(turn) = self.turn() {
            world.node.run(|| {
                let connect = |n: usize| {
                    let to = SocketAddr::from((Ipv4Addr::new(198, 18, n as u8, 1), DISCARD));
                    TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok()
                };
                let mut streams: Vec<_> = (0..STREAMS).filter_map(connect).collect();
                for _ in 0..100 {
                    for stream in &mut streams {
                        let _ = stream.set_nonblocking(true);
                        let _ = stream.write(&[0; 3000]);
                    }
                    if !self.pause(Duration::from_millis(50)) {
                        break;
                    }
                }
            })?;
            drop(turn);
            self.between(Duration::from_millis(200));
        }
        Ok(())
    }
}
