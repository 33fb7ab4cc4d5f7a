//! A blocking connection to the agent.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Error, clock,
    proto::{Call, Exchange, Reply, request},
};

/// How long reading may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Until then, over all.
    Until(Instant),
    /// This long for each read.
    Each(Duration),
    /// As long as it takes.
    Endless,
}

impl Patience {
    /// So long from now, over all; none: as long as it takes.
    pub(crate) fn of(timeout: Option<Duration>) -> Self {
        timeout.and_then(clock::after).map_or(Self::Endless, Self::Until)
    }
}

/// Connects to the socket.
pub(crate) fn connect(path: &Path) -> Result<UnixStream, Error> {
    UnixStream::connect(path).map_err(|source| not_connected(path, source))
}

/// Why there is no connection.
pub(crate) fn not_connected(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NoAgent { path: path.into(), source },
        ErrorKind::PermissionDenied => Error::Permission { path: path.into() },
        _ => Error::Io(source),
    }
}

/// Reads what is at `target`: the whole answer.
pub(crate) fn get(path: &Path, target: &str, patience: Patience) -> Result<Reply, Error> {
    ask(path, &request("GET", target, &[]), patience)
}

/// Sends the request, and reads the whole answer.
pub(crate) fn ask(path: &Path, request: &[u8], patience: Patience) -> Result<Reply, Error> {
    exchange(connect(path)?, request, patience)
}

/// The same over a connection that is there already.
pub(crate) fn exchange(stream: UnixStream, request: &[u8], patience: Patience) -> Result<Reply, Error> {
    let mut wire = Wire::new(stream, request, patience)?;
    let mut call = Call::default();
    loop {
        if let Some(reply) = call.reply()? {
            return Ok(reply);
        }
        wire.fill(&mut call.exchange)?;
    }
}

/// A connection on which something was asked.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: UnixStream,
    piece: Box<[u8; 8192]>,
    pub(crate) patience: Patience,
}

impl Wire {
    /// Sends the request.
    pub(crate) fn new(mut stream: UnixStream, request: &[u8], patience: Patience) -> Result<Self, Error> {
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        sent(stream.write_all(request))?;
        Ok(Self { stream, piece: Box::new([0; 8192]), patience })
    }

    /// Reads more.
    pub(crate) fn fill(&mut self, into: &mut Exchange) -> Result<(), Error> {
        let patience = match self.patience {
            Patience::Endless => None,
            Patience::Each(d) => Some(d.max(Duration::from_millis(1))),
            Patience::Until(deadline) => Some(clock::left(deadline).ok_or(Error::Timeout)?),
        };
        self.stream.set_read_timeout(patience)?;
        loop {
            match self.stream.read(&mut self.piece[..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => return received(read, &self.piece[..], into),
            }
        }
    }
}

/// What became of sending a request. A server that is full may answer and close before it has read the request: its
/// answer is worth more than EPIPE.
pub(crate) fn sent(result: io::Result<()>) -> Result<(), Error> {
    match result {
        Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
        result => result.map_err(in_time),
    }
}

/// Takes in what a read brought.
pub(crate) fn received(read: io::Result<usize>, piece: &[u8], into: &mut Exchange) -> Result<(), Error> {
    match read {
        Ok(0) => into.close(),
        Ok(n) => into.push(&piece[..n]),
        Err(e) if e.kind() == ErrorKind::ConnectionReset => into.close(),
        Err(e) => return Err(in_time(e)),
    }
    Ok(())
}

fn in_time(e: io::Error) -> Error {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout,
        _ => Error::Io(e),
    }
}
