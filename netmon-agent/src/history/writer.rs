//! The thread that follows the board and writes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::unistd::{AccessFlags, access};
use prometheus::{IntCounter, IntGauge};
use tokio::sync::oneshot;

use super::{
    error::StoreError,
    follow::Follower,
    jobs::Jobs,
    keeper::{Health, Keeper, remedy},
    record::RunId,
    store::{Batch, Sign, ThisRun},
};
use crate::{
    capability::Capability,
    output::WallAnchor,
    state::{BacklogOverrun, Board, Snapshot},
    time::{Boot, Mono, Wall, sleep_until},
};

/// Name of the capability.
pub const CAPABILITY: &str = "history";

/// What happens within this time is one batch.
const GATHER: Duration = Duration::from_millis(200);

/// A sign of life is written at least so often. What a run did after its last one, when it is killed, was not observed.
const SIGN: Duration = Duration::from_secs(15);

/// Old changes are taken out this often, the first time when a clock that was wrong at boot has been set.
const PRUNE: Duration = Duration::from_secs(600);

/// Nothing is forgotten for its age by a run that is younger: its clock may be one that nobody has set yet.
const SETTLED: Duration = Duration::from_secs(86_400);

/// How long the end of the agent waits for the last batch.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of the size that is allowed, this part is for the log beside the file.
const LOG_SHARE: u64 = 8;

/// What is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// What is older is forgotten.
    pub retention: Duration,
    /// Largest file with its log, bytes.
    pub max_size: u64,
}

/// What it counts.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Failures to write.
    pub errors: IntCounter,
    /// Rows that could not be kept until they could be written, and changes that were overtaken by others.
    pub dropped: IntCounter,
    /// Bytes of the file in use.
    pub bytes: IntGauge,
    /// Changes in it.
    pub changes: IntGauge,
}

/// Which run is written now. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<AtomicI64>);

impl Live {
    /// The run; none while nothing can be written.
    pub fn run(&self) -> Option<RunId> {
        Some(self.0.load(Ordering::Acquire)).filter(|run| *run > 0)
    }

    fn set(&self, run: Option<RunId>) {
        self.0.store(run.unwrap_or(0), Ordering::Release);
    }
}

/// The running thread. Dropped, it goes on; [`Writer::stop`] ends it well.
#[derive(Debug)]
pub struct Writer {
    stop: oneshot::Sender<()>,
    ended: mpsc::Receiver<()>,
    _thread: JoinHandle<()>,
}

impl Writer {
    /// Starts to follow `board`. What becomes of the file is told in `capabilities`, under [`CAPABILITY`].
    ///
    /// # Errors
    /// No thread, no runtime.
    pub fn start(
        settings: Settings,
        board: Board,
        jobs: Jobs,
        live: Live,
        counters: Counters,
        capabilities: Arc<Mutex<Vec<Capability>>>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let snapshot = board.snapshot();
        let run = ThisRun { boot: boot_id(), started: snapshot.started.boot };
        let now = Mono::now();
        let state = Following {
            keeper: Keeper::new(settings.path.clone(), run, counters.clone()),
            follower: Follower::new(snapshot.seq, snapshot.at.boot),
            started: snapshot.started.boot,
            settings,
            board,
            jobs,
            live,
            counters,
            capabilities,
            walls: WallAnchor::default(),
            names: Some(snapshot),
            behind: false,
            gap: Boot::default(),
            next_flush: now,
            next_sign: now,
            next_prune: now + PRUNE,
        };
        let (done, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(CAPABILITY.to_owned()).spawn(move || {
            runtime.block_on(state.follow(stopped));
            drop(done);
        })?;
        Ok(Self { stop, ended, _thread: thread })
    }

    /// Writes what there is, ends the run well, and waits for that, though not longer than a disk that still answers would
    /// take.
    pub fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the disk does not take the end of the history within {PATIENCE:?}: it is left as it is"
            );
        }
    }
}

struct Following {
    settings: Settings,
    board: Board,
    jobs: Jobs,
    live: Live,
    counters: Counters,
    capabilities: Arc<Mutex<Vec<Capability>>>,
    walls: WallAnchor,
    keeper: Keeper,
    follower: Follower,
    started: Boot,
    /// The snapshot whose names were last looked at; none when they are to be looked at again.
    names: Option<Arc<Snapshot>>,
    /// Changes were missed, and the state is to be taken anew.
    behind: bool,
    /// End of the last gap taken.
    gap: Boot,
    next_flush: Mono,
    next_sign: Mono,
    next_prune: Mono,
}

impl Following {
    async fn follow(mut self, mut stop: oneshot::Receiver<()>) {
        let mut publications = self.board.subscribe();
        loop {
            self.look();
            self.write(false);
            if self.keeper.is_off() {
                // Nobody will ever take them.
                return;
            }
            let due = if self.keeper.holds_any() || self.behind {
                self.next_flush.max(self.keeper.next_try())
            } else {
                self.next_sign.max(self.keeper.next_try())
            };
            tokio::select! {
                biased;
                _ = &mut stop => break,
                () = sleep_until(due.min(self.next_prune)) => {}
                changed = publications.changed() => if changed.is_err() { break },
                () = self.jobs.ended() => {}
            }
        }
        self.look();
        self.write(true);
        self.live.set(None);
        self.keeper.close();
    }

