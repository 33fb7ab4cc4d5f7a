//! The thread that writes the log to its file, or sends it to the journal: a disk may take seconds, the journal may be
//! stopped, and those who log decide on verdicts.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, SigmaskHow};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::{Lines, Sink, Work, lines, write};

/// Lines that wait to be written: what a storm of changes brings while a disk hangs for some seconds.
const ROOM: usize = 16_384;
/// How long the end waits for a disk that hangs, or for the journal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lines that were not written, of the whole process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log were lost since the process began: they found no room, or could never be sent.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// So many more.
pub(super) fn count_lost(lines: u64) {
    LOST.fetch_add(lines, Ordering::Relaxed);
}

/// The log while it is written. When it goes, what was logged has been written.
pub(super) struct Writer {
    out: SyncSender<Work>,
    /// What starts the thread, until it is there.
    begin: Option<Begin>,
}

type Begin = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("begun", &self.begin.is_none()).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread, if it is not there. Until then lines wait for it.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.begin.take().map_or(Ok(()), |begin| begin())
    }
}

/// Takes lines, for a thread that [`Writer::begin`] starts.
pub(super) fn prepare<S: Sink>(open: impl FnOnce() -> S + Send + 'static) -> (Lines, Writer) {
    let (lines, work) = lines(ROOM);
    let ours = lines.clone();
    let begin = Box::new(move || spawn(open, ours, work));
    (lines.clone(), Writer { out: lines.out, begin: Some(begin) })
}

fn spawn<S: Sink>(
    open: impl FnOnce() -> S + Send + 'static,
    ours: Lines,
    work: Receiver<Work>,
) -> io::Result<()> {
    // It is there before the agent says what becomes of signals: one that came to this thread would end the process.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = thread::Builder::new().name("log".to_owned()).spawn(move || {
        let Lines { out, waiting, lost } = ours;
        // It ends when nobody logs any more.
        drop(out);
        write(open(), &work, &waiting, &lost);
    });
    before.thread_set_mask()?;
    started.map(drop)
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What was logged before there was a thread is worth one.
        if self.begin().is_err() {
            return;
        }
        let (done, written) = sync_channel(1);
        let mut waited = Duration::ZERO;
        // Where there is no room, for as long as the thread has patience of ours to write what is before.
        let step = Duration::from_millis(10);
        let mut work = Work::Written(done);
        while let Err(TrySendError::Full(back)) = self.out.try_send(work) {
            if waited >= PATIENCE {
                return;
            }
            thread::sleep(step);
            waited += step;
            work = back;
        }
        if written.recv_timeout(PATIENCE.saturating_sub(waited)) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(io::stderr(), "netmon: the log is not taken; its last lines may be missing");
        }
    }
}

impl Write for Lines {
    /// Takes a whole line, which is how lines are written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        sync::{Arc, atomic::AtomicUsize},
    };

    use nix::sys::signal::Signal;

    use super::*;

    fn start<S: Sink>(open: impl FnOnce() -> S + Send + 'static) -> io::Result<(Lines, Writer)> {
        let (lines, mut writer) = prepare(open);
        writer.begin()?;
        Ok((lines, writer))
    }
    use crate::{
        output::log::{rolling::Rolling, settings::FileSettings},
        time::Mono,
    };

    fn file(path: &Path) -> Rolling<io::Stderr> {
        let settings = FileSettings { path: path.to_owned(), max_size: 1 << 30, max_files: 1 };
        Rolling::open(settings, io::stderr(), Mono::now())
    }

    #[test]
    fn what_was_logged_is_written_when_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netmon.log");
        let to = path.clone();
        let (mut lines, writer) = start(move || file(&to)).unwrap();
        for n in 0..5_000 {
            lines.write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        drop(writer);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 5_000);
        assert!(text.ends_with("line 4999\n"));
    }

    #[test]
    fn it_hears_no_signals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netmon.log");
        let blocked = |status: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let own = || blocked(&fs::read_to_string("/proc/thread-self/status").unwrap());
        let before = own();
        let (_lines, writer) = start(move || file(&path)).unwrap();
        assert_eq!(own(), before);
        // After which it is there, with its name, and waits for lines.
        drop(writer);
        // Other tests may have one, too: each of them hears none.
        let mut found = 0;
        for thread in fs::read_dir("/proc/self/task").unwrap().flatten() {
            let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
            if status.starts_with("Name:\tlog\n") {
                found += 1;
                for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
                    assert_ne!(blocked(&status) >> (signal as i32 - 1) & 1, 0, "{signal}");
                }
            }
        }
        assert!(found > 0);
    }

    #[test]
    fn lines_that_find_no_room_are_counted_where_they_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netmon.log");
        let (mut lines, work) = lines(2);
        let (waiting, lost, before) = (lines.waiting.clone(), lines.lost.clone(), lost());
        for n in 0..5 {
            lines.write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        assert_eq!(waiting.load(Ordering::Relaxed), 14, "of those that wait alone");
        // Other tests may lose some, too.
        assert!(super::lost() >= before + 3);
        drop(lines);
        write(file(&path), &work, &waiting, &lost);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("line 0\nnetmon: lines lost here") && text.contains(": 3\nline 1\n"),
            "{text}"
        );
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let (lines, work) = lines(100);
        for _ in 0..9 {
            lines.put(vec![b'x'; 1 << 20]);
        }
        assert_eq!((work.try_iter().count(), lines.lost.load(Ordering::Relaxed)), (8, 1));
    }

    /// Stands for standard error, and for who ends the process when all is written.
    struct Witness(Receiver<()>, Arc<AtomicU64>);

    impl Write for Witness {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            assert!(
                self.0.try_recv().is_err(),
                "nobody is there to read {:?}",
                String::from_utf8_lossy(line)
            );
            self.1.fetch_add(u64::from(line.ends_with(b"in time: 3\n")), Ordering::Relaxed);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_lost_is_told_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        // A directory: all goes to standard error.
        let settings = FileSettings { path: folder.path().to_owned(), max_size: 1 << 30, max_files: 1 };
        let (out, work) = sync_channel(1);
        let (done, written) = sync_channel(1);
        out.send(Work::Written(done)).unwrap();
        drop(out);
        let told = Arc::new(AtomicU64::new(0));
        let file = Rolling::open(settings, Witness(written, told.clone()), Mono::now());
        write(file, &work, &AtomicUsize::new(0), &AtomicU64::new(3));
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
