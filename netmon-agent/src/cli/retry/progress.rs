//! The line on a terminal that says what is waited for.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use crate::cli::text::{clipped, printable};

/// Why nothing runs now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Waiting {
    /// The network is not as asked for.
    Network {
        /// The state's word.
        state: &'static str,
        /// For how long.
        lasted: Duration,
        /// What it is down for; empty where nobody says.
        why: String,
        /// How long it has to have been well.
        stable: Duration,
    },
    /// It is well again, and has to stay so.
    Stable {
        /// For how much longer.
        left: Duration,
    },
    /// It is back for good, and not all who waited start at once.
    Release {
        /// How much longer.
        left: Duration,
    },
    /// After a failure.
    Backoff {
        /// What it was.
        failure: String,
        /// How much longer.
        left: Duration,
    },
    /// A failure that an outage would excuse, if one was on its way.
    Verdict,
    /// The command stands still in an outage.
    Paused {
        /// For how long.
        lasted: Duration,
        /// What the network is down for.
        why: String,
    },
}

impl Waiting {
    /// The line: why, since when, and when the next attempt comes.
    pub(super) fn text(&self, attempt: u32, most: Option<u32>) -> String {
        let next = match most {
            Some(most) => format!("attempt {attempt} of {most}"),
            None => format!("attempt {attempt}"),
        };
        let because = |why: &str| if why.is_empty() { String::new() } else { format!(" ({why})") };
        match self {
            Self::Network { state, lasted, why, stable } => {
                let (why, lasted, stable) = (because(why), words(*lasted), words(*stable));
                format!(
                    "waiting for the network, {state} for {lasted}{why}: {next} when it is back for {stable}"
                )
            }
            Self::Stable { left } => {
                format!("the network is back: {next} if it stays so for {}", words(*left))
            }
            Self::Release { left } => format!("the network is back: {next} in {}", words(*left)),
            Self::Backoff { failure, left } => format!("{failure}: {next} in {}", words(*left)),
            Self::Verdict => "it failed: looking whether the network did".to_owned(),
            Self::Paused { lasted, why } => {
                format!("standing still for {}, the network is down{}", words(*lasted), because(why))
            }
        }
    }
}

/// Whole seconds as people say them, rounded up: what is still to come is never nothing.
fn words(d: Duration) -> String {
    let seconds = d.as_secs() + u64::from(d.subsec_nanos() > 0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

/// The line where it is drawn: on standard error, if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    on: bool,
    shown: Option<String>,
}

impl Progress {
    /// One that draws, unless it is to be quiet or nobody looks.
    pub(super) fn new(quiet: bool) -> Self {
        Self { on: !quiet && io::stderr().is_terminal(), shown: None }
    }

    /// Whether it draws at all.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Draws this line in place of the last.
    pub(super) fn draw(&mut self, text: &str) {
        if !self.on {
            return;
        }
        let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0);
        // The last column stays free: some terminals wrap once it is written.
        let text = clipped(&format!("netmon: {}", printable(text)), usize::from(width).saturating_sub(1));
        if self.shown.as_deref() != Some(&text) {
            // To the line's beginning, and from there cleared to its end (ECMA-48, EL).
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
            self.shown = Some(text);
        }
    }

    /// Takes the line away, so that somebody else may write.
    pub(super) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_why_since_when_and_what_comes_next() {
        let s = Duration::from_secs;
        let why = || "no_carrier eth0".to_owned();
        let network = Waiting::Network { state: "down", lasted: s(72), why: why(), stable: s(5) };
        assert_eq!(
            network.text(2, Some(5)),
            "waiting for the network, down for 1m 12s (no_carrier eth0): attempt 2 of 5 when it is back for 5s"
        );
        let unknown = Waiting::Network { state: "unknown", lasted: s(0), why: String::new(), stable: s(5) };
        assert!(unknown.text(1, None).contains("unknown for 0s: attempt 1 when"));
        let backoff = Waiting::Backoff { failure: "attempt 1 failed (exit 7)".into(), left: s(3) };
        assert_eq!(backoff.text(2, Some(5)), "attempt 1 failed (exit 7): attempt 2 of 5 in 3s");
        let release = Waiting::Release { left: Duration::from_millis(2100) };
        assert_eq!(release.text(3, Some(5)), "the network is back: attempt 3 of 5 in 3s");
        assert!(Waiting::Stable { left: s(4) }.text(2, Some(5)).ends_with("if it stays so for 4s"));
        let paused = Waiting::Paused { lasted: s(3700), why: why() };
        assert_eq!(
            paused.text(1, Some(5)),
            "standing still for 1h 01m, the network is down (no_carrier eth0)"
        );
    }
}
