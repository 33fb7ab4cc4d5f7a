//! The parsers against streams cut anywhere, truncated, and made of anything.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{Error, State, events::EventOptions, wire::Change};

/// What a call makes of an answer that comes in these pieces and then ends.
fn call(pieces: &[&[u8]]) -> Result<(u16, Vec<u8>), Error> {
    let mut call = Call::default();
    for piece in pieces {
        if let Some(reply) = call.reply()? {
            return Ok(reply.parts());
        }
        call.exchange.push(piece);
    }
    if let Some(reply) = call.reply()? {
        return Ok(reply.parts());
    }
    call.exchange.close();
    let reply = call.reply()?;
    Ok(reply.expect("an answer or an error at the end").parts())
}

/// What a feed makes of a stream that comes in these pieces and then ends; how much it held at most.
fn feed(pieces: &[&[u8]]) -> (Result<Vec<Item>, Error>, usize) {
    let mut held = 0;
    (follow(pieces, &mut held), held)
}

fn follow(pieces: &[&[u8]], held: &mut usize) -> Result<Vec<Item>, Error> {
    let (mut feed, mut items, mut opened) = (Feed::default(), Vec::new(), false);
    let mut pieces = pieces.iter();
    loop {
        if !opened {
            opened = feed.opened()?.is_some();
        }
        if opened {
            loop {
                match feed.next()? {
                    Next::Item(item) => items.push(item),
                    Next::Read => break,
                    Next::End => return Ok(items),
                }
            }
        }
        *held = feed.held().max(*held);
        match pieces.next() {
            Some(piece) => feed.exchange().push(piece),
            None => feed.exchange().close(),
        }
    }
}

/// Cuts bytes at these places.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle().take(bytes.len()) {
        let (piece, rest) = bytes.split_at((*length).clamp(1, bytes.len().max(1)).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    pieces
}

