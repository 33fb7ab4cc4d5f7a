//! `[log]`.

use super::{error::Fault, file, limits::Written, spanned::Spanned};
use crate::output::log::{self, LEAST_SIZE, LogFormat, MOST_FILES, Settings};

pub(super) fn settings(l: file::Log) -> Result<Settings, Fault> {
    let level = l.level.map(level).transpose()?;
    let path = match &l.file {
        Some(path) if !path.get_ref().is_absolute() => {
            let shown = path.get_ref().display().to_string();
            let message = format!("\"{}\" is no absolute path", shown.escape_default());
            return Err(Fault::at(path.span(), message).hint("leave `file` out for standard error"));
        }
        Some(path) if l.format.as_ref().is_some_and(|f| *f.get_ref() == LogFormat::Journald) => {
            return Err(Fault::at(
                path.span(),
                "the log goes to a file or to systemd's journal, not to both",
            )
            .hint("leave `file` out, or let `format` be \"text\" or \"json\""));
        }
        path => path.as_ref().map(|path| path.get_ref().clone()),
    };
    let lost = l.max_size.as_ref().map(Spanned::span).or(l.max_files.as_ref().map(Spanned::span));
    if let (None, Some(span)) = (&path, lost) {
        return Err(Fault::at(span, "there is no log file to limit")
            .hint("name one: file = \"/var/log/netmon/netmon.log\""));
    }
    let of_file = path.is_some();
    Ok(Settings {
        level: Some(level.unwrap_or_else(|| log::LEVEL.to_owned())),
        format: l.format.map(Spanned::into_inner),
        file: path,
        max_size: l.max_size.as_ref().map(max_size).transpose()?.or(of_file.then_some(log::MAX_SIZE)),
        max_files: l.max_files.as_ref().map(max_files).transpose()?.or(of_file.then_some(log::MAX_FILES)),
    })
}

fn level(written: Spanned<String>) -> Result<String, Fault> {
    log::check(written.get_ref()).map_err(|e| Fault::at(written.span(), e.to_string()))?;
    Ok(written.into_inner())
}

fn max_size(written: &Spanned<Written<u64>>) -> Result<u64, Fault> {
    match written.get_ref().0 {
        Some(size) if size >= LEAST_SIZE => Ok(size),
        Some(_) => Err(Fault::at(written.span(), "max_size is 16KiB at least")),
        None => Err(Fault::at(written.span(), "a log without a largest size may fill the disk")),
    }
}

fn max_files(written: &Spanned<usize>) -> Result<usize, Fault> {
    match *written.get_ref() {
        n if (1..=MOST_FILES).contains(&n) => Ok(n),
        n => Err(Fault::at(written.span(), format!("max_files is between 1 and {MOST_FILES}, not {n}"))),
    }
}
