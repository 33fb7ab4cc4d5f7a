//! The file: what is written comes back, whatever happens to it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use rusqlite::Connection;

use crate::{
    health::{State, Subject},
    history::{
        Batch, Change, Clocks, Gap, Reader, Sign, Store, StoreError, ThisRun, Waits, move_aside, open, schema,
    },
    time::{Boot, Wall},
};

const S: u64 = 1_000_000_000;
const EPOCH: u64 = 1_700_000_000;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.db");
    (folder, path)
}

fn sign(second: u64) -> Sign {
    Sign { seen: Boot::from_nanos(second * S), offset: (EPOCH * S) as i64 }
}

fn opened(path: &std::path::Path, started: u64) -> Result<Store, StoreError> {
    let run = ThisRun { boot: "b".into(), started: Boot::from_nanos(started * S) };
    open(path, &run, sign(started))
}

fn change(second: u64, subject: &Subject, previous: State, state: State) -> Change {
    Change {
        run: 1,
        seq: second,
        at: Boot::from_nanos(second * S),
        told: Wall::from_nanos((EPOCH + second) * S),
        subject: subject.clone(),
        previous,
        state,
        reasons: if state == State::Up { String::new() } else { r#"[{"code":"x"}]"#.to_owned() },
        diagnosis: None,
    }
}

fn flapping(from: u64, count: u64) -> Batch {
    let subject = Subject::Target("a \"b\" \u{e9}".into());
    let changes = (0..count).map(|i| {
        let states = if i % 2 == 0 { (State::Up, State::Down) } else { (State::Down, State::Up) };
        change(from + i, &subject, states.0, states.1)
    });
    Batch { changes: changes.collect(), ..Batch::default() }
}

fn long_ago() -> Wall {
    Wall::default()
}

#[test]
fn what_is_written_is_read_while_it_is_written() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 5).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let waits = Waits {
        run: 1,
        subject: Subject::Network,
        job: "restic".into(),
        uid: 7,
        count: 3,
        from: Boot::from_nanos(10 * S),
        to: Boot::from_nanos(20 * S),
        total: Duration::from_secs(30),
        longest: Duration::from_secs(10),
    };
    let mut batch = flapping(10, 4);
    batch.changes[0].diagnosis = Some("{}".into());
    batch.gaps.push(Gap { run: 1, from: Boot::from_nanos(12 * S), to: Boot::from_nanos(13 * S) });
    batch.waits.push(waits);
    store.append(&batch, sign(30)).unwrap();
    let read = Reader::new(&path);
    assert_eq!(read.is_written(), Some(true));
    let records = read.load(long_ago()).unwrap();
    assert_eq!(
        (&records.changes, &records.gaps, &records.waits),
        (&batch.changes, &batch.gaps, &batch.waits)
    );
    let run = &records.runs[0];
    assert_eq!(
        (run.started, run.seen, run.clean),
        (Boot::from_nanos(5 * S), Boot::from_nanos(30 * S), false)
    );
    store.close().unwrap();
    assert_eq!(read.is_written(), Some(false));
    assert!(read.load(long_ago()).unwrap().runs[0].clean);
    assert_eq!(opened(&path, 40).unwrap().run(), 2);
}

#[test]
fn a_clock_that_was_set_since_the_last_sign_of_life_tells_when_it_was() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    store.append(&flapping(10, 4), sign(30)).unwrap();
    let year = 365 * 86_400;
    let now = Wall::from_nanos((EPOCH + year + 31) * S);
    let clocks = Clocks::of("b".into(), Boot::from_nanos(31 * S), now);
    // Of the last days; by the clock as it was, all of it was a year ago.
    let since = Wall::from_nanos((EPOCH + year - 2 * 86_400) * S);
    let reader = Reader::new(&path);
    assert_eq!(reader.load(since).unwrap().changes.len(), 0);
    let records = reader.load_by(since, &clocks).unwrap();
    assert_eq!((records.changes.len(), records.runs[0].offset), (4, ((EPOCH + year) * S) as i64));
    // One of another boot says nothing of this one.
    let other = Clocks::of("c".into(), Boot::from_nanos(31 * S), now);
    assert_eq!(reader.load_by(since, &other).unwrap().changes.len(), 0);
}