fn chunked(body: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in cut(body, lengths) {
        out.extend(format!("{:x};x=y\r\n", piece.len()).bytes());
        out.extend(piece);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

fn change(seq: u64, state: State, detail: &str) -> Change {
    let reason = crate::wire::Reason { detail: detail.into(), ..Default::default() };
    Change { seq, kind: "state".into(), state, reasons: vec![reason], ..Change::default() }
}

#[derive(Clone, Debug)]
enum Told {
    Change(u64, State, String),
    Stamp(u64),
    Comment,
    /// A field that nobody knows.
    Other,
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        4 => (any::<u64>(), prop::sample::select(State::ALL.to_vec()), ".{0,40}")
            .prop_map(|(seq, state, detail)| Told::Change(seq, state, detail)),
        2 => any::<u64>().prop_map(Told::Stamp),
        1 => Just(Told::Comment),
        1 => Just(Told::Other),
    ]
}

fn write(told: &[Told], end: &str) -> (Vec<u8>, Vec<Item>) {
    let (mut text, mut items) = (String::new(), Vec::new());
    for one in told {
        match one {
            Told::Change(seq, state, detail) => {
                let change = change(*seq, *state, detail);
                let data = serde_json::to_string(&change).unwrap();
                text.push_str(&format!("id: {seq}{end}event: state{end}data: {data}{end}{end}"));
                items.push(Item::Change(change.into()));
            }
            Told::Stamp(at) => {
                text.push_str(&format!(":at {at}{end}{end}"));
                items.push(Item::Beat(Some(*at)));
            }
            Told::Comment => {
                text.push_str(&format!(": at{end}"));
                items.push(Item::Beat(None));
            }
            Told::Other => text.push_str(&format!("retry: 10{end}data{end}{end}{end}")),
        }
    }
    (text.into_bytes(), items)
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

proptest! {
    #[test]
    fn a_body_is_the_same_however_it_is_framed_and_cut(
        body in vec(any::<u8>(), 0..2000),
        chunks in vec(1_usize..300, 1..5),
        cuts in vec(1_usize..300, 1..5),
    ) {
        let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let answers = [
            [length.as_bytes(), &body].concat(),
            [HEAD.as_bytes(), &chunked(&body, &chunks)].concat(),
            [b"HTTP/1.0 409 Conflict\r\n\r\n".as_slice(), &body].concat(),
        ];
        for (answer, status) in answers.iter().zip([200, 200, 409]) {
            prop_assert_eq!(call(&cut(answer, &cuts)).unwrap(), (status, body.clone()));
        }
        // Cut off anywhere, it is an error where its end is known.
        for answer in &answers[..2] {
            for end in [0, 1, answer.len() / 2, answer.len() - 1] {
                let whole = answers[1] == *answer && end >= answer.len() - 2;
                let result = call(&cut(&answer[..end], &cuts));
                prop_assert!(whole || matches!(result, Err(Error::Disconnected)), "{result:?}");
            }
        }
    }

    #[test]
    fn a_stream_tells_the_same_however_it_is_cut(
        told in vec(told(), 0..20),
        crlf in any::<bool>(),
        chunks in vec(1_usize..300, 1..5),
        cuts in vec(1_usize..300, 1..5),
    ) {
        let (text, items) = write(&told, if crlf { "\r\n" } else { "\n" });
        let stream = [HEAD.as_bytes(), &chunked(&text, &chunks)].concat();
        prop_assert_eq!(feed(&cut(&stream, &cuts)).0.unwrap(), items.clone());
        // What was whole when it broke off is told.
        let (whole, sure) = write(&told[..told.len() / 2], if crlf { "\r\n" } else { "\n" });
        let begun = &text[..whole.len().midpoint(text.len())];
        let framed = chunked(begun, &chunks);
        let stream = [HEAD.as_bytes(), framed.strip_suffix(b"0\r\n\r\n").unwrap()].concat();
        let first = feed(&cut(&stream, &cuts)).0.unwrap();
        prop_assert!(first.len() >= sure.len(), "{first:?} of {sure:?}");
        prop_assert_eq!(&items[..first.len()], &first[..]);
    }

    #[test]
    fn anything_else_never_hurts(
        garbage in vec(any::<u8>(), 0..4000),
        head in 0_usize..4,
        cuts in vec(1_usize..3000, 1..5),
    ) {
        let heads = ["", "HTTP/1.1 200 OK\r\n\r\n", HEAD, "HTTP/1.1 503 No\r\nRetry-After: x\r\n\r\n"];
        let stream = [heads[head].as_bytes(), &garbage].concat();
        let pieces = cut(&stream, &cuts);
        let _ = call(&pieces);
        let _ = feed(&pieces);
    }

    #[test]
    fn events_of_any_lines_never_hurt(lines in vec("(data|id|event|:at|:)?[: ]{0,2}.{0,30}(\r|\n|\r\n){0,3}", 0..50)) {
        let stream = format!("HTTP/1.1 200 OK\r\n\r\n{}", lines.concat());
        let _ = feed(&cut(stream.as_bytes(), &[7, 1, 100]));
    }
}

#[test]
fn an_endless_stream_of_anything_is_refused_in_bounds() {
    let piece = [b'x'; 8192];
    let heads: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\ndata: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n",
    ];
    for head in heads {
        let pieces: Vec<&[u8]> = [head].into_iter().chain(std::iter::repeat_n(&piece[..], 1000)).collect();
        let (result, held) = feed(&pieces);
        assert!(matches!(result, Err(Error::Protocol(_))), "{}", String::from_utf8_lossy(head));
        assert!(held <= 2 * (MAX_EVENT + piece.len()), "{held} bytes");
    }
    let lines: Vec<&[u8]> = std::iter::once(&b"HTTP/1.1 200 OK\r\n\r\n"[..])
        .chain(std::iter::repeat_n(&b"data: 0123456789\n"[..], 200_000))
        .collect();
    let (result, held) = feed(&lines);
    assert!(matches!(result, Err(Error::Protocol(_))) && held <= 2 * MAX_EVENT);
    let headers: Vec<&[u8]> = std::iter::once(&b"HTTP/1.1 200 OK\r\n"[..])
        .chain(std::iter::repeat_n(&b"x: y\r\n"[..], 60))
        .chain(std::iter::once(&b"x: "[..]))
        .chain(std::iter::repeat_n(&piece[..], 10))
        .collect();
    assert!(matches!(call(&headers), Err(Error::Protocol(_))));
}

#[test]
fn nonsense_is_named() {
    let protocol = |answer: &[u8]| matches!(call(&[answer]), Err(Error::Protocol(_)));
    assert!(protocol(b"SSH-2.0-OpenSSH_9.2\r\n"));
    assert!(protocol(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"));
    assert!(protocol(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"));
    assert!(protocol(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"));
    assert!(protocol(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"));
    assert!(protocol(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"));
    assert!(matches!(call(&[]), Err(Error::Disconnected)));
    let not_json = b"HTTP/1.1 200 OK\r\n\r\ndata: {\n\n";
    assert!(matches!(feed(&[not_json]).0, Err(Error::Protocol(_))));
}

#[test]
fn what_came_before_a_broken_chunk_is_told_first_however_it_comes() {
    let (text, items) = write(&[Told::Change(7, State::Down, String::new())], "\n");
    // Two bytes that the chunk's size does not count.
    let chunk = [format!("{:x}\r\n", text.len()).as_bytes(), &text, b"xx\r\n"].concat();
    let stream = [HEAD.as_bytes(), &chunk].concat();
    for length in [1, 10, 1000] {
        let (mut feed, mut told) = (Feed::default(), Vec::new());
        let mut pieces = cut(&stream, &[length]).into_iter();
        let error = loop {
            let next = match feed.opened() {
                Ok(None) => Ok(Next::Read),
                Ok(Some(_)) => break follow_on(&mut feed, &mut pieces, &mut told),
                Err(e) => Err(e),
            };
            match (next, pieces.next()) {
                (Ok(Next::Read), Some(piece)) => feed.exchange().push(piece),
                other => panic!("{other:?}"),
            }
        };
        assert!(
            matches!(&error, Error::Protocol(said) if said.contains("longer than its size")),
            "{error:?}"
        );
        assert_eq!(told, items, "in pieces of {length}");
    }
}

/// What a stream whose header is there tells until it can't be read any further.
fn follow_on<'a>(
    feed: &mut Feed,
    pieces: &mut impl Iterator<Item = &'a [u8]>,
    told: &mut Vec<Item>,
) -> Error {
    loop {
        match feed.next() {
            Ok(Next::Item(item)) => told.push(item),
            Ok(Next::Read) => feed.exchange().push(pieces.next().expect("a stream that is broken")),
            Ok(Next::End) => panic!("it ended well"),
            Err(error) => return error,
        }
    }
}

#[test]
fn a_stream_that_is_refused_says_why_though_it_comes_in_pieces() {
    let body = r#"{"error":"words"}"#;
    let answer =
        format!("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for length in [1, 10, 1000] {
        let (result, _) = feed(&cut(answer.as_bytes(), &[length]));
        let Err(Error::Busy { retry_after, message }) = result else { panic!("{result:?}") };
        assert_eq!((retry_after.as_secs(), message.as_str()), (7, "words"));
    }
}

#[test]
fn a_request_for_a_stream_resumes_and_asks_for_all() {
    let text = |options| String::from_utf8(Feed::request(options)).unwrap();
    let plain = text(EventOptions::default());
    assert!(plain.starts_with("GET /v1/events HTTP/1.1\r\nHost: netmon\r\n") && plain.ends_with("\r\n\r\n"));
    assert!(!plain.contains("Last-Event-ID"));
    let all = text(EventOptions { last_id: Some(9), all: true });
    assert!(all.starts_with("GET /v1/events?all=1 ") && all.contains("\r\nLast-Event-ID: 9\r\n"));
}
