//! The listeners and their connections.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use axum::Router;
use hyper::{Method, body::Incoming, server::conn::http1, service::Service, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use super::{
    App,
    connections::Reporter,
    io::Impatient,
    plain,
    reports::Patient,
    rewound::Rewound,
    routes::METRICS,
    shares::{Holder, Place, Shares},
    web::{Rules, Web},
};
use crate::{
    output::{log::RateLimit, metrics::Own},
    sys,
    time::Mono,
};

/// Longest request header, bytes.
pub(super) const MAX_HEADER: usize = 8 << 10;
/// What a request's header may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// What may pass before the first request on a Unix connection. On TCP it is the header's time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// What a peer may take to read what it asked for.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is kept in the kernel for a local peer that does not read, bytes; twice as much with the kernel's own (socket(7)). A
/// hundred connections are usual, ten thousand are possible. Over TCP, where there are few, the kernel knows best.
const UNSENT: usize = 32 << 10;

/// Connections over TCP at one time.
pub(super) const TCP_CONNECTIONS: usize = 64;

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n\
    Connection: close\r\nContent-Length: 36\r\n\r\n{\"error\":\"too many connections now\"}";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine.
    Unix {
        /// Its user (`SO_PEERCRED`).
        uid: u32,
        /// Itself, where it can be seen from here.
        pid: Option<i32>,
    },
    /// Somebody over TCP, from this address.
    Tcp(IpAddr),
}

impl Peer {
    /// Whose share the places are that this one takes.
    pub(super) fn holder(self) -> Holder {
        match self {
            Self::Unix { uid, .. } => Holder::User(uid),
            Self::Tcp(address) => Holder::behind(address),
        }
    }
}

/// The groups of who asks over the Unix socket, the first among them (`SO_PEERCRED`, `SO_PEERGROUPS`).
#[derive(Clone, Debug)]
pub(super) struct Groups(pub(super) Arc<[u32]>);

/// What every connection needs.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) app: Arc<App>,
    pub(super) router: Router,
    pub(super) own: Own,
    pub(super) shares: Shares,
    pub(super) closing: watch::Receiver<bool>,
    /// Ends connections that did not end by themselves.
    pub(super) kill: watch::Receiver<bool>,
    /// Held by every task, so that their end can be awaited.
    pub(super) alive: mpsc::Sender<()>,
}