#[test]
fn one_agent_writes() {
    let (_folder, path) = folder();
    let first = opened(&path, 1).unwrap();
    assert!(matches!(opened(&path, 1), Err(StoreError::InUse(p)) if p == path));
    drop(first);
    opened(&path, 1).unwrap();
}

#[test]
fn no_directory_is_no_history() {
    let (folder, _) = folder();
    let nowhere = folder.path().join("no/history.db");
    assert!(matches!(opened(&nowhere, 1), Err(StoreError::NoDirectory(_))));
    assert!(matches!(opened(folder.path(), 1), Err(StoreError::NoFile(_) | StoreError::Io { .. })));
    assert!(matches!(Reader::new(nowhere).load(long_ago()), Err(StoreError::Missing(_))));
}

#[test]
fn of_a_period_only_that_is_read_and_what_each_subject_was_before() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let quiet = Subject::Device("eth0".into());
    let mut batch = flapping(10, 1000);
    batch.changes.insert(0, change(5, &quiet, State::Unknown, State::Down));
    let mut told = change(6, &quiet, State::Down, State::Down);
    told.diagnosis = Some("{}".into());
    batch.changes.insert(1, told);
    let later = 10 * 86_400;
    batch.changes.extend(flapping(later, 10).changes);
    store.append(&batch, sign(later + 20)).unwrap();
    let records = Reader::new(&path).load(Wall::from_nanos((EPOCH + later) * S)).unwrap();
    let of_quiet: Vec<&Change> = records.changes.iter().filter(|c| c.subject == quiet).collect();
    assert_eq!(of_quiet, [&batch.changes[0], &batch.changes[1]], "with what was found out of it since");
    // The last of the flaps before, which tells the state, and those after.
    assert_eq!(records.changes.len(), 2 + 1 + 10);
}

#[test]
fn a_file_that_is_none_of_ours_is_refused_and_moved_aside_whole() {
    let (folder, path) = folder();
    let refused = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        let error = opened(&path, 1).unwrap_err();
        assert!(error.is_damage(), "{error}");
        assert!(Reader::new(&path).load(long_ago()).is_err());
        let aside = move_aside(&path, Wall::from_nanos(EPOCH * S)).unwrap();
        assert_eq!(fs::read(&aside).unwrap(), text, "nothing of it is lost");
        assert!(!path.exists());
        opened(&path, 1).unwrap().close().unwrap();
        fs::remove_file(&path).unwrap();
        aside
    };
    let first = refused(b"precious notes, long enough to be no empty file");
    assert_eq!(first, folder.path().join("history.db.aside-20231114T221320Z"));
    let second = refused(&[7; 5000]);
    assert_ne!(first, second, "what was moved aside before stays");
    let other = folder.path().join("other.db");
    let connection = Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE bookmarks (x)").unwrap();
    drop(connection);
    refused(&fs::read(&other).unwrap());
}

#[test]
fn a_damaged_file_is_known_at_the_start() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    for i in 0..50 {
        store.append(&flapping(10 + i * 200, 200), sign(20_000)).unwrap();
    }
    store.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[4096 * 3..length - 4096].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert!(opened(&path, 1).unwrap_err().is_damage());
}

#[test]
fn a_newer_file_is_left_alone() {
    let (_folder, path) = folder();
    opened(&path, 1).unwrap().close().unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    drop(connection);
    let error = opened(&path, 1).unwrap_err();
    assert!(matches!(error, StoreError::Newer { version } if version == schema::VERSION + 1));
    assert!(!error.is_damage() && !error.may_pass());
    assert!(matches!(Reader::new(&path).load(long_ago()), Err(StoreError::Newer { .. })));
}

