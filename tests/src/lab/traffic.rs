//! Traffic of the node's own: what the kernel counters are made to grow with.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};

use super::server::{DISCARD, ECHO};
use super::world::{Family, World};

/// Uploads from the node to the discard port, until dropped.
#[derive(Debug)]
pub struct Bulk {
    ended: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Bulk {
    /// Starts one upload to each of `hosts`; a broken one connects anew.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(world: &World, hosts: &[std::net::IpAddr]) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let threads = world.node.run(|| {
            let start = |host: &std::net::IpAddr| {
                let (to, ended, sent) = (SocketAddr::new(*host, DISCARD), ended.clone(), sent.clone());
                thread::spawn(move || upload(to, &ended, &sent))
            };
            hosts.iter().map(start).collect()
        })?;
        Ok(Self { ended, sent, threads })
    }

    /// Bytes handed to the kernel so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the uploads and waits until their threads are gone.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes the node send resets of its own accord: connections closed with `SO_LINGER` 0 and, by turns, with unread data.
pub fn abort_connections(world: &World, count: usize) -> Result<()> {
    world.node.run(|| {
        (0..count).try_for_each(|i| {
            let mut stream =
                TcpStream::connect((super::SERVER_V4, ECHO)).context("connecting to the echo port")?;
            stream.write_all(b"unread")?;
            if i % 2 == 0 {
                setsockopt(&stream, Linger, &linger { l_onoff: 1, l_linger: 0 })?;
            } else {
                // Closing is a reset only when something lies unread.
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.read_exact(&mut [0; 1])?;
            }
            Ok(())
        })
    })?
}

/// Makes the node send resets in reply: the internet connects to a port of the node where nobody listens.
pub fn refused_connections(world: &World, count: usize) -> Result<()> {
    let port = world.node.run(|| -> Result<u16> {
        Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
    })??;
    let to = SocketAddr::new(world.node_address(0, Family::V4), port);
    world.internet.run(|| {
        (0..count).try_for_each(|_| match TcpStream::connect_timeout(&to, Duration::from_secs(5)) {
            Ok(_) => anyhow::bail!("{to} accepted a connection"),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            Err(e) => Err(e).context("connecting to a closed port"),
        })
    })?
}

fn upload(to: SocketAddr, ended: &AtomicBool, sent: &AtomicU64) {
    let block = vec![0; 64 * 1024];
    while !ended.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(1)) else { continue };
        let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
        while !ended.load(Ordering::Relaxed) {
            match stream.write(&block) {
                Ok(n) => _ = sent.fetch_add(n as u64, Ordering::Relaxed),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    }
}
