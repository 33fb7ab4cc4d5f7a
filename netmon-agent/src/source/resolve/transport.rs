//! How questions leave: hickory's sockets, but connected ones. A connected socket is told that nobody listens, and knows
//! the device of a link-local resolver.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use tokio::{
    io::{Interest, ReadBuf},
    net::UdpSocket,
};

use super::conf::Server;

type Doing<'a, T> = Pin<Box<dyn Send + Future<Output = io::Result<T>> + 'a>>;

/// The way to one resolver.
#[derive(Clone)]
pub(super) struct Transport {
    server: Server,
    tokio: TokioRuntimeProvider,
    fault: Fault,
}

/// The last error. hickory's pool says "no connections" in place of it.
#[derive(Clone, Debug, Default)]
struct Fault(Arc<Mutex<Option<(io::ErrorKind, String)>>>);

impl Fault {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|e| {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((e.kind(), e.to_string()));
        })
    }
}

impl Transport {
    pub(super) fn new(server: Server) -> Self {
        Self { server, tokio: TokioRuntimeProvider::new(), fault: Fault::default() }
    }

    /// Why the last question that could not be asked could not.
    pub(super) fn fault(&self) -> (io::ErrorKind, String) {
        let fault = self.fault.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fault.unwrap_or_else(|| (io::ErrorKind::Other, "no socket could be had".to_owned()))
    }
}

impl RuntimeProvider for Transport {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Connected;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        _: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Doing<'static, Self::Tcp> {
        let (fault, tokio) = (self.fault.clone(), self.tokio.clone());
        let to = fault.note(self.server.address());
        Box::pin(async move { fault.note(tokio.connect_tcp(to?, local, timeout).await) })
    }

    fn bind_udp(&self, local: SocketAddr, told: SocketAddr) -> Doing<'static, Self::Udp> {
        let fault = self.fault.clone();
        let to = fault.note(self.server.address());
        Box::pin(async move {
            let socket = fault.note(UdpSocket::bind(local).await)?;
            fault.note(socket.connect(to?).await)?;
            Ok(Connected { socket, told, fault })
        })
    }
}

/// A socket that reaches one resolver only.
#[derive(Debug)]
pub(super) struct Connected {
    socket: UdpSocket,
    /// The resolver's address as hickory knows it: without a device.
    told: SocketAddr,
    fault: Fault,
}

impl Connected {
    /// The next answer, or the error that an ICMP message brought: tokio wakes for that only when it is asked to.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            let pending = self.socket.try_io(Interest::ERROR, || {
                Err::<(), _>(self.socket.take_error()?.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
            });
            for result in [pending.map(|()| 0), self.socket.try_recv(buffer)] {
                match result {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    result => return result,
                }
            }
        }
    }
}

impl DnsUdpSocket for Connected {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        self.fault.note(ready!(self.socket.poll_recv(cx, &mut buffer)))?;
        Poll::Ready(Ok((buffer.filled().len(), self.told)))
    }

    // The form that `async_trait` gives an `async fn`.
    fn recv_from<'a, 'b, 'c>(&'a self, buffer: &'b mut [u8]) -> Doing<'c, (usize, SocketAddr)>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move { Ok((self.fault.note(self.receive(buffer).await)?, self.told)) })
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, bytes: &[u8], _: SocketAddr) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, bytes).map(|sent| self.fault.note(sent))
    }
}