#[test]
fn what_is_too_old_is_forgotten_but_for_what_tells_a_state() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let quiet = Subject::Device("eth0".into());
    let mut batch = flapping(10, 100);
    batch.changes.insert(0, change(5, &quiet, State::Unknown, State::Down));
    store.append(&batch, sign(200)).unwrap();
    store.append(&flapping(1000, 10), sign(2000)).unwrap();
    let gone = store.prune(Wall::from_nanos((EPOCH + 500) * S), u64::MAX).unwrap();
    assert_eq!(gone, 100);
    let records = Reader::new(&path).load(long_ago()).unwrap();
    assert_eq!(records.changes.len(), 11);
    assert_eq!((&records.changes[0].subject, records.changes[0].state), (&quiet, State::Down));
    // Of a run that is over no state needs to be known.
    store.close().unwrap();
    let mut store = opened(&path, 3000).unwrap();
    store.append(&flapping(3000, 2), sign(3010)).unwrap();
    store.prune(Wall::from_nanos((EPOCH + 2500) * S), u64::MAX).unwrap();
    let records = Reader::new(&path).load(long_ago()).unwrap();
    assert_eq!((records.changes.len(), records.runs.len()), (2, 1));
}

#[test]
fn it_grows_no_larger_than_it_may() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let most = 400_000;
    for i in 0..60 {
        store.append(&flapping(10 + i * 500, 500), sign(10 + i * 500)).unwrap();
        if store.size().unwrap().0 > most {
            store.prune(long_ago(), most).unwrap();
        }
        assert!(store.size().unwrap().0 <= most);
    }
    let records = Reader::new(&path).load(long_ago()).unwrap();
    assert_eq!(records.changes.last().unwrap().at, Boot::from_nanos((10 + 60 * 500 - 1) * S));
    assert!(records.changes.len() > 1000 && records.changes.len() < 30_000, "{}", records.changes.len());
    assert_eq!(records.changes.len() as u64, store.size().unwrap().1);
}

#[test]
fn targets_that_come_and_go_leave_nothing_when_they_are_forgotten() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let most = 400_000;
    let stays = Subject::Target("stays".into());
    let first = vec![change(5, &stays, State::Unknown, State::Up)];
    store.append(&Batch { changes: first, ..Batch::default() }, sign(5)).unwrap();
    for i in 0..20 {
        let second = 10 + i * 500;
        let changes = (second..second + 500).flat_map(|n| {
            let gone = Subject::Target(format!("gone-{n}"));
            [change(n, &gone, State::Unknown, State::Up), change(n, &gone, State::Up, State::Unknown)]
        });
        store.append(&Batch { changes: changes.collect(), ..Batch::default() }, sign(second)).unwrap();
        store.prune(long_ago(), most).unwrap();
        assert!(store.size().unwrap().0 <= most, "{:?}", store.size());
    }
    store.prune(Wall::from_nanos((EPOCH + 100_000) * S), most).unwrap();
    let records = Reader::new(&path).load(long_ago()).unwrap();
    let left: Vec<_> = records.changes.iter().map(|c| (c.subject.clone(), c.state)).collect();
    assert_eq!(left, [(stays, State::Up)]);
    drop(store);
    let subjects = |kept: &Connection| kept.query_row("SELECT count(*) FROM subjects", (), |row| row.get(0));
    assert_eq!(subjects(&Connection::open(&path).unwrap()), Ok(1));
}

#[test]
fn the_room_is_given_back() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let most = 400_000;
    for i in 0..60 {
        store.append(&flapping(10 + i * 500, 500), sign(10 + i * 500)).unwrap();
    }
    store.close().unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 2 * most);
    let mut store = opened(&path, 40_000).unwrap();
    store.prune(long_ago(), most).unwrap();
    store.close().unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= most * 5 / 4);
}

fn waits(second: u64) -> Waits {
    Waits {
        run: 1,
        subject: Subject::Network,
        job: "x".repeat(64),
        uid: u32::MAX,
        count: u64::MAX >> 1,
        from: Boot::from_nanos(second * S),
        to: Boot::from_nanos((second + 1) * S),
        total: Duration::from_nanos(u64::MAX >> 1),
        longest: Duration::from_nanos(u64::MAX >> 1),
    }
}

