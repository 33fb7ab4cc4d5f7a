use std::{net::SocketAddr, time::Duration};

use http_body_util::Empty;
use hyper::{Request, body::Bytes, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// A server that answers one request with these bytes, and what it was asked.
async fn answering(bytes: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut asked, mut piece) = (Vec::new(), [0; 1024]);
        while !asked.ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut piece).await.unwrap();
            asked.extend_from_slice(&piece[..n]);
        }
        stream.write_all(bytes).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    (at, served)
}

fn request() -> Request<Empty<Bytes>> {
    Request::get("/x").header(header::HOST, "x").body(Empty::new()).unwrap()
}

const HEAD: usize = 16 << 10;

#[tokio::test]
async fn an_answer_has_a_head_and_a_body_of_bounded_length() {
    let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nRetry-After: 7\r\n\r\nhello";
    for (most, expected) in [(5, Some("hello")), (4, None)] {
        let (at, served) = answering(whole).await;
        let (stream, to) = connect([at], Duration::from_secs(30)).await.unwrap();
        assert_eq!(to, at);
        let answer = ask(stream, request(), HEAD).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[header::RETRY_AFTER]),
            (201, &"7".parse().unwrap())
        );
        assert_eq!(answer.body(most).await.ok().as_deref(), expected.map(str::as_bytes));
        assert!(served.await.unwrap().starts_with("GET /x HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_and_a_head_that_is_none_are_errors() {
    let (at, _served) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello").await;
    let (stream, _) = connect([at], Duration::from_secs(30)).await.unwrap();
    let answer = ask(stream, request(), HEAD).await.unwrap();
    assert!(answer.body(1000).await.is_err());
    let (at, _served) = answering(b"220 mail.example ESMTP\r\n").await;
    let (stream, _) = connect([at], Duration::from_secs(30)).await.unwrap();
    assert!(ask(stream, request(), HEAD).await.is_err());
}

#[tokio::test]
async fn a_body_without_end_is_not_read_for_ever() {
    let (at, _served) = answering(b"HTTP/1.1 200 OK\r\n\r\nhello").await;
    let (stream, _) = connect([at], Duration::from_secs(30)).await.unwrap();
    let answer = ask(stream, request(), HEAD).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), answer.drain(3)).await.unwrap();
}

#[tokio::test]
async fn the_first_address_that_takes_a_connection_is_the_one() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = open.local_addr().unwrap();
    assert_eq!(connect([refusing, at], Duration::from_secs(30)).await.unwrap().1, at);
    let (last, why) = connect([refusing], Duration::from_secs(30)).await.unwrap_err().unwrap();
    assert_eq!((last, why.kind()), (refusing, std::io::ErrorKind::ConnectionRefused));
    assert!(connect([], Duration::from_secs(30)).await.unwrap_err().is_none());
}

#[test]
fn a_host_is_named_as_its_url_would() {
    for (tls, host, port, expected) in [
        (false, "example.net", 80, "example.net"),
        (true, "example.net", 443, "example.net"),
        (true, "example.net", 80, "example.net:80"),
        (false, "192.0.2.7", 8080, "192.0.2.7:8080"),
        (true, "2001:DB8::2", 8443, "[2001:db8::2]:8443"),
        (false, "fe80::1", 80, "[fe80::1]"),
    ] {
        assert_eq!(authority(tls, host, port), expected);
    }
}
