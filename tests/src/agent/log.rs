//! What the agents of a trial wrote to standard error, kept for the message of a failure.

use std::cell::RefCell;
use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Lines shown of each agent in the message of a failure.
const SHOWN: usize = 60;

thread_local! {
    static OF_THIS_THREAD: RefCell<Vec<Log>> = const { RefCell::new(Vec::new()) };
}

/// Lines written by one process so far.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    /// Follows `source` on a thread of its own to its end.
    pub(super) fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let sink = log.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(source);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                sink.lines_mut().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                sink.0.1.notify_all();
                line.clear();
            }
        });
        OF_THIS_THREAD.with_borrow_mut(|logs| logs.push(log.clone()));
        log
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines_mut().clone()
    }

    /// Waits until a line satisfies `wanted` and returns the first that does; `None` when none came in time.
    pub fn await_line(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let find = |lines: &Vec<String>| lines.iter().find(|l| wanted(l)).cloned();
        let guard = self.lines_mut();
        let (lines, _) = self
            .0
            .1
            .wait_timeout_while(guard, within, |lines| find(lines).is_none())
            .unwrap_or_else(|e| e.into_inner());
        find(&lines)
    }

    fn lines_mut(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The last lines of every process started by this thread since it last asked.
pub fn logs_of_this_thread() -> String {
    let mut text = String::new();
    for (n, log) in OF_THIS_THREAD.take().iter().enumerate() {
        let lines = log.lines();
        let _ = writeln!(text, "--- log of process {}, {} lines", n + 1, lines.len());
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
