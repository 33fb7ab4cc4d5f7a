//! A slow line to the store: what a node sends through it arrives at an even pace, and is counted.

use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_agent::time::Mono;
use netmon_tests::lab::Netns;
use socket2::SockRef;

/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(100);
/// What the kernel may hold of what has not been passed on: little, or the line would only seem slow.
const HELD: usize = 128 << 10;

/// Listens until dropped.
pub struct Relay {
    line: Arc<Line>,
}

struct Line {
    to: SocketAddr,
    /// Bytes a second.
    pace: u64,
    sent: AtomicU64,
    ended: AtomicBool,
}

impl Relay {
    /// Passes what comes to `at`, an address of `netns`, on to `to`, likewise.
    ///
    /// # Errors
    /// The address is not to be had.
    pub fn start(netns: &Netns, at: SocketAddr, to: SocketAddr, pace: u64) -> Result<Self> {
        let line = Arc::new(Line { to, pace, sent: AtomicU64::new(0), ended: AtomicBool::new(false) });
        let listening = line.clone();
        netns.run(move || -> Result<()> {
            let listener = TcpListener::bind(at).with_context(|| at.to_string())?;
            // Those it accepts have it from it.
            SockRef::from(&listener).set_recv_buffer_size(HELD)?;
            listener.set_nonblocking(true)?;
            // In the namespace, like the thread that starts it.
            thread::spawn(move || listen(&listener, &listening));
            Ok(())
        })??;
        Ok(Self { line })
    }

    /// Bytes that came from the node.
    pub fn sent(&self) -> u64 {
        self.line.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.ended.store(true, Ordering::Relaxed);
    }
}

fn listen(listener: &TcpListener, line: &Arc<Line>) {
    while !line.is_over() {
        match listener.accept() {
            Ok((near, _)) => {
                let line = line.clone();
                // Whoever is cut off tries again; there is nothing to tell.
                thread::spawn(move || drop(line.join(&near)));
            }
            Err(_) => thread::sleep(LOOK / 10),
        }
    }
}

impl Line {
    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn join(self: Arc<Self>, near: &TcpStream) -> std::io::Result<()> {
        let far = TcpStream::connect(self.to)?;
        near.set_nonblocking(false)?;
        for stream in [near, &far] {
            stream.set_read_timeout(Some(LOOK))?;
        }
        let (back, from, line) = (near.try_clone()?, far.try_clone()?, self.clone());
        let answers = thread::spawn(move || line.copy(&from, &back, false));
        self.copy(near, &far, true);
        let _ = answers.join();
        Ok(())
    }

    /// Copies until either side ends, and then ends both.
    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, slowly: bool) {
        let mut piece = vec![0; 16 << 10];
        let mut next = Mono::now();
        while !self.is_over() {
            let n = match from.read(&mut piece) {
                Ok(n) if n > 0 => n,
                Err(e) if matches!(e.kind(), WouldBlock | TimedOut | Interrupted) => continue,
                _ => break,
            };
            if slowly {
                self.sent.fetch_add(n as u64, Ordering::Relaxed);
                // What was not used of the time before is lost.
                next = next.max(Mono::now()) + Duration::from_secs_f64(n as f64 / self.pace as f64);
                thread::sleep(next.since(Mono::now()));
            }
            if to.write_all(&piece[..n]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
