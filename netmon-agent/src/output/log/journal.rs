//! systemd's journal, by its native protocol: each field of a line is one of the journal's.

use std::{env, fs::File, io, os::fd::AsFd, os::unix::fs::MetadataExt};

use tracing_journald::{Layer, Priority, PriorityMappings};

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

/// What lines go through.
///
/// # Errors
/// There is no journal.
pub(super) fn layer() -> io::Result<Layer> {
    let priorities = PriorityMappings {
        // What is usual is no notice.
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = Layer::new()?.with_syslog_identifier("netmon".to_owned());
    Ok(layer.with_field_prefix(Some("NETMON".to_owned())).with_priority_mappings(priorities))
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
