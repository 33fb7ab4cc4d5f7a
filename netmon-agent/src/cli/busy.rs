//! The line that says what takes long: on standard error, if that is a terminal, and only after a second.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::text::{clipped, printable, span};
use crate::time::Mono;

/// What is over sooner needs no words; and so often they are drawn anew.
const PERIOD: Duration = Duration::from_secs(1);

/// Says what takes long for as long as it lives; nothing stays of it on the terminal.
#[derive(Debug, Default)]
pub(super) struct Busy {
    thread: Option<(Arc<Shared>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Debug)]
struct Line {
    words: String,
    since: Mono,
    /// Nothing is drawn before.
    from: Mono,
    is_drawn: bool,
    is_over: bool,
}

impl Busy {
    /// From now on this takes long.
    pub(super) fn new(words: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self::default();
        }
        let now = Mono::now();
        let line =
            Line { words: words.to_owned(), since: now, from: now + PERIOD, is_drawn: false, is_over: false };
        let shared = Arc::new(Shared { line: Mutex::new(line), changed: Condvar::new() });
        let drawing = shared.clone();
        let thread = thread::Builder::new().name("busy".to_owned()).spawn(move || drawing.draw_on());
        // Without a thread there are no words, and what takes long goes on.
        Self { thread: thread.ok().map(|thread| (shared, thread)) }
    }

    /// It is this now that takes long. Nothing is drawn for a second: what is to be printed meanwhile has the line to
    /// itself.
    pub(super) fn say(&self, words: &str) {
        if let Some((shared, _)) = &self.thread {
            let mut line = shared.lock();
            line.erase();
            words.clone_into(&mut line.words);
            line.from = Mono::now() + PERIOD;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some((shared, thread)) = self.thread.take() {
            let mut line = shared.lock();
            line.erase();
            line.is_over = true;
            drop(line);
            shared.changed.notify_one();
            // It draws and waits, and does neither any more.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn draw_on(&self) {
        let mut line = self.lock();
        while !line.is_over {
            let now = Mono::now();
            if line.from <= now {
                line.draw(now);
            }
            line = self.changed.wait_timeout(line, PERIOD).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn draw(&mut self, now: Mono) {
        let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0);
        // The last column stays free: some terminals wrap once it is written.
        let text = text(&self.words, now.since(self.since), usize::from(width).saturating_sub(1));
        // To the line's beginning, and from there cleared to its end (ECMA-48, EL).
        let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        self.is_drawn = true;
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// The line, no wider than that: what it is, and how long it has taken.
fn text(words: &str, lasted: Duration, width: usize) -> String {
    let lasted = format!(" ({})", span(lasted));
    let room = width.saturating_sub(lasted.chars().count());
    clipped(&format!("{}{lasted}", clipped(&printable(&format!("netmon: {words}")), room)), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_stays_where_there_is_little_room() {
        let at = |width| text("waiting for \x1b[2J", Duration::from_secs(61), width);
        assert_eq!(at(80), "netmon: waiting for \u{fffd}[2J (1m 1s)");
        assert_eq!(at(20), "netmon: wai… (1m 1s)");
        for width in 0..40 {
            assert!(at(width).chars().count() <= width.max(1), "{width}");
        }
    }
}
