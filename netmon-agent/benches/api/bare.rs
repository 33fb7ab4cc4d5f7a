//! The least that a release can cost: a program that has nothing to judge, to count or to close, and writes one answer after
//! the other to the same crowd.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use anyhow::Result;
use netmon_agent::time::Boot;

use crate::crowd::Crowd;

/// As long as the agent's.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 79\r\n\
    cache-control: no-store\r\nconnection: close\r\n\r\n\
    {\"satisfied\":true,\"state\":\"up\",\"seq\":3,\"waited_seconds\":1.234567,\"blocking\":[]}";

/// Times from the release to each waiter's answer, by its own clock.
pub(crate) fn measure(count: usize, rounds: usize) -> Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("bare.sock");
    let listener = UnixListener::bind(&socket)?;
    let mut crowd = Crowd::new(&socket, count, false)?;
    let mut took = Vec::with_capacity(count * rounds);
    for _ in 0..rounds {
        crowd.join()?;
        let mut waiting = Vec::with_capacity(count);
        while waiting.len() < count {
            waiting.push(asked(&listener)?);
        }
        let released = Boot::now();
        for stream in &mut waiting {
            stream.write_all(ANSWER)?;
        }
        drop(waiting);
        took.extend(crowd.answers()?.into_iter().map(|at| at.since(released)));
    }
    crowd.end()?;
    Ok(took)
}

fn asked(listener: &UnixListener) -> Result<UnixStream> {
    let (mut stream, _) = listener.accept()?;
    let mut request = [0; 512];
    let mut length = 0;
    while !request[..length].ends_with(b"\r\n\r\n") {
        length += stream.read(&mut request[length..])?;
    }
    Ok(stream)
}
