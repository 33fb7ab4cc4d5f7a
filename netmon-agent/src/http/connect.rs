//! A connection to the first address that answers, with TLS around it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::Stream;

/// Connects to the first of these that takes a connection: to the very addresses, for somebody may have looked at them.
/// One that keeps silent leaves the others, and what comes then, their share of `limit`.
///
/// # Errors
/// The last address and why it was none; nothing where there was no address.
pub async fn connect(
    addresses: impl IntoIterator<Item = SocketAddr, IntoIter: ExactSizeIterator>,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Option<(SocketAddr, io::Error)>> {
    let addresses = addresses.into_iter();
    let share = limit / (addresses.len() as u32 + 1);
    let mut last = None;
    for to in addresses {
        let connected = timeout(share, TcpStream::connect(to)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                // Else the request may wait for the acknowledgement of the handshake's last part.
                let _ = stream.set_nodelay(true);
                return Ok((stream, to));
            }
            Err(e) => last = Some((to, e)),
        }
    }
    Err(last)
}

/// TLS over a connection, with whom the certificate has to name.
///
/// # Errors
/// No secure connection: the handshake failed, or the certificate does not hold.
pub async fn secure(
    stream: TcpStream,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> io::Result<Box<dyn Stream>> {
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}
