//! What the subcommands that print share.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use netmon_client::{
    Error, State,
    wire::{Diagnosis, Reason},
};

/// `EX_UNAVAILABLE` of sysexits(3): no agent answers.
pub(super) const UNAVAILABLE: u8 = 69;
/// Wrong usage, or an unknown device or target.
pub(super) const USAGE: u8 = 2;

/// Widest line.
pub(super) const WIDTH: usize = 80;

/// Says a line on standard error. Where that is closed or full the exit code must still be told, so nothing is done
/// about it; `eprintln!` would panic.
pub(super) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// The exit code for an error, after it was said on standard error.
pub(super) fn failed(error: &Error) -> ExitCode {
    say(format_args!("netmon: {}", printable(&error.to_string())));
    match error {
        Error::NotFound(_) | Error::BadRequest(_) => ExitCode::from(USAGE),
        Error::NoAgent { .. } | Error::Permission { .. } | Error::Timeout | Error::Disconnected => {
            ExitCode::from(UNAVAILABLE)
        }
        Error::Busy { .. } => ExitCode::from(UNAVAILABLE),
        _ => ExitCode::from(1),
    }
}

/// Without what could command a terminal. The agent sends none; but who knows who answers.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

/// The colour of a state.
pub(super) fn style(state: State) -> Style {
    let colour = match state {
        State::Up => AnsiColor::Green,
        State::Degraded => AnsiColor::Yellow,
        State::Down => AnsiColor::Red,
        State::Unknown => AnsiColor::BrightBlack,
    };
    colour.on_default().bold()
}

/// A state in its colour, filled up with blanks to a width.
pub(super) fn coloured(state: State, width: usize) -> String {
    let style = style(state);
    format!("{style}{:width$}{style:#}", state.as_str())
}

/// `code subject (rule): detail`, joined by `; `.
pub(super) fn reasons(all: &[Reason]) -> String {
    let mut out = String::new();
    for reason in all {
        if !out.is_empty() {
            out.push_str("; ");
        }
        out.push_str(&reason.code);
        if !reason.subject.is_empty() {
            let _ = write!(out, " {}", reason.subject);
        }
        if let Some(rule) = &reason.rule {
            let _ = write!(out, " ({rule})");
        }
        if !reason.detail.is_empty() {
            let _ = write!(out, ": {}", reason.detail);
        }
    }
    printable(&out)
}

/// Where a fault is: `path: hop 3, …`.
pub(super) fn place(diagnosis: &Diagnosis) -> String {
    printable(&format!("{}: {}", diagnosis.place, diagnosis.detail))
}

/// At most `width` characters, the last a `…` where some are missing.
pub(super) fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// In lines of at most `width` characters, broken at blanks where there are any.
pub(super) fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let length = |line: &String| line.chars().count();
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&clipped(word, width)),
            Some(line) if length(line) + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(clipped(word, width)),
        }
    }
    lines
}

/// Two units of a duration: `3d 4h`, `5m 12s`, `7s`.
pub(super) fn span(d: Duration) -> String {
    let s = d.as_secs();
    let units = [(s / 86_400, 'd'), (s / 3600 % 24, 'h'), (s / 60 % 60, 'm'), (s % 60, 's')];
    let first = units.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    units[first..].iter().take(2).map(|(n, unit)| format!("{n}{unit}")).collect::<Vec<_>>().join(" ")
}

/// Success when the reader has gone (`netmon watch | head`), else the error.
pub(super) fn quiet_pipe(result: io::Result<()>) -> anyhow::Result<ExitCode> {
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(e) => Err(e.into()),
    }
}

/// Reads a duration of the command line.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "reads like 10s, 500ms, 1m30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{9b}\u{202e}\nc"), "a\u{fffd}[31mb\u{fffd}\u{fffd} c");
        assert_eq!(clipped("äbcdef", 4), "äbc…");
        assert_eq!(clipped("äbcd", 4), "äbcd");
    }

    #[test]
    fn spans_read_well() {
        let texts = [0, 7, 61, 3600, 90_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(texts, ["0s", "7s", "1m 1s", "1h 0m", "1d 1h"]);
    }
}
