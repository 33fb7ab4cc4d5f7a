//! A server that takes webhooks and answers HTTP probes, refusing a webhook now and then so that it is sent again.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_tests::lab::Netns;

use super::requests::head;

/// The port.
pub const PORT: u16 = 8099;

/// It listens until dropped.
#[derive(Debug)]
pub struct Receiver {
    taken: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Listens on all addresses of IPv4 inside `netns`.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(netns: &Netns) -> Result<Self> {
        let listener =
            netns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))?.context("a receiver")?;
        listener.set_nonblocking(true)?;
        let (taken, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (taken.clone(), ended.clone());
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let count = count.clone();
                        thread::spawn(move || serve(stream, &count));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        Ok(Self { taken, ended, thread: Some(thread) })
    }

    /// Webhooks taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One connection, as long as it is used.
fn serve(stream: TcpStream, taken: &AtomicU64) {
    if stream.set_nonblocking(false).is_err()
        || stream.set_read_timeout(Some(Duration::from_secs(5))).is_err()
    {
        return;
    }
    let mut stream = BufReader::new(stream);
    while let Ok((first, headers)) = head(&mut stream) {
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: u64 = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        if std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink()).is_err() {
            return;
        }
        let answer = if !first.starts_with("POST") {
            "200 OK"
        } else if rand::random_bool(0.05) {
            "503 Service Unavailable"
        } else {
            taken.fetch_add(1, Ordering::Relaxed);
            "204 No Content"
        };
        let length = if answer.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        if write!(stream.get_mut(), "HTTP/1.1 {answer}\r\n{length}\r\n").is_err() {
            return;
        }
    }
}
