//! Listeners that were passed by a service manager: connections wait in them while the agent starts, and are answered by it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
};

use socket2::{Domain, SockRef, Type};

/// Listeners by what they are, whatever they are called.
#[derive(Debug, Default)]
pub struct Passed {
    pub(super) unix: Vec<UnixListener>,
    pub(super) tcp: Vec<(SocketAddr, TcpListener)>,
}

impl Passed {
    /// Takes those that can be served; each other one is logged by its name, and closed.
    pub fn new(all: Vec<(OwnedFd, String)>) -> Self {
        let mut passed = Self::default();
        for (fd, name) in all {
            if let Err(why) = passed.take(fd) {
                tracing::warn!(name, "a descriptor that was passed is not served: {why}");
            }
        }
        passed
    }

    fn take(&mut self, fd: OwnedFd) -> io::Result<()> {
        let odd = |why: &str| io::Error::new(io::ErrorKind::Unsupported, why);
        let socket = SockRef::from(&fd);
        // What is no socket at all says so itself.
        let kind = (socket.domain()?, socket.r#type()?, socket.is_listener()?);
        if !matches!(kind, (_, Type::STREAM, true)) {
            return Err(odd("no stream socket that listens: ListenStream= and Accept=no make one"));
        }
        socket.set_nonblocking(true)?;
        match kind.0 {
            Domain::UNIX => self.unix.push(fd.into()),
            Domain::IPV4 | Domain::IPV6 => {
                let listener = TcpListener::from(fd);
                self.tcp.push((listener.local_addr()?, listener));
            }
            _ => return Err(odd("neither a Unix nor an IP socket")),
        }
        Ok(())
    }

    /// An address outside loopback, which is not served without `--insecure`.
    pub fn exposed(&self) -> Option<SocketAddr> {
        self.tcp.iter().map(|(address, _)| *address).find(|address| !address.ip().is_loopback())
    }

    /// The path of the first Unix socket; none where none was passed.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let first = self.unix.first()?;
        let address = first.local_addr().ok()?;
        // One of the abstract namespace has no file.
        Some(address.as_pathname().map_or_else(|| PathBuf::from("a passed socket"), Into::into))
    }

    /// The listener of this address, if it was passed.
    pub(super) fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.tcp.iter().position(|(a, _)| *a == address)?;
        Some(self.tcp.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::unix::net::UnixDatagram};

    use super::*;

    fn passed(fd: impl Into<OwnedFd>) -> Passed {
        Passed::new(vec![(fd.into(), "x".to_owned())])
    }

    #[test]
    fn each_is_taken_for_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let unix = passed(UnixListener::bind(&path).unwrap());
        assert_eq!((unix.path(), unix.tcp.len()), (Some(path), 0));
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let mut tcp = passed(tcp);
        assert_eq!((tcp.unix.len(), tcp.exposed()), (0, None));
        assert!(tcp.take_tcp(([127, 0, 0, 1], 1).into()).is_none());
        assert!(tcp.take_tcp(address).is_some() && tcp.take_tcp(address).is_none());
        let everywhere = passed(TcpListener::bind("0.0.0.0:0").unwrap());
        assert!(everywhere.exposed().is_some());
    }

    #[test]
    fn what_does_not_listen_for_streams_is_left_alone() {
        let nothing = |p: Passed| p.unix.is_empty() && p.tcp.is_empty();
        assert!(nothing(passed(UdpSocket::bind("127.0.0.1:0").unwrap())));
        assert!(nothing(passed(UnixDatagram::unbound().unwrap())));
        assert!(nothing(passed(std::os::unix::net::UnixStream::pair().unwrap().0)));
        assert!(nothing(passed(std::fs::File::open("/dev/null").unwrap())));
    }
}