    /// Takes what is new.
    fn look(&mut self) {
        let mut batch = Batch::default();
        let now = self.board.last_evaluated();
        let walls = self.walls.now();
        let gaps = self.board.gaps_after(self.gap);
        self.gap = gaps.last().map_or(self.gap, |(_, to)| *to);
        self.follower.take_gaps(&gaps, &mut batch);
        if !self.behind {
            match self.board.changes_after(self.follower.seq()) {
                Ok(changes) => self.follower.take(&changes, now, walls, &mut batch),
                Err(BacklogOverrun { .. }) => self.behind = true,
            }
        }
        let snapshot = self.board.snapshot();
        let same = self.names.as_ref().is_some_and(|names| names.same_names(&snapshot));
        if !self.behind && !same && snapshot.seq >= self.follower.seq() {
            self.follower.forget_others(&snapshot, walls, &mut batch);
            self.names = Some(snapshot.clone());
        }
        let ended = self.jobs.take();
        if !ended.is_empty() {
            self.follower.take_waits(&ended, &snapshot, &mut batch);
        }
        if !batch.is_empty() {
            self.keeper.hold(batch);
        }
        self.forget_dropped();
    }

    /// What was dropped is to be taken anew, though other changes were missed already.
    fn forget_dropped(&mut self) {
        if let Some(from) = self.keeper.dropped_from() {
            self.follower.forget_since(from);
            self.behind = true;
        }
    }

    /// Writes what is due; with `all`, everything.
    fn write(&mut self, all: bool) {
        let now = Mono::now();
        let waiting = self.keeper.holds_any() || self.behind;
        let due = now >= self.next_sign || now >= self.next_prune || (waiting && now >= self.next_flush);
        if !(all || due) {
            return;
        }
        let (boot, wall) = (Boot::now(), Wall::now());
        let walls = self.walls.offset(boot, wall);
        let sign = Sign { seen: self.board.last_evaluated(), offset: walls.as_nanos() };
        self.next_flush = now + GATHER;
        let mut written = self.keeper.flush(now, wall, sign);
        self.forget_dropped();
        if written && self.behind {
            let snapshot = self.board.snapshot();
            let (mut follower, mut batch) = (self.follower.clone(), Batch::default());
            follower.resync(&snapshot, walls, &mut batch);
            written = self.keeper.make_good(now, wall, &batch, sign);
            if written {
                self.counters.dropped.inc_by(snapshot.seq.saturating_sub(self.follower.seq()));
                (self.follower, self.names, self.behind) = (follower, Some(snapshot), false);
            }
        }
        let most = self.settings.max_size - self.settings.max_size / LOG_SHARE;
        let oldest = oldest(wall, self.settings.retention, boot.since(self.started));
        if now >= self.next_prune {
            self.next_prune = now + PRUNE;
            self.keeper.prune(now, oldest, most);
            // A device that was unplugged long ago is one that is no more, with nothing else to tell of it.
            self.names = None;
        }
        if now >= self.next_sign {
            self.next_sign = now + SIGN;
            self.keeper.thin(now, most);
            if self.keeper.measure() > most {
                self.keeper.prune(now, oldest, most);
                self.keeper.measure();
            }
        }
        // Where it can't be written, nobody says that what was written last is so now.
        self.live.set(self.keeper.run().filter(|_| *self.keeper.health() == Health::Well));
        self.tell();
    }

    fn tell(&self) {
        let path = self.settings.path.display();
        let now = match self.keeper.health() {
            Health::New => return,
            Health::Well => Capability::works(CAPABILITY, format!("outages are written to {path}")),
            Health::Failing(why) => Capability::missing(
                CAPABILITY,
                why.clone(),
                format!("make room for {path}, or repair its disk"),
            ),
            Health::Off(why, remedy) => Capability::missing(CAPABILITY, why.clone(), remedy.clone()),
        };
        let mut all = self.capabilities.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|c| c.name == CAPABILITY) {
            Some(known) => *known = now,
            None => all.push(now),
        }
    }
}

/// What is older is forgotten by a run of this age.
fn oldest(now: Wall, retention: Duration, age: Duration) -> Wall {
    if age < SETTLED {
        return Wall::default();
    }
    Wall::from_nanos(now.as_nanos().saturating_sub(retention.as_nanos() as u64))
}

/// Which boot this is; empty where the kernel does not tell.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Whether a history could be kept at `path` by this user; touches nothing.
pub fn examine(path: &Path) -> Capability {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let error = if !directory.is_dir() {
        StoreError::NoDirectory(directory.to_owned())
    } else if path.exists() && !path.is_file() {
        StoreError::NoFile(path.to_owned())
    } else {
        let what = if path.exists() { path } else { directory };
        match access(what, AccessFlags::R_OK | AccessFlags::W_OK) {
            Ok(()) => {
                return Capability::works(
                    CAPABILITY,
                    format!("outages can be written to {}", path.display()),
                );
            }
            Err(e) => StoreError::Io { path: what.to_owned(), source: e.into() },
        }
    };
    Capability::missing(CAPABILITY, error.to_string(), remedy(&error, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_at_boot_makes_nothing_old() {
        let (far, year) = (Wall::from_nanos(4_000_000_000_000_000_000), Duration::from_secs(365 * 86_400));
        assert_eq!(oldest(far, year, Duration::from_secs(3600)), Wall::default());
        assert_eq!(far.since(oldest(far, year, SETTLED)), year);
    }
}
