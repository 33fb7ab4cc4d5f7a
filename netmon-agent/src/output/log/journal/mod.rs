//! systemd's journal, by its native protocol: each field of a line is one of the journal's.
//!
//! | file | what |
//! |---|---|
//! | `entry` | a line as an entry (pure) |
//! | `socket` | the journal's socket, full, away or there |

mod entry;
mod socket;

use std::{env, fs::File, io, os::fd::AsFd, os::unix::fs::MetadataExt, path::Path};

use tracing::{Event, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use self::socket::{Journal, PATH};
use super::{
    queue::Lines,
    writer::{self, Writer},
};

/// Whether standard error is the journal's: systemd says which file it is (systemd.exec(5), `JOURNAL_STREAM`).
pub(super) fn is_stderr() -> bool {
    let Some(told) = env::var("JOURNAL_STREAM").ok() else { return false };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
    stderr.is_ok_and(|file| is_file(&told, file.dev(), file.ino()))
}

/// Whether `DEVICE:INODE` is this file.
fn is_file(told: &str, device: u64, inode: u64) -> bool {
    told.split_once(':').is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

/// Has every line sent to the journal. netmon has no spans, and those of libraries are left out.
#[derive(Debug)]
pub(super) struct ToJournal(Lines);

/// What lines go through, and who sends them once it has begun.
///
/// # Errors
/// There is no journal.
pub(super) fn prepare() -> io::Result<(ToJournal, Writer)> {
    let journal = Journal::open(Path::new(PATH))?;
    let (lines, writer) = writer::prepare(move || journal);
    Ok((ToJournal(lines), writer))
}

impl<S: Subscriber> Layer<S> for ToJournal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.put(entry::entry(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_its_device_and_inode() {
        assert!(is_file("9:4711", 9, 4711));
        for told in ["9:4712", "8:4711", "9", "", "9:", ":4711", "9:4711x", "-9:4711"] {
            assert!(!is_file(told, 9, 4711), "{told:?}");
        }
    }
}
