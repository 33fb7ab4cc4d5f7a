//! The process that runs hook commands for the agent, which may not execute anything itself.
//!
//! It is begun before the agent gives up its privileges, has none of its own, and is told by the agent which command is to
//! be run with which notice. It runs what it finds in the configuration and nothing else: it reads the file itself, at its
//! start and when the agent says that there is a new one. So an agent that is no longer itself can have the configured
//! commands run, with whatever notice, and no others.
//!
//! They speak over a pair of sockets, in frames: the length in four bytes, and JSON. When the agent's end is closed,
//! however that came, the process ends what runs, and itself.

mod client;
mod serve;

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use self::{
    client::Runner,
    serve::{NAME, serve},
};
use super::template::Words;

/// Longest frame, bytes: the JSON text of a notice has all reasons, one for each of 10,000 targets at most.
const MOST: usize = 16 << 20;

/// What the agent wants.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Run this, under this number.
    Run(u64, Box<Wish>),
    /// Nobody waits for the one with this number any more: end it.
    Cancel(u64),
    /// There is a new configuration.
    Reload,
}

/// A command of the configuration, by its words, and a notice.
#[derive(Debug, Serialize, Deserialize)]
struct Wish {
    program: String,
    arguments: Vec<String>,
    words: Words,
    json: String,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    id: u64,
    end: End,
    output: Vec<u8>,
    beyond: u64,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    Success,
    /// As wait(2) has it.
    Ended(i32),
    TimedOut,
    /// It can't be run: the system's number, if it has one, and its words.
    Start(Option<i32>, String),
}

fn frame<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value)?;
    let length = bytes.len() - 4;
    if length > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the notice is too long for a command"));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// The next frame.
///
/// # Errors
/// The end; what is no frame.
async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = from.read_u32().await? as usize;
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}
