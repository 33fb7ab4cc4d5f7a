//! Waits asked for as nearly every program asks: one GET in one piece, with nothing special about it.
//!
//! A connection that waits does nothing for hours, and there may be ten thousand of them. These go without the HTTP
//! server's buffers and tasks, which are 16 KiB each before a byte has come. All else goes to that server, and so does a
//! connection whose wait is over and that is not to be closed.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

use axum::{extract::Query, http::Uri};
use tokio::{net::UnixStream, time::timeout};

use super::{
    io::gone,
    quiet::Quiet,
    server::{Context, MAX_HEADER, WRITE_TIMEOUT},
    shares::Place,
    ticket::Ticket,
    wait::{self, Asked, Reply, Who},
};
use crate::{
    history::jobs::{self, HEADER as JOB_HEADER},
    time::{Boot, Wall},
};

/// Longest question, bytes.
const MAX_QUESTION: usize = 1024;
/// Headers that change nothing about the answer.
const IDLE_HEADERS: [&str; 3] = ["host", "user-agent", "accept"];

/// A question that is recognised.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    asked: Result<Asked, String>,
    job: Option<String>,
    close: bool,
}

/// Reads what has come.
///
/// # Errors
/// When the peer has hung up, or the read fails.
pub(super) fn read(stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut piece = [0; MAX_QUESTION];
    match stream.try_read(&mut piece) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(length) => Ok(piece[..length].to_vec()),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The question, when these bytes are one and no more, and nothing in it calls for a whole HTTP server.
pub(super) fn recognise(bytes: &[u8]) -> Option<Question> {
    let mut fields = [httparse::EMPTY_HEADER; 8];
    let mut request = httparse::Request::new(&mut fields);
    let complete = request.parse(bytes).ok()? == httparse::Status::Complete(bytes.len());
    if !complete || request.method != Some("GET") || request.version != Some(1) {
        return None;
    }
    let uri: Uri = request.path?.parse().ok()?;
    if uri.path() != "/v1/wait" || uri.authority().is_some() {
        return None;
    }
    let (mut close, mut job) = (false, None);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("connection") {
            close |= header.value.eq_ignore_ascii_case(b"close");
            if !close && !header.value.eq_ignore_ascii_case(b"keep-alive") {
                return None;
            }
        } else if header.name.eq_ignore_ascii_case(JOB_HEADER) {
            job = jobs::from_header(header.value);
        } else if !IDLE_HEADERS.iter().any(|idle| header.name.eq_ignore_ascii_case(idle)) {
            return None;
        }
    }
    let query = Query::<Vec<(String, String)>>::try_from_uri(&uri);
    let asked = query.map_err(|e| e.body_text()).and_then(|Query(pairs)| wait::parse(&pairs));
    Some(Question { asked, job, close })
}

/// Waits and answers. The connection and what came meanwhile, when it goes on.
pub(super) async fn answer(
    stream: UnixStream,
    question: Question,
    (uid, pid): (u32, Option<i32>),
    context: &Context,
    place: &Place,
) -> Option<(UnixStream, Vec<u8>)> {
    let Question { asked, job, close } = question;
    let who = Who { uid, pid, job };
    let ticket = Arc::new(Ticket::new(Quiet::new(stream).ok()?, close, Boot::now()));
    let stream = ticket.stream();
    let (mut more, mut kill) = (Vec::new(), context.kill.clone());
    let (reply, waited) = tokio::select! {
        ended = wait::wait(&context.app, who, asked, Some(&ticket)) => ended,
        () = hung_up(stream, &mut more) => return None,
        () = place.evicted() => return None,
        _ = kill.wait_for(|kill| *kill) => return None,
    };
    let close = close || *context.closing.borrow();
    let made = match reply {
        Reply::Say(answer) => Some(answer.on_the_wire(close, Wall::now())),
        Reply::Said => None,
    };
    tokio::select! {
        written = write(stream, made.as_ref().map_or(ticket.rest(), String::as_bytes)) => written.ok()?,
        _ = kill.wait_for(|kill| *kill) => return None,
    }
    drop(waited);
    if close {
        return None;
    }
    Some((Ticket::into_stream(ticket).await.into_stream().ok()?, more))
}

/// Returns when the peer is gone, or talks too much for one who waits. What it says is kept in `more`. A peer that has
/// only ended its side still wants its answer.
async fn hung_up(stream: &Quiet, more: &mut Vec<u8>) {
    while more.len() <= MAX_HEADER {
        match stream.next().await {
            Ok(piece) if piece.is_empty() => return gone(stream).await,
            Ok(piece) => more.extend(piece),
            Err(_) => return,
        }
    }
}

async fn write(stream: &Quiet, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                timeout(WRITE_TIMEOUT, stream.room()).await??;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netmon_client::Condition as Wanted;

    use super::*;
    use crate::output::api::Condition;

    fn recognised(line: &str, headers: &str) -> Option<Question> {
        recognise(format!("{line}\r\nHost: x\r\n{headers}\r\n").as_bytes())
    }

    #[test]
    fn the_usual_question_is_recognised() {
        let question = recognised(
            "GET /v1/wait?state=usable&timeout=2s&device=a%20b HTTP/1.1",
            "User-Agent: curl/8\r\nAccept: */*\r\nCONNECTION: Close\r\n",
        );
        let condition =
            Condition { wanted: Wanted::Usable, device: Some("a b".into()), ..Condition::default() };
        let asked = Ok((condition, Some(Duration::from_secs(2))));
        let expected = Question { asked, job: None, close: true };
        assert_eq!(question.unwrap(), expected);
        let bare = recognised("GET /v1/wait HTTP/1.1", "Connection: keep-alive\r\n").unwrap();
        assert_eq!(bare, Question { asked: Ok((Condition::default(), None)), job: None, close: false });
        let named = recognised("GET /v1/wait HTTP/1.1", "netmon-job: my%20job%0A\r\n").unwrap();
        assert_eq!(named.job.as_deref(), Some("my job\\x0a"));
        assert!(recognised("GET /v1/wait?state=fine HTTP/1.1", "").unwrap().asked.is_err());
    }

    #[test]
    fn all_else_is_left_to_the_http_server() {
        for line in [
            "GET /v1/status HTTP/1.1",
            "GET /v1/wait/ HTTP/1.1",
            "HEAD /v1/wait HTTP/1.1",
            "POST /v1/wait HTTP/1.1",
            "GET /v1/wait HTTP/1.0",
            "GET http://x/v1/wait HTTP/1.1",
            "\x16\x03\x01",
        ] {
            assert_eq!(recognised(line, ""), None, "{line}");
        }
        for header in [
            "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "Connection: upgrade\r\n",
            "X-New: 1\r\n",
        ] {
            assert_eq!(recognised("GET /v1/wait HTTP/1.1", header), None, "{header}");
        }
        let whole = b"GET /v1/wait HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(recognise(whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(recognise(&whole[..end]), None);
        }
        assert_eq!(recognise(&[whole.as_slice(), b"G"].concat()), None);
    }
}
