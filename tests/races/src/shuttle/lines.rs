//! The log's queue, which whoever logs never waits for, and the thread that writes.

use std::sync::atomic::Ordering;

use shuttle::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::queue::{self, Lines, Sink, Work};
use super::writer::LOST;
use crate::time::Wall;

/// What reached the file, and how many lines it was told are missing.
#[derive(Default)]
struct File {
    lines: Vec<Vec<u8>>,
    lost: u64,
}

struct Told(Arc<Mutex<File>>);

impl Sink for Told {
    fn write(&mut self, line: &[u8], _: Wall) {
        self.0.lock().expect("the file").lines.push(line[..2].to_owned());
    }

    fn lost(&mut self, lines: u64) {
        self.0.lock().expect("the file").lost += lines;
    }
}

/// Two threads log these lines each, with room for so many. When the end is told that all is written, it is: each line is in the
/// file, in its thread's order, or among those that the file and the metrics tell of.
fn log(room: usize, lines: &'static [&'static [usize]; 2]) -> (usize, u64) {
    LOST.store(0, Ordering::SeqCst);
    let file = Arc::new(Mutex::new(File::default()));
    let (queue, work) = queue::lines(room);
    let Lines { out, waiting, lost } = queue.clone();
    let bytes = waiting.clone();
    let sink = Told(file.clone());
    let writer = thread::spawn(move || queue::write(sink, &work, &waiting, &lost));
    let loggers = [0, 1].map(|who| {
        let queue = queue.clone();
        thread::spawn(move || {
            for (n, length) in lines[usize::from(who)].iter().enumerate() {
                // Of zeros, which take no memory until they are looked at.
                let mut line = vec![0; *length];
                line[..2].copy_from_slice(&[who, n as u8]);
                queue.put(line);
            }
        })
    });
    for logger in loggers {
        logger.join().expect("who logs");
    }
    await_written(&out);
    let (written, told) = {
        let file = file.lock().expect("the file");
        for who in [0, 1] {
            let own: Vec<u8> = file.lines.iter().filter(|line| line[0] == who).map(|line| line[1]).collect();
            assert!(own.is_sorted(), "{own:?}");
        }
        (file.lines.len(), file.lost)
    };
    assert_eq!(told, LOST.load(Ordering::SeqCst));
    assert_eq!(bytes.load(Ordering::SeqCst), 0, "bytes wait that are written or lost");
    drop((out, queue));
    writer.join().expect("who writes");
    (written, told)
}

/// As the log does when it goes.
fn await_written(out: &SyncSender<Work>) {
    let (done, written) = sync_channel(1);
    let mut work = Work::Written(done);
    while let Err(TrySendError::Full(back)) = out.try_send(work) {
        work = back;
        thread::yield_now();
    }
    written.recv().expect("who writes");
}

pub fn counted() {
    let (written, lost) = log(1, &[&[2, 2], &[2]]);
    assert_eq!(written as u64 + lost, 3);
    assert!(written > 0, "there was room for one");
}

pub fn bounded() {
    let (written, lost) = log(3, &[&[5 << 20, 2], &[5 << 20]]);
    assert_eq!(written as u64 + lost, 3);
    assert!(written > 0, "there was room for one");
}
