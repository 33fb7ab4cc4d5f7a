//! Standard input, which every attempt inherits.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::{fd::AsFd, unix::fs::FileTypeExt},
};

/// What the attempts read from.
#[derive(Debug)]
pub(super) enum Stdin {
    /// A file, and where it stood at first.
    File(File, u64),
    /// A pipe or a socket: what was read of it is gone.
    Stream,
    /// A terminal, `/dev/null`, or nothing.
    Other,
}

impl Stdin {
    /// Looks what it is.
    pub(super) fn look() -> Self {
        let Ok(own) = io::stdin().as_fd().try_clone_to_owned() else { return Self::Other };
        let mut file = File::from(own);
        let Ok(kind) = file.metadata().map(|m| m.file_type()) else { return Self::Other };
        match file.stream_position() {
            Ok(position) if kind.is_file() => Self::File(file, position),
            _ if kind.is_fifo() || kind.is_socket() => Self::Stream,
            _ => Self::Other,
        }
    }

    /// Puts it back to where it was for the first attempt; false where it can't be. The position is that of all who
    /// inherited the descriptor.
    pub(super) fn rewind(&self) -> bool {
        match self {
            Self::File(file, position) => {
                let mut file: &File = file;
                file.seek(SeekFrom::Start(*position)).is_ok()
            }
            Self::Stream => false,
            Self::Other => true,
        }
    }
}
