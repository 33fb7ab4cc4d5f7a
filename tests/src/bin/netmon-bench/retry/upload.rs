//! What is retried: a transfer that wants every piece acknowledged, and writes down when what happened.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use netmon_agent::time::Boot;

/// What a connect and an acknowledgement may take: upload tools have ten seconds and more, which would make a plain
/// loop's attempts few and long instead of many and short.
const PATIENCE: Duration = Duration::from_secs(2);
const PIECE: [u8; 8 << 10] = [b'x'; 8 << 10];
const PACE: Duration = Duration::from_millis(100);

/// One transfer.
#[derive(Args, Clone, Debug)]
pub struct Upload {
    /// The server: an echo service.
    #[arg(long)]
    pub server: SocketAddr,
    /// Pieces, one each tenth of a second.
    #[arg(long)]
    pub pieces: usize,
    /// Where it is written down.
    #[arg(long)]
    pub diary: PathBuf,
}

/// What happened, on `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An attempt began.
    Start,
    /// Its first piece was acknowledged.
    First,
    /// It failed.
    Failed,
    /// All is there.
    Done,
}

impl Entry {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Start, "start"), (Self::First, "first"), (Self::Failed, "failed"), (Self::Done, "done")];

    fn write(self, diary: &Path) -> Result<()> {
        let word = Self::ALL.iter().find(|(entry, _)| *entry == self).map_or("", |(_, word)| word);
        let mut file = OpenOptions::new().append(true).create(true).open(diary)?;
        Ok(writeln!(file, "{word} {}", Boot::now().as_nanos())?)
    }
}

/// What stands in a diary.
pub fn read(diary: &Path) -> Vec<(Entry, Boot)> {
    let text = fs::read_to_string(diary).unwrap_or_default();
    let entry = |line: &str| {
        let (word, at) = line.split_once(' ')?;
        let (entry, _) = Entry::ALL.into_iter().find(|(_, known)| *known == word)?;
        Some((entry, Boot::from_nanos(at.parse().ok()?)))
    };
    text.lines().filter_map(entry).collect()
}

impl Upload {
    /// Makes the transfer.
    ///
    /// # Errors
    /// The connection's, as the standard library has it, so that a classifier knows it.
    pub fn run(&self) -> Result<(), std::io::Error> {
        let note = |entry: Entry| entry.write(&self.diary).map_err(std::io::Error::other);
        note(Entry::Start)?;
        let result = self.transfer(|| note(Entry::First));
        note(if result.is_ok() { Entry::Done } else { Entry::Failed })?;
        result
    }

    fn transfer(&self, first: impl FnOnce() -> Result<(), std::io::Error>) -> Result<(), std::io::Error> {
        let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (mut first, mut back) = (Some(first), PIECE);
        for _ in 0..self.pieces {
            stream.write_all(&PIECE).and_then(|()| stream.read_exact(&mut back)).map_err(in_time)?;
            if let Some(first) = first.take() {
                first()?;
            }
            thread::sleep(PACE);
        }
        Ok(())
    }

    /// The command line of another process that makes it.
    pub fn arguments(&self) -> [String; 7] {
        [
            "retry-upload".to_owned(),
            "--server".to_owned(),
            self.server.to_string(),
            "--pieces".to_owned(),
            self.pieces.to_string(),
            "--diary".to_owned(),
            self.diary.display().to_string(),
        ]
    }
}

/// A blocking socket's time-out is told as if it would block (socket(7), SO_RCVTIMEO).
fn in_time(e: std::io::Error) -> std::io::Error {
    match e.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => e,
    }
}

/// A process that makes one transfer.
///
/// # Errors
/// It failed.
pub fn once(upload: &Upload) -> Result<()> {
    upload.run().context("the transfer")
}
