//! What is said on standard error: a line for each attempt and for what happens between, and on a terminal what is waited
//! for.

use std::time::Duration;

use jiff::Timestamp;
use netmon_client::retry::{GaveUp, Pause, Statistics, Step};

use super::{
    args::Settings,
    codes::Exit,
    driver::End,
    progress::Progress,
    report::{Line, seconds},
};
use crate::{cli::text, time::Wall};

/// An attempt that was judged.
pub(super) struct Ended {
    pub(super) number: u32,
    pub(super) exit: Exit,
    pub(super) lasted: Duration,
    pub(super) class: &'static str,
    pub(super) refunded: bool,
    /// Attempts that may still fail.
    pub(super) left: Option<u32>,
    pub(super) next: Step,
    pub(super) now: Duration,
}

/// Says it, unless it is to be quiet.
pub(super) struct Teller<'a> {
    settings: &'a Settings,
    progress: Progress,
    input_told: bool,
}

impl<'a> Teller<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, progress: Progress::new(settings.quiet), input_told: false }
    }

    /// Whether somebody looks at the line on a terminal.
    pub(super) fn draws(&self) -> bool {
        self.progress.is_on()
    }

    pub(super) fn draw(&mut self, text: &str) {
        self.progress.draw(text);
    }

    pub(super) fn clear(&mut self) {
        self.progress.clear();
    }

    /// The line for an attempt.
    pub(super) fn attempt(&mut self, ended: &Ended) {
        let level = if ended.class == "success" { "info" } else { "warn" };
        let signal = match ended.exit {
            Exit::Signal(signal) => Some(signal),
            Exit::Code(_) => None,
        };
        let (next, wait) = next(&ended.next, ended.now);
        self.line(level, "attempt", |line| {
            line.with("attempt", ended.number)
                .with("exit", ended.exit.code())
                .maybe("signal", signal)
                .with("duration", seconds(ended.lasted))
                .with("class", ended.class)
                .with("refunded", ended.refunded)
                .maybe("left", ended.left)
                .with("next", next)
                .maybe("next_in", wait.map(seconds))
        });
    }

    /// Why there is no further attempt, and what the exit code will be.
    pub(super) fn gave_up(&mut self, why: GaveUp, end: End, statistics: &Statistics) {
        let (exit, signal) = match end {
            End::Code(code) => (code, None),
            End::Signal { signal, .. } => (Exit::Signal(signal).code(), Some(signal)),
        };
        self.line("warn", "gave_up", |line| {
            line.with("why", why.as_str())
                .with("exit", exit)
                .maybe("signal", signal)
                .with("attempts", statistics.attempts)
                .with("refunds", statistics.refunds)
                .with("outages", statistics.outages)
                .with("paused", seconds(statistics.paused))
        });
    }

    /// An attempt cannot have what another one has read, said once.
    pub(super) fn input_is_gone(&mut self) {
        if !std::mem::replace(&mut self.input_told, true) {
            self.say("input", |line| {
                line.with("why", "standard input is a pipe: what an earlier attempt has read of it is gone")
            });
        }
    }

    /// Anything else.
    pub(super) fn say(&mut self, message: &str, fill: impl FnOnce(Line) -> Line) {
        self.line("info", message, fill);
    }

    fn line(&mut self, level: &str, message: &str, fill: impl FnOnce(Line) -> Line) {
        if self.settings.quiet {
            return;
        }
        self.progress.clear();
        let at = Timestamp::from_nanosecond(i128::from(Wall::now().as_nanos())).unwrap_or_default();
        let line = Line::new(&format!("{at:.3}"), level, message, &self.settings.name);
        text::say(format_args!("{}", fill(line).render(self.settings.format)));
    }
}

/// What comes next, and in how long where that is known.
fn next(step: &Step, now: Duration) -> (&'static str, Option<Duration>) {
    match step {
        Step::Run { .. } => ("now", Some(Duration::ZERO)),
        Step::Sleep { until, why } => {
            let word = match why {
                Pause::Backoff => "backoff",
                Pause::Stable => "stable",
                Pause::Release => "release",
                Pause::Hindsight => "verdict",
            };
            (word, Some(until.saturating_sub(now)))
        }
        Step::AwaitNetwork { .. } => ("network", None),
        Step::Done => ("done", None),
        Step::GiveUp(_) | Step::Running { .. } => ("none", None),
    }
}
