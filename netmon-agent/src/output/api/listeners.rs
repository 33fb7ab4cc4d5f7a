//! What is listened at: opened, or taken over, while privileges last. A socket's group and a port below 1024 take some.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use super::{Passed, SocketError, SocketFile, socket::GROUP};
use crate::capability::Capability;

/// Listeners that nobody serves yet: who connects waits until somebody does.
#[derive(Debug)]
pub struct Listeners {
    /// Where the Unix socket is, and its file, where that is ours.
    pub(super) path: PathBuf,
    pub(super) file: Option<SocketFile>,
    pub(super) unix: Vec<UnixListener>,
    /// With what the capability is called, after the address that was asked for.
    pub(super) tcp: Vec<(String, SocketAddr, TcpListener)>,
    /// One for each TCP address that can't be had.
    pub(super) capabilities: Vec<Capability>,
}

impl Listeners {
    /// Takes what was passed: a Unix socket among them in place of `socket`, and each TCP socket, beside those of `listen`
    /// that are not among them.
    ///
    /// # Errors
    /// When the Unix socket can't be had. A TCP address that can't is a capability that is missing, and said in the log.
    pub fn bind(mut passed: Passed, socket: &Path, listen_at: &[SocketAddr]) -> Result<Self, SocketError> {
        // The C library loads what groups are looked up with now: later no code can be.
        let _ = nix::unistd::Group::from_name(GROUP);
        let (file, path, unix) = match passed.path() {
            Some(path) => (None, path, std::mem::take(&mut passed.unix)),
            None => {
                let (file, listener) = SocketFile::bind(socket)?;
                (Some(file), socket.to_owned(), vec![listener])
            }
        };
        let mut all = Self { path, file, unix, tcp: Vec::new(), capabilities: Vec::new() };
        let others = passed.tcp.iter().map(|(a, _)| *a).filter(|a| !listen_at.contains(a));
        let addresses: Vec<SocketAddr> = listen_at.iter().copied().chain(others).collect();
        for address in addresses {
            let name = format!("listen_{address}");
            let made = match passed.take_tcp(address) {
                Some(listener) => Ok((listener, address)),
                None => listen(address),
            };
            match made {
                Ok((listener, address)) => all.tcp.push((name, address, listener)),
                Err(e) => all.capabilities.push(not_served(name, address, &e)),
            }
        }
        Ok(all)
    }

    /// The Unix socket's path, where its file is ours to remove.
    pub fn own_socket(&self) -> Option<&Path> {
        self.file.as_ref().map(SocketFile::path)
    }
}

pub(super) fn served(name: String, scheme: &str, address: SocketAddr) -> Capability {
    Capability::works(name, format!("serves metrics and the page at {scheme}://{address}"))
}

pub(super) fn not_served(name: String, address: SocketAddr, e: &io::Error) -> Capability {
    let missing = Capability::missing(name, format!("{address}: {e}"), remedy(e, address));
    tracing::warn!("no metrics and no page at {}; {}", missing.detail, missing.remedy);
    missing
}

/// Opens one of our own.
fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        // The IPv4 address is a listener of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn remedy(e: &io::Error, address: SocketAddr) -> String {
    use io::ErrorKind;
    match e.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "see who has it with `ss -ltnp 'sport = :{}'`, or set another agent.listen",
                address.port()
            )
        }
        // EAFNOSUPPORT has no kind of its own.
        _ if address == SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))
            && (e.kind() == ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(libc::EAFNOSUPPORT)) =>
        {
            "IPv6 is off here: leave [::1] out of agent.listen, or `sysctl -w net.ipv6.conf.lo.disable_ipv6=0`".into()
        }
        ErrorKind::AddrNotAvailable => "set agent.listen to an address of this machine".into(),
        ErrorKind::PermissionDenied => "set agent.listen to a port of 1024 or above".into(),
        _ => "set another agent.listen".into(),
    }
}
