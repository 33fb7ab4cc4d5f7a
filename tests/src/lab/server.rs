//! TCP servers on every address of the internet.

use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::netns::Netns;
use super::service::Service;

/// Echoes what it gets (RFC 862).
pub const ECHO: u16 = 7;
/// Swallows what it gets (RFC 863).
pub const DISCARD: u16 = 9;
/// Accept and wait for the other side to close, as far as a TCP probe can tell from the real thing.
const PLAIN: [u16; 3] = [53, 80, 443];

/// The listening ports and the bytes they swallowed.
#[derive(Debug)]
pub struct Server {
    received: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    _service: Service,
}

impl Server {
    /// Listens inside `netns`, on all addresses of both families.
    pub(super) fn start(netns: &Netns) -> Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let open = || {
            let bind = |port: u16| {
                TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("port {port}"))
            };
            PLAIN.into_iter().chain([ECHO, DISCARD]).map(bind).collect()
        };
        let (count, end) = (received.clone(), ended.clone());
        let service = Service::start(netns, open, move |listener| accept(listener, &count, &end))?;
        Ok(Self { received, ended, _service: service })
    }

    /// Bytes received by the echo and discard ports so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, received: &Arc<AtomicU64>, ended: &Arc<AtomicBool>) {
    let Ok((stream, _)) = listener.accept() else { return };
    let echo = listener.local_addr().is_ok_and(|a| a.port() == ECHO);
    let (received, ended) = (received.clone(), ended.clone());
    thread::spawn(move || hold(stream, echo, &received, &ended));
}

/// Reads until the peer or the lab is done. A read time-out is the moment to look whether the lab is.
fn hold(mut stream: TcpStream, echo: bool, received: &AtomicU64, ended: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    while !ended.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                received.fetch_add(n as u64, Ordering::Relaxed);
                if echo && stream.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            // A read with a time-out is interrupted by whatever stops a thread for a moment, and never begun anew.
            Err(e) if matches!(e.kind(), WouldBlock | TimedOut | Interrupted) => {}
            Err(_) => return,
        }
    }
}
