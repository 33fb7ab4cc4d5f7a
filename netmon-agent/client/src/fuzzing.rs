//! Ways in for the fuzz targets of `fuzz/`, with the cargo feature `fuzzing` alone: what an agent, or whoever is in its place,
//! could send.

use crate::{
    Error,
    proto::{Call, Feed, Item, Next},
    wire,
};

/// An answer in pieces of these lengths, over and over: it says what it says in one piece, and is no longer than what came.
/// Whatever it is taken for, it is that or what is wrong with it.
pub fn answer(bytes: &[u8], lengths: &[u8]) {
    meant(bytes);
    let (whole, cut) = (call(&[bytes]), call(&pieces(bytes, lengths)));
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert!(whole.1.len() <= bytes.len(), "more than came");
            assert_eq!(whole, cut, "cut, it says something else");
        }
        (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string()),
        (whole, cut) => panic!("whole {whole:?}, cut {cut:?}"),
    }
}

fn meant(bytes: &[u8]) {
    let reply = || {
        let mut call = Call::default();
        call.exchange.push(bytes);
        call.exchange.close();
        call.reply().ok().flatten()
    };
    let Some(status) = reply().map(|reply| reply.parts().0) else { return };
    let of = |result: Result<(), Error>| match result {
        Ok(()) => assert_eq!(status, 200, "a refusal is taken for a success"),
        Err(error) => assert!(!error.to_string().is_empty()),
    };
    of(reply().map_or(Ok(()), |reply| reply.done()));
    of(reply().map_or(Ok(()), |reply| reply.json::<wire::Status>().map(drop)));
    of(reply().map_or(Ok(()), |reply| reply.json::<wire::Budget>().map(drop)));
    let waited = reply().map(|reply| reply.json_of::<wire::Waited>(&[200, 409]));
    if let Some(Ok(_)) = waited {
        assert!(matches!(status, 200 | 409), "{status} is taken for an answer");
    }
}

/// The events of a stream, likewise; what is held of it is bounded.
pub fn events(bytes: &[u8], lengths: &[u8]) {
    let (whole, cut) = (follow(&[bytes]), follow(&pieces(bytes, lengths)));
    assert!(whole.0.len() * 2 <= bytes.len(), "more events than bytes for them");
    assert_eq!(whole.0, cut.0, "cut, it tells something else");
    match (whole.1, cut.1) {
        (None, None) => {}
        (Some(whole), Some(cut)) => assert_eq!(whole.to_string(), cut.to_string()),
        (whole, cut) => panic!("whole {whole:?}, cut {cut:?}"),
    }
}

fn pieces<'a>(mut bytes: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().chain(&[1]).cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(usize::from(*length).clamp(1, bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn call(pieces: &[&[u8]]) -> Result<(u16, Vec<u8>), Error> {
    let mut call = Call::default();
    for piece in pieces {
        call.exchange.push(piece);
        if let Some(reply) = call.reply()? {
            return Ok(reply.parts());
        }
    }
    call.exchange.close();
    match call.reply()? {
        Some(reply) => Ok(reply.parts()),
        None => panic!("neither an answer nor an error at the end"),
    }
}

fn follow(pieces: &[&[u8]]) -> (Vec<Item>, Option<Error>) {
    let (mut feed, mut items, mut pieces) = (Feed::default(), Vec::new(), pieces.iter());
    let (mut opened, mut pushed) = (false, 0);
    let end = loop {
        let next = if opened {
            feed.next()
        } else {
            feed.opened().map(|header| {
                opened = header.is_some();
                // Once it is there, what may have come with it is taken before any more is read.
                if opened { Next::Item(Item::Beat(None)) } else { Next::Read }
            })
        };
        match next {
            Ok(Next::Item(item)) => items.push(item),
            Ok(Next::End) => break None,
            Ok(Next::Read) => match pieces.next() {
                Some(piece) => {
                    pushed += piece.len();
                    feed.exchange().push(piece);
                }
                None => feed.exchange().close(),
            },
            Err(error) => break Some(error),
        }
        assert!(feed.held() <= pushed, "more is held than came");
    };
    (items, end)
}
