//! One probe, from the connection to the answer's head.

use std::{error::Error, io, sync::Arc, time::Duration};

use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

use super::{
    super::tcp,
    Failure, Known,
    first_byte::FirstByte,
    learn,
    question::Question,
    trust::{Common, Trust},
};
use crate::{
    http::{self, Stream},
    observation::FailureReason,
    sys::Batch,
    time::Mono,
};

/// Bytes of an answer read at most: those of its head, and of its body for as orderly an end as can be had.
const ANSWER: usize = 64 << 10;

/// A connection that is being made, and what is to be done with it.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Connecting.
    pub(super) socket: Socket,
    /// Since when.
    pub(super) sent: Mono,
    pub(super) question: Question,
    pub(super) known: Known,
    pub(super) trust: Arc<Trust>,
}

impl Exchange {
    /// Runs to the end, and tells what came of it as soon as that is known: the time of all phases together.
    pub(super) async fn run(self, tell: impl FnOnce(Result<Duration, Failure>)) {
        let Self { socket, sent, question, known, trust } = self;
        match open(socket, sent, &question, &known, trust).await {
            Ok((stream, spent)) => ask(stream, spent, question, &known, tell).await,
            Err(failure) => tell(Err(failure)),
        }
    }
}

/// The connection as far as the request can be sent, and what it took. The time it takes us to read certificates of
/// authorities is not the target's: what is not over with the connection is left out.
async fn open(
    socket: Socket,
    sent: Mono,
    question: &Question,
    known: &Known,
    trust: Arc<Trust>,
) -> Result<(Box<dyn Stream>, Duration), Failure> {
    let connecting = async {
        let stream = connected(socket).await?;
        let took = Mono::now().since(sent);
        learn(known, |detail| detail.connect = Some(took));
        Ok((stream, took))
    };
    if !question.spec.tls {
        let (stream, took) = connecting.await?;
        return Ok((Box::new(stream), took));
    }
    let trusting = async {
        // Without anybody to judge the answer nothing is asked of the target.
        trust.common(&question.spec).await.ok_or(Failure::from(FailureReason::SendError))
    };
    let ((stream, connect), common) = tokio::try_join!(connecting, trusting)?;
    let (stream, tls) = secured(stream, question, known, common).await?;
    Ok((stream, connect + tls))
}

/// Waits for the kernel to decide a connection.
async fn connected(mut socket: Socket) -> Result<TcpStream, Failure> {
    let stream = loop {
        let stream = TcpStream::from_std(socket.into()).map_err(|_| FailureReason::SendError)?;
        let waited = stream.writable().await;
        if waited.is_ok() && stream.peer_addr().is_ok() {
            break stream;
        }
        let failure = tcp::failure(&SockRef::from(&stream), &mut Batch::new());
        // It was made, and reset before we looked: what is asked over it will fail, as it would have a moment later.
        if failure.is_some_and(|(reason, _)| reason == FailureReason::Protocol) {
            break stream;
        }
        if failure.is_some() || !tcp::is_connecting(&SockRef::from(&stream)) {
            let (reason, reporter) = failure.unwrap_or((FailureReason::Protocol, None));
            return Err(Failure { reason, reporter });
        }
        // tokio takes a socket with an error for one that is ready for good: it has to meet this one anew.
        socket = stream.into_std().map_err(|_| FailureReason::SendError)?.into();
    };
    // Else the request would wait for the acknowledgement of the handshake's last part.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn secured(
    stream: TcpStream,
    question: &Question,
    known: &Known,
    common: Common,
) -> Result<(Box<dyn Stream>, Duration), Failure> {
    let config = common.of_one(known.clone());
    let begun = Mono::now();
    let secured = http::secure(stream, question.name.clone(), config).await;
    let stream = secured.map_err(|e| broken(&e, FailureReason::Tls))?;
    let took = Mono::now().since(begun);
    learn(known, |detail| detail.tls = Some(took));
    Ok((stream, took))
}

/// Sends the request, tells what its answer's head says, and reads on for a while.
async fn ask(
    stream: Box<dyn Stream>,
    spent: Duration,
    question: Question,
    known: &Known,
    tell: impl FnOnce(Result<Duration, Failure>),
) {
    let (stream, first) = FirstByte::new(stream);
    let begun = Mono::now();
    let answer = http::ask(stream, question.request.clone(), ANSWER).await;
    let request = first.get().map(|at| at.since(begun));
    learn(known, |detail| detail.request = request);
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return tell(Err(of_http(&e))),
    };
    let status = answer.status().as_u16();
    learn(known, |detail| detail.status = Some(status));
    tell(if question.accepts(status) {
        Ok(spent + request.unwrap_or_default())
    } else {
        Err(FailureReason::Status.into())
    });
    answer.drain(ANSWER).await;
}

fn of_http(error: &hyper::Error) -> Failure {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.map_or(FailureReason::Protocol.into(), |e| broken(e, FailureReason::Protocol))
}

/// A connection that stood broke off: by the network, where the kernel says so; else it was the peer's doing.
fn broken(error: &io::Error, by_the_peer: FailureReason) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::EPIPE) | None => by_the_peer.into(),
        Some(_) => tcp::of_errno(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_breaks_is_the_peers_doing_unless_the_network_is_named() {
        let of = |errno| broken(&io::Error::from_raw_os_error(errno), FailureReason::Tls).reason;
        for errno in [libc::ECONNRESET, libc::EPIPE, libc::ECONNREFUSED] {
            assert_eq!(of(errno), FailureReason::Tls);
        }
        assert_eq!(of(libc::EHOSTUNREACH), FailureReason::HostUnreachable);
        assert_eq!(of(libc::ETIMEDOUT), FailureReason::Timeout);
        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(broken(&end, FailureReason::Protocol).reason, FailureReason::Protocol);
    }
}
