//! A blocking connection to the agent.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    io::retry_on_intr,
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt},
};

use crate::{
    Error, clock,
    proto::{Call, Exchange, Reply, request},
};

/// How long connecting and writing may take each.
const SEND: Duration = Duration::from_secs(5);

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
    connect_within(path, SEND)
}

/// The same with an agent that accepts nobody for so long. connect(2) waits for room in the backlog; SO_SNDTIMEO is its
/// bound, too, and where it is set a signal ends the wait, though nothing was begun (unix(7), signal(7)).
fn connect_within(path: &Path, most: Duration) -> Result<UnixStream, Error> {
    let connected = || {
        let address = SocketAddrUnix::new(path)?;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(most))?;
        retry_on_intr(|| net::connect(&socket, &address))?;
        Ok::<_, rustix::io::Errno>(socket)
    };
    match connected() {
        Ok(socket) => Ok(socket.into()),
        Err(rustix::io::Errno::AGAIN) => Err(Error::Timeout),
        Err(e) => Err(not_connected(path, e.into())),
    }
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
        stream.set_write_timeout(Some(SEND))?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_agent_that_accepts_nobody_is_a_timeout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        net::listen(&listener, 0).unwrap();
        let short = Duration::from_millis(50);
        let _first = connect_within(&path, short).unwrap();
        assert!(matches!(connect_within(&path, short), Err(Error::Timeout)));
        drop(listener);
        assert!(matches!(connect_within(&path, short), Err(Error::NoAgent { .. })));
        let long = folder.path().join("x".repeat(200));
        assert!(matches!(connect(&long), Err(Error::Io(_))));
    }
}
