//! Programs that wait, all in one process of their own: each end of a connection takes a descriptor.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write, stdin, stdout},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Boot;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The crowd as its maker sees it.
pub(crate) struct Crowd {
    child: Child,
    orders: ChildStdin,
    told: BufReader<ChildStdout>,
    count: usize,
}

impl Crowd {
    /// A process that makes `count` waiters at each order. `own_conditions`: no two wait for the same.
    pub(crate) fn new(socket: &Path, count: usize, own_conditions: bool) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--bench", "crowd"])
            .arg(socket)
            .args([count.to_string(), own_conditions.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("no pipe")?;
        let told = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, orders, told, count })
    }

    /// Sends all of them to wait.
    pub(crate) fn join(&mut self) -> Result<()> {
        Ok(writeln!(self.orders)?)
    }

    /// When each had its answer, sorted. Fails unless each had exactly one that says satisfied.
    pub(crate) fn answers(&mut self) -> Result<Vec<Boot>> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        let mut at = Vec::with_capacity(self.count);
        for word in line.split_whitespace() {
            at.push(Boot::from_nanos(word.parse()?));
        }
        ensure!(at.len() == self.count, "{} of {} were served exactly once", at.len(), self.count);
        at.sort();
        Ok(at)
    }

    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.orders);
        ensure!(self.child.wait()?.success(), "the crowd failed");
        Ok(())
    }
}

/// The crowd's own process: a line on standard input makes it wait, and one with the times of the answers comes back.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let [socket, count, own_conditions] = words else { anyhow::bail!("SOCKET COUNT OWN_CONDITIONS") };
    let (count, own_conditions): (usize, bool) = (count.parse()?, own_conditions.parse()?);
    for order in stdin().lines() {
        order?;
        let at = wait_together(Path::new(socket), count, own_conditions)?;
        writeln!(stdout(), "{}", at.join(" "))?;
    }
    Ok(())
}

fn wait_together(socket: &Path, count: usize, own_conditions: bool) -> Result<Vec<String>> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let mut waiters = Vec::with_capacity(count);
    for n in 0..count {
        let mut stream = UnixStream::connect(socket)?;
        // A stability that differs, yet is over by the time of the release.
        let stable = if own_conditions { format!("&stable={}ns", n + 1) } else { String::new() };
        let request =
            format!("GET /v1/wait?state=up{stable} HTTP/1.1\r\nHost: netmon\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, n as u64))?;
        waiters.push((stream, None, Vec::new()));
    }
    let mut events = [EpollEvent::empty(); 256];
    let mut left = count;
    while left > 0 {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            let (stream, at, answer) = &mut waiters[event.data() as usize];
            if at.is_none() {
                *at = Some(Boot::now());
                left -= 1;
                read_ready(stream, answer)?;
            }
        }
    }
    let served = waiters.into_iter().filter_map(|(mut stream, at, mut answer)| {
        stream.set_nonblocking(false).ok()?;
        stream.read_to_end(&mut answer).ok()?;
        let text = String::from_utf8(answer).ok()?;
        let once = text.starts_with("HTTP/1.1 200 ") && text.matches("\"satisfied\":true").count() == 1;
        Some(at.filter(|_| once)?.as_nanos().to_string())
    });
    Ok(served.collect())
}

/// What is there now: an answer is small enough to come in one piece. The rest is read when nothing is measured.
fn read_ready(stream: &mut UnixStream, answer: &mut Vec<u8>) -> Result<()> {
    let mut piece = [0; 1024];
    match stream.read(&mut piece) {
        Ok(n) => answer.extend_from_slice(&piece[..n]),
        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
        Err(e) => return Err(e.into()),
    }
    Ok(())
}
