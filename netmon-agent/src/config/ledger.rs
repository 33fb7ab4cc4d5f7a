//! `[history]`.

use std::{path::PathBuf, time::Duration};

use super::{error::Fault, file, limits::Written, spanned::Spanned, validate::within};
use crate::history::Settings;

/// Where outages are written down.
pub const PATH: &str = "/var/lib/netmon/history.db";
/// What is older is forgotten.
const RETENTION: Duration = Duration::from_secs(90 * 86_400);
/// Largest file, bytes: an outage takes less than a kilobyte.
const MAX_SIZE: u64 = 64 << 20;
/// Smallest that may be asked for: an empty one with its log takes a tenth of it.
const LEAST_SIZE: u64 = 1 << 20;
/// Largest that may be asked for.
const MOST_SIZE: u64 = 64 << 30;

pub(super) fn settings(h: &file::History) -> Result<Settings, Fault> {
    let (hour, most) = (Duration::from_secs(3600), Duration::from_secs(3650 * 86_400));
    let retention = match &h.retention {
        Some(written) => within(written, hour..=most, "retention")?,
        None => RETENTION,
    };
    let max_size = h.max_size.as_ref().map_or(Ok(MAX_SIZE), max_size)?;
    let path = match &h.path {
        Some(path) if !path.get_ref().is_absolute() => {
            let shown = path.get_ref().display().to_string();
            let message = format!("\"{}\" is no absolute path", shown.escape_default());
            return Err(Fault::at(path.span(), message).hint(format!("leave `path` out for {PATH}")));
        }
        Some(path) => path.get_ref().clone(),
        None => PathBuf::from(PATH),
    };
    Ok(Settings { path, retention, max_size })
}

fn max_size(written: &Spanned<Written<u64>>) -> Result<u64, Fault> {
    match written.get_ref().0 {
        Some(size) if (LEAST_SIZE..=MOST_SIZE).contains(&size) => Ok(size),
        Some(_) => Err(Fault::at(written.span(), "max_size is between 1MiB and 64GiB")),
        None => Err(Fault::at(written.span(), "a history without a largest size may fill the disk")
            .hint("for no history at all: enabled = false")),
    }
}
