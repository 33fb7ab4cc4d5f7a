//! Lines of the log on their way to the thread that writes them: whoever logs never waits, and what finds no room is counted.

use super::writer::count_lost;
use crate::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Wall,
};

/// Bytes of lines that wait to be written: what a storm of changes brings while a disk hangs for some seconds.
const BYTES: usize = 8 << 20;

/// Where lines go, on the thread for it.
pub(super) trait Sink {
    /// Takes a line that was logged then. May wait.
    fn write(&mut self, line: &[u8], logged: Wall);

    /// Tells that so many lines found no room.
    fn lost(&mut self, lines: u64);
}

/// Takes lines from everywhere.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) out: SyncSender<Work>,
    /// Bytes that wait.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Lines that found no room, and that nobody was told of.
    pub(super) lost: Arc<AtomicU64>,
}

/// What the thread does next.
#[derive(Debug)]
pub(super) enum Work {
    /// Writes a line that was logged then.
    Line(Vec<u8>, Wall),
    /// Says that everything before it has been written.
    Written(SyncSender<()>),
}

/// A queue for so many lines.
pub(super) fn lines(room: usize) -> (Lines, Receiver<Work>) {
    let (out, work) = sync_channel(room);
    (Lines { out, waiting: Arc::default(), lost: Arc::default() }, work)
}

/// Writes lines until nobody logs any more.
pub(super) fn write<S: Sink>(mut sink: S, work: &Receiver<Work>, waiting: &AtomicUsize, lost: &AtomicU64) {
    while let Ok(work) = work.recv() {
        let done = match work {
            Work::Line(line, logged) => {
                sink.write(&line, logged);
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
                None
            }
            Work::Written(done) => Some(done),
        };
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            sink.lost(lost);
        }
        // After which the process may end.
        if let Some(done) = done {
            let _ = done.try_send(());
        }
    }
}

impl Lines {
    /// Takes a line, or counts it where there is no room: it never waits.
    pub(super) fn put(&self, line: Vec<u8>) {
        let length = line.len();
        let room = self.waiting.fetch_add(length, Ordering::Relaxed) + length <= BYTES;
        if !room || self.out.try_send(Work::Line(line, Wall::now())).is_err() {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            count_lost(1);
        }
    }
}
