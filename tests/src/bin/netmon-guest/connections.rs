//! Connections between two namespaces, and the ways to end them by a reset.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use netmon_tests::lab::Netns;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};

/// Longer than a segment that was lost takes to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both ends of a connection.
#[derive(Debug)]
pub struct Connection {
    pub accepted: TcpStream,
    pub connected: TcpStream,
}

/// Listens inside `netns` on all addresses of the family of `to`, and says at which address of `to` it is reached.
pub fn listen(netns: &Netns, to: IpAddr) -> Result<(TcpListener, SocketAddr)> {
    let all: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let listener = netns.run(|| TcpListener::bind((all, 0)))??;
    let port = listener.local_addr()?.port();
    Ok((listener, SocketAddr::new(to, port)))
}

/// Connects from inside `netns`.
pub fn connect(netns: &Netns, to: SocketAddr) -> Result<TcpStream> {
    let stream = netns.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
    stream.with_context(|| format!("connecting to {to}"))
}

/// Makes `count` connections from `client` to the address `to` of `server`.
pub fn establish(server: &Netns, client: &Netns, to: IpAddr, count: u64) -> Result<Vec<Connection>> {
    let (listener, to) = listen(server, to)?;
    let one = |_| {
        let connected = connect(client, to)?;
        let (accepted, _) = listener.accept()?;
        accepted.set_read_timeout(Some(PATIENCE))?;
        connected.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { accepted, connected })
    };
    (0..count).map(one).collect()
}

/// `count` connects from `client` to a port of `server` where nobody listens.
pub fn refused(server: &Netns, client: &Netns, to: IpAddr, count: u64) -> Result<()> {
    let (listener, to) = listen(server, to)?;
    drop(listener);
    refused_at(client, to, count)
}

/// `count` connects from `client` that a RST has to refuse.
pub fn refused_at(client: &Netns, to: SocketAddr, count: u64) -> Result<()> {
    client.run(|| {
        (0..count).try_for_each(|_| match TcpStream::connect_timeout(&to, PATIENCE) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Err(e) => Err(e).with_context(|| format!("connecting to {to}")),
            Ok(_) => bail!("{to} accepted a connection"),
        })
    })?
}

/// Closes with `SO_LINGER` 0: a RST in place of a FIN.
pub fn abort(stream: TcpStream) -> Result<()> {
    setsockopt(&stream, Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    drop(stream);
    Ok(())
}

/// Waits until the peer has ended its side, by a FIN or by a RST.
pub fn ended(mut stream: &TcpStream) -> Result<()> {
    match stream.read(&mut [0; 1]) {
        Ok(0) => Ok(()),
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => bail!("the peer should have ended it: {other:?}"),
    }
}

/// Aborts one end and keeps the other until it knows: one that closed before would send a FIN, and the answer to that is
/// a RST more.
pub fn abort_and_await(aborted: TcpStream, other: &TcpStream) -> Result<()> {
    abort(aborted)?;
    ended(other)
}