#[test]
fn who_waits_pushes_no_change_out() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let most = 1 << 20;
    store.append(&flapping(10, 2000), sign(3000)).unwrap();
    let all: Vec<Waits> = (0..20_000).map(|i| waits(3000 + i)).collect();
    let gap = |w: &Waits| Gap { run: 1, from: w.from, to: w.to };
    let batch = Batch { gaps: all.iter().map(gap).collect(), waits: all.clone(), ..Batch::default() };
    store.append(&batch, sign(30_000)).unwrap();
    assert!(store.size().unwrap().0 > 2 * most);
    assert_eq!(store.prune(long_ago(), most).unwrap(), 0);
    assert!(store.size().unwrap().0 <= most);
    let records = Reader::new(&path).load(long_ago()).unwrap();
    assert_eq!((records.changes.len(), records.waits.len(), records.gaps.len()), (2000, 1024, 1024));
    assert_eq!(records.waits.last(), all.last(), "the latest are kept");
}

#[test]
fn where_no_change_is_young_who_waited_is_forgotten_too() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let mut batch = flapping(10, 10);
    batch.waits = vec![waits(12), waits(1000)];
    batch.gaps = batch.waits.iter().map(|w| Gap { run: 1, from: w.from, to: w.to }).collect();
    store.append(&batch, sign(2000)).unwrap();
    let left = || {
        let records = Reader::new(&path).load(long_ago()).unwrap();
        (records.changes.len(), records.waits.len(), records.gaps.len())
    };
    store.prune(Wall::from_nanos((EPOCH + 500) * S), u64::MAX).unwrap();
    assert_eq!(left(), (1, 1, 1), "what tells the state, and what is young");
    store.prune(Wall::from_nanos((EPOCH + 1500) * S), u64::MAX).unwrap();
    assert_eq!(left(), (1, 0, 0));
    // For want of room alone.
    store.append(&Batch { changes: flapping(3000, 10).changes, ..batch }, sign(4000)).unwrap();
    store.prune(long_ago(), 0).unwrap();
    let (changes, waits, gaps) = left();
    assert!(changes < 11 && (waits, gaps) == (0, 0));
}

#[test]
fn no_more_is_read_than_there_is_memory_for() {
    let (_folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    let mut batch = flapping(10, 10);
    batch.waits = vec![waits(12), waits(13)];
    batch.gaps = vec![Gap { run: 1, from: Boot::from_nanos(12 * S), to: Boot::from_nanos(13 * S) }];
    store.append(&batch, sign(30)).unwrap();
    assert_eq!(Reader::new(&path).of_rows(13).load(long_ago()).unwrap().changes.len(), 10);
    for most in [12, 10, 9, 0] {
        let refused = Reader::new(&path).of_rows(most).load(long_ago()).unwrap_err();
        assert!(matches!(refused, StoreError::TooMuch(n) if n == most), "{refused}");
        assert!(refused.to_string().contains("ask for a shorter period"));
    }
}

#[test]
fn a_reader_that_may_not_write_beside_it_reads_it_all_the_same() {
    let (folder, path) = folder();
    let mut store = opened(&path, 1).unwrap();
    store.append(&flapping(10, 4), sign(30)).unwrap();
    store.close().unwrap();
    assert!(!folder.path().join("history.db-wal").exists(), "its log is in it");
    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&path, 0o444);
    allow(folder.path(), 0o555);
    let beside = folder.path().join("x");
    let read = std::thread::spawn(move || {
        if nix::unistd::geteuid().is_root() {
            // Of this thread alone, which has no rights over files then.
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        }
        assert!(fs::write(beside, "").is_err(), "it may write beside it");
        Reader::new(&path).load(long_ago()).unwrap().changes.len()
    });
    let read = read.join();
    allow(folder.path(), 0o755);
    assert_eq!(read.unwrap(), 4);
}
