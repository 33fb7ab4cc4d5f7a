//! The thread, fed by a board.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};

use crate::{
    capability::Capability,
    health::{Reason, ReasonCode, State, Subject},
    history::{CAPABILITY, Jobs, Live, Reader, Records, Settings, Writer, jobs::Kind},
    output::metrics::Own,
    state::{BACKLOG, Board, ChangeEvent, Snapshot, TargetView},
    time::{Boot, Moment, Mono, Wall},
};

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    board: Board,
    jobs: Jobs,
    live: Live,
    own: Own,
    capabilities: Arc<Mutex<Vec<Capability>>>,
    snapshot: Snapshot,
}

impl World {
    fn new() -> Self {
        let now = Moment::now();
        let snapshot = Snapshot { seq: 100, at: now, started: now, ..Snapshot::default() };
        Self {
            folder: tempfile::tempdir().unwrap(),
            board: Board::new(snapshot.clone(), LONG),
            jobs: Jobs::default(),
            live: Live::default(),
            own: Own::new(),
            capabilities: Arc::default(),
            snapshot,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("history.db")
    }

    fn start(&self) -> Writer {
        self.start_at(&self.path())
    }

    fn start_at(&self, path: &Path) -> Writer {
        let settings = Settings { path: path.to_owned(), retention: LONG * 1000, max_size: 8 << 20 };
        Writer::start(
            settings,
            self.board.clone(),
            self.jobs.clone(),
            self.live.clone(),
            self.own.history.clone(),
            self.capabilities.clone(),
        )
        .unwrap()
    }

    /// Changes in one publication: the network's and those of targets.
    fn publish(&mut self, states: &[(Subject, State)]) {
        let now = Moment::now();
        let mut changes = Vec::new();
        for (subject, state) in states {
            self.snapshot.seq += 1;
            let reasons = vec![Reason::new(ReasonCode::NoReply, subject.name(), "six lost")];
            let mut verdict = match subject {
                Subject::Target(name) => {
                    let known = self.snapshot.targets.iter().find(|t| *t.name == **name);
                    known.map(|t| t.verdict.clone()).unwrap_or_default()
                }
                _ => self.snapshot.verdict.clone(),
            };
            let previous = verdict.state;
            verdict.update(now, *state, reasons.clone());
            match subject {
                Subject::Target(name) => {
                    self.snapshot.targets.retain(|t| *t.name != **name);
                    let host = format!("{name}.example");
                    let target =
                        TargetView { name: name.as_str().into(), host, verdict, ..TargetView::default() };
                    self.snapshot.targets.push(Arc::new(target));
                }
                _ => self.snapshot.verdict = verdict,
            }
            changes.push(ChangeEvent {
                seq: self.snapshot.seq,
                at: now.boot,
                subject: subject.clone(),
                previous,
                state: *state,
                reasons,
                diagnosis: None,
            });
        }
        self.snapshot.at = now;
        self.board.publish(self.snapshot.clone(), changes);
    }

    fn read(&self) -> Records {
        Reader::new(self.path()).load(Wall::default()).unwrap_or_default()
    }

    fn until(&self, what: &str, mut condition: impl FnMut(&Records) -> bool) {
        let deadline = Mono::now() + LONG;
        while !condition(&self.read()) {
            assert!(Mono::now() < deadline, "{what} never came about: {:?}", self.read());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn capability(&self) -> Option<Capability> {
        self.capabilities.lock().unwrap().iter().find(|c| c.name == CAPABILITY).cloned()
    }
}

fn network(state: State) -> (Subject, State) {
    (Subject::Network, state)
}

#[test]
fn changes_are_written_soon_and_a_clean_end_is_told() {
    let mut world = World::new();
    let writer = world.start();
    world.publish(&[network(State::Up)]);
    world.publish(&[network(State::Down)]);
    world.until("both changes", |r| r.changes.len() == 2);
    assert!(world.live.run().is_some() && world.capability().unwrap().ok);
    let records = world.read();
    assert!(records.changes[1].reasons.contains("six lost"), "{records:?}");
    assert!(!records.runs[0].clean);
    world.publish(&[network(State::Up)]);
    writer.stop();
    let records = world.read();
    assert_eq!((records.changes.len(), records.runs[0].clean), (3, true), "nothing is lost at the end");
    assert!(records.runs[0].seen >= records.changes[2].at && world.live.run().is_none());
    assert_eq!((world.own.history.errors.get(), world.own.history.dropped.get()), (0, 0));
}

#[test]
fn more_at_once_than_the_backlog_holds_is_counted_and_taken_from_the_snapshot() {
    let mut world = World::new();
    let target = |i: usize| Subject::Target(format!("t{i}"));
    let writer = world.start();
    world.publish(&[network(State::Up)]);
    world.until("the first change", |r| r.changes.len() == 1);
    let all: Vec<_> = (0..BACKLOG + 100).map(|i| (target(i), State::Down)).collect();
    world.publish(&all);
    world.until("every target", |r| r.changes.len() == 1 + all.len());
    let records = world.read();
    assert!(world.own.history.dropped.get() > 0);
    assert_eq!(records.gaps.len(), 1, "what happened meanwhile was not seen");
    assert!(records.changes[1..].iter().all(|c| c.state == State::Down && c.previous == State::Unknown));
    world.publish(&[(target(0), State::Up)]);
    world.until("a change afterwards", |r| r.changes.last().is_some_and(|c| c.state == State::Up));
    writer.stop();
}

#[test]
fn those_who_waited_are_written_with_what_they_waited_for() {
    let mut world = World::new();
    let writer = world.start();
    let down = Subject::Target("far".into());
    world.publish(&[network(State::Up), (down.clone(), State::Up)]);
    let kind = |job: &str, target: Option<&str>| Kind {
        job: job.into(),
        uid: 5,
        device: None,
        target: target.map(str::to_owned),
    };
    // Nothing was down meanwhile.
    drop(world.jobs.begin(kind("idle", None), Boot::now()));
    std::thread::sleep(Duration::from_millis(20));
    world.publish(&[(down.clone(), State::Down)]);
    let waiting: Vec<_> = ["far", "far.example", "other"]
        .iter()
        .map(|host| world.jobs.begin(kind("backup", Some(host)), Boot::now()))
        .collect();
    std::thread::sleep(Duration::from_millis(20));
    world.publish(&[(down.clone(), State::Up)]);
    drop(waiting);
    world.until("who waited", |r| !r.waits.is_empty());
    writer.stop();
    let waits = world.read().waits;
    // By its name and by its host it is the same target.
    assert_eq!(waits.iter().map(|w| w.count).sum::<u64>(), 2, "{waits:?}");
    for w in waits {
        assert_eq!((&w.subject, w.job.as_str(), w.uid), (&down, "backup", 5));
        assert!(w.longest >= Duration::from_millis(20));
    }
}

#[test]
fn a_target_that_is_taken_out_is_not_up_for_ever() {
    let mut world = World::new();
    let writer = world.start();
    world.publish(&[network(State::Up), (Subject::Target("a".into()), State::Up)]);
    world.until("both", |r| r.changes.len() == 2);
    world.snapshot.targets.clear();
    world.publish(&[]);
    world.until("its end", |r| r.changes.last().is_some_and(|c| c.state == State::Unknown));
    writer.stop();
}

#[test]
fn a_time_without_a_look_is_written() {
    let mut world = World::new();
    let writer = world.start();
    world.publish(&[network(State::Up)]);
    let later = Boot::now() + Duration::from_secs(10);
    world.board.evaluated(later);
    world.publish(&[network(State::Unknown)]);
    world.until("the gap", |r| r.gaps.len() == 1 && r.changes.len() == 2);
    assert_eq!(world.read().gaps[0].to, later);
    writer.stop();
}

#[test]
fn without_a_directory_there_is_no_history_and_that_is_all() {
    let mut world = World::new();
    let nowhere = world.folder.path().join("no/history.db");
    let writer = world.start_at(&nowhere);
    let deadline = Mono::now() + LONG;
    while world.capability().is_none() {
        assert!(Mono::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let said = world.capability().unwrap();
    assert!(
        !said.ok && said.detail.contains("no directory") && said.remedy.contains("install -d"),
        "{said:?}"
    );
    world.publish(&[network(State::Down)]);
    writer.stop();
    assert!(!nowhere.parent().unwrap().exists());
}

#[test]
fn a_file_of_somebody_else_is_moved_aside_and_a_new_one_begun() {
    let mut world = World::new();
    fs::write(world.path(), "precious").unwrap();
    let writer = world.start();
    world.publish(&[network(State::Down)]);
    world.until("the change", |r| r.changes.len() == 1);
    writer.stop();
    let mut aside = fs::read_dir(world.folder.path()).unwrap().flatten();
    let aside = aside.find(|e| e.file_name().to_string_lossy().contains(".aside-")).unwrap();
    assert_eq!(fs::read(aside.path()).unwrap(), b"precious");
    assert!(world.capability().unwrap().ok && world.own.history.errors.get() == 1);
}

#[test]
fn a_file_that_is_damaged_while_it_is_written_is_followed_by_one_with_the_whole_state() {
    let mut world = World::new();
    let writer = world.start();
    let far = Subject::Target("far".into());
    world.publish(&[network(State::Up), (far.clone(), State::Down)]);
    world.until("both", |r| r.changes.len() == 2);
    let connection = rusqlite::Connection::open(world.path()).unwrap();
    connection
        .execute_batch(
            "PRAGMA writable_schema = 1;
             UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'changes';
             PRAGMA schema_version = 99;",
        )
        .unwrap();
    drop(connection);
    world.publish(&[network(State::Down)]);
    world.until("what was down before", |r| {
        r.changes.iter().any(|c| c.subject == far && c.state == State::Down)
            && r.changes.iter().any(|c| c.subject == Subject::Network && c.state == State::Down)
    });
    writer.stop();
    assert_eq!(world.read().gaps[0].from, world.read().runs[0].started, "of what was before it has nothing");
    assert_eq!(world.own.history.errors.get(), 1);
}

#[test]
fn while_nothing_can_be_written_no_run_is_live() {
    let mut world = World::new();
    let writer = world.start();
    world.publish(&[network(State::Down)]);
    world.until("the change", |r| r.changes.len() == 1);
    assert!(world.live.run().is_some());
    let busy = rusqlite::Connection::open(world.path()).unwrap();
    busy.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.publish(&[network(State::Up)]);
    let deadline = Mono::now() + LONG;
    while world.capability().is_none_or(|c| c.ok) {
        assert!(Mono::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(world.live.run(), None);
    busy.execute_batch("ROLLBACK").unwrap();
    world.until("what was held", |r| r.changes.len() == 2);
    writer.stop();
}

#[test]
fn a_second_agent_takes_over_when_the_first_ends() {
    let (first, mut second) = (World::new(), World::new());
    let writer = first.start();
    first.until("the first run", |r| r.runs.len() == 1);
    let waiting = second.start_at(&first.path());
    let deadline = Mono::now() + LONG;
    while second.capability().is_none_or(|c| c.ok) {
        assert!(Mono::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(second.capability().unwrap().detail.contains("another agent writes"));
    assert!(second.own.history.errors.get() > 0 && second.live.run().is_none());
    second.publish(&[network(State::Down)]);
    writer.stop();
    first.until("what was held", |r| r.runs.len() == 2 && r.changes.len() == 1);
    waiting.stop();
    assert!(second.capability().unwrap().ok && second.own.history.dropped.get() == 0);
}

#[test]
fn what_can_not_be_held_is_dropped_counted_and_made_good_for() {
    let mut world = World::new();
    let lock = fs::File::create(world.folder.path().join("history.db.lock")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let writer = world.start();
    let far = Subject::Target("far".into());
    let deadline = Mono::now() + LONG;
    while world.own.history.dropped.get() == 0 {
        assert!(Mono::now() < deadline, "nothing is ever dropped");
        // Fewer than the backlog holds, more than are held in the end.
        for state in [State::Down, State::Up].into_iter().cycle().take(500) {
            world.publish(&[(far.clone(), state)]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    world.publish(&[(far.clone(), State::Down), network(State::Degraded)]);
    drop(lock);
    world.until("the state", |r| {
        let last = |subject: &Subject| r.changes.iter().rfind(|c| c.subject == *subject).map(|c| c.state);
        last(&far) == Some(State::Down) && last(&Subject::Network) == Some(State::Degraded)
    });
    assert!(!world.read().gaps.is_empty(), "what was dropped was not observed");
    world.publish(&[(far, State::Up)]);
    world.until("a change afterwards", |r| r.changes.last().is_some_and(|c| c.state == State::Up));
    writer.stop();
}