pub(super) async fn serve_unix(listener: UnixListener, context: Context) {
    let mut closing = context.closing.clone();
    let mut limit = RateLimit::default();
    loop {
        let accepted = tokio::select! {
            _ = closing.wait_for(|c| *c) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => unix_connection(stream, &context),
            Err(e) => {
                context.own.not_accepted("unix");
                limit.warn(format_args!("accepting on the Unix socket: {e}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn unix_connection(stream: UnixStream, context: &Context) {
    // Without credentials the peer counts as nobody (overflowuid).
    let (uid, gid, pid) = stream.peer_cred().map_or((65_534, 65_534, None), |c| (c.uid(), c.gid(), c.pid()));
    let Some(place) = context.shares.take(Holder::User(uid), Mono::now()) else {
        context.own.refused("unix");
        let _ = stream.try_write(BUSY);
        return;
    };
    // Less is better, and as it is will do.
    let _ = setsockopt(&stream, SndBuf, &UNSENT);
    let context = context.clone();
    tokio::spawn(async move {
        let mut closing = context.closing.clone();
        let asked = tokio::select! {
            readable = timeout(IDLE_TIMEOUT, stream.readable()) => matches!(readable, Ok(Ok(()))),
            () = place.evicted() => false,
            _ = closing.wait_for(|c| *c) => false,
        };
        if !asked {
            return;
        }
        let Ok(first) = plain::read(&stream) else { return };
        let goes_on = match plain::recognise(&first) {
            Some(question) => {
                drop(first);
                plain::answer(stream, question, (uid, pid), &context, &place).await
            }
            None => Some((stream, first)),
        };
        let Some((stream, first)) = goes_on else { return };
        let mut groups = sys::peer_groups(stream.as_fd()).unwrap_or_default();
        groups.push(gid);
        let stream = Rewound::new(stream, first);
        let reporter = Arc::new(context.app.connections.reporter(uid));
        // In a box, so that those who only wait don't pay for its size.
        let peer = Peer::Unix { uid, pid };
        let local = Local { reporter, groups: groups.into() };
        Box::pin(connection(stream, peer, context, &place, Some(local), None)).await;
    });
}

pub(super) async fn serve_tcp(listener: TcpListener, address: SocketAddr, room: Shares, context: Context) {
    let mut closing = context.closing.clone();
    let mut limit = RateLimit::default();
    loop {
        let accepted = tokio::select! {
            _ = closing.wait_for(|c| *c) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => tcp_connection(stream, Peer::Tcp(from.ip()), &room, &context),
            Err(e) => {
                context.own.not_accepted("tcp");
                limit.warn(format_args!("accepting on {address}: {e}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn tcp_connection(stream: TcpStream, peer: Peer, room: &Shares, context: &Context) {
    let Some(place) = room.take(peer.holder(), Mono::now()) else {
        context.own.refused("tcp");
        let _ = stream.try_write(BUSY);
        return;
    };
    let context = context.clone();
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        let Some(web) = context.app.web.clone() else {
            return connection(stream, peer, context, &place, None, None).await;
        };
        let rules = web.rules().await;
        match rules.acceptor() {
            None => connection(stream, peer, context, &place, None, Some((web, rules))).await,
            Some(acceptor) => {
                let mut closing = context.closing.clone();
                let encrypted = tokio::select! {
                    encrypted = timeout(HEADER_TIMEOUT, acceptor.accept(stream)) => encrypted,
                    () = place.evicted() => return,
                    _ = closing.wait_for(|c| *c) => return,
                };
                // One that fails is its peer's own doing.
                let Ok(Ok(stream)) = encrypted else { return };
                let stream = Encrypted(stream);
                Box::pin(connection(stream, peer, context, &place, None, Some((web, rules)))).await;
            }
        }
    });
}

/// A connection with TLS, by whose socket it is seen whether the peer is there.
struct Encrypted(TlsStream<TcpStream>);

impl AsFd for Encrypted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().0.as_fd()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What only a connection to the Unix socket has.
struct Local {
    reporter: Arc<Reporter>,
    groups: Arc<[u32]>,
}

async fn connection<S>(
    stream: S,
    peer: Peer,
    context: Context,
    place: &Place,
    local: Option<Local>,
    guard: Option<(Arc<Web>, Arc<Rules>)>,
) where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let Context { app, router, mut closing, mut kill, alive, .. } = context;
    let routes = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    match &local {
        Some(local) => builder.timer(Patient(local.reporter.clone())),
        None => builder.timer(TokioTimer::new()),
    };
    builder.header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER);
    // What was reported over this connection goes with the service, which goes with the connection.
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        if let Some(local) = &local {
            request.extensions_mut().insert(local.reporter.clone());
            request.extensions_mut().insert(Groups(local.groups.clone()));
        }
        let (routes, guard, app) = (routes.clone(), guard.clone(), app.clone());
        async move {
            // One who asks a hundred times without a pause has its turn after each who asked once.
            tokio::task::yield_now().await;
            let refusal = match &guard {
                Some((web, rules)) => web.refuse(rules, request.headers()).await,
                None => None,
            };
            let mut answer = match refusal {
                Some(refusal) => refusal,
                None => {
                    let is_scrape = request.method() == Method::GET && request.uri().path() == METRICS;
                    let answer = app.room.hold_or_refuse(peer.holder(), routes.call(request).await?);
                    if is_scrape {
                        app.own.scraped(answer.status().is_success());
                    }
                    answer
                }
            };
            if let Some((_, rules)) = &guard {
                rules.mark(answer.headers_mut());
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let last_word = Arc::new(Notify::new());
    let io = TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT, last_word.clone(), place.mark().clone()));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut evicted = std::pin::pin!(place.evicted());
    let mut asked_to_close = false;
    loop {
        // A connection that fails is its peer's own doing, and nothing that the log should tell.
        tokio::select! {
            _ = connection.as_mut() => break,
            _ = closing.wait_for(|c| *c), if !asked_to_close => {
                asked_to_close = true;
                connection.as_mut().graceful_shutdown();
            }
            // No request comes after this one: its answer is the last thing to be done.
            () = last_word.notified(), if !asked_to_close => {
                asked_to_close = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = kill.wait_for(|k| *k) => break,
            () = &mut evicted => break,
        }
    }
    drop(alive);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_answer_has_the_length_it_says() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<netmon_client::wire::ApiError>(body).unwrap();
    }
}
